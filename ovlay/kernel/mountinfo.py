"""The mount table: /proc/self/mountinfo as values, and which mount a path really shows.

The format is in proc_pid_mountinfo(5). Octal escapes (\\040 space, \\011 tab, \\012 newline, \\134 backslash) are
those of seq_path() in the kernel's fs/seq_file.c; the overlay's own options come from fs/overlayfs/params.c.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Patterns, compiled by `re` when they are first needed: most tables need none.
_ESCAPE = r"\\([0-7]{3})"
_COMMAS = r"(?<!\\)(\\*+),"  # begun at the first backslash only, and never tried shorter: linear in their number

_LONGEST_ID = 20  # digits: an id has at most 64 bits
_ROOT, _NOWHERE = 0, -1


class Mount(NamedTuple):
    """One line of the mount table.

    ``options`` and ``super_options`` keep the kernel's text, unescaped; a comma within a value has a backslash.
    """

    mount_id: int
    parent_id: int
    device: str
    root: str
    mount_point: str
    options: str
    propagation: str
    fstype: str
    source: str
    super_options: str

    @property
    def read_only(self) -> bool:
        """The mount's own flag: field 6 of the line."""
        return "ro" in self.options.split(",")

    @property
    def superblock_read_only(self) -> bool:
        """The filesystem's flag: the first word of the line's last field."""
        return self.super_options.partition(",")[0] == "ro"

    @property
    def is_overlay(self) -> bool:
        """Whether this is the kernel's overlayfs, or fuse-overlayfs."""
        return self.fstype in ("overlay", "fuse.fuse-overlayfs")

    def super_values(self, name: str) -> tuple[str, ...]:
        """All values of an option of the superblock, such as ``upperdir`` or ``lowerdir+``."""
        return tuple(value for key, value in _split_options(self.super_options) if key == name)

    @property
    def upper(self) -> str | None:
        """``upperdir=`` as the kernel shows it; it need not lead anywhere."""
        return next(map(_unbackslashed, self.super_values("upperdir")), None)

    @property
    def work(self) -> str | None:
        """``workdir=`` as the kernel shows it."""
        return next(map(_unbackslashed, self.super_values("workdir")), None)

    @property
    def lower(self) -> tuple[str, ...]:
        """The lower layers, topmost first, from ``lowerdir=`` or from ``lowerdir+=`` and ``datadir+=``."""
        layers = [layer for value in self.super_values("lowerdir") for layer in split_lowerdir(value)]
        literal = (*self.super_values("lowerdir+"), *self.super_values("datadir+"))
        return (*layers, *(layer.replace("\\,", ",") for layer in literal))


def _split_options(text: str) -> Iterator[tuple[str, str]]:
    """Split at commas that are not escaped."""
    for part in _split(text, ","):
        key, _, value = part.partition("=")
        yield key, value


def _split(text: str, separator: str) -> tuple[str, ...]:
    """What is between separators that have no backslash before them; nothing between two of them counts for none."""
    if "\\" not in text:
        return tuple(part for part in text.split(separator) if part)
    ends = [found.start() for found in re.finditer(rf"(?s:\\.)|{separator}", text) if found[0] == separator]
    starts = (0, *(end + 1 for end in ends))
    return tuple(text[start:end] for start, end in zip(starts, (*ends, len(text)), strict=True) if start < end)


def _unbackslashed(value: str) -> str:
    """What overlayfs makes of a value: ovl_unescape() in fs/overlayfs/params.c. ``lowerdir+`` it takes literally."""
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)


def split_lowerdir(value: str) -> tuple[str, ...]:
    """The layers in the value of ``lowerdir=``; a colon in a name is written ``\\:``, and ``::`` starts data layers."""
    return tuple(_unbackslashed(part) for part in _split(value, ":"))


def _unescape_options(text: str) -> str:
    """Undo the octal escapes, but keep commas that part options apart from those in a value: these get a backslash.

    fsconfig(2) takes a comma in a path as it is, mount(2) wants a backslash before it, and both are shown as given.
    """
    if "\\" not in text:
        return text
    parts = (unescape(part) for part in text.split(","))
    return ",".join(re.sub(_COMMAS, lambda m: m[0] if len(m[1]) % 2 else m[1] + "\\,", part) for part in parts)


def unescape(text: str) -> str:
    """Undo the octal escapes of mountinfo. Bytes above 0x7f come raw, and are surrogate-escaped in ``text``."""
    if "\\" not in text:
        return text
    return re.sub(_ESCAPE, lambda match: chr(int(match[1], 8)), text)


