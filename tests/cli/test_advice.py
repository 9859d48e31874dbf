"""A next step can be copied as it is: it names the target that it is for."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.advice import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Cli

CHECKOUT = Path(__file__).parents[2]

_NAMED = re.compile(r"`(?:sudo )?ovlay (?P<verb>[a-z]+)")

_OF_NO_TARGET = {"service", "demo"}
"""Verbs that are about the host, or about a host of their own."""

_NO_TARGET_IS_KNOWN = {
    "ovlay/elevate/helper.py",  # an answer that cannot be understood does not say what it is about
    "ovlay/plan/salvaging.py",  # an upper, whatever it was on
    "backends/ovlay_backends/ostree.py",  # which unlocks /usr alone
}

_PROSE = {
    "Say what `ovlay apply` would do, and why; change nothing.",
    "Say where manifests, overlay and base differ; `ovlay check` is the same.",
    ", by `ovlay install`",
    "with install: let update services run `ovlay guard` first",
    "`ovlay install SRC... DEST`, or -t DIR SRC...",
    "On an image-based host the same begins with `ovlay status` and `sudo ovlay enable`.",
}
"""What names a command and does not ask for it."""


def test_for_usr_a_command_is_as_short_as_can_be() -> None:
    assert command("ovlay unmount --lazy", "/usr") == "`ovlay unmount --lazy`"


def test_for_another_target_a_shell_reads_it_as_one_word() -> None:
    assert command("sudo ovlay capture", "/opt/my tools") == "`sudo ovlay capture --target '/opt/my tools'`"


@pytest.fixture
def opt(cli: Cli) -> Cli:
    (Path(cli.host.root) / "opt/tools").mkdir(parents=True)
    (Path(cli.host.root) / "opt/tools/old").write_text("old\n")
    return cli


def test_what_to_do_next_is_for_the_same_target(opt: Cli, tool: str) -> None:
    """Copied as it is, each of them acted on /usr."""
    there = ("--target", "/opt/tools")
    assert "enable one first: `ovlay enable --target /opt/tools`" in opt("install", *there, tool, "/opt/tools/x").err
    assert "`ovlay enable --target /opt/tools` puts an overlay over it" in opt("status", *there).out
    assert "`ovlay apply --enable --target /opt/tools` puts" in opt("plan", *there).err
    opt("enable", "--yes", *there)
    opt("install", "--yes", *there, tool, "/opt/tools/x")
    assert "to take it away now: `ovlay unmount --target /opt/tools`" in opt("disable", *there).out
    assert "`ovlay unmount --target /opt/tools` first" in opt("enable", "--persistent", "--yes", *there).err
    assert "`sudo ovlay capture --target /opt/tools` declares it" in opt("guard", "upgrade", *there).out
    assert "`ovlay holders --target /opt/tools`" in opt("revert", "--dry-run", *there, "/opt/tools/x").out
    with opt.host.kernel.hold("/opt/tools", command="editor"):
        assert "`ovlay unmount --lazy --target /opt/tools`" in opt("unmount", "--yes", *there).err


def texts(path: Path) -> Iterator[str]:
    """The texts in a file that are no docstring, and none of a comment."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_no_command_for_a_target_is_written_out() -> None:
    for path in (path for folder in ("ovlay", "backends") for path in (CHECKOUT / folder).rglob("*.py")):
        place = str(path.relative_to(CHECKOUT))
        for text in texts(path) if place not in _NO_TARGET_IS_KNOWN else ():
            if text in _PROSE or text.startswith("examples:"):
                continue
            named = {found["verb"] for found in _NAMED.finditer(text)} - _OF_NO_TARGET
            assert not named, f"{place}: {text!r}: say it with ovlay.advice.command"
