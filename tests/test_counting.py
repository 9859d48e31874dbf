"""One is one, and not many."""

from __future__ import annotations

from ovlay.counting import counted


def test_one_is_told_apart_from_many() -> None:
    assert [counted(number, "path") for number in (0, 1, 2)] == ["0 paths", "1 path", "2 paths"]
    assert [counted(number, "process", "processes") for number in (1, 2)] == ["1 process", "2 processes"]
