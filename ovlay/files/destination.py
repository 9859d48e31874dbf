"""Where a file may be put: below the target, on the target's own mount, and nowhere else."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput, StateForbids
from ovlay.paths import normal

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME_MAX = 255  # bytes in a file name, and in a path with its null: limits.h
PATH_MAX = 4096

_TRIES = 128


def below(target: str, destination: str) -> str:
    """``destination`` relative to ``target``, as text alone; raises `InvalidInput` where it is not below it."""
    if not destination.startswith("/"):
        raise InvalidInput(f"{destination!r} is not an absolute path", remedy=f"give the path below {target} in full")
    if "\0" in destination:
        raise InvalidInput(f"{destination!r} contains a null character")
    if ".." in destination.split("/"):
        raise InvalidInput(f"{destination!r} contains '..'", remedy="give the path without it")
    plain = normal(destination)
    if plain == target or not plain.startswith(target.rstrip("/") + "/"):
        raise InvalidInput(
            f"{destination} is not below {target}",
            remedy=f"only what is below {target} is in the overlay; /etc and /var are writable without one",
        )
    if has_long_name(plain):
        raise InvalidInput(f"{destination} has a name of more than {NAME_MAX} bytes in it", remedy="give a shorter one")
    if _bytes_in(plain) >= PATH_MAX:
        raise InvalidInput(f"{destination} is longer than {PATH_MAX - 1} bytes", remedy="give a shorter one")
    return posixpath.relpath(plain, target)


def has_long_name(path: str) -> bool:
    """Whether a name in a path is longer than a file's can be."""
    return any(_bytes_in(part) > NAME_MAX for part in path.split("/"))


def _bytes_in(text: str) -> int:
    return len(text.encode(errors="replace"))  # a byte that is no UTF-8 is one surrogate (PEP 383), and one byte


@contextmanager
def opened_parent(root: int, target: str, relative: str) -> Iterator[int]:
    """A descriptor on the directory that ``relative`` is in, never outside of ``root`` nor on another mount.

    Links on the way are followed as long as they stay inside. Raises `StateForbids` where one leads out, and
    ``FileNotFoundError`` where there is no such directory. See RESOLVE_BENEATH in openat2(2).
    """
    parent = posixpath.dirname(relative) or "."
    try:
        descriptor = _open_beneath(root, parent)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise _leads_out(root, target, parent) from error
        if error.errno == errno.ENOTDIR:
            raise InvalidInput(f"{target}/{parent} is not a directory") from error
        if error.errno == errno.ELOOP:
            raise InvalidInput(f"{target}/{parent}: too many links") from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def place_below(root: int, descriptor: int) -> str:
    """Where an open directory is, relative to another one that is open, by the names that the kernel has for both."""
    start, end = (os.readlink(f"/proc/self/fd/{each}") for each in (root, descriptor))
    return posixpath.relpath(end, start)


def _open_beneath(root: int, path: str) -> int:
    """openat2(2), again where it says EAGAIN: anything was renamed or mounted while it followed a ``..``."""
    from ovlay.kernel import libc

    rules = libc.RESOLVE_BENEATH | libc.RESOLVE_NO_MAGICLINKS | libc.RESOLVE_NO_XDEV
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            return libc.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=rules)
    return libc.openat2(root, path, os.O_RDONLY | os.O_DIRECTORY, resolve=rules)


def _leads_out(root: int, target: str, parent: str) -> StateForbids:
    """The error that names the link, or the mount, through which the walk left the overlay."""
    walked = ""
    for part in parent.split("/"):
        walked = posixpath.join(walked, part)
        try:
            link = os.readlink(walked, dir_fd=root)
        except OSError:
            continue
        if link.startswith("/") or link.split("/").count("..") > walked.count("/"):
            return StateForbids(
                f"{target}/{walked} leads to {link}, which is not in the overlay: a file there would be persistent",
                remedy=f"choose a place below {target} that stays in it, or put the file there with install(1)",
            )
    return StateForbids(
        f"{target}/{parent} is on another mount, which is not in the overlay",
        remedy="unmount it first, or choose another place",
    )
