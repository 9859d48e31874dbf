"""What can go wrong around ovlay, on a real ostree host: full disks, tools that misbehave, a /proc that hides, races.

After each there is a clear reason and an exit status, whole files, a status that is true, and a way on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.table import told
from tests.lab.conftest import BOOKWORM
from tests.lab.host import STAND_INS, UNDER_TEST
from tests.lab.striking import PLACE, carry
from tests.lab.witness import sealed, sleepers, state, strays

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost, Ran
    from tests.lab.recipe import Recipe


@pytest.fixture
def host(boot: Callable[[Recipe], LabHost]) -> LabHost:
    """One host, with two files to be installed."""
    made = boot(BOOKWORM)
    made.sh("echo one >/tmp/one; head -c 3000000 /dev/zero | tr '\\0' x >/tmp/large")
    return made


def wrong(ran: Ran, status: int, *words: str) -> None:
    """It failed with this exit status, and said why."""
    assert (ran.status, "Traceback" in ran.stderr) == (status, False), ran
    assert "ovlay: " in ran.stderr, ran
    for word in words:
        assert word in ran.stderr, ran


def seen(fault: str, happened: str) -> None:
    told(fault, happened, "test_faults.py")


# --- space, and what cannot be written -------------------------------------------------------------------------------


def test_a_tmpfs_that_is_full(host: LabHost) -> None:
    host.sh("mkdir -p /etc/ovlay; echo 'tmpfs-size = \"4M\"' >/etc/ovlay/config.toml")
    host.ovlay("enable", "--yes", "--backend", "overlayfs")
    host.ovlay("install", "--yes", "--backend", "overlayfs", "/tmp/large", "/usr/share/first")
    wrong(host.ovlay("install", "--yes", "--backend", "overlayfs", "/tmp/large", "/usr/share/second", check=False), 5)
    host.sh("head -c 900000 /dev/zero >/usr/share/filler")
    # The look at the free space is right for a moment only: here somebody else takes it first.
    script = f"""
import sys
sys.path.insert(0, {UNDER_TEST!r})
import ovlay
def fill(plan):
    with open("/usr/share/filler", "ab") as stream:
        stream.write(bytes(90000))
    return True
overlay = ovlay.open("overlayfs")
files = [ovlay.InstallFile("/tmp/small", "/usr/share/third", 0o644)]
try:
    overlay.install_files(files, confirm=fill)
except ovlay.NoSpace as error:
    print("no space:", error, error.remedy)
