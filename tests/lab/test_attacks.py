"""Attacks on ovlay as root, on the real kernel and with the real sudo."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.attacks.table import attack
from tests.elevate.machine import OVLAY, TARGET, Machine
from tests.lab.talking import PYTHON, scripted
from tests.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = f"{OVLAY} --backend overlayfs --target {TARGET}"


@pytest.fixture(scope="module")
def shared_machine(under_test: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One machine for all of these tests."""
    if missing := Machine.missing():
        lacking(f"not installed: {', '.join(missing)}")
    with Machine(tmp_path_factory.mktemp("machine"), under_test) as machine:
        machine.user("echo mine >~/mine; echo two >~/two")
        yield machine


RACE = """
import ctypes, os, threading, sys
from ovlay.overlay import open_overlay
from ovlay.errors import OvlayError
from ovlay.requests import InstallFile
overlay = open_overlay("overlayfs", target="/opt/tools")
overlay.enable()
os.makedirs("/opt/victim", exist_ok=True)
os.makedirs("/opt/tools/race/dir")
os.symlink("/opt/victim", "/opt/tools/race/link")
libc = ctypes.CDLL(None, use_errno=True)
stop, swaps = threading.Event(), [0]
def swap():
    while not stop.is_set():
        libc.renameat2(-100, b"/opt/tools/race/dir", -100, b"/opt/tools/race/link", 2)  # RENAME_EXCHANGE
        swaps[0] += 1
thread = threading.Thread(target=swap)
thread.start()
placed = refused = 0
try:
    while swaps[0] < 20000 or placed + refused < 300:
        try:
            overlay.install_files([InstallFile("/home/alice/mine", f"/opt/tools/race/dir/{placed + refused}")])
            placed += 1
        except OvlayError:
            refused += 1
finally:
    stop.set()
    thread.join()
print(placed, refused, swaps[0], os.listdir("/opt/victim"))
"""


@attack(
    "swap the destination's directory for a link out of the overlay, 20,000 times while root installs into it",
    "each file is in the overlay or refused; none is where the link leads",
)
def test_a_race_on_the_destination(machine: Machine) -> None:
    said = machine.root(f"cat >/run/race.py <<'END'\n{RACE}END\n{PYTHON} /run/race.py")
    placed, refused, _, rest = said.split(None, 3)
    assert int(placed) + int(refused) >= 300
    assert rest.strip() == "[]"
    assert int(refused) > 0, "the race was never on"


@attack("install through a link that leads out (/usr/local → /var/usrlocal), or into a mount below the target",
        "refused before a password is asked for; nothing is placed outside")  # fmt: skip
def test_ways_out_of_the_overlay(machine: Machine) -> None:
    assert machine.talk("--elevate", "sudo", "enable").status == 0
    machine.root(
        f"mkdir -p /opt/outside {TARGET}/mounted; ln -s /opt/outside {TARGET}/local; ln -s ../../etc {TARGET}/up"
    )
    machine.root(f"mount -t tmpfs below {TARGET}/mounted")
    for place in ("local", "up", "mounted"):
        talk = machine.talk("--elevate", "sudo", "install", "mine", f"{TARGET}/{place}/mine")
        assert (talk.status, talk.prompts) == (5, 0), talk
    assert machine.root(f"ls /opt/outside {TARGET}/mounted /etc/mine 2>/dev/null || true").split() == [
        "/opt/outside:",
        f"{TARGET}/mounted:",
    ]
    machine.root(f"umount {TARGET}/mounted")


@attack("plant /run/ovlay, /var/lib/ovlay or what is in them: a user's own directory, a writable one, a link",
        "refused, with what to remove; nothing is written there, and no journal in it is believed")  # fmt: skip
def test_planted_directories(machine: Machine) -> None:
    journal = json.dumps({"plan": {"schema": "ovlay.plan/1", "reason": "", "warnings": [], "steps": []}})
    for plant in (
        "mkdir /run/ovlay; chown alice /run/ovlay",
        "mkdir /run/ovlay; chmod 777 /run/ovlay",
        "mkdir /home/alice/own; ln -s /home/alice/own /run/ovlay",
        "touch /run/ovlay",
        "mkdir /run/ovlay; chown alice /run/ovlay; echo '" + journal + "' >/run/ovlay/journal",
        "mkdir -m 700 /run/ovlay; mkdir -m 777 /run/ovlay/overlays",
        "mkdir -m 700 /run/ovlay; ln -s /home/alice /run/ovlay/overlays",
    ):
        machine.root(plant)
        before = machine.root("find /home/alice /run/ovlay -maxdepth 1 | sort")
        talk = machine.talk("--elevate", "sudo", "enable", "--yes")
        assert talk.status == 5, (plant, talk)
        assert not machine.active(), plant
        after = machine.root("find /home/alice /run/ovlay -maxdepth 1 | grep -v /lock$ | sort")
        assert after == before, plant
        machine.root("rm -rf /run/ovlay /home/alice/own")


