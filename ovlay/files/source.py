"""What is to be placed: a regular file that is opened once, looked at, and hashed."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """The size in bytes and the SHA-256 of a file."""

    size: int
    sha256: str


@contextmanager
def opened_source(path: str) -> Iterator[int]:
    """A descriptor on a regular file; raises `InvalidInput` for anything else, and never waits for a FIFO."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InvalidInput(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise NotPermitted(f"{path}: may not be read", remedy="run as a user who may read it") from error
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise InvalidInput(f"{path} is {kind}", remedy="give a regular file")
        yield descriptor
    finally:
        os.close(descriptor)


def content_of(descriptor: int) -> Content:
    """Read a whole file from its start."""
    import hashlib

    digest, size = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, BLOCK, size):
        digest.update(chunk)
        size += len(chunk)
    return Content(size, digest.hexdigest())
