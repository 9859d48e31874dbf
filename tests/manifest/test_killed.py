"""Killed at any moment, `apply` leaves whole files only, and the next one makes the same of it as if nothing was."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from ovlay.manifest.finding import State
from ovlay.recording import Journal
from tests.manifest.case import Case, Tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST = (
    'file path = "/usr/bin/tool"; source = "source/tool"',
    'file path = "/usr/bin/old"; text = "first"',
    'file path = "/usr/lib/gone/x"; text = "x"',
    'directory path = "/usr/lib/state"; mode = "0700"',
    'absent path = "/usr/share"',
)
SECOND = (
    'file path = "/usr/bin/tool"; text = "second"',
    'symlink path = "/usr/bin/old"; to = "tool"',
    'directory path = "/usr/lib/state"; mode = "0750"',
    'file path = "/usr/share/new/file"; text = "new"',
    'absent path = "/usr/lib/deep"',
)


def prepared(scratch: Path) -> Case:
    """A host on which the first manifest was applied, and the second one is to be."""
    case = Case(scratch)
    case.put("tool", "first", 0o755)
    case.says(*FIRST)
    case.apply()
    case.says(*SECOND)
    return case


def expected(scratch: Path) -> Tree:
    with (case := prepared(scratch)).host:
        case.apply()
        assert case.states() == {}
        return case.tree()


def killed(scratch: Path, moment: int) -> bool:
    """Apply in a process that is killed at this moment; whether there was one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork(2) beside threads
        pid = os.fork()
    if pid == 0:
        try:
            _count_down(moment)
            Case(scratch).apply()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _count_down(moment: int) -> None:
    """Kill this process at a moment: before or after a step, behind an intent, and before or after a rename."""
    left = moment

    def tick() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function: Callable[..., Any], *, before: bool, after: bool) -> Callable[..., Any]:
        def called(*words: Any, **named: Any) -> Any:
            if before:
                tick()
            result = function(*words, **named)
            if after:
                tick()
            return result

        return called

    from ovlay.plan.steps import known_steps

    for step in known_steps().values():
        step.run = around(step.run, before=True, after=True)  # type: ignore[method-assign]
    Journal.intend = around(Journal.intend, before=True, after=True)  # type: ignore[method-assign]
    Journal.settle = around(Journal.settle, before=True, after=True)  # type: ignore[method-assign]
    for name in ("rename", "mkdir", "unlink", "rmdir", "chmod"):
        setattr(os, name, around(getattr(os, name), before=False, after=True))


@pytest.mark.parametrize("start", range(4))
def test_the_next_run_converges(tmp_path: Path, start: int) -> None:
    wanted = expected(tmp_path / "whole")
    for moment in count(1 + start, 4):
        scratch = tmp_path / "host"
        with prepared(scratch).host:
            pass
        if not killed(scratch, moment):
            assert moment > 20
            return
        case = Case(scratch)
        with case.host:
            for path, (_, _, content) in case.tree().items():
                assert ".ovlay-new-" in path or content in _WHOLE, f"half of {path} after moment {moment}"
            outcome = case.apply()
            assert outcome.conflicts == (), f"at moment {moment}"
            assert case.tree() == wanted, f"at moment {moment}"
            assert all(found.state is State.AS_DECLARED for found in case.compared().findings), f"at moment {moment}"
            assert not case.apply().changed
        shutil.rmtree(scratch)


_WHOLE = {"", "first", "second", "new", "x", "old\n", "deep\n", "deep", "tool"}
