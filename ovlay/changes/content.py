"""The content of two open files compared, and what is attached to them: extended attributes, the immutable flag."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

FIRST = 4096
BLOCK = 64 * 1024
_SPARSE = 1 << 20  # from this size on it pays to ask for holes
# _IOR('f', 1, long): the direction is one bit higher on a few architectures (their asm/ioctl.h).
_READ = 1 if os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha")) else 2
_FS_IOC_GETFLAGS = _READ << (29 if _READ == 1 else 30) | (8 if sys.maxsize > 1 << 32 else 4) << 16 | 0x6601
_IMMUTABLE_OR_APPEND = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL: include/uapi/linux/fs.h
_ROOM = b"\0\0\0\0\0\0\0\0"
_LOWEST = 0 if sys.byteorder == "little" else 3  # of the four bytes that the kernel writes, whatever the ioctl's name
# What filesystems say that have no such flags: ioctl_iflags(2), and what vfs_fileattr_get of the kernel passes on.
_HAS_NONE = (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_ioctl = fcntl.ioctl
_NONE: Mapping[str, bytes] = {}


def same_content(new: int, old: int, size: int) -> bool:
    """Whether the first ``size`` bytes of two files are the same; both are read from their beginning on."""
    if os.read(new, FIRST) != os.read(old, FIRST):  # most that differ do so here
        return False
    position = min(FIRST, size)
    while position < size:
        if size >= _SPARSE:
            position = min(_data_from(new, position, size), _data_from(old, position, size))
            os.lseek(new, position, os.SEEK_SET)
            os.lseek(old, position, os.SEEK_SET)
        end = min(position + _SPARSE, size)
        while position < end:
            # One byte more at the end, so that a file that grew meanwhile is not taken for the same.
            room = min(BLOCK, size - position + 1)
            mine = os.read(new, room)
            if mine != os.read(old, room):
                return False
            if not mine:
                return True
            position += len(mine)
    return True


def _data_from(descriptor: int, position: int, size: int) -> int:
    """Where the next data begins: lseek(2) with SEEK_DATA, ENXIO where only a hole is left."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError as error:
        return size if error.errno == errno.ENXIO else position


def flags_differ(new: int, old: int) -> bool:
    """Whether one of two open files is immutable or append-only and the other is not: ioctl_iflags(2).

    overlayfs shows the flags that were set through it, although in the upper they are an attribute.
    """
    return has_flags(new) != has_flags(old)


def has_flags(descriptor: int) -> int:
    """The immutable and the append-only flag of an open file; 0 where it has neither."""
    try:
        return _ioctl(descriptor, _FS_IOC_GETFLAGS, _ROOM)[_LOWEST] & _IMMUTABLE_OR_APPEND
    except OSError as error:
        if error.errno not in _HAS_NONE:
            raise
        return 0


def attributes_differ(merged: int | str, lower: int | str, private: tuple[str, ...], ignored: frozenset[str]) -> bool:
    """Whether the extended attributes differ, of which overlayfs hides its own (``private`` prefixes) in the view."""
    shown, beneath = listed(merged), listed(lower)
    if not shown and not beneath:
        return False
    return read_attributes(merged, shown, ignored) != as_shown(read_attributes(lower, beneath, ignored), private)


def as_shown(found: Mapping[str, bytes], private: tuple[str, ...]) -> Mapping[str, bytes]:
    """Attributes of a layer as the merged view has them: the overlay's own are hidden, escaped ones are unescaped.

    What a user calls ``trusted.overlay.x`` is kept as ``trusted.overlay.overlay.x`` (ovl_xattr_escape_name).
    """
    result = {}
    for name, value in found.items():
        own = next((prefix for prefix in private if name.startswith(prefix)), None)
        if own is None:
            result[name] = value
        elif name.startswith(own + "overlay."):
            result[own + name[len(own) + len("overlay.") :]] = value
    return result


def listed(where: int | str) -> list[str]:
    """The names of extended attributes, of a link itself; [] where the filesystem has none."""
    try:
        return os.listxattr(where) if type(where) is int else os.listxattr(where, follow_symlinks=False)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []


def read_attributes(where: int | str, names: list[str], ignored: frozenset[str]) -> Mapping[str, bytes]:
    """The values of these attributes, but for those to be ignored."""
    if not names:
        return _NONE
    follow = isinstance(where, int)
    return {name: os.getxattr(where, name, follow_symlinks=follow) for name in names if name not in ignored}
