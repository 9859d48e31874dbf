"""What two processes promise that share a plan: they do what one would. Run by test_cost.py in a process of its own,
since only one with a single thread is ever copied."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TREE = 'tree path = "/usr/share/tree"; source = "source/tree"'
FILES = 8


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    for folder in ("a", "b", "c", "d"):
        for number in range(FILES):
            made.put(f"tree/{folder}/f{number}", f"{folder}{number}")
    time.sleep(0.05)
    made.says(TREE)
    with made.host:
        made.overlay.enable()
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
    assert len(case.receipts()) == 4 * FILES + 5
    assert not case.apply().changed  # a directory that was repeated is settled here
    assert not any(receipt.pending for receipt in case.receipts().values())


def test_two_processes_do_what_one_would(case: Case, halved: list[int]) -> None:
    case.apply()
    assert len(halved) == 1
    demand_all(case)


def test_the_other_process_is_killed(case: Case, halved: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did not get to is done by the one that is left, and what it placed is known."""
    me = os.getpid()
    rename, count = os.rename, 0

    def deadly(*words: object, **named: object) -> None:
        nonlocal count
        rename(*words, **named)  # type: ignore[arg-type]
        count += os.getpid() != me
        if count == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(os, "rename", deadly)
    case.apply()
    assert len(halved) == 1
    monkeypatch.undo()
    demand_all(case)


def test_the_second_half_fails(case: Case, halved: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is raised here; what was placed by either is known, and the next apply goes on from there."""
    rename = os.rename

    def failing(old: str, new: str, **named: int) -> None:
        if new == "f5" and "/d" in os.readlink(f"/proc/self/fd/{named['dst_dir_fd']}")[-2:]:
            raise OSError(28, "No space left on device")
        rename(old, new, **named)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(Exception, match="No space"):
        case.apply()
    assert len(halved) == 1
    monkeypatch.undo()
    assert case.at("share/tree/d/f4").exists()
    assert not case.at("share/tree/d/f5").exists()
    outcome = case.apply()
    assert outcome.changed
    assert not outcome.conflicts
    demand_all(case)
