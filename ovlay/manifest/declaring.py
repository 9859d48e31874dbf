"""What the manifests of a host declare for one overlay: found, loaded, and held against what the base is."""

from __future__ import annotations

import posixpath
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput, NotPermitted
from ovlay.manifest.conditions import Facts
from ovlay.manifest.search import manifest_folders
from ovlay.manifest.sides import Sides
from ovlay.manifest.stack import load_stack, resolve
from ovlay.paths import normal

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from ovlay.backend import Backend
    from ovlay.manifest.document import Declared, Manifest


def declare(
    backend: Backend,
    paths: Sequence[str | os.PathLike[str]] = (),
    *,
    user: bool = True,
    base_has: Callable[[str], bool] | None = None,
) -> Declared:
    """What these manifests say, or where none is named, those that are found; ``user`` is whether the user's count.

    ``base_has`` answers whether the base has a path of the target, where this process may not look beneath the overlay.

    Raises `InvalidManifest`, `NotPermitted`, and `InvalidInput` for manifests of another target.
    """
    begun = time.time_ns()
    manifests = load_stack(backend.host, paths, user=user)
    with facts_about(backend, manifests, base_has=base_has) as facts:
        declared = resolve(manifests, facts)
    if declared.target != backend.target and declared.manifests:
        remedy = f"say --target {declared.target}"
        if backend.host.resolved(declared.target) == backend.target:
            remedy = f"write {backend.target} in it: {declared.target} leads there through a link"
        raise InvalidInput(
            f"{', '.join(declared.manifests)} is for {declared.target}, and not for {backend.target}", remedy=remedy
        )
    searched = () if paths else manifest_folders(backend.host, user=user)
    return declared._replace(read=begun, searched=searched)


@contextmanager
def facts_about(
    backend: Backend, manifests: Sequence[Manifest], *, base_has: Callable[[str], bool] | None = None
) -> Iterator[Facts]:
    """What the conditions of these manifests are held against; the base is open meanwhile, where one asks about it.

    ``base_has`` as in `declare`.
    """
    from ovlay.changes.find import overlay_of

    status = backend.status() if any(_asks_the_base(manifest) for manifest in manifests) else None
    sides = None
    if status is not None:
        sides = Sides(backend, None if status.overlay is None else overlay_of(backend))

    def has(asked: str) -> bool:
        path = normal(asked)
        if sides is None or not path.startswith(backend.target + "/"):
            return backend.host.exists(path)
        try:
            return sides.base.look(posixpath.relpath(path, backend.target)) is not None
        except NotPermitted:
            if base_has is None:
                raise
            return base_has(path)

    try:
        yield Facts(backend.host.os_release, backend.base(), has)
    finally:
        if sides is not None:
            sides.close()


def _asks_the_base(manifest: Manifest) -> bool:
    conditions = (manifest.when, *(entry.when for entry in manifest.entries))
    return any(when.missing or when.present for when in conditions)