class MountTable:
    """All mounts of a namespace, and what a path shows of them."""

    def __init__(self, mounts: tuple[Mount, ...]) -> None:
        self.mounts = mounts
        self._by_id = {mount.mount_id: mount for mount in mounts}
        # The mount points as a tree of numbered places, and what is on top at each, which is found out once: so many
        # questions about a long table take no more time than the table is long, however the mounts lie on each other.
        self._places: dict[tuple[int, str], int] = {}
        self._children = {(mount.parent_id, self._place(mount.mount_point)): mount for mount in mounts}
        self._tops: dict[int, Mount] = {}
        # The root's parent is outside of the namespace, or is the mount itself.
        self._root = next(
            (
                m
                for m in mounts
                if m.mount_point == "/" and (m.parent_id not in self._by_id or m.parent_id == m.mount_id)
            ),
            None,
        )

    def __iter__(self) -> Iterator[Mount]:
        return iter(self.mounts)

    def __len__(self) -> int:
        return len(self.mounts)

    def by_id(self, mount_id: int) -> Mount | None:
        """The mount with this id, or None."""
        return self._by_id.get(mount_id)

    def stack(self, path: str) -> tuple[Mount, ...]:
        """The mounts whose root is at ``path`` and that a walk to it passes, lowest first; () where none is there.

        Only what is reached counts: a mount that lies under another one on a parent directory is hidden, and
        is not among them. The walk is that of path_resolution(7) and of the kernel's traverse_mounts().
        """
        _, under, place = self._walk(path)
        if place == _ROOT and self._root is not None:
            return (self._root, *self._chain(self._root, place))
        return () if under is None else self._chain(under, place)

    def covering(self, path: str) -> Mount | None:
        """The mount that shows ``path``: the topmost on it, or on its nearest parent. None in an empty table."""
        return self._walk(path)[0]

    def below(self, path: str) -> tuple[Mount, ...]:
        """The visible mounts strictly below ``path``, in the order of the table."""
        prefix = path.rstrip("/") + "/"
        found = []
        for mount in self.mounts:
            point = mount.mount_point
            if point != prefix and point.startswith(prefix) and self.covering(point) is mount:
                found.append(mount)
        return tuple(found)

    def _walk(self, path: str) -> tuple[Mount | None, Mount | None, int]:
        """What shows ``path``, what shows its parent directory, and its place; None and 0 where no mount is that far.

        Of the root the parent is None too: there the stack begins with the root of the table itself.
        """
        if self._root is None:
            return None, None, _ROOT
        place, under, shown = _ROOT, None, self._top(self._root, _ROOT)
        for part in posixpath.normpath(path).split("/"):
            if part:
                found = self._places.get((place, part))
                if found is None:
                    return shown, None, _NOWHERE
                place, under, shown = found, shown, self._top(shown, found)
        return shown, under, place

    def _top(self, under: Mount, place: int) -> Mount:
        if place not in self._tops:
            self._tops[place] = (under, *self._chain(under, place))[-1]
        return self._tops[place]

    def _chain(self, under: Mount, place: int) -> tuple[Mount, ...]:
        """The mounts that lie on each other at a place, from the lowest that lies on ``under``."""
        chain, seen = [], {under.mount_id}  # a root may be its own parent
        while (child := self._children.get((under.mount_id, place))) is not None and child.mount_id not in seen:
            chain.append(child)
            seen.add(child.mount_id)
            under = child
        return tuple(chain)

    def _place(self, mount_point: str) -> int:
        """The number of a mount point; one that is no path in this namespace has one that no walk comes to."""
        if mount_point == "/":
            return _ROOT
        place = _ROOT
        for part in mount_point.split("/")[1:]:
            place = self._places.setdefault((place, part), len(self._places) + 1)
        return place if mount_point.startswith("/") else _NOWHERE


def parse_mountinfo(text: str) -> MountTable:
    """The table in the text of /proc/PID/mountinfo. A line that is not of the documented form is left out."""
    mounts = []
    for line in text.split("\n"):
        head, separator, tail = line.partition(" - ")
        first, last = head.split(" "), tail.split(" ")
        if not separator or len(first) < 6 or len(last) < 3 or not (_is_id(first[0]) and _is_id(first[1])):
            continue
        mounts.append(
            Mount(
                mount_id=int(first[0]),
                parent_id=int(first[1]),
                device=first[2],
                root=unescape(first[3]),
                mount_point=unescape(first[4]),
                options=first[5],
                propagation=" ".join(first[6:]),
                fstype=last[0],
                source=unescape(last[1]),
                super_options=_unescape_options(last[2]),
            )
        )
    return MountTable(tuple(mounts))


def _is_id(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) <= _LONGEST_ID
