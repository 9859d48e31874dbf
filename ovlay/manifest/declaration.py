"""What is declared for a target on this host: the manifests that count, and of their entries those that hold here."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput
from ovlay.manifest.conditions import Facts
from ovlay.manifest.stack import load_stack, resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.backend import Backend
    from ovlay.manifest.document import Declared


def find_declaration(
    backend: Backend, manifests: Sequence[str | os.PathLike[str]] = (), *, user: bool = True
) -> Declared:
    """What these manifests say together, or those that are found, for the target of the driver.

    Without ``user`` only the system's are found. Raises `InvalidManifest` with every mistake in all of them, and
    `InvalidInput` where they are for another target.
    """
    target = backend.target
    with ExitStack() as stack:
        base = _Base(backend, stack)
        facts = Facts(backend.host.os_release, backend.base(), base.has)
        declared = resolve(load_stack(backend.host, manifests, user=user), facts)
    if declared.manifests and declared.target != target:
        raise InvalidInput(
            f"{declared.manifests[-1]} is for {declared.target}, not {target}", remedy=f"say --target {declared.target}"
        )
    return declared


class _Base:
    """What the base has, looked at only where a condition asks for it."""

    def __init__(self, backend: Backend, stack: ExitStack) -> None:
        self._backend = backend
        self._stack = stack
        self._lower: int | None = None

    def has(self, path: str) -> bool:
        """Whether the base has an absolute path. Outside of the target that is what the host has."""
        backend = self._backend
        if not path.startswith(backend.target + "/"):
            return backend.host.exists(path)
        if self._lower is None:
            self._lower = self._opened()
        from ovlay.manifest.sides import Side

        side = Side(self._lower, backend.target)
        try:
            return side.look(path[len(backend.target) + 1 :]) is not None
        finally:
            side.close()

    def _opened(self) -> int:
        from ovlay.changes.find import overlay_of

        backend = self._backend
        if backend.status().overlay is None:
            descriptor = os.open(backend.host.path(backend.target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._stack.callback(os.close, descriptor)
            return descriptor
        mount = overlay_of(backend)
        views = self._stack.enter_context(backend.host.kernel.views(mount, backend.upper_candidates(mount)))
        return views.lower