"""
    host.sh("df --output=avail -B1 /usr | tail -n 1; head -c 60000 /dev/zero >/tmp/small")
    said = host.run("/usr/bin/python3", "-I", "-c", script).stdout
    assert "no space: " in said, said
    assert strays(host) == ""
    assert (
        host.sh("cmp /tmp/large /usr/share/first && ls /usr/share/second /usr/share/third 2>&1 || true").count("cannot")
        == 2
    )
    assert "nearly-full" in {each["kind"] for each in state(host, "overlayfs")["anomalies"]}
    host.ovlay("revert", "--yes", "--backend", "overlayfs", "/usr/share/filler")
    host.ovlay("install", "--yes", "--backend", "overlayfs", "/tmp/small", "/usr/share/third")
    seen(
        "the tmpfs that takes the changes is full, before the first file and in the middle of one",
        "exit status 5, what was placed is whole, no temporary file; status says `nearly-full`; after `ovlay revert` "
        "of something it goes on",
    )


@pytest.mark.parametrize("place", ["/run", "/var"])
def test_a_directory_of_its_own_that_cannot_be_written(host: LabHost, place: str) -> None:
    host.sh(f"mount -o remount,bind,ro {place}")
    said = host.ovlay("enable", "--yes", check=False)
    wrong(said, *((5, "/run/ovlay") if place == "/run" else (7, "Read-only file system")))
    assert sealed(host)
    assert state(host)["active"] is False
    host.sh(f"mount -o remount,bind,rw {place}")
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    seen(f"{place} is read-only", "the reason, and nothing is changed; once it can be written again all goes on")


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_var_that_cannot_be_written_keeps_no_overlay(host: LabHost, how: str) -> None:
    manifest = '[[file]]\\npath = "/usr/share/one"\\ntext = "one"\\n'
    host.sh(f"printf 'schema = 1\\n{manifest}' >/tmp/m.toml; mkdir -p -m 700 /var/lib/ovlay")
    host.sh("mount -t tmpfs -o size=8k,nr_inodes=2,mode=700 full /var/lib/ovlay; touch /var/lib/ovlay/x")
    if how == "read-only":
        host.sh("mount -o remount,ro /var/lib/ovlay")
    host.ovlay("enable", "--yes")
    assert "could not be written down" in host.ovlay("apply", "--yes", "/tmp/m.toml").stdout
    assert host.ovlay("drift", "/tmp/m.toml").status == 0
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/two")
    assert not {each["kind"] for each in state(host)["anomalies"]} & {"interrupted"}
    host.ovlay("reset", "--fresh", "--yes")
    host.ovlay("apply", "--yes", "/tmp/m.toml")
    host.ovlay("unmount", "--lazy", "--yes")
    assert sealed(host)
    seen(f"/var/lib/ovlay is {how}", "what it would say of the base is not known, which is told; all else goes on")


def test_a_run_that_is_full(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.sh("mkdir -p /run/ovlay; mount -t tmpfs -o size=8k,mode=700 full /run/ovlay")
    host.sh("head -c 100000 /dev/zero >/run/ovlay/x || true")
    wrong(host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one", check=False), 5)
    assert host.sh("ls /usr/share/one 2>&1 || true").count("cannot") == 1
    assert state(host)["active"] is True
    host.sh("umount /run/ovlay")
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    seen("/run is full", "exit status 5 before anything is changed; with room again it goes on")


def test_a_state_directory_that_is_removed(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.sh("rm -rf /run/ovlay")
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    host.sh("rm -rf /run/ovlay")
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    seen("/run/ovlay is removed between two calls", "it is made again; the overlay is unmounted as ever")


# --- what the host shows of itself -----------------------------------------------------------------------------------


def test_a_proc_that_is_not_there(host: LabHost) -> None:
    hidden = "umount -l /proc/cmdline /proc/sys; umount -l /proc; exec"
    for words in ("enable --yes", "status", "unmount --yes"):
        said = host.run("unshare", "-m", "sh", "-c", f"{hidden} {UNDER_TEST}/launch {words}", check=False)
        wrong(said, said.status, "/proc")
        assert said.status in (3, 5, 7), said
    assert sealed(host)
    host.ovlay("enable", "--yes")
    seen("/proc is not mounted", "the reason, with the file that cannot be read; nothing is changed")


def test_a_proc_that_hides_others(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    pid = host.hold("/usr/share")
    user = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    as_user = f"mount -t proc -o hidepid=2 proc /proc; exec {user} {UNDER_TEST}/launch"
    said = host.run("unshare", "-m", "sh", "-c", f"{as_user} status --json", check=False)
    assert (said.status, said.json()["active"]) == (0, True), said
    said = host.run("unshare", "-m", "sh", "-c", f"{as_user} holders", check=False)
    assert said.status == 0, said
    assert f"{pid}" not in said.stdout
    host.end(pid)
    seen("hidepid=2, as a user", "status answers all the same; holders that may not be looked at are not named")


def test_ten_thousand_mounts(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    many = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/tmp/m")
for number in range(10000):
    os.mkdir(f"/tmp/m/{number}")
    if libc.mount(b"/tmp", f"/tmp/m/{number}".encode(), None, 4096, None):
        raise OSError(ctypes.get_errno(), "mount")
"""
    host.run(
        "/usr/bin/python3",
        "-I",
        "-c",
        f"""
import os, ctypes, subprocess, time
ctypes.CDLL(None).unshare(0x20000)
subprocess.run(["mount", "--make-rslave", "/"], check=True)
subprocess.run(["mount", "--make-private", "/tmp"], check=True)
{many}
for words in (["status"], ["install", "--yes", "/tmp/one", "/usr/share/one"], ["revert", "--yes", "/usr/share/one"]):
    begun = time.monotonic()
    subprocess.run([{UNDER_TEST!r} + "/launch", *words], check=True)
    assert time.monotonic() - begun < 20, words
""",
    )
    seen("a mount table of 10,000 lines", "status, install and revert work, within seconds")


# --- tools -----------------------------------------------------------------------------------------------------------

