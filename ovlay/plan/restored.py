"""What is not as in the base after a restoration: each path that was restored is compared again."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from ovlay.changes.classify import Comparison
from ovlay.files.copying import DIRECTORY, descend, look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.host import Host
    from ovlay.kernel import Mount, Views


def private(mount: Mount) -> tuple[str, ...]:
    """The prefix of the attributes in a layer that belong to the overlay."""
    return ("user.overlay.",) if "userxattr" in mount.super_options.split(",") else ("trusted.overlay.",)


def still_different(host: Host, mount: Mount, views: Views, paths: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Which of these paths are not as in the base, and in what. Of directories only their own attributes count."""
    from ovlay.host import Host as PlainHost

    plain = type(host).permissions is PlainHost.permissions
    walk = Comparison(
        views,
        private=private(mount),
        labels=not mount.super_values("context"),
        permissions=None if plain else host.permissions,
    )
    for path in paths:
        folder, _, name = path.rpartition("/")
        with contextlib.ExitStack() as stack:
            sides: list[int] = []
            try:
                for view in (views.merged, views.lower):
                    sides.append(descend(view, folder))
                    stack.callback(os.close, sides[-1])
            except OSError:
                # Where the base has no such directory, an added path must be gone; where the view has none it is.
                if len(sides) == 1 and look(name, sides[0]) is not None:
                    yield path, "it is there still"
                continue
            yield from _compared(walk, path, name, sides)
    yield from ((row[0], "it differs still") for row in walk.rows)
    yield from walk.errors.items()


def _compared(walk: Comparison, path: str, name: str, sides: list[int]) -> Iterator[tuple[str, str]]:
    now, was = (look(name, side) for side in sides)
    if now is None or was is None or not (stat.S_ISDIR(now.st_mode) and stat.S_ISDIR(was.st_mode)):
        walk.name(path, name, sides[0], sides[1], 0)
    else:
        merged, lower = (os.open(name, DIRECTORY, dir_fd=side) for side in sides)
        try:
            walk.directory(path, merged, lower, now, was)
        finally:
            os.close(merged)
            os.close(lower)
    if now is not None and was is not None and now.st_mtime_ns != was.st_mtime_ns:
        yield path, "its modification time differs"
