"""The upper directory of a mounted overlay, found and proven, although its path may lead nowhere or somewhere else.

The overlay's root has a file handle that holds the handle of the upper's own root (struct ovl_fb in the kernel's
fs/overlayfs/overlayfs.h): what it names is the upper and no copy of it, wherever it was moved. Without one (before
Linux 6.6) the attributes must do: the root shows those of the upper's root, and nobody can set a change time.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.kernel.mountinfo import Mount, MountTable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# struct ovl_fh: three bytes of padding, then version, magic, length, flags, type, uuid[16] and the handle itself.
_OVERLAY_HANDLE = 0xF8
_PADDING, _HEADER, _MAGIC, _OF_UPPER = 3, 21, 0xFB, 4

# What can be an upper's filesystem: writable, with extended attributes. Opening an autofs would mount things.
_FILESYSTEMS = ("ext4", "xfs", "btrfs", "tmpfs", "ext3", "ext2", "f2fs", "bcachefs", "zfs", "ramfs", "overlay")


# What a tmpfs makes its handles of: three words, with a type that means two anywhere else (shmem_encode_fh of the
# kernel's mm/shmem.c, FILEID_INO32_GEN of include/linux/exportfs.h).
_HANDLE_OF_TMPFS, _LENGTH_OF_TMPFS = 1, 12


class Handle(NamedTuple):
    """What a filesystem knows a file by; only comparable within one filesystem."""

    type: int
    content: bytes


def find_upper(mount: Mount, merged: int, table: MountTable, candidates: Iterable[str] = ()) -> int | None:
    """A descriptor on the upper directory of the overlay whose root is ``merged``; None where there is no proof.

    ``candidates`` are tried first, then every filesystem in sight that knows the handle.
    """
    if mount.upper is None:
        return None
    wanted = upper_handle(merged)
    for path in dict.fromkeys((*candidates, *_spellings(mount))):
        # A path of somebody's /proc/self/fd means another file here.
        if not path.startswith("/") or path.startswith("/proc/"):
            continue
        with contextlib.suppress(OSError):
            found = os.open(path, _DIRECTORY)
            if is_upper(merged, found, wanted):
                return found
            os.close(found)
    return None if wanted is None else _by_handle(merged, wanted, table)


def is_upper(merged: int, candidate: int, wanted: Handle | None) -> bool:
    """Whether the directory ``candidate`` is the upper of the overlay with the root ``merged`` and that handle."""
    if _identity(merged) != _identity(candidate):
        return False
    if wanted is None:
        return True
    from ovlay.kernel import libc

    with contextlib.suppress(OSError):
        own = libc.name_to_handle_at(candidate)
        return Handle(own.handle_type, own.content) == wanted
    return False


def upper_handle(merged: int) -> Handle | None:
    """The handle of the upper's root within that of the overlay's root; None where the kernel does not give it."""
    from ovlay.kernel import libc

    try:
        whole = libc.name_to_handle_at(merged, identify=True)
    except OSError:
        return None
    content = whole.content[_PADDING:]
    if whole.handle_type != _OVERLAY_HANDLE or len(content) < _HEADER or content[1] != _MAGIC:
        return None
    if not content[3] & _OF_UPPER:
        return None
    return Handle(content[4], content[_HEADER : content[2]])


def is_on_tmpfs(path: str) -> bool:
    """Whether the overlay that is seen at ``path`` has its upper on a tmpfs, which may be mounted nowhere in sight."""
    with contextlib.suppress(OSError):  # then it cannot be looked at
        merged = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            handle = upper_handle(merged)
        finally:
            os.close(merged)
        return handle is not None and (handle.type, len(handle.content)) == (_HANDLE_OF_TMPFS, _LENGTH_OF_TMPFS)
    return False


def _by_handle(merged: int, wanted: Handle, table: MountTable) -> int | None:
    from ovlay.kernel import libc

    for place in _filesystems(table):
        with contextlib.suppress(OSError):
            anchor = os.open(place, _DIRECTORY)
            try:
                found = libc.open_by_handle_at(anchor, wanted.type, wanted.content, _DIRECTORY)
            finally:
                os.close(anchor)
            # The same handle can exist on another filesystem, where it is another file.
            if is_upper(merged, found, wanted):
                return found
            os.close(found)
    return None


def _filesystems(table: MountTable) -> Iterator[str]:
    """One visible mount point for each filesystem that may hold an upper."""
    seen = set()
    for mount in table:
        if mount.fstype not in _FILESYSTEMS or mount.device in seen or table.covering(mount.mount_point) is not mount:
            continue
        seen.add(mount.device)
        yield mount.mount_point


def _spellings(mount: Mount) -> Iterator[str]:
    """What ``upperdir=`` may mean: mount(2) keeps the caller's backslashes, fsconfig(2) takes everything literally."""
    shown = re.search(r"(?:^|,)upperdir=(.*?)(?:,workdir=|$)", mount.super_options, re.DOTALL)
    for text in (mount.upper, shown[1] if shown else None):
        if text is not None:
            yield text
            yield re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def _identity(descriptor: int) -> tuple[int, ...]:
    found = os.fstat(descriptor)
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_mode, found.st_uid, found.st_gid)
