"""Which directories paths are in, by their names alone: a question of many paths costs the depth of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet


def around(path: str) -> Iterator[str]:
    """The directories that a path is in, innermost first; of a relative one without what it is relative to."""
    while path := path.rpartition("/")[0]:
        yield path


def is_within(path: str, places: AbstractSet[str]) -> bool:
    """Whether one of these places is a directory that a path is in, however deep."""
    return any(folder in places for folder in around(path))


def is_below(path: str, places: AbstractSet[str]) -> bool:
    """Whether a path is one of these places, or in one."""
    return path in places or is_within(path, places)


def directories_of(paths: Iterable[str]) -> set[str]:
    """All directories that these paths are in."""
    found: set[str] = set()
    for path in paths:
        for folder in around(path):
            if folder in found:
                break
            found.add(folder)
    return found
