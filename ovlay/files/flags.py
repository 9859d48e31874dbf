"""The immutable and the append-only flag of a file, which bind root too: ioctl_iflags(2)."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys

IMMUTABLE, APPEND_ONLY = 0x10, 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL: include/uapi/linux/fs.h

# _IOR('f', 1, long) and _IOW('f', 2, long): on a few architectures the direction is encoded otherwise (asm/ioctl.h).
_ODD = os.uname().machine.startswith(("ppc", "mips", "sparc", "alpha"))
_SHIFT, _READ, _WRITE = (29, 1, 4) if _ODD else (30, 2, 1)
_LONG = (8 if sys.maxsize > 1 << 32 else 4) << 16
_GET, _SET = _READ << _SHIFT | _LONG | 0x6601, _WRITE << _SHIFT | _LONG | 0x6602

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_flags(descriptor: int) -> int:
    """Which of the two flags an open file has; 0 where the filesystem has none."""
    return (_read(descriptor) or 0) & (IMMUTABLE | APPEND_ONLY)


def set_flags(descriptor: int, wanted: int) -> None:
    """Give an open file exactly these of the two flags; its other flags stay. Raises ``OSError``."""
    found = _read(descriptor)
    if found is None:
        if wanted:
            raise OSError(errno.ENOTSUP, "the filesystem has no file flags")
        return
    changed = found & ~(IMMUTABLE | APPEND_ONLY) | wanted
    if changed != found:
        fcntl.ioctl(descriptor, _SET, struct.pack("i", changed))


def take_flags(directory: int, name: str) -> None:
    """Take both flags off a name in a directory; nothing for what cannot have them, or where it is refused."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_IFMT(found.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return
        descriptor = os.open(name, _OPEN, dir_fd=directory)
    except OSError:
        return
    try:
        set_flags(descriptor, 0)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> int | None:
    try:
        answer = fcntl.ioctl(descriptor, _GET, b"\0\0\0\0\0\0\0\0")
    except OSError:
        return None
    return int.from_bytes(answer[:4], sys.byteorder)
