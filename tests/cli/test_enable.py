"""``ovlay enable``: asked first, done once, told truly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_enable_makes_it_writable(cli: Cli) -> None:
    said = cli("enable", "--yes")
    assert said.status == 0
    assert said.out.startswith("a read-write, transient overlay is on /usr now, made by fake\n")
    assert cli.host.kernel.writable("/usr")


def test_twice_is_once(cli: Cli) -> None:
    cli("enable", "--yes")
    table = cli.host.kernel.mounts()
    said = cli("enable")  # nothing to confirm, so no terminal is needed
    assert said == (0, "a read-write, transient overlay is on /usr already\n", "")
    assert list(cli.host.kernel.mounts()) == list(table)


def test_nothing_is_changed_without_a_yes(cli: Cli) -> None:
    said = cli("enable")
    assert said.status == 2
    assert said.err == "ovlay: not on a terminal: say --yes\n  next: add --yes, or look first with --dry-run\n"
    assert not cli.host.kernel.writable("/usr")


@pytest.mark.parametrize(
    ("flags", "access", "persistence"),
    [
        ((), "read-write", "transient"),
        (("--read-only",), "read-only", "transient"),
        (("--persistent",), "read-write", "persistent"),
    ],
)
def test_the_mode_is_the_one_that_was_asked_for(
    cli: Cli, flags: tuple[str, ...], access: str, persistence: str
) -> None:
    document = cli("enable", "--yes", "--json", *flags).document("outcome")
    assert document["changed"] is True
    assert document["verb"] == "enable"
    assert document["status"]["mode"] == {"access": access, "persistence": persistence}
    assert document["plan"]["steps"]


def test_a_mode_that_the_driver_cannot_make_is_refused(cli: Cli) -> None:
    said = cli("enable", "--yes", "--read-only", "--persistent")
    assert said.status == 4
    assert "cannot make a read-only, persistent overlay" in said.err
    assert "  next: it can make: " in said.err


def test_another_persistence_than_the_one_there_is_refused(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("enable", "--yes", "--persistent")
    assert said.status == 5
    assert "a read-write, transient overlay is on /usr, and a read-write, persistent one was asked for" in said.err


def test_a_dry_run_shows_the_plan_and_changes_nothing(cli: Cli) -> None:
    said = cli("enable", "--dry-run")
    assert said.status == 0
    assert "mount a read-write overlay on /usr" in said.out
    assert "note: all changes are gone after a reboot" in said.out
    assert not cli.host.kernel.writable("/usr")
    plan = cli("enable", "--dry-run", "--json").document("plan")
    assert [step["step"] for step in plan["steps"]][-1] == "mount-overlay"


def test_a_dry_run_of_what_is_so_already_says_so(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("enable", "--dry-run")
    assert said == (0, "nothing to do: a read-write, transient overlay is on /usr already\n", "")
    assert cli("enable", "--dry-run", "--json").document("plan")["steps"] == []


def test_quiet_says_nothing(cli: Cli) -> None:
    assert cli("enable", "--yes", "--quiet") == (0, "", "")
