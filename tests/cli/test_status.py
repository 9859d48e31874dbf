"""``ovlay status``: for a person, and for a program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.cli.status import headline, size, stack_table, tool_words
from ovlay.model import Access, Layer, Mode, Owner, Persistence, Status

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_no_overlay(cli: Cli) -> None:
    said = cli("status")
    assert said.status == 0
    assert said.out.startswith("/usr: no overlay\n")
    assert "`ovlay enable` makes it writable" in said.out
    assert cli("status", "--json").document("status")["active"] is False


def test_an_overlay(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("status")
    assert said.out.startswith("/usr: read-write, transient overlay (by ovlay itself)\n")
    assert "\n  changes   /run/ovlay/overlays/" in said.out
    assert " free (tmpfs, in memory)\n" in said.out
    assert "\n  reboot    takes it away, and what is in it\n" in said.out
    assert "ovlay enable" not in said.out
    document = cli("status", "--json").document("status")
    assert document["mode"] == {"access": "read-write", "persistence": "transient"}
    assert document["overlay"]["owner"] == "ovlay"


def test_a_persistent_overlay_stays(cli: Cli) -> None:
    cli("enable", "--yes", "--persistent")
    assert "\n  reboot    keeps it\n" in cli("status").out


def test_verbose_shows_every_mount(cli: Cli) -> None:
    cli("enable", "--yes")
    out = cli("status", "-v").out
    assert "mounts, lowest first:" in out
    assert "overlay   read-write by ovlay (source ovlay)" in out
    assert "         upper /run/ovlay/overlays/" in out


def test_quiet_still_answers(cli: Cli) -> None:
    assert cli("status", "-q").out.startswith("/usr: no overlay\n")


def test_the_flags_may_stand_after_the_verb(cli: Cli) -> None:
    said = cli.plain("status", "--json", "--backend", "fake", "--root", cli.host.root)
    assert said.document("status")["backend"] == "fake"


def layer(owner: Owner) -> Layer:
    return Layer(30, owner, "overlay", "overlay", "0:40", Access.READ_ONLY, Access.READ_ONLY, ("usr",), "/x/upper")


@pytest.mark.parametrize(
    ("owner", "writable", "active", "line"),
    [
        (Owner.TOOL, False, True, "/usr: read-only, persistent overlay (by ostree)"),
        (Owner.OVLAY, False, True, "/usr: read-only, persistent overlay (by ovlay itself)"),
        (None, True, False, "/usr: writable, but by no overlay"),
        (None, False, False, "/usr: no overlay"),
    ],
)
def test_the_headline(owner: Owner | None, line: str, *, writable: bool, active: bool) -> None:
    status = Status(
        backend="ostree",
        target="/usr",
        active=active,
        writable=writable,
        mode=Mode(Access.READ_ONLY, Persistence.PERSISTENT) if active else None,
        overlay=layer(owner) if owner else None,
    )
    assert headline(status) == line


def test_the_tools_name_is_in_the_table() -> None:
    status = Status(backend="ostree", target="/usr", active=True, writable=False, stack=(layer(Owner.TOOL),))
    assert any("by ostree (source overlay)" in line for line in stack_table(status))
    assert list(tool_words("ostree", "one\ntwo\n")) == ["what ostree says itself:", "  one", "  two"]
    assert list(tool_words("ostree", None)) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (10 << 20, "10 MiB"), (1 << 62, "4096 PiB")],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text
