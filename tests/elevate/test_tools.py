"""Which program is asked for root's rights, with which words, and what its refusal means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.elevate import tools
from ovlay.elevate.tools import Elevator, choose_elevator
from ovlay.errors import InvalidInput, NotPermitted
from ovlay.host import Host

if TYPE_CHECKING:
    from pathlib import Path


def host(root: Path, *names: str, confined: bool = False) -> Host:
    for name in names:
        place = root / "usr/bin" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("")
        place.chmod(0o755)
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text(f"Name:\tovlay\nNoNewPrivs:\t{int(confined)}\n")
    return Host(str(root))


@pytest.mark.parametrize(
    ("terminal", "installed", "chosen"),
    [
        (True, ("sudo", "doas", "pkexec"), "sudo"),
        (True, ("doas", "pkexec"), "doas"),
        (True, ("pkexec",), "pkexec"),
        (True, ("run0", "pkexec"), "pkexec"),  # systemd does not run here
        (False, ("sudo", "doas", "pkexec"), "pkexec"),
        (False, ("sudo", "doas"), "sudo"),
    ],
)
def test_the_fittest_is_chosen(tmp_path: Path, *, terminal: bool, installed: tuple[str, ...], chosen: str) -> None:
    found = choose_elevator(host(tmp_path, *installed), None, terminal=terminal)
    assert found is not None
    assert found.name == chosen


def test_what_needs_no_password_is_tried_where_nobody_can_be_asked(tmp_path: Path) -> None:
    """pkexec comes first, and may find no agent; the others are told to ask nobody, so to try them costs nothing."""
    found = choose_elevator(host(tmp_path, "sudo", "doas", "pkexec"), None, terminal=False)
    assert found is not None
    assert found.next_after(126) is None  # somebody was asked, and said no
    second = found.next_after(127)
    assert second is not None
    assert second.argv(("x",)) == ("/usr/bin/sudo", "-n", "--", "x")
    third = second.next_after(1)
    assert third is not None
    assert third.argv(("x",)) == ("/usr/bin/doas", "-n", "x")
    assert third.next_after(1) is None


def test_at_a_terminal_only_one_is_asked(tmp_path: Path) -> None:
    found = choose_elevator(host(tmp_path, "sudo", "doas", "pkexec"), None, terminal=True)
    assert found is not None
    assert found.next_after(1) is None


def test_what_is_wanted_is_taken_or_refused(tmp_path: Path) -> None:
    here = host(tmp_path, "sudo", "doas")
    found = choose_elevator(here, "doas", terminal=True)
    assert found is not None
    assert found.path == "/usr/bin/doas"
    assert choose_elevator(here, "none", terminal=True) is None
    with pytest.raises(NotPermitted, match="pkexec is not installed"):
        choose_elevator(here, "pkexec", terminal=True)
    with pytest.raises(InvalidInput, match="su is no way to become root"):
        choose_elevator(here, "su", terminal=True)


def test_nothing_is_installed(tmp_path: Path) -> None:
    with pytest.raises(NotPermitted, match="none of sudo, run0, doas, pkexec is installed"):
        choose_elevator(host(tmp_path), None, terminal=True)


@pytest.mark.parametrize("wanted", [None, "sudo"])
def test_a_process_that_may_not_gain_privileges_asks_nobody(tmp_path: Path, wanted: str | None) -> None:
    with pytest.raises(NotPermitted, match="PR_SET_NO_NEW_PRIVS"):
        choose_elevator(host(tmp_path, "sudo", "pkexec", confined=True), wanted, terminal=True)


def test_the_command_lines() -> None:
    helper = ("/usr/libexec/ovlay-helper",)
    asks = {name: Elevator(name, f"/usr/bin/{name}", can_ask=True) for name in ("sudo", "doas", "pkexec", "run0")}
    silent = {name: Elevator(name, f"/usr/bin/{name}", can_ask=False) for name in ("sudo", "doas")}
    assert asks["sudo"].argv(helper) == ("/usr/bin/sudo", "--", *helper)
    assert asks["doas"].argv(helper) == ("/usr/bin/doas", *helper)
    assert asks["pkexec"].argv(helper) == ("/usr/bin/pkexec", *helper)
    assert asks["run0"].argv(helper) == ("/usr/bin/run0", "--pipe", "--background=", "--", *helper)
    assert silent["sudo"].argv(helper) == ("/usr/bin/sudo", "-n", "--", *helper)
    assert silent["doas"].argv(helper) == ("/usr/bin/doas", "-n", *helper)


@pytest.mark.parametrize(
    ("name", "status", "said", "meant"),
    [
        ("sudo", 1, "Sorry, try again.\nsudo: 3 incorrect password attempts\n", "the password was wrong"),
        ("sudo", 1, "sudo: no password was provided\nsudo: a password is required\n", "no password was given"),
        ("sudo", 1, "sudo: a password is required\n", "there is no terminal to ask for it"),
        ("sudo", 1, "bob is not in the sudoers file.\n", "this user may not use sudo here"),
        ("doas", 1, "doas: Operation not permitted\n", "this user may not use doas here"),
        ("doas", 1, "doas: Authentication failed\n", "the password was wrong"),
        ("pkexec", 126, "Error executing command as another user: Request dismissed\n", "the request was dismissed"),
        ("pkexec", 126, "", "the request was dismissed"),
        ("pkexec", 127, "", "no authentication agent is running"),
        ("pkexec", 127, "Error getting authority: Error initializing authority: no", "polkit is not running"),
        (
            "run0",
            1,
            "Failed to start transient service unit: Access denied\n",
            "the password was wrong, or the request",
        ),
        (
            "run0",
            1,
            "Failed to start transient service unit: Interactive authentication required.\n",
            "no authentication agent is running",
        ),
        ("sudo", 9, "something else\n", "something else"),
        ("sudo", 9, "", "exit status 9"),
    ],
)
def test_refusals_are_told_apart(name: str, status: int, said: str, meant: str) -> None:
    refusal = Elevator(name, f"/usr/bin/{name}", can_ask=True).refusal(status, said)
    assert meant in str(refusal)
    assert "nothing was changed" in str(refusal)
    assert refusal.exit_code == 6


def test_run0_is_asked_only_where_it_can_pass_our_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_knows_pipe", lambda _: True)
    found = choose_elevator(host(tmp_path, "run0", "doas", confined=True), None, terminal=True)
    assert found is not None
    assert found.name == "run0"
