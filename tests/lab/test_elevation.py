"""One prompt for one command, with the real sudo, doas and pkexec; and every way in which they can say no."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bkt.conftest import FAKE_CARGO
from tests.elevate.machine import TARGET, Machine, Talk

WAYS = ("sudo", "doas", "pkexec")
HELPER = "/usr/libexec/ovlay-helper"
POLICY = "/usr/share/polkit-1/actions/org.ovlay.policy"
_CHECKOUT = """cd ~/bootc
printf '[package]\\nname = "bkt"\\nversion = "0.1.0"\\n' >bkt/Cargo.toml
echo 'fn main() {}' >bkt/src/main.rs"""


# --- one prompt ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_every_command_that_changes_something_asks_once(machine: Machine, way: str) -> None:
    def asks(*words: str) -> int:
        talk = machine.talk("--elevate", way, *words)
        assert talk.status == 0, talk
        return talk.prompts

    assert asks("enable") == 1
    assert asks("install", "mine", f"{TARGET}/bin/b") == 1
    assert machine.root(f"stat -c '%u %g %a' {TARGET}/bin/b; cat {TARGET}/bin/b") == "0 0 755\nmine\n"
    assert asks("install", "-D", "mine", "two", f"{TARGET}/deep/er/") == 1
    assert asks("revert", f"{TARGET}/bin/b") == 1
    assert machine.root(f"cat {TARGET}/bin/b") == "base\n"
    assert asks("reset", "--yes") == 1
    assert machine.root(f"ls {TARGET}") == "bin\nshare\n"
    assert asks("apply", "stack/stack.toml") == 1
    assert machine.root(f"cat {TARGET}/bin/tool {TARGET}/share/many/*") == "tool\n1\n2\n3\n"
    assert asks("unmount") == 1
    assert not machine.active()


@pytest.mark.parametrize("way", WAYS)
def test_an_overlay_and_all_that_is_declared_take_one_prompt(machine: Machine, way: str) -> None:
    talk = machine.talk("--elevate", way, "apply", "--enable", "stack/stack.toml")
    assert (talk.status, talk.prompts) == (0, 1), talk
    assert "place /home/alice/stack/tool at /opt/tools/bin/tool" in talk.said
    assert machine.root(f"cat {TARGET}/bin/tool {TARGET}/share/many/*") == "tool\n1\n2\n3\n"
    assert machine.root(f"stat -c %u:%a {TARGET}/bin/tool") == "0:755\n"
    again = machine.talk("--elevate", way, "apply", "stack/stack.toml")
    assert (again.status, again.prompts) == (0, 0), again
    assert "everything is as declared" in again.said
    machine.user("sed -i s/tool$/other/ ~/stack/tool")
    machine.root(f"echo 'by hand' >{TARGET}/share/many/2")
    third = machine.talk("--elevate", way, "apply", "stack/stack.toml")
    assert (third.status, third.prompts) == (5, 1), third
    assert "changed-since" in third.said
    assert machine.root(f"cat {TARGET}/bin/tool {TARGET}/share/many/2") == "other\nby hand\n"
    machine.user("sed -i s/other$/tool/ ~/stack/tool")


def test_units_take_one_prompt(machine: Machine) -> None:
    machine.root(
        "mkdir -p /etc/systemd/system; printf '#!/bin/sh\\n' >/usr/libexec/ovlay; chmod 755 /usr/libexec/ovlay"
    )
    talk = machine.talk("--elevate", "sudo", "service", "install", "--program", "/usr/libexec/ovlay")
    assert (talk.status, talk.prompts) == (0, 1), talk
    assert "ExecStart=/usr/libexec/ovlay apply" in machine.root("cat /etc/systemd/system/ovlay-apply.service")
    own = machine.talk("--elevate", "sudo", "service", "install")
    assert (own.status, own.prompts) == (2, 0), own
    assert "must not run it" in own.said
    talk = machine.talk("--elevate", "sudo", "service", "remove")
    assert (talk.status, talk.prompts) == (0, 1), talk
    assert machine.root("find /etc/systemd/system -name '*ovlay*'") == ""


def test_what_changes_nothing_asks_for_nothing(machine: Machine) -> None:
    for words, status in (
        (("status",), 0),
        (("backends",), 0),
        (("enable", "--dry-run"), 0),
        (("apply", "--enable", "--dry-run", "stack/stack.toml"), 0),
        (("unmount",), 0),  # there is nothing to unmount
        (("service", "remove"), 0),  # nothing is installed
        (("install", "mine", f"{TARGET}/bin/b"), 5),  # no overlay is active
        (("apply", "missing.toml"), 2),
    ):
        talk = machine.talk(*words)
        assert (talk.status, talk.prompts) == (status, 0), talk
    assert machine.talk("--elevate", "sudo", "enable").status == 0
    for words, status in (
        (("enable",), 0),
        (("status", "-v"), 0),
        (("diff",), 6),  # only root can look beneath it
        (("install", "missing", f"{TARGET}/bin/b"), 2),
        (("install", "mine", "/opt/tools/../x"), 2),
        (("install", "mine", "/etc/x"), 2),
    ):
        talk = machine.talk(*words)
        assert (talk.status, talk.prompts) == (status, 0), talk


def test_the_answer_no_comes_before_the_password(machine: Machine) -> None:
    talk = machine.talk("--elevate", "sudo", "enable", answer="n\n")
    assert (talk.status, talk.prompts) == (2, 0), talk
    assert "nothing was changed" in talk.said
    assert not machine.active()


@pytest.mark.parametrize("way", WAYS)
def test_a_distributions_helper_is_run_where_there_is_one(machine: Machine, way: str, tmp_path: Path) -> None:
    program = tmp_path / "helper"
    subprocess.run([sys.executable, "-m", "ovlay.elevate.bundle", program], check=True)
    policy = Path(__file__).parents[2] / "packaging/org.ovlay.policy"
    machine.root(f"install -m 755 {program} {HELPER}; install -m 644 {policy} {POLICY}; sleep 1")
    talk = machine.talk("--elevate", way, "enable")
    assert (talk.status, talk.prompts) == (0, 1), talk
    assert machine.active()
    if way == "pkexec":
        assert "Authentication is required to change the overlay on the system" in talk.said, talk
        assert "org.ovlay.run" in talk.said, talk


def test_the_helper_that_others_can_write_is_not_run(machine: Machine) -> None:
    machine.root(f"printf '#!/bin/sh\\ntouch /run/evil\\n' >{HELPER}; chmod 777 {HELPER}")
    assert machine.talk("--elevate", "sudo", "enable").status == 0
    assert machine.root("ls /run/evil 2>/dev/null || echo none") == "none\n"


def test_bkts_commands_ask_once(machine: Machine) -> None:
    machine.user("echo '#!/bin/sh' >~/rg")
    way = {"OVLAY_ELEVATE": "sudo"}
    enabled = machine.talk("bkt", "admin", "usroverlay", "enable", environment=way)
    assert (enabled.status, enabled.prompts) == (0, 1), enabled
    words = ("bkt", "admin", "usroverlay", "apply-dev", "--binary", "/home/alice/rg", f"{TARGET}/bin/rg")
    copied = machine.talk(*words, environment=way)
    assert (copied.status, copied.prompts) == (0, 1), copied
    again = machine.talk(*words, environment=way)
    assert (again.status, again.prompts) == (0, 0), again


def test_bkts_install_local_asks_once_for_the_overlay_and_the_program(machine: Machine) -> None:
    """On the /usr of the machine itself, where bkt belongs."""
    machine.user(f"rm -rf ~/bootc ~/tools; mkdir -p ~/bootc/.git ~/bootc/bkt/src ~/tools; {_CHECKOUT}")
    machine.user(f"cat >~/tools/cargo <<'END'\n{FAKE_CARGO}END\nchmod 755 ~/tools/cargo")
    path = {"PATH": "/home/alice/tools:/usr/bin:/bin"}
    there = ("sh", "-c", 'cd ~/bootc; exec "$@"', "sh")

    def install(way: str) -> Talk:
        words = ("bkt", "--elevate", way, "dev", "install-local")
        return machine.talk(*words, environment=path, before=there, target="/usr")

    refused = install("none")
    assert (refused.status, refused.prompts) == (6, 0), refused
    assert "build" not in machine.user("cat ~/tools/log || true"), "it was built for nobody"
    talk = install("sudo")
    try:
        assert (talk.status, talk.prompts) == (0, 1), talk
        assert "Building bkt" in talk.said
        assert machine.root("head -n 1 /usr/bin/bkt; stat -c '%U %a' /usr/bin/bkt") == "built\nroot 755\n"
        again = install("sudo")
        assert (again.status, again.prompts) == (0, 0), again
    finally:
        machine.root("umount -l /usr", check=False)


@pytest.mark.parametrize("way", [*WAYS, None])
def test_bkts_upgrade_is_run_by_root_after_one_prompt(machine: Machine, way: str | None) -> None:
    said_by = () if way is None else ("--elevate", way)
    script = '#!/bin/sh\necho "bootc: $* as $(id -u)"\n'
    machine.root(f"printf '%s' '{script}' >/usr/bin/bootc; chmod 755 /usr/bin/bootc")
    try:
        talk = machine.talk("bkt", *said_by, "admin", "bootc", "upgrade", "--check")
        assert (talk.status, talk.prompts) == (0, 1), talk
        assert "bootc: upgrade --check as 0" in talk.said, talk
        refused = machine.talk("bkt", *said_by, "admin", "bootc", "upgrade", password="wrong\n")
        assert (refused.status != 0, "bootc:" in refused.said) == (True, False), refused
    finally:
        machine.root("rm /usr/bin/bootc")


# --- refusals --------------------------------------------------------------------------------------------------------


def test_refusals_are_told_apart(machine: Machine) -> None:
    no_new_privs = ("setpriv", "--no-new-privs")
    for (way, options), words, prompts in (
        (("sudo", {"password": "wrong\n"}), "sudo did not give root's rights: the password was wrong", 3),
        (("doas", {"password": "wrong\n"}), "doas did not give root's rights: the password was wrong", 1),
        (("pkexec", {"password": "wrong\n"}), "pkexec did not give root's rights: the password was wrong", 1),
        (("sudo", {"password": "\x04"}), "no password was given", 1),
        (("pkexec", {"password": "\x04"}), "pkexec did not give root's rights: the", 1),
        (("sudo", {"user": "bob"}), "this user may not use sudo here", 1),
        (("doas", {"user": "bob"}), "this user may not use doas here", 0),
        (("sudo", {"before": no_new_privs}), "may not gain privileges", 0),
        (("none", {}), "only root can", 0),
        (("run0", {}), "run0 is not installed", 0),
        (("su", {}), "su is no way to become root", 0),
    ):
        user = str(options.get("user", "alice"))
        if user == "bob":
            machine.root("chmod -R go+rX /home/alice")  # so that bob can run alice's ovlay
        before = [str(word) for word in options.get("before", ())]
        password = options.get("password")
        talk = machine.talk(
            "--elevate", way, "enable", user=user, before=before, password=None if password is None else str(password)
        )
        assert words in talk.said, (way, options, talk)
        assert talk.status == (2 if way == "su" else 6), (way, options, talk)
        assert talk.prompts == prompts, (way, options, talk)
        assert not machine.active()


def test_the_option_counts_before_the_environment_and_that_before_the_configuration(machine: Machine) -> None:
    machine.user("mkdir -p ~/.config/ovlay; echo 'elevate = \"doas\"' >~/.config/ovlay/config.toml")
    environment = {"OVLAY_ELEVATE": "pkexec"}
    assert "doas did not give" in machine.talk("enable", password="wrong\n").said
    assert "pkexec did not give" in machine.talk("enable", password="wrong\n", environment=environment).said
    chosen = machine.talk("--elevate", "sudo", "enable", password="wrong\n", environment=environment)
    assert "sudo did not give" in chosen.said
    assert machine.talk("enable", environment={"OVLAY_ELEVATE": "none"}).prompts == 0


def test_no_terminal(machine: Machine) -> None:
    for way, words in (
        ("sudo", "a password is required, and there is no terminal to ask for it"),
        ("doas", "a password is required, and there is no terminal to ask for it"),
        ("pkexec", "no authentication agent is running"),
    ):
        talk = machine.alone("--elevate", way, "enable", "--yes")
        assert talk.status == 6, (way, talk)
        assert words in talk.said, (way, talk)
    talk = machine.alone("enable")
    assert talk.status == 2, talk  # nobody can be asked, and --yes was not said
    assert not machine.active()


@pytest.mark.parametrize("way", [("--elevate", "sudo"), ()], ids=["named", "found"])
def test_no_terminal_is_needed_where_no_password_is(machine: Machine, way: tuple[str, ...]) -> None:
    """pkexec is there too, and nobody whom it could ask: what needs no password is tried after it."""
    machine.root("cp /etc/sudoers /run/sudoers; echo 'alice ALL=(ALL:ALL) NOPASSWD: ALL' >>/etc/sudoers")
    talk = machine.alone(*way, "enable", "--yes")
    machine.root("cat /run/sudoers >/etc/sudoers")
    assert talk.status == 0, talk
    assert machine.active()


def test_who_may_do_something_else_with_sudo_is_told_so(machine: Machine) -> None:
    """sudo repeats the command in its refusal, and in the command is what is said of an old Python."""
    machine.root("cp /etc/sudoers /run/sudoers; echo 'bob ALL=(root) /usr/bin/id' >>/etc/sudoers")
    machine.root("chmod -R go+rX /home/alice")
    talk = machine.talk("--elevate", "sudo", "enable", user="bob")
    machine.root("cat /run/sudoers >/etc/sudoers")
    assert talk.status == 6, talk
    assert "this user may not use sudo for that; nothing was changed" in talk.said


def test_refusals_are_told_apart_in_every_language(machine: Machine) -> None:
    """Only in the locale C does gettext(3) ignore LANGUAGE, and that is not the one that sudo is given."""
    talk = machine.alone("--elevate", "sudo", "enable", "--yes", environment={"LANGUAGE": "de"})
    assert "a password is required, and there is no terminal to ask for it" in talk.said


def test_nothing_is_installed(machine: Machine) -> None:
    machine.root("touch /run/nothing")
    tools = ("/usr/bin/sudo", "/usr/bin/doas", "/usr/bin/pkexec")
    machine.root("".join(f"mount --bind /run/nothing {path};" for path in tools))
    talk = machine.talk("enable")
    machine.root("".join(f"umount {path};" for path in tools))
    assert (talk.status, talk.prompts) == (6, 0), talk
    assert "none of sudo, run0, doas, pkexec is installed" in talk.said


@pytest.mark.parametrize("way", WAYS)
def test_ctrl_c_at_the_prompt(machine: Machine, way: str) -> None:
    talk = machine.talk("--elevate", way, "enable", password="\x03")
    assert talk.status in (130, 6), talk
    assert "nothing was changed" in talk.said
    assert not machine.active()


# --- in the middle ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("delay", [0.05, 0.2, 0.5])
def test_ctrl_c_while_root_works_leaves_nothing_half(machine: Machine, way: str, delay: float) -> None:
    import time

    assert machine.talk("--elevate", way, "enable").status == 0
    machine.user("[ -e ~/large ] || head -c 100M /dev/zero >~/large")
    pressed: list[float] = []

    def press(process: int, said: str) -> None:
        now = time.monotonic()
        if "assword" in said and said.endswith("\n") and not pressed:
            pressed.append(now + delay)
        if pressed and now >= pressed[0] > 0:
            pressed[0] = -1
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGINT)

    talk = machine.talk("--elevate", way, "install", "large", f"{TARGET}/bin/large", when=press)
    there = machine.root(f"ls -A {TARGET}/bin").split()
    if talk.status == 130:
        assert "interrupted" in talk.said
    size = machine.root(f"stat -c %s {TARGET}/bin/large 2>/dev/null || echo none").strip()
    assert size in ("none", str(100 << 20)), talk
    assert [name for name in there if name not in ("b", "large")] == [], talk
    assert machine.talk("--elevate", way, "unmount").status == 0


def test_the_users_process_is_killed_and_the_helper_ends(machine: Machine) -> None:
    assert machine.talk("--elevate", "sudo", "enable").status == 0
    machine.user("[ -e ~/large ] || head -c 100M /dev/zero >~/large")

    def kill(process: int, said: str) -> None:
        if said.count("assword") and said.endswith("\n"):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                return

    machine.talk("--elevate", "sudo", "install", "mine", "large", f"{TARGET}/bin", when=kill)
    machine.root("for n in $(seq 100); do pgrep -f 'elevate.helper|ovlay-helper' >/dev/null || break; sleep 0.1; done")
    there = machine.root(f"ls -A {TARGET}/bin").split()
    assert [name for name in there if name.startswith(".")] == []
    assert machine.root("ls -A /run/ovlay | grep journal || echo none") == "none\n"
    status = machine.talk("--elevate", "sudo", "install", "--yes", "mine", f"{TARGET}/bin/mine")
    assert status.status == 0, status


# --- from anywhere ---------------------------------------------------------------------------------------------------


def test_in_a_container_it_refuses_and_says_how(machine: Machine) -> None:
    machine.root("touch /run/.containerenv")
    talk = machine.talk("enable", plain=True)
    assert (talk.status, talk.prompts) == (3, 0), talk
    assert "--host" in talk.said, talk


def test_out_of_a_container_the_hosts_ovlay_is_run(machine: Machine) -> None:
    """The stand-in for flatpak-spawn(1) takes the place of a program that is not needed here."""
    machine.root("touch /run/.containerenv")
    machine.root("printf '#!/bin/sh\\necho handed over: \"$@\"\\n' >/run/spawn; chmod 755 /run/spawn")
    if machine.root("[ -e /usr/bin/flatpak-spawn ] || echo missing"):
        machine.root("mkdir -p /run/sbin; cp -a /usr/sbin/. /run/sbin; cp /run/spawn /run/sbin/flatpak-spawn")
        machine.root("mount --bind /run/sbin /usr/sbin")
    talk = machine.talk("--host", "status", "--json", plain=True)
    machine.root("umount /usr/sbin; rm -rf /run/sbin", check=False)
    assert talk.status == 0, talk
    assert talk.said == "handed over: --host ovlay status --json\n", talk
