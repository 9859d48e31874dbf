"""Which paths of a target are meant: links on the way are followed, and something must be there on either side."""

from __future__ import annotations

import errno
import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple

from ovlay.advice import command
from ovlay.changes.descent import descend
from ovlay.errors import InvalidInput, NotPermitted
from ovlay.files.copying import look
from ovlay.paths import inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ovlay.backend import Backend

_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class Meant(NamedTuple):
    """What is meant: the paths relative to the target, and as they were given those of which nothing is there."""

    target: str
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def demand_all(self) -> tuple[str, ...]:
        """What was found; raises `InvalidInput` where something is missing."""
        if self.missing:
            raise no_such_path(self.missing[0], self.target)
        return self.found


def find_meant(backend: Backend, sides: Sequence[int], paths: Iterable[str]) -> Meant:
    """What paths mean that are absolute or relative to the target; ``sides`` are open directories, one for each view.

    A path that is there on one of the sides as it is written means that. Else links on the way to it are followed as
    far as they stay in the target. What cannot be looked at counts as there. Raises `InvalidInput` for a path that is
    empty or not in the target, `StateForbids` for one that leads out of the overlay, `NotPermitted`.
    """
    found, missing = [], []
    for given in paths:
        path = inside(backend.target, given)
        if path != "." and not _is_somewhere(sides, path):
            path = _followed(backend, path)
            if not _is_somewhere(sides, path):
                missing.append(given)
                continue
        found.append(path)
    return Meant(backend.target, (".",) if "." in found else tuple(dict.fromkeys(found)), tuple(missing))


def no_such_path(path: str, target: str) -> InvalidInput:
    """The error for a path of which nothing is there."""
    return InvalidInput(
        f"{path}: there is no such path, neither now nor in the base",
        remedy=f"{command('ovlay diff', target)} lists what differs",
    )


def _is_somewhere(sides: Sequence[int], path: str) -> bool:
    return any(_is_there(side, path) for side in sides)


def _is_there(side: int, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    try:
        parent = descend(side, folder)
        try:
            return look(name, parent) is not None
        finally:
            os.close(parent)
    except OSError as error:
        return error.errno not in _NOWHERE


def _followed(backend: Backend, path: str) -> str:
    """The same path by where its directory really is, as the target shows it; as it is where it has none."""
    from ovlay.files.destination import opened_parent, place_below

    root = os.open(backend.host.path(backend.target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with opened_parent(root, backend.target, path) as parent:
            return posixpath.normpath(posixpath.join(place_below(root, parent), posixpath.basename(path)))
    except PermissionError as error:
        raise NotPermitted(f"{backend.target}/{path}: may not be looked at", remedy="run it as root") from error
    except OSError as error:
        if error.errno not in _NOWHERE:
            raise
        return path
    finally:
        os.close(root)
