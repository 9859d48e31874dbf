"""Two directory trees compared in full: every name, every attribute, every byte. Slow, and trusts nothing.

Nothing is concluded from time stamps, inode numbers or layers, so this is the witness against which every quicker way
to see changes is held. Access and change times are left out: reading changes the one, and nobody can set the other.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

_BLOCK = 128 * 1024


class Kind(StrEnum):
    """What a name stands for: the file types of inode(7)."""

    DIRECTORY = "directory"
    FILE = "file"
    LINK = "link"
    FIFO = "fifo"
    SOCKET = "socket"
    CHARACTER_DEVICE = "character-device"
    BLOCK_DEVICE = "block-device"


_KINDS = {
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFIFO: Kind.FIFO,
    stat.S_IFSOCK: Kind.SOCKET,
    stat.S_IFCHR: Kind.CHARACTER_DEVICE,
    stat.S_IFBLK: Kind.BLOCK_DEVICE,
}


class Aspect(StrEnum):
    """In what a name differs between two trees. The first three stand alone."""

    ADDED = "added"
    REMOVED = "removed"
    KIND = "kind"
    CONTENT = "content"
    TARGET = "target"  # of a symbolic link
    DEVICE = "device"  # the numbers of a device
    MODE = "mode"
    OWNER = "owner"  # user or group
    MTIME = "mtime"
    XATTRS = "xattrs"
    HARD_LINKS = "hard-links"  # which other names in the tree are the same file


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is compared of one name.

    ``content`` is the SHA-256 of a regular file, ``target`` the text of a symbolic link, ``device`` the number of a
    device; ``same_file`` are all names in the tree that are this very file, () where it is the only one.
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: tuple[tuple[str, bytes], ...]
    content: str = ""
    target: str = ""
    device: int = 0
    same_file: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """One name that differs: its path below the tree's root (``.`` for the root itself), and in what."""

    path: str
    aspects: tuple[Aspect, ...]

    def __str__(self) -> str:
        return f"{self.path}: {', '.join(self.aspects)}"


def permission_bits(found: os.stat_result) -> int:
    """The bits of a mode that chmod(2) sets."""
    return stat.S_IMODE(found.st_mode)


def compare_trees(
    before: str | os.PathLike[str],
    after: str | os.PathLike[str],
    *,
    ignore: Collection[Aspect] = (),
    permissions: Callable[[os.stat_result], int] = permission_bits,
) -> tuple[Difference, ...]:
    """What differs between two trees on the disk, sorted by path; see `scan_tree` and `compare`."""
    return compare(scan_tree(before, permissions=permissions), scan_tree(after, permissions=permissions), ignore=ignore)


def compare(
    before: Mapping[str, Entry], after: Mapping[str, Entry], *, ignore: Collection[Aspect] = ()
) -> tuple[Difference, ...]:
    """What differs between two scanned trees, sorted by path. A name that differs only in what is ignored is equal."""
    found = []
    for path in sorted(before.keys() | after.keys()):
        aspects = tuple(a for a in differing(before.get(path), after.get(path)) if a not in ignore)
        if aspects:
            found.append(Difference(path, aspects))
    return tuple(found)


def differing(old: Entry | None, new: Entry | None) -> Iterator[Aspect]:
    """In what two entries differ; None stands for no such name."""
    if old is None or new is None:
        if new is not None:
            yield Aspect.ADDED
        elif old is not None:
            yield Aspect.REMOVED
        return
    if old.kind is not new.kind:
        yield Aspect.KIND
        return
    pairs = (
        (Aspect.CONTENT, old.content, new.content),
        (Aspect.TARGET, old.target, new.target),
        (Aspect.DEVICE, old.device, new.device),
        (Aspect.MODE, old.mode, new.mode),
        (Aspect.OWNER, (old.uid, old.gid), (new.uid, new.gid)),
        (Aspect.MTIME, old.mtime_ns, new.mtime_ns),
        (Aspect.XATTRS, old.xattrs, new.xattrs),
        (Aspect.HARD_LINKS, old.same_file, new.same_file),
    )
    yield from (aspect for aspect, was, is_now in pairs if was != is_now)


def scan_tree(
    root: str | os.PathLike[str], *, permissions: Callable[[os.stat_result], int] = permission_bits
) -> dict[str, Entry]:
    """Everything at and below ``root``, by path. Links are not followed; what is mounted below it is walked too.

    Names that are no UTF-8 come surrogate-escaped. ``permissions`` tells the mode of a file from what stat(2) says.
    Raises ``OSError`` where something may not be read: what was not seen cannot be equal.
    """
    top = os.fspath(root)
    found = dict(_walk(top, "."))
    files: dict[tuple[int, int], list[str]] = {}
    for path, entry in found.items():
        if entry.st_nlink > 1 and not stat.S_ISDIR(entry.st_mode):
            files.setdefault((entry.st_dev, entry.st_ino), []).append(path)
    groups = {path: tuple(sorted(names)) for names in files.values() if len(names) > 1 for path in names}
    return {
        path: read_entry(_below(top, path), entry, permissions(entry), groups.get(path, ()))
        for path, entry in found.items()
    }


def read_entry(path: str, found: os.stat_result, mode: int, same_file: tuple[str, ...] = ()) -> Entry:
    """The entry for the file at ``path``, of which lstat(2) said ``found``."""
    kind = _KINDS[stat.S_IFMT(found.st_mode)]
    return Entry(
        kind=kind,
        mode=mode,
        uid=found.st_uid,
        gid=found.st_gid,
        mtime_ns=found.st_mtime_ns,
        xattrs=read_xattrs(path),
        content=_digest(path) if kind is Kind.FILE else "",
        target=os.readlink(path) if kind is Kind.LINK else "",
        device=found.st_rdev if kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE) else 0,
        same_file=same_file,
    )


def read_xattrs(path: str) -> tuple[tuple[str, bytes], ...]:
    """The extended attributes that this process may see, sorted by name; () where the filesystem has none."""
    import errno

    try:
        names = os.listxattr(path, follow_symlinks=False)
        return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(names))
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return ()


def _walk(top: str, path: str) -> Iterator[tuple[str, os.stat_result]]:
    found = os.lstat(_below(top, path))
    yield path, found
    if stat.S_ISDIR(found.st_mode):
        for name in os.listdir(_below(top, path)):
            yield from _walk(top, name if path == "." else f"{path}/{name}")


def _below(top: str, path: str) -> str:
    return top if path == "." else f"{top}/{path}"


def _digest(path: str) -> str:
    import hashlib

    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while chunk := os.read(descriptor, _BLOCK):
            digest.update(chunk)
    finally:
        os.close(descriptor)
    return digest.hexdigest()
