"""Killed at a system call, at every one that changes something: whole files, the truth, and the same command ends it.

The real process of the real command on a real ostree host. The run of every test run strikes at some of the calls;
``OVLAY_WALK=1`` takes a step of one on that host, ``OVLAY_WALK=all`` on all of them.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.table import told
from tests.lab.conftest import BOOKWORM, COMPOSEFS, FORKY, TRIXIE
from tests.lab.striking import run_inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost
    from tests.lab.recipe import Recipe

WALK = os.environ.get("OVLAY_WALK", "")
HOSTS = (BOOKWORM, TRIXIE, FORKY, COMPOSEFS) if WALK == "all" else (BOOKWORM,)
VERBS = (
    "enable,enable-own,enable-read-only,enable-in-place",
    "install,install-deep,install-sealed,helper",
    "apply",
    "revert,reset,reset-fresh",
    "unmount,unmount-own,unmount-lazy",
)
KEEPING = "enable-keeping,unmount-keeping"
"""With a mount of somebody's below the target. Of a kill in between it is not kept: the copy ends with the process."""
ERRORS = "28,5,30,24,12,4,122"
"""ENOSPC, EIO, EROFS, EMFILE, ENOMEM, EINTR, EDQUOT."""


def _walked(host: LabHost, verbs: str, deeds: str, stride: int) -> list[Any]:
    found = run_inside(
        host, "walk", "--only", verbs, "--deeds", deeds, "--stride", str(1 if WALK else stride), "--offset", "3"
    )
    assert [each["scenario"] for each in found] == verbs.split(",")
    for each in found:
        sys.stdout.write(f"{each['scenario']}: {each['points']} in {each['seconds']} s\n")
    assert [problem for each in found for problem in each["problems"]] == []
    assert all(sum(each["points"].values()) > 0 for each in found)
    return found


@pytest.mark.parametrize("verbs", VERBS)
@pytest.mark.parametrize("recipe", HOSTS, ids=[recipe.name for recipe in HOSTS])
def test_killed_at_a_system_call(boot: Callable[[Recipe], LabHost], recipe: Recipe, verbs: str) -> None:
    _walked(boot(recipe), verbs, "kill", 9)
    told(
        f"SIGKILL before any system call that changes something: {verbs.replace(',', ', ')}",
        "every file is whole, the old or the new one; `ovlay status` says `interrupted`; the same command again ends "
        "as if nothing had been; no mount, directory, journal, lock or temporary file is left",
        "test_kills.py",
    )


@pytest.mark.parametrize("recipe", HOSTS, ids=[recipe.name for recipe in HOSTS])
def test_killed_while_a_host_tool_is_at_work(boot: Callable[[Recipe], LabHost], recipe: Recipe) -> None:
    """The tool goes on after its ovlay was killed, and meanwhile the same command comes again."""
    _walked(boot(recipe), "enable,enable-read-only", "kill-first", 5)
    told(
        "SIGKILL of ovlay while the host tool that it has started goes on, and the same command at once",
        "it waits for the tool, and then finds what that one made",
        "test_kills.py",
    )


@pytest.mark.parametrize("verbs", [*VERBS, KEEPING])
def test_interrupted_at_a_system_call(boot: Callable[[Recipe], LabHost], verbs: str) -> None:
    """Ctrl-C: it is taken back, or it is done, or the next change takes away the rest of what went."""
    _walked(boot(BOOKWORM), verbs, "interrupt", 9)
    told(
        f"SIGINT during any system call that changes something: {verbs.replace(',', ', ')}",
        "it is taken back, or it had been done by then; no overlay is without its upper, no mount below it is lost; "
        "the same command again ends as if nothing had been",
        "test_kills.py",
    )


@pytest.mark.parametrize("verbs", [*VERBS, KEEPING])
def test_a_system_call_that_fails(boot: Callable[[Recipe], LabHost], verbs: str) -> None:
    """Each time with another error, one after the other; with ``OVLAY_WALK`` each call with each of them."""
    if WALK:
        _walked(boot(BOOKWORM), verbs, ERRORS, 1)
    else:
        _walked(boot(BOOKWORM), verbs, ERRORS.replace(",", "/"), 9)
    told(
        "ENOSPC, EDQUOT, EIO, EROFS, EMFILE, ENOMEM or EINTR from any system call that changes something: "
        f"{verbs.replace(',', ', ')}",
        "an error with a reason and an exit status of those that are documented, or none where it does not matter; "
        "every file is whole; the same command again ends as if nothing had been",
        "test_kills.py",
    )
