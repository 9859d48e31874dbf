"""What two processes promise that share a plan: they do what one would. Run by test_cost.py in a process of its own,
since only one with a single thread is ever copied."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import NoSpace
from ovlay.plan import batching
from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovlay.plan.placing import PlaceFile
    from ovlay.receipts import Stamp

TREE = 'tree path = "/usr/share/tree"; source = "source/tree"'
FILES = 8


@pytest.fixture(params=["new directories", "directories that are there"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    for folder in ("a", "b", "c", "d"):
        for number in range(FILES):
            made.put(f"tree/{folder}/f{number}", f"{folder}{number}")
    time.sleep(0.05)
    made.says(TREE)
    with made.host:
        made.overlay.enable()
        for folder in ("a", "b", "c", "d") if request.param == "directories that are there" else ():
            made.at(f"share/tree/{folder}").mkdir(parents=True)
        yield made


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The ids of the processes that a second half was given to, however short it was."""
    started: list[int] = []
    fork = os.fork

    def counted() -> int:
        pid = fork()
        if pid:
            started.append(pid)
        return pid

    monkeypatch.setattr("ovlay.plan.execute._MANY", 2)
    monkeypatch.setattr(os, "fork", counted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    return started


def demand_all(case: Case) -> None:
    for folder in ("a", "b", "c", "d"):
        for number in range(FILES):
            assert case.at(f"share/tree/{folder}/f{number}").read_text() == f"{folder}{number}"
    assert case.states() == {}
    files = [receipt for receipt in case.receipts().values() if receipt.kind == "file"]
    assert len(files) == 4 * FILES
    assert not case.apply().changed  # a directory that was repeated is settled here
    assert not any(receipt.pending for receipt in case.receipts().values())


def test_two_processes_do_what_one_would(case: Case, halved: list[int]) -> None:
    case.apply()
    assert len(halved) == 1
    demand_all(case)


@pytest.mark.parametrize("call", ["write", "close", "rename"])
def test_the_other_process_is_killed(case: Case, halved: list[int], monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """What it did not get to is done by the one that is left, and what it placed is known."""
    me, count, original = os.getpid(), 0, getattr(os, call)
    struck = case.scratch / "struck"

    def deadly(*words: object, **named: object) -> object:
        nonlocal count
        result = original(*words, **named)
        count += os.getpid() != me
        if count == 2:
            struck.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    monkeypatch.setattr(os, call, deadly)
    case.apply()
    assert len(halved) == 1
    assert struck.exists()
    monkeypatch.undo()
    demand_all(case)


def test_the_second_half_fails(case: Case, halved: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised here; what was placed by either is known, and the next apply goes on from there."""
    copy = batching._copy

    def failing(step: PlaceFile, source: int, new: int) -> tuple[Stamp, str]:
        if step.path.endswith("d/f5"):
            raise OSError(28, "No space left on device")
        return copy(step, source, new)

    monkeypatch.setattr(batching, "_copy", failing)
    with pytest.raises(NoSpace, match="share/tree/d/f5"):
        case.apply()
    assert len(halved) == 1
    monkeypatch.undo()
    assert case.at("share/tree/d/f4").exists()
    assert not case.at("share/tree/d/f5").exists()
    assert [path for path in case.tree() if ".ovlay-new-" in path] == []
    outcome = case.apply()
    assert outcome.changed
    assert not outcome.conflicts
    demand_all(case)
