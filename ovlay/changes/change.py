"""What differs between an overlay and what lies beneath it: each path with what it was and what it is."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

CHANGES_SCHEMA = "ovlay.changes/1"


class ChangeKind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    MODIFIED = "modified"  # the content: bytes, the text of a link, the numbers of a device
    METADATA = "metadata"  # only mode, owner, extended attributes, or the immutable and append-only flags
    DELETED = "deleted"
    TYPE_CHANGED = "type-changed"
    TOUCHED = "touched"  # in the overlay, yet the same but for time stamps: no change


class Attributes(NamedTuple):
    """What a path is on one side.

    ``type`` is a word for the file type of inode(7), ``size`` is in bytes, ``mode`` the permission bits. ``sha256``
    is there for regular files, and where it was asked for.
    """

    type: str
    size: int
    mode: int
    uid: int
    gid: int
    sha256: str | None = None


class Change(NamedTuple):
    """A path that differs, with both sides; a side where it is not is None.

    ``path`` is relative to the target (``.`` for the target itself), with bytes that are no UTF-8 surrogate-escaped.
    ``renamed_from`` is set on an added path of which the overlay itself knows what it was before; the old path is
    among the deleted ones. ``managed`` is the manifest that it was placed for, as far as receipts tell.
    """

    path: str
    kind: ChangeKind
    before: Attributes | None
    after: Attributes | None
    renamed_from: str | None = None
    managed: str | None = None


class Changes(NamedTuple):
    """All differences of a target from its base, sorted by path.

    ``complete`` is False where something could not be looked at, or went away while it was: ``errors`` says by path
    why. ``submounts`` are the mounts below the target, whose content belongs to no overlay and is left out.
    """

    target: str
    changes: Sequence[Change]
    complete: bool
    errors: Mapping[str, str]
    submounts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The machine-readable form, as ``ovlay diff --json`` prints it (schema ``ovlay.changes/1``)."""
        from ovlay.model import as_json

        return {"schema": CHANGES_SCHEMA, **as_json(self._replace(changes=tuple(self.changes)))}


class MadeWhenAsked(Sequence[Change]):
    """A sequence of which only the length is known until it is looked at; equal to a tuple of the same changes.

    To make fifty thousand changes takes as long as a good part of finding them, and some only count them.
    """

    def __init__(self, count: int, make: Callable[[], tuple[Change, ...]]) -> None:
        """``make`` gives the ``count`` changes."""
        self._count = count
        self._make = make

    @cached_property
    def _made(self) -> tuple[Change, ...]:
        return self._make()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Change]: ...
    def __getitem__(self, index: int | slice) -> Change | Sequence[Change]:
        return self._made[index]

    def __iter__(self) -> Iterator[Change]:
        return iter(self._made)

    def __eq__(self, other: object) -> bool:
        return self._made == (other._made if isinstance(other, MadeWhenAsked) else other)

    def __hash__(self) -> int:
        return hash(self._made)

    def __repr__(self) -> str:
        return repr(self._made)


_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character-device",
    stat.S_IFBLK: "block-device",
}


def type_word(mode: int) -> str:
    """The word for the file type in a ``st_mode``: inode(7)."""
    return _TYPES.get(stat.S_IFMT(mode), "unknown")