@attack("plant /run/ovlay-public: a user's directory, a writable one, a link, a notice that says all is as declared",
        "nothing is written there, and nothing in it is believed: root looks for itself")  # fmt: skip
def test_planted_notices(machine: Machine) -> None:
    manifest = f'schema = 1\\ntarget = "{TARGET}"\\n[[file]]\\npath = "{TARGET}/new"\\ntext = "x"\\n'
    machine.user(f"printf '{manifest}' >~/m.toml; mkdir -p ~/own")
    for plant in (
        "mkdir /run/ovlay-public; chown alice /run/ovlay-public",
        "mkdir /run/ovlay-public; chmod 777 /run/ovlay-public",
        "ln -s /home/alice/own /run/ovlay-public",
        "touch /run/ovlay-public",
    ):
        machine.root(f"{COMMAND} enable --yes; {COMMAND} apply --yes /home/alice/m.toml")
        machine.root(f"cp -a /run/ovlay-public /home/alice/notices; rm -rf /run/ovlay-public; {plant}")
        machine.root("cp /home/alice/notices/* /home/alice/own; cp /home/alice/notices/* /run/ovlay-public || true")
        before = machine.root("cat /home/alice/own/* /run/ovlay-public/* 2>/dev/null || true")
        talk = machine.talk("--elevate", "sudo", "apply", "m.toml")
        assert (talk.status, talk.prompts) == (0, 1), (plant, talk)
        machine.root(f"{COMMAND} revert --yes {TARGET}/new; {COMMAND} apply --yes /home/alice/m.toml")
        after = machine.root("cat /home/alice/own/* /run/ovlay-public/* 2>/dev/null || true")
        assert len(after) <= len(before), plant
        machine.root(f"rm -rf /run/ovlay-public /home/alice/notices; {COMMAND} unmount --yes")


@attack("make /run/ovlay/lock a link to a file of root's", "the link is not followed, and the file stays as it is")
def test_a_planted_lock(machine: Machine) -> None:
    machine.root("mkdir -m 700 /run/ovlay; echo precious >/run/precious; ln -s /run/precious /run/ovlay/lock")
    talk = machine.talk("--elevate", "sudo", "enable", "--yes")
    assert talk.status in (5, 7), talk
    assert machine.root("cat /run/precious") == "precious\n"


@attack("plant files, links and directories with ovlay's temporary names (`.ovlay-new-…`) where it installs",
        "names are drawn at random, made with O_EXCL, and no link is followed")  # fmt: skip
def test_planted_temporary_names(machine: Machine) -> None:
    assert machine.talk("--elevate", "sudo", "enable").status == 0
    machine.root(f"echo precious >/run/precious; cd {TARGET}/bin; mkdir .ovlay-new-0; ln -s /run/precious .ovlay-new-1")
    machine.root(f"cd {TARGET}/bin; for n in $(seq 200); do ln -s /run/precious .ovlay-new-$(printf %016x $n); done")
    talk = machine.talk("--elevate", "sudo", "install", "mine", f"{TARGET}/bin/b")
    assert talk.status == 0, talk
    assert machine.root(f"cat /run/precious {TARGET}/bin/b") == "precious\nmine\n"


@attack("put a link where the file is to go, to a file of root's", "the link is replaced; the file stays as it is")
def test_a_link_as_destination(machine: Machine) -> None:
    assert machine.talk("--elevate", "sudo", "enable").status == 0
    machine.root(f"echo precious >/run/precious; ln -sf /run/precious {TARGET}/bin/b")
    assert machine.talk("--elevate", "sudo", "install", "mine", f"{TARGET}/bin/b").status == 0
    assert machine.root(f"cat /run/precious; stat -c %F {TARGET}/bin/b") == "precious\nregular file\n"


@attack("show one file when it is confirmed, and hand another one over when it is copied",
        "refused: its SHA-256 is not the one of the plan")  # fmt: skip
