"""What all that is placed has in common: a temporary name, an owner, a label and a mode before it has its own name."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.errors import NoSpace
from ovlay.files.copying import remove_whole
from ovlay.files.label import ATTRIBUTE, label_for
from ovlay.plan.sharing import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.plan.sharing import Folder

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def temporary(parent: int) -> Iterator[str]:
    """A name in a directory that nothing has; what still has it after a failure is removed."""
    hidden = TEMPORARY + os.urandom(8).hex()
    try:
        yield hidden
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            remove_whole(parent, hidden)
        raise


@contextlib.contextmanager
def telling_space(target: str, path: str) -> Iterator[None]:
    """Raise `NoSpace` where the filesystem behind the overlay is full."""
    try:
        yield
    except OSError as error:
        tell_space(error, target, path)
        raise


def tell_space(error: OSError, target: str, path: str) -> None:
    """Raise `NoSpace` for an error that says that a filesystem is full; do nothing for any other."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise NoSpace(
            f"no space for {target}/{path}: {error.strerror}",
            remedy=f"{command('ovlay status', target)} names the filesystem that is full; make room there",
        ) from error


def wanted_label(place: str, mode: int, asked: str | None, folder: Folder, *, replaces: bool) -> bytes | None:
    """The label for what is placed at the absolute path ``place``: what was asked for, else what `label_for` says."""
    if asked is not None:
        return os.fsencode(asked) + b"\0"
    replaced = f"/proc/self/fd/{folder.descriptor}/{place.rpartition('/')[2]}" if replaces else None
    return label_for(place, mode, replaced=replaced, inherited=folder.label)


def dress(descriptor: int, uid: int, gid: int, mode: int, label: bytes | None) -> None:
    """Owner, label and mode of an open file, in the order in which none of them undoes another."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
    set_label(descriptor, label)
    os.fchmod(descriptor, mode)


def set_label(where: int | str, label: bytes | None) -> None:
    """Give a file, by descriptor or by path, a label, where its filesystem has labels."""
    if label is None:
        return
    try:
        os.setxattr(where, ATTRIBUTE, label, follow_symlinks=isinstance(where, int))
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
