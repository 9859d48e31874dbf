"""What lower layers between the base and the upper brought, such as system extensions: no base has it, yet nobody
added it. What somebody did is in the upper, or in a directory of which the upper says where it comes from.
"""

from __future__ import annotations

import os
import stat
from enum import Enum, auto
from typing import TYPE_CHECKING

from ovlay.changes.classify import ADDED
from ovlay.changes.content import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.changes.classify import Row


class _Seen(Enum):
    """A directory in the upper: merged with the lower layers', in the place of theirs, or not there."""

    MERGED = auto()
    INSTEAD = auto()
    NOWHERE = auto()


def without_layers(upper: int, rows: Sequence[Row], *, prefix: str, errors: dict[str, str]) -> list[Row]:
    """The rows that the upper accounts for. What cannot be looked at is kept, and goes into ``errors``.

    A directory that is new to the base and holds something that was brought was brought too.
    """
    layer = _Upper(upper, prefix)
    kept: list[Row] = []
    above: set[str] = set()
    for row in rows:
        path = row[0]
        try:
            ours = layer.accounts_for(path)
        except OSError as error:
            errors[path] = error.strerror or str(error)
            ours = True
        if ours:
            kept.append(row)
        elif row[1] == ADDED:
            above.update(path[:at] for at, letter in enumerate(path) if letter == "/")
    return [row for row in kept if row[1] != ADDED or row[0] not in above]


class _Upper:
    """The upper directory, asked for what it says of a path."""

    def __init__(self, upper: int, prefix: str) -> None:
        self._upper = upper
        self._marks = (f"{prefix}opaque", f"{prefix}redirect")
        self._seen: dict[str, _Seen] = {}

    def accounts_for(self, path: str) -> bool:
        if path == ".":
            return True
        above = self._directory(path.rpartition("/")[0])
        if above is _Seen.MERGED:
            return self._look(path) is not None
        return above is _Seen.INSTEAD

    def _directory(self, path: str) -> _Seen:
        seen = self._seen.get(path)
        if seen is None:
            seen = self._seen[path] = self._judge(path)
        return seen

    def _judge(self, path: str) -> _Seen:
        if path:
            above = self._directory(path.rpartition("/")[0])
            if above is not _Seen.MERGED:
                return above
            found = self._look(path)
            if found is None:
                return _Seen.NOWHERE
            if not stat.S_ISDIR(found.st_mode):
                return _Seen.INSTEAD
        names = listed(f"/proc/self/fd/{self._upper}/{path or '.'}")
        return _Seen.INSTEAD if any(mark in names for mark in self._marks) else _Seen.MERGED

    def _look(self, path: str) -> os.stat_result | None:
        # All directories on the way were seen to be directories: none is a link.
        try:
            return os.stat(path, dir_fd=self._upper, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
