"""To name many paths costs what each of them costs: eight times as many cost about eight times as much."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.manifest.place import Place, place_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FEW, MANY = 100, 800
BOUND = 16
"""Of the eightfold: where each is held against all of the others, it tends to sixty-four times as many calls."""


def calls(function: Callable[[], object]) -> int:
    """How many calls are made meanwhile, of functions in Python and in C: the same number every time."""
    made = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal made
        made += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(before)
    return made


def names(place: Place, count: int) -> list[str]:
    """As many files that were added, by their paths."""
    folder = place.usr / "share/many"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"f{number}").touch()
    return [f"/usr/share/many/f{number}" for number in range(count)]


def reverted(place: Place, paths: list[str]) -> None:
    assert len(place.overlay.backend.plan_revert(paths).steps) == 1


def diffed(place: Place, paths: list[str]) -> None:
    assert len(place.overlay.changes(paths).changes) == len(paths)


def captured(place: Place, paths: list[str]) -> None:
    from ovlay.manifest.capture import plan_capture

    assert len(plan_capture(place.overlay.backend, paths, to=str(place.file)).steps) > 0


@pytest.mark.parametrize("verb", [reverted, diffed, captured])
def test_many_paths_are_no_more_than_many_times_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: Callable[[Place, list[str]], None]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})  # what another process does is not counted
    with place_in(tmp_path) as place:
        verb(place, names(place, 1))  # what is imported once
        small = names(place, FEW)
        few = calls(lambda: verb(place, small))
        large = names(place, MANY)
        assert calls(lambda: verb(place, large)) < BOUND * few
