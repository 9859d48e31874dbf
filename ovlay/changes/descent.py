"""Directories below an open one, opened by name in their parent and never through a link."""

from __future__ import annotations

import contextlib
import os

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_FAR = 3  # slashes: from here on it is cheaper to open a directory at once, and to prove that it is the right one


def descend(root: int, path: str) -> int:
    """Open a directory, following no link on the way to it; it can be read from. Raises ``OSError``."""
    if path.count("/") >= _FAR:
        with contextlib.suppress(OSError):  # whatever it is, level by level shows it
            if (found := _straight(root, path)) is not None:
                return found
    current = os.open(".", DIRECTORY, dir_fd=root)
    for name in path.split("/") if path else ():
        try:
            deeper = os.open(name, DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = deeper
    return current


def _straight(root: int, path: str) -> int | None:
    """The same in one call, proven afterwards: where no link was on the way the kernel has the same path for it.

    None where it has not. openat2(2) would prove it too, but through ctypes that takes longer.
    """
    found = os.open(path, DIRECTORY, dir_fd=root)
    try:
        start, end = (os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in (root, found))
    except OSError:
        os.close(found)
        raise
    if f"{start.rstrip('/')}/{path}" == end:
        return found
    os.close(found)
    return None


def close(descriptors: list[int]) -> None:
    """Close all of them."""
    for descriptor in descriptors:
        os.close(descriptor)