TROUBLES = {
    "hangs": ("sleep 600", 7, "did not end within"),
    "dies by a signal": ("kill -9 $$", 7, "was killed by signal 9"),
    "prints garbage": ("head -c 100000 /dev/urandom >&2; exit 3", 7, "failed with status 3"),
    "prints a gigabyte": ("head -c 1000000000 /dev/zero; exit 3", 7, "failed with status 3"),
    "speaks another language": ("echo 'Fehler: geht nicht' >&2; exit 1", 7, "Fehler: geht nicht"),
    "leaves a child in the background": ("sleep 600 & exit 0", 7, "no overlay is on /usr"),
    "does nothing, and says that it did": ("echo done", 7, "no overlay is on /usr"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_tool_that(host: LabHost, trouble: str) -> None:
    script, status, words = TROUBLES[trouble]
    place = f"{STAND_INS}/bootc"
    tool = f"#!/bin/sh\ncase $1 in usr-overlay) {script};; --version) echo bootc 1.16.3;; *) {script};; esac\n"
    host.run("sh", "-euc", f"mkdir -p {STAND_INS}; cat >{place}; chmod 755 {place}", stdin=tool)
    patient = f"""
import sys
sys.path.insert(0, {UNDER_TEST!r})
from ovlay.cli.main import main
from ovlay.host import Host
Host.tool_patience = {1 if trouble == "hangs" else 60}
sys.exit(main(sys.argv[1:]))
"""
    begun = time.monotonic()
    said = host.run("/usr/bin/python3", "-I", "-c", patient, "enable", "--yes", "--backend", "bootc", check=False)
    wrong(said, status, words)
    assert len(said.stderr) < 4000
    assert time.monotonic() - begun < 20
    assert len(sleepers(host)) == (1 if trouble.startswith("leaves") else 0)
    assert sealed(host)
    host.ovlay("enable", "--yes")  # another driver, and the lock is free
    if trouble != "hangs":
        host.ovlay("status", "-v", "--backend", "bootc")
    for pid in sleepers(host):
        host.end(pid)
    host.ovlay("unmount", "--yes")
    seen(f"a host tool {trouble}", "exit status 7 with its last words, nothing is changed, and the lock is free")


# --- others ----------------------------------------------------------------------------------------------------------


def test_one_that_is_stopped_while_it_holds_the_lock(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    holder = f"""
import os, sys
sys.path.insert(0, {UNDER_TEST!r})
from ovlay.host import Host
with Host().lock():
    Host().write("/run/ovlay/journal", "")
    os.write(1, b"ready\\n")
    os.kill(os.getpid(), 19)
"""
    host.run("sh", "-c", "cat >/tmp/holder.py", stdin=holder)
    pid = host.start("exec /usr/bin/python3 -I /tmp/holder.py")
    begun = time.monotonic()
    kinds = {each["kind"] for each in state(host)["anomalies"]}
    assert "at-work" in kinds
    assert time.monotonic() - begun < 10
    impatient = f"""
import sys
sys.path.insert(0, {UNDER_TEST!r})
from ovlay.cli.main import main
from ovlay.host import Host
Host.patience = 1
sys.exit(main(sys.argv[1:]))
"""
    words = ("install", "--yes", "/tmp/one", "/usr/share/one")
    said = host.run("/usr/bin/python3", "-I", "-c", impatient, *words, check=False)
    wrong(said, 5, "waiting for another ovlay (pid ", "has been at work for more than 1 seconds")
    host.sh(f"kill -9 {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done")
    assert "interrupted" in {each["kind"] for each in state(host)["anomalies"]}
    host.ovlay(*words)
    assert "interrupted" not in {each["kind"] for each in state(host)["anomalies"]}
    seen(
        "an ovlay is stopped while it holds the lock, and then killed",
        "status does not wait and says `at-work`; a change says whom it waits for, and is refused after two minutes; "
        "after the kill it goes on at once",
    )


@pytest.mark.parametrize(
    ("verb", "meanwhile", "status"),
    [
        ("install", "umount -l /usr", 5),
        (
            "install",
            "umount -l /usr; rm -f /run/ostree/deployment-state/*/unlocked-*; ostree admin unlock",
            5,
        ),
        ("revert", "umount -l /usr", 5),
        ("unmount", "umount -l /usr", 0),
        ("unmount", "mount --bind /usr /usr", 5),
        ("enable", "ostree admin unlock", 0),
    ],
)
def test_another_tool_in_between(host: LabHost, verb: str, meanwhile: str, status: int) -> None:
    """Between the plan that is confirmed and the lock under which it is carried out."""
    if verb != "enable":
        host.run("ostree", "admin", "unlock")
        host.sh("echo mine >/usr/share/mine")
    script = f"""
import subprocess, sys
sys.path.insert(0, {UNDER_TEST!r})
import ovlay
def confirm(plan):
    subprocess.run(["sh", "-c", {meanwhile!r}], check=True)
    return True
overlay = ovlay.detect()
try:
    if {verb!r} == "install":
        overlay.install_files([ovlay.InstallFile("/tmp/one", "/usr/share/one", 0o644)], confirm=confirm)
    elif {verb!r} == "revert":
        overlay.revert(["/usr/share/mine"], confirm=confirm)
    else:
        getattr(overlay, {verb!r})(confirm=confirm)
except ovlay.OvlayError as error:
    print("ovlay:", error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
    said = host.run("/usr/bin/python3", "-I", "-c", script, check=False)
    assert (said.status, "Traceback" in said.stderr) == (status, False), said
    assert host.sh("find /sysroot/ostree/deploy/debian/deploy/*/usr/share -maxdepth 1 -name one") == ""
    assert strays(host) == ""
    if "--bind" in meanwhile:
        assert len(host.stack()) == 3
    told_of = {0: "it finds done what it was asked for", 5: "exit status 5: it changed; nothing is written anywhere"}
    what = (
        "mounts something over it"
        if "--bind" in meanwhile
        else "unmounts"
        if "admin unlock" not in meanwhile
        else "unlocks"
    )
    seen(f"another tool {what} between the plan and its execution ({verb})", told_of[status])


def test_stamps_of_another_time(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.sh("cp /tmp/one /tmp/past; touch -d @0 /tmp/past; cp /tmp/one /tmp/future; touch -d 2100-01-01 /tmp/future")
    for name in ("past", "future"):
        host.ovlay("install", "--yes", f"/tmp/{name}", f"/usr/share/{name}")
        assert "already" in host.ovlay("install", "--yes", f"/tmp/{name}", f"/usr/share/{name}").stdout
    rows = "".join(
        f'[[file]]\npath = "/usr/share/{name}-applied"\nsource = "/tmp/{name}"\n' for name in ("past", "future")
    )
    host.run("sh", "-c", "cat >/tmp/m.toml", stdin=f"schema = 1\n{rows}")
    for text in ("two", "six"):  # of the same size, with the same stamp: only the content tells
        host.ovlay("apply", "--yes", "/tmp/m.toml")
        assert host.sh("cat /usr/share/past-applied /usr/share/future-applied") == host.sh("cat /tmp/past /tmp/future")
        change = f'stamp=$(stat -c %y /tmp/$f); echo {text} >/tmp/$f; touch -d "$stamp" /tmp/$f'
        host.sh(f"for f in past future; do {change}; done")
    host.ovlay("apply", "--yes", "/tmp/m.toml")
    assert host.sh("cat /usr/share/past-applied /usr/share/future-applied") == "six\nsix\n"
    seen(
        "a clock that jumps: sources and files from 1970 and 2100, changed with their old time put back",
        "what changed is seen and placed; what did not is left alone",
    )


# --- power -----------------------------------------------------------------------------------------------------------


def test_the_order_in_which_things_reach_the_disk(host: LabHost) -> None:
    carry(host)
    host.run("ostree", "admin", "unlock", "--hotfix")
    script = f"{PLACE}/tracer.py"
    words = ("install", "--yes", "/tmp/one", "/tmp/large", "/usr/share/")
    (_, made, _, _, said) = host.run("/usr/bin/python3", "-I", script, f"{UNDER_TEST}/launch", *words).json()
    calls = [(name, where) for _, name, where in made]
    assert host.sh("cmp /tmp/one /usr/share/one && cmp /tmp/large /usr/share/large && echo same") == "same\n", said
    placed = [number for number, (name, where) in enumerate(calls) if name == "renameat" and "/usr/share/" in where]
    assert len(placed) == 2, calls
    before = [where for name, where in calls[: placed[0]] if name == "fsync"]
    contents = [number for number, where in enumerate(before) if ".ovlay-new-" in where]
    assert len({before[number] for number in contents}) == 2, calls  # the contents, before they have their names
    assert any("/receipts/" in where for where in before[contents[-1] :]), calls  # the intents, too
    afterwards = [where for name, where in calls[placed[-1] :] if name == "fsync"]
    assert any(where.endswith("/usr/share") for where in afterwards), calls  # the name itself
    book = next(n for n, (name, where) in enumerate(calls) if name == "rename" and "/receipts/" in where)
    assert any("/receipts/usr.jsonl.ovlay-" in where for name, where in calls[placed[-1] : book] if name == "fsync"), (
        calls
    )
    assert any(where.endswith("/receipts") for name, where in calls[book:] if name == "fsync"), calls
    seen(
        "the power goes, with a persistent overlay",
        "content and receipt are on the disk before a file has its name, and the name before ovlay says so",
    )
