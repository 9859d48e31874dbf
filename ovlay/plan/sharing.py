"""What the steps of one plan have in common: one writable view, the directory in it that is open, one journal.

Ten thousand files are placed through one view, and of a directory with a hundred of them the way is walked once.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from ovlay.files.destination import opened_parent
from ovlay.files.label import read_label
from ovlay.plan.mounting import topmost
from ovlay.recording import Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ovlay.host import Host
    from ovlay.kernel import Mount
    from ovlay.plan.halving import Placing
    from ovlay.receipts import Stamp, Told


TEMPORARY = ".ovlay-new-"
"""How the name of a file begins while it is being written; 16 hexadecimal digits follow."""


class Folder(NamedTuple):
    """A directory of the merged view that something is placed in: a descriptor, and its label."""

    descriptor: int
    label: bytes | None


class Sharing:
    """Opened when a step first asks for it, and closed when a step comes that changes what is mounted."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._view: contextlib.ExitStack = contextlib.ExitStack()
        self._opened: tuple[str, Mount, int] | None = None
        self._folder: contextlib.ExitStack = contextlib.ExitStack()
        self._inside: tuple[str, Folder] | None = None
        self._durable = False
        self._journals: dict[tuple[str, bool], Journal] = {}
        self._token, self._count = os.urandom(4).hex(), 0
        self.missed: list[str] = []
        """What could not be written down, for a person: known once it is closed."""

    def view(self, target: str, mount_id: int) -> int:
        """A directory descriptor on the merged view; `Conflict` where another mount is on the target."""
        if self._opened is not None and self._opened[0] == target and mount_id in (0, self._opened[1].mount_id):
            return self._opened[2]
        self.release()
        mount = topmost(self._host, target, mount_id)
        descriptor = self._view.enter_context(self._host.kernel.writable_view(target))
        self._opened = (target, mount, descriptor)
        return descriptor

    def folder(self, target: str, mount_id: int, path: str, *, durable: bool) -> Folder:
        """The directory that ``path`` is in. What is placed in it is on the disk once it is closed, where durable."""
        parent = path.rpartition("/")[0]
        view = self.view(target, mount_id)
        if self._inside is None or self._inside[0] != parent:
            self.leave()
            descriptor = self._folder.enter_context(opened_parent(view, target, path))
            self._inside = (parent, Folder(descriptor, read_label(descriptor)))
        self._durable = self._durable or durable
        return self._inside[1]

    def journal(self, target: str, mount_id: int, *, durable: bool) -> Journal:
        """Where what is placed on a target is written down."""
        found = self._journals.get((target, durable))
        if found is None:
            self.view(target, mount_id)
            assert self._opened is not None
            found = Journal(self._host, target, durable=durable, identity=self._opened[1].device)
            self._journals[target, durable] = found
            found.begin()
        return found

    def unused_name(self) -> str:
        """A name that nothing has, for what is being written: see `TEMPORARY`."""
        self._count += 1
        return f"{TEMPORARY}{self._token}{self._count:08x}"

    # --- between two processes: see `ovlay.plan.halving` ---

    def prepare(self, steps: Iterable[Placing]) -> None:
        """Open what two processes are going to share, and write down for whom these steps are."""
        known: set[tuple[str | None, str]] = set()
        for step in steps:
            if (step.manifest, step.name) not in known:
                known.add((step.manifest, step.name))
                journal = self.journal(step.target, step.mount_id, durable=step.durable)
                journal.introduce(step.manifest, step.name)

    def forget(self) -> None:
        """Of a process that was copied: what the other one does is its own affair."""
        self.leave()
        for journal in self._journals.values():
            journal.forget_all()

    def told(self) -> list[list[Told]]:
        """What was placed since, for the other process."""
        return [journal.told() for journal in self._journals.values()]

    def take(self, told: list[list[Told]] | None) -> None:
        """What the other process placed; None where it could not say so, but only wrote down its intents."""
        for number, journal in enumerate(self._journals.values()):
            journal.take(None if told is None else told[number])

    def release(self) -> None:
        """Close what is open of the overlay, so that it can be mounted otherwise."""
        self.leave()
        self._opened = None
        self._view.close()

    def close(self) -> None:
        """Close everything, and write the receipts anew."""
        try:
            self.release()
        finally:
            for journal in self._journals.values():
                self.missed += journal.settle()

    def placed(self) -> dict[str, Stamp | None]:
        """How all that was placed looked then, by path in its target."""
        return {path: stamp for journal in self._journals.values() for path, stamp in journal.stamps.items()}

    def leave(self) -> None:
        """Close the directory that is open; what was placed in it is on the disk then, where durable."""
        if self._inside is None:
            return
        try:
            if self._durable:
                os.fsync(self._inside[1].descriptor)
        finally:
            self._inside, self._durable = None, False
            self._folder.close()


def share(host: Host, work: Callable[[Sharing], None]) -> str:
    """Do the work of one step with what its plan shares; for a step that runs alone, with something of its own."""
    if host.shared is not None:
        work(host.shared)
        return ""
    with begun_sharing(host) as shared:
        work(shared)
    return "; ".join(shared.missed)


@contextlib.contextmanager
def begun_sharing(host: Host) -> Iterator[Sharing]:
    """Let all steps that run on a host meanwhile share."""
    host.shared = Sharing(host)
    try:
        yield host.shared
    finally:
        shared, host.shared = host.shared, None
        shared.close()
