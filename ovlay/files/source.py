"""What is to be placed: a regular file that is opened once, looked at, and hashed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from ovlay.errors import Conflict, InvalidInput, NotPermitted

BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """The size in bytes and the SHA-256 of a file."""

    size: int
    sha256: str


class OpenedSource:
    """A descriptor on a regular file, for a ``with`` block.

    To enter raises `InvalidInput` for anything else, and never waits for a FIFO; `NotPermitted` where it may not be
    read. A class, since it is entered for each of ten thousand files, and a generator takes as long as to open one.
    """

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> int:
        path = self._path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise InvalidInput(f"{path}: there is no such file") from error
        except PermissionError as error:
            raise NotPermitted(f"{path}: may not be read", remedy="run as a user who may read it") from error
        except OSError as error:
            raise InvalidInput(f"{path}: {error.strerror}") from error
        mode = os.fstat(self._descriptor).st_mode
        if not stat.S_ISREG(mode):
            os.close(self._descriptor)
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise InvalidInput(f"{path} is {kind}", remedy="give a regular file")
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def content_of(descriptor: int) -> Content:
    """Read a whole file from its start; raises `Conflict` where it has more in it than it is said to have.

    A file that grows, or that a file system makes up while it is read, might have no end.
    """
    import hashlib

    digest, size, most = hashlib.sha256(), 0, os.fstat(descriptor).st_size
    while chunk := os.pread(descriptor, BLOCK, size):
        digest.update(chunk)
        size += len(chunk)
        if size > most:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
            raise Conflict(
                f"{name} has more in it than its size of {most} bytes",
                remedy="wait until nothing writes to it; what has no size, as in /proc, copy to a file first",
            )
    return Content(size, digest.hexdigest())
