"""How sources look, and what was placed for them: by their stamps, so that not a single file is read."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.files.label import read_label
from ovlay.receipts import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ovlay.receipts import Stamp

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Look = list[Any]
"""What stat(2) said of one side, in an order that is always the same. Of a tree for each directory: its path in the
tree, its own stamp, the names in it that are no directories, and their stamps, three numbers each."""


class Row(NamedTuple):
    """An entry, as far as it decides what is done."""

    kind: str
    path: str
    source: str | None
    text: str | None
    to: str | None
    sha256: str | None
    mode: int | None
    file_mode: int | None
    directory_mode: int | None
    owner: str | int | None
    group: str | int | None
    label: str | None
    exclude: tuple[str, ...]
    file: str


def look_at_sources(rows: Iterable[Row]) -> Look:
    """How the sources look; raises ``OSError`` where one is not there."""
    found: Look = []
    for row in rows:
        if row.kind == "tree":
            descriptor = os.open(row.source or "", _DIRECTORY)
            try:
                tree: Look = []
                _look_at_tree(tree, descriptor, "", exclusion(row.exclude))
            finally:
                os.close(descriptor)
            found.append(tree)
        else:
            found.append(None if row.source is None else whole_stamp(os.stat(row.source)))
    return found


class Places:
    """How that looks which was placed. ``changes`` are the ctimes of what had to be looked at for that."""

    def __init__(self, top: str, target: str, placed: Mapping[str, Stamp | None] | None = None) -> None:
        self._top, self._target = top, target
        self._placed = placed or {}
        self.changes: list[int] = []

    def look(self, rows: Iterable[Row], sources: Look) -> Look:
        """What was placed for these rows; raises ``OSError`` where something is not there."""
        found: Look = []
        root = os.open(self._top, _DIRECTORY)
        try:
            for row, came in zip(rows, sources, strict=True):
                path = posixpath.relpath(row.path, self._target)
                found.append(self._copy(root, path, row, came) if row.kind == "tree" else self._single(root, path, row))
        finally:
            os.close(root)
        return found

    def _single(self, root: int, path: str, row: Row) -> tuple[Any, ...] | None:
        try:
            there = os.stat(path, dir_fd=root, follow_symlinks=False)
        except FileNotFoundError:
            if row.kind != "absent":
                raise
            return None
        if row.kind == "directory":
            return directory_look(there, f"/proc/self/fd/{root}/{path}", labelled=row.label is not None)
        if self._placed.get(path) != stamp_of(there):
            self.changes.append(there.st_ctime_ns)
        return whole_stamp(there)

    def _copy(self, root: int, path: str, row: Row, came: Look) -> Look:
        """The same directories and names as in a tree that was looked at, where it was placed."""
        tree: Look = []
        look, placed, labelled = os.stat, self._placed, row.label is not None
        for inner, _, leaves, _ in came:
            place = posixpath.normpath(posixpath.join(path, inner))
            front = "" if place == "." else f"{place}/"
            descriptor = os.open(place, _DIRECTORY | (os.O_NOFOLLOW if inner else 0), dir_fd=root)
            try:
                stamps: list[int] = []
                for name in leaves:
                    known = placed.get(front + name) if placed else None
                    if known is not None:
                        stamps += (known[1], known[3], known[4])
                        continue
                    found = look(name, dir_fd=descriptor, follow_symlinks=False)
                    stamps += (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
                    self.changes.append(found.st_ctime_ns)
                itself = directory_look(os.fstat(descriptor), descriptor, labelled=labelled)
                tree.append((inner, itself, leaves, stamps))
            finally:
                os.close(descriptor)
        return tree


def _look_at_tree(tree: Look, descriptor: int, inner: str, left_out: Callable[[str], bool] | None) -> None:
    below: list[str] = []
    leaves: list[str] = []
    stamps: list[int] = []
    look = os.stat
    names = os.listdir(descriptor)
    names.sort()
    front = f"{inner}/" if inner else ""
    for name in names:
        found = look(name, dir_fd=descriptor, follow_symlinks=False)
        is_directory = found.st_mode & 0o170000 == 0o040000
        if left_out is not None and left_out(front + name + ("/" if is_directory else "")):
            continue
        if is_directory:
            below.append(name)
        else:
            leaves.append(name)
            stamps += (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    tree.append((inner, own_stamp(os.fstat(descriptor)), leaves, stamps))
    for name in below:
        deeper = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        try:
            _look_at_tree(tree, deeper, front + name, left_out)
        finally:
            os.close(deeper)


def own_stamp(found: os.stat_result) -> tuple[int, ...]:
    """Of a directory only what is its own: who puts other files into it does not change what is declared."""
    return (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid)


def directory_look(found: os.stat_result, where: int | str, *, labelled: bool) -> tuple[Any, ...]:
    """The own stamp of a directory, and with ``labelled`` its label, which no other stamp of a directory tells of.

    ``where`` is its path or a descriptor on it.
    """
    own = own_stamp(found)
    return (*own, read_label(where)) if labelled else own


def whole_stamp(found: os.stat_result) -> tuple[int, ...]:
    """Of all that is no directory: its last is the time of its last change."""
    return (*own_stamp(found), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def changes_of(look: Look) -> list[int]:
    """When all that was looked at changed last (ctimes); of directories that is not known."""
    times: list[int] = []
    for part in look:
        if isinstance(part, list):
            for *_, stamps in part:
                times += stamps[2::3]
        elif part is not None and len(part) == len(_FULL):
            times.append(part[-1])
    return times


_FULL = ("st_dev", "st_ino", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns")


def exclusion(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """What says of a path in a tree whether it is left out; None where nothing is."""
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns).match_file