def test_a_source_that_is_swapped(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes")
    said = scripted(machine, "print(talk(install(), [file('/home/alice/mine'), file('/home/alice/two')]))")
    assert "changed since the plan was made" in said
    assert machine.root(f"ls -A {TARGET}/bin") == "b\n"


@attack("hand over a FIFO, a device, a directory, two files, none, instead of a source",
        "refused; /dev/zero is not read")  # fmt: skip
def test_a_descriptor_that_is_no_file(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes; mkfifo /run/fifo")
    script = """
for given in (file("/dev/zero"), file("/run/fifo"), file("/run"), [], [file("/home/alice/mine")] * 3,
              os.open("/home/alice/mine", os.O_PATH), os.open("/home/alice/mine", os.O_WRONLY)):
    print(talk(install(), [given, given])[0]["kind"])
"""
    assert len([line for line in scripted(machine, script).split() if line]) == 7
    assert machine.root(f"ls -A {TARGET}/bin") == "b\n"


@attack("hand over a file of a hundred gigabytes of nothing, instead of the one of five bytes that was confirmed",
        "refused at the first byte too much; the memory is not filled")  # fmt: skip
def test_more_than_was_confirmed(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes")
    script = """
big = os.memfd_create("big")
os.truncate(big, 100 << 30)
print(talk(install(), [file("/home/alice/mine"), big])[0]["kind"])
"""
    assert scripted(machine, script) == "Conflict\n"
    assert machine.root(f"ls -A {TARGET}/bin") == "b\n"


@attack("stop answering while root holds the lock, as Ctrl-Z does",
        "what was begun is taken back after half a minute, and others go on")  # fmt: skip
def test_one_who_stops_answering_holds_up_nobody(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes")
    script = f"""
ours, wire, process = helper(first="helper._ANSWER = 2; ")
wire.send(install())
opened = 0
while True:
    said, _ = wire.receive()
    if "open" in said:
        opened += 1
        if opened == 2:
            break
        wire.send({{"opened": True}}, [file("/home/alice/mine")])
    else:
        wire.send({{"answer": True}})
print(subprocess.run({COMMAND.split()!r} + ["unmount", "--yes"], capture_output=True, timeout=60).returncode)
print(wire.receive()[0]["error"]["kind"])
"""
    assert scripted(machine, script) == "0\nToolFailed\n"
    assert not machine.active()


@attack("say no to root's plan, or change what is there after saying yes", "nothing is done; the plan is made anew")
def test_the_plan_changes_under_the_answer(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes")
    said = scripted(machine, "print(talk(install(), [file('/home/alice/mine')] * 2, answer=False)[0]['changed'])")
    assert said == "False\n"
    assert machine.root(f"ls -A {TARGET}/bin") == "b\n"


@attack("as root: end the conversation after every byte of requests to enable, to install and to apply",
        "the helper ends each time; nothing is changed, and no lock is left")  # fmt: skip
def test_the_wire_ends_at_every_byte_for_root(machine: Machine) -> None:
    script = """
import threading
from ovlay.elevate import helper as module
body = json.dumps(request("enable", access="read-write", persistence="transient")).encode()
message = struct.pack("!I", len(body)) + body
for end in range(len(message)):
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=module.serve, args=(Wire(theirs),))
    module._be_deaf = lambda: None
    thread.start()
    Wire(ours).receive()
    ours.sendall(message[:end])
    ours.close()
    thread.join(20)
    assert not thread.is_alive()
    theirs.close()
for wait in range(3):  # gone while the helper waits for an answer
    ours, wire, process = helper()
    wire.send(request("enable", access="read-write", persistence="transient"))
    if wait:
        print("confirm" in wire.receive()[0])
    if wait == 2:
        ours.sendall(b"\\0\\0")
    ours.close()
    print(process.wait(20))
"""
    assert scripted(machine, script).split() == ["0", "True", "0", "True", "0"]
    assert not machine.active()
    assert machine.root(f"{COMMAND} enable --yes") != ""


@attack("declare a target path to root that a link leads out of the overlay", "refused: it leads out")
def test_an_item_that_leads_out(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes; mkdir -p /opt/outside; ln -s /opt/outside {TARGET}/out")
    script = """
item = ["out/tool", "file", 0, None, "text", None, 4, 493, 0, 0, None, None, None, None, True]
declared = {"target": "/opt/tools", "mode": None, "manifests": ["/m"], "origins": [["/m", "m", 1]], "items": [item]}
print(talk(request("apply", declared=declared, enable=False, force=True, triggers=False), [])[0])
"""
    assert "leads to" in scripted(machine, script)
    assert machine.root("ls -A /opt/outside") == ""


@attack("poison PATH, HOME, XDG_*, PYTHON*, LD_*, IFS, TMPDIR and the locale, with programs and modules planted there",
        "everything works as ever, and none of them runs, neither as root nor as the user")  # fmt: skip
def test_a_poisoned_environment(machine: Machine) -> None:
    machine.user(
        "mkdir -p ~/poison; printf '#!/bin/sh\\ntouch /home/alice/poisoned\\nexit 1\\n' >~/poison/sudo\n"
        "chmod +x ~/poison/sudo"
    )
    machine.user("cd ~/poison; for n in mount umount findmnt ostree doas pkexec run0 systemctl; do cp sudo $n; done")
    machine.user(
        'cd ~/poison; mkdir -p python-entrypoints; echo \'open("/home/alice/poisoned", "w")\' >usercustomize.py'
    )
    place = "/home/alice/poison"
    poison = {
        "PATH": f"{place}:/usr/bin:/bin",
        "XDG_RUNTIME_DIR": place,
        "XDG_CACHE_HOME": place,
        "PYTHONSTARTUP": f"{place}/usercustomize.py",
        "PYTHONUSERBASE": place,
        "LD_LIBRARY_PATH": place,
        "LD_PRELOAD": f"{place}/evil.so",
        "LC_ALL": "tr_TR.UTF-8",
        "TMPDIR": place,
        "IFS": "x",
        "ENV": f"{place}/sudo",
        "BASH_ENV": f"{place}/sudo",
    }
    for words in (("enable",), ("install", "/home/alice/mine", f"{TARGET}/bin/mine"), ("unmount",)):
        talk = machine.talk("--elevate", "sudo", *words, environment=poison)
        assert (talk.status, talk.prompts) == (0, 1), talk
    assert machine.root("ls /home/alice/poisoned 2>/dev/null || echo none") == "none\n"


@attack("run a whole session with umask 0, then look for what others than root can write",
        "nothing: not in the overlay, not in /run/ovlay, /run/ovlay-public or /var/lib/ovlay, not in /etc")  # fmt: skip
def test_what_others_can_write_afterwards(machine: Machine) -> None:
    manifest = f'schema = 1\\ntarget = "{TARGET}"\\n[[file]]\\npath = "{TARGET}/new/x"\\ntext = "x"\\n'
    machine.user(f"printf '{manifest}' >~/m.toml")
    loose = ("sh", "-c", 'umask 0; exec "$@"', "sh")
    for words in (
        ("enable",),
        ("install", "-D", "mine", f"{TARGET}/deep/er/mine"),
        ("apply", "m.toml"),
        ("capture", "--to", "/etc/ovlay/manifest.d/x.toml"),
        ("service", "mask-until-image", "x.service"),
        ("revert", f"{TARGET}/new"),
    ):
        talk = machine.talk("--elevate", "sudo", *words, before=loose)
        assert talk.status == 0, (words, talk)
        assert talk.prompts == 1, (words, talk)
    found = "/run/ovlay /run/ovlay-public /var/lib/ovlay /etc/ovlay /etc/systemd"
    assert machine.root(f"find {TARGET} {found} ! -type l -perm /022 ! -path {TARGET}") == ""
    assert machine.root(f"find {TARGET} {found} ! -user root") == ""
    assert machine.root("stat -c %a /run/ovlay /var/lib/ovlay") == "700\n700\n"


@attack("put a manifest, or a configuration, that others can write where root looks for them",
        "root does not read them: refused, with what to do")  # fmt: skip
def test_manifests_that_others_can_write(machine: Machine) -> None:
    manifest = f'schema = 1\\ntarget = "{TARGET}"\\n[[file]]\\npath = "{TARGET}/x"\\ntext = "x"\\n'
    machine.root(f"{COMMAND} enable --yes; mkdir -p /etc/ovlay/manifest.d")
    machine.root(f"printf '{manifest}' >/etc/ovlay/manifest.d/a.toml; chmod 666 /etc/ovlay/manifest.d/a.toml")
    machine.root(f"{COMMAND} apply --yes && exit 1 || [ $? -ne 0 ]")
    assert machine.root(f"ls {TARGET}") == "bin\nshare\n"
    machine.root(
        "rm -r /etc/ovlay/manifest.d; cd /etc/ovlay; echo 'backend = \"fake\"' >config.toml; chmod 666 config.toml"
    )
    machine.root(f"{COMMAND} status 2>&1 | grep 'is not trusted'")


@attack("as root: secrets in the environment, and -vv", "the log has neither them nor the password")
def test_secrets_in_the_log_of_root(machine: Machine) -> None:
    secret = {"API_TOKEN": "hunter2-token", "AWS_SECRET_ACCESS_KEY": "hunter2-key"}
    talk = machine.talk("-vv", "--elevate", "sudo", "enable", environment=secret)
    assert talk.status == 0, talk
    assert "hunter2" not in talk.said
    assert "open-alice" not in talk.said
