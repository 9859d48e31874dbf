"""One prompt with the real run0, on a machine whose first process is a real systemd; and how it says no."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.elevate.booted import BootedMachine, SystemdRecipe
from tests.elevate.machine import TARGET
from tests.lab.recipe import made_tree
from tests.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN0 = ("--elevate", "run0")


@pytest.fixture(scope="module")
def machine(under_test: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedMachine]:
    """One machine for all of these tests."""
    if missing := BootedMachine.missing():
        lacking(f"not there: {', '.join(missing)}")
    tree = made_tree(SystemdRecipe("trixie"))
    with BootedMachine(tmp_path_factory.mktemp("booted"), under_test, tree=tree) as machine:
        machine.user("echo mine >~/mine; mkdir ~/stack; echo tool >~/stack/tool")
        machine.user(
            f'printf \'schema = 1\\ntarget = "{TARGET}"\\n[[file]]\\npath = "{TARGET}/bin/tool"\\n'
            'source = "tool"\\n\' >~/stack/stack.toml'
        )
        yield machine


def test_every_command_asks_once(machine: BootedMachine) -> None:
    for words in (
        ("enable",),
        ("install", "mine", f"{TARGET}/bin/mine"),
        ("apply", "stack/stack.toml"),
        ("diff", "--name-only"),
        ("revert", f"{TARGET}/bin/mine"),
        ("unmount",),
    ):
        talk = machine.talk(*RUN0, *words)
        assert (talk.status, talk.prompts) == (1 if words[0] == "diff" else 0, 1), (words, talk)
        if words[0] == "apply":
            assert machine.root(f"stat -c '%u %a' {TARGET}/bin/mine {TARGET}/bin/tool") == "0 755\n0 644\n"
            again = machine.talk(*RUN0, *words)
            assert (again.status, again.prompts) == (0, 0), again
    assert not machine.active()


def test_it_is_found_where_nothing_else_is_installed(machine: BootedMachine) -> None:
    assert machine.root("ls /usr/bin/sudo /usr/bin/doas 2>/dev/null || true") == ""
    talk = machine.talk("enable")
    assert (talk.status, talk.prompts) == (0, 1), talk
    assert "AUTHENTICATING FOR org.freedesktop.systemd1.manage-units" in talk.said
    assert machine.talk("unmount").status == 0


def test_refusals(machine: BootedMachine) -> None:
    for password in ("wrong\n", "\x04"):
        talk = machine.talk(*RUN0, "enable", password=password)
        assert (talk.status, talk.prompts) == (6, 1), talk
        assert "run0 did not give root's rights: the password was wrong, or the request was dismissed" in talk.said
    alone = machine.alone(*RUN0, "enable", "--yes")
    assert alone.status == 6, alone
    assert "a password is required, and no authentication agent is running" in alone.said
    assert not machine.active()


def test_ctrl_c_at_the_prompt(machine: BootedMachine) -> None:
    talk = machine.talk(*RUN0, "enable", password="\x03")
    assert talk.status in (130, 6), talk
    assert "nothing was changed" in talk.said
    assert not machine.active()


def test_a_process_that_may_not_gain_privileges(machine: BootedMachine) -> None:
    """run0 gains nothing itself, but polkit's agent on a terminal starts a program that has to (polkit 126)."""
    talk = machine.talk("enable", before=("setpriv", "--no-new-privs"))
    assert talk.status == 6, talk
    assert "PR_SET_NO_NEW_PRIVS" in talk.said
    assert not machine.active()
