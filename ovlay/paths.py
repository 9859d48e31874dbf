"""Paths as a caller gives them: one or several, absolute or relative to a target."""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, TypeAlias

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

Paths: TypeAlias = "str | os.PathLike[str] | Iterable[str | os.PathLike[str]]"
"""One path, or several."""


def listed(paths: Paths) -> list[str]:
    """Several paths as a list of text, and a single one as a list of one."""
    return [os.fspath(path) for path in ((paths,) if isinstance(paths, str | os.PathLike) else paths)]


def inside(target: str, path: str) -> str:
    """A path, absolute or relative to the target, as one relative to it; ``.`` is the target itself.

    Raises `InvalidInput` for one outside, and for an empty one: by path_resolution(7) that is no path, and what a
    script's unset variable leaves must not stand for the whole target.
    """
    if not path:
        raise InvalidInput("an empty path was given", remedy=f"say {target} for all of it")
    if "\0" in path:
        raise InvalidInput(f"{path!r} contains a null character")
    plain = normal(posixpath.join(target, path))
    if plain == target:
        return "."
    if not plain.startswith(target + "/"):
        raise InvalidInput(f"{path} is not in {target}", remedy=f"give a path below {target}")
    return plain[len(target) + 1 :]


def demand_inside(target: str, paths: Iterable[str]) -> None:
    """Raise `InvalidInput` for the first of these paths that cannot be in the target."""
    for path in paths:
        inside(target, path)


def anywhere(path: str) -> str:
    """A path that need not be in any target, absolute; raises `InvalidInput` for an empty one."""
    if not path:
        raise InvalidInput("an empty path was given", remedy="say . for the directory that this is started in")
    return normal(os.path.abspath(path))


def normal(path: str) -> str:
    """An absolute path in its one form; ``posixpath.normpath`` leaves two slashes at its beginning as they are."""
    return posixpath.normpath("/" + path.lstrip("/"))
