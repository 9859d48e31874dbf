"""Steps that take a path out of the merged view: because a manifest says so, or because a plan was stopped."""

from __future__ import annotations

import contextlib
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import InvalidInput, StateForbids
from ovlay.files.copying import look, remove_whole
from ovlay.plan.sharing import TEMPORARY, share
from ovlay.plan.step import Step
from ovlay.receipts import Receipt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ovlay.host import Host
    from ovlay.plan.sharing import Sharing


@dataclass(frozen=True, slots=True)
class RemovePath(Step):
    """A file, a link, or a directory with all that is in it goes; with a whiteout over it where the base has it."""

    kind: ClassVar[str] = "remove-path"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    target: str
    mount_id: int
    path: str
    durable: bool
    base: str | None = None
    manifest: str | None = None
    name: str = ""

    def describe(self) -> str:
        return f"remove {self.target}/{self.path}"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, self.path.rpartition("/")[0]),)

    def run(self, host: Host) -> str:
        demand_no_mounts(host, f"{self.target}/{self.path}")
        return share(host, self._run)

    def _run(self, shared: Sharing) -> None:
        journal = shared.journal(self.target, self.mount_id, durable=self.durable)
        name = self.path.rpartition("/")[2]
        folder = None
        with contextlib.suppress(FileNotFoundError):  # it went with its directory, in a step before this
            folder = shared.folder(self.target, self.mount_id, self.path, durable=self.durable)
        journal.intend([Receipt(self.path, "absent", manifest=self.manifest, name=self.name, base=self.base)])
        if folder is not None and look(name, folder.descriptor) is not None:
            remove_whole(folder.descriptor, name)
        journal.placed(self.path, None)


@dataclass(frozen=True, slots=True)
class RemoveStrays(Step):
    """What a plan that was stopped had begun and never finished: files under their temporary names."""

    kind: ClassVar[str] = "remove-strays"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    target: str
    mount_id: int
    paths: tuple[str, ...]
    durable: bool

    def describe(self) -> str:
        many = f"{len(self.paths)} files that were" if len(self.paths) != 1 else "a file that was"
        return f"remove {many} never finished, because an earlier run was stopped"

    def litter(self) -> Iterable[tuple[str, str]]:
        return {(self.target, path.rpartition("/")[0]) for path in self.paths}

    def run(self, host: Host) -> str:
        return share(host, self._run)

    def _run(self, shared: Sharing) -> None:
        for path in self.paths:
            name = path.rpartition("/")[2]
            if not name.startswith(TEMPORARY):
                raise InvalidInput(f"{path} is not a temporary name")
            with contextlib.suppress(FileNotFoundError):
                folder = shared.folder(self.target, self.mount_id, path, durable=self.durable)
                remove_whole(folder.descriptor, name)


def is_stray(name: str) -> bool:
    """Whether this is a name that a file has while it is being written."""
    token = name.removeprefix(TEMPORARY)
    return token != name and len(token) == 16 and all(letter in "0123456789abcdef" for letter in token)


def strays_in(directory: int) -> list[str]:
    """The temporary names in an open directory."""
    return sorted(name for name in os.listdir(directory) if is_stray(name))


def demand_no_mounts(host: Host, path: str) -> None:
    """Raise `StateForbids` where something is mounted on a directory that is to go, or below it."""
    if host.is_directory(path) and (point := mount_in(host, path)) is not None:
        raise StateForbids(
            f"{path} cannot be removed: something is mounted on {point}",
            remedy=f"unmount it first: `umount {shlex.quote(point)}`",
        )


def mount_in(host: Host, path: str) -> str | None:
    """The first mount on a directory, or below it; None where there is none."""
    table = host.kernel.mounts()
    found = (*table.stack(path), *table.below(path))
    return found[0].mount_point if found else None
