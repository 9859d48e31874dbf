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
_COMMAS = r"(\\*),"
_OPTIONS = r"(?s:[^\\,]|\\.|\\$)+"
_LAYERS = r"(?s:[^\\:]|\\.|\\$)+"


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
    for part in re.findall(_OPTIONS, text):
        key, _, value = part.partition("=")
        yield key, value


def _unbackslashed(value: str) -> str:
    """What overlayfs makes of a value: ovl_unescape() in fs/overlayfs/params.c. ``lowerdir+`` it takes literally."""
    return re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)


def split_lowerdir(value: str) -> tuple[str, ...]:
    """The layers in the value of ``lowerdir=``; a colon in a name is written ``\\:``, and ``::`` starts data layers."""
    return tuple(_unbackslashed(part) for part in re.findall(_LAYERS, value))


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
        self._children: dict[tuple[int, str], Mount] = {(mount.parent_id, mount.mount_point): mount for mount in mounts}
        self._by_id = {mount.mount_id: mount for mount in mounts}
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
        return self._walk(path)[1]

    def covering(self, path: str) -> Mount | None:
        """The mount that shows ``path``: the topmost on it, or on its nearest parent. None in an empty table."""
        return self._walk(path)[0]

    def below(self, path: str) -> tuple[Mount, ...]:
        """The visible mounts strictly below ``path``, in the order of the table."""
        prefix = path.rstrip("/") + "/"
        found = []
        for mount in self.mounts:
            if mount.mount_point.startswith(prefix) and self.covering(mount.mount_point) is mount:
                found.append(mount)
        return tuple(found)

    def _walk(self, path: str) -> tuple[Mount | None, tuple[Mount, ...]]:
        current = self._root
        if current is None:
            return None, ()
        here: list[Mount] = [current]
        point = "/"
        parts = [part for part in posixpath.normpath(path).split("/") if part]
        for index in range(len(parts) + 1):
            if index:
                point = "/" + "/".join(parts[:index])
                here = []
            while (child := self._children.get((current.mount_id, point))) is not None and child is not current:
                current = child
                here.append(child)
        return current, tuple(here)


def parse_mountinfo(text: str) -> MountTable:
    """The table in the text of /proc/PID/mountinfo. A line that is not of the documented form is left out."""
    mounts = []
    for line in text.split("\n"):
        head, separator, tail = line.partition(" - ")
        first, last = head.split(" "), tail.split(" ")
        if not separator or len(first) < 6 or len(last) < 3 or not (first[0].isdecimal() and first[1].isdecimal()):
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
