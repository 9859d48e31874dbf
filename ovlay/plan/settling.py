"""Steps that see to directories and attributes as a manifest has them, and to what is known of what was placed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import Conflict
from ovlay.plan.dressing import set_label
from ovlay.plan.sharing import share
from ovlay.plan.step import Step
from ovlay.receipts import Receipt, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ovlay.host import Host
    from ovlay.plan.sharing import Sharing

_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class MakeDirectory(Step):
    """A directory that is there as a whole from its first moment on. Where one is there already nothing happens.

    The files that follow it in a plan appear with it: see `ovlay.plan.batching`.
    """

    kind: ClassVar[str] = "make-directory"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    target: str
    mount_id: int
    path: str
    mode: int
    uid: int
    gid: int
    label: str | None
    durable: bool
    base: str | None = None
    manifest: str | None = None
    name: str = ""

    def describe(self) -> str:
        return f"make the directory {self.target}/{self.path} (mode {self.mode:04o})"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, self.path.rpartition("/")[0]),)

    def run(self, host: Host) -> str:
        from ovlay.plan.batching import make_filled

        return share(host, lambda shared: make_filled(self, (), host, shared, []))


@dataclass(frozen=True, slots=True)
class AdjustAttributes(Step):
    """Mode, owner and label of a file or a directory whose content is right."""

    kind: ClassVar[str] = "adjust-attributes"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    target: str
    mount_id: int
    path: str
    mode: int
    uid: int
    gid: int
    label: str | None
    durable: bool
    sha256: str | None = None
    base: str | None = None
    manifest: str | None = None
    name: str = ""

    def describe(self) -> str:
        return f"give {self.target}/{self.path} mode {self.mode:04o}, owner {self.uid} and group {self.gid}"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, self.path.rpartition("/")[0]),)

    def run(self, host: Host) -> str:
        return share(host, self._run)

    def _run(self, shared: Sharing) -> None:
        folder = shared.folder(self.target, self.mount_id, self.path, durable=self.durable)
        journal = shared.journal(self.target, self.mount_id, durable=self.durable)
        node = os.open(self.path.rpartition("/")[2], _NODE, dir_fd=folder.descriptor)
        try:
            found = os.fstat(node)
            if stat.S_IFMT(found.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                raise Conflict(f"{self.target}/{self.path} is another file by now", remedy="try again")
            kind = "directory" if stat.S_ISDIR(found.st_mode) else "file"
            journal.intend([receipt_of(self, kind, found)])
            where = f"/proc/self/fd/{node}"
            if (found.st_uid, found.st_gid) != (self.uid, self.gid):
                os.chown(where, self.uid, self.gid)
            if self.label is not None:
                # Through /proc this is the very file that the descriptor is on, and no link is followed.
                set_label_through(where, os.fsencode(self.label) + b"\0")
            os.chmod(where, self.mode)
        finally:
            os.close(node)
        # Its first change may have given it another inode: it was copied up.
        name = self.path.rpartition("/")[2]
        journal.placed(self.path, stamp_of(os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)))


def set_label_through(where: str, label: bytes) -> None:
    """Give a file a label by what /proc calls a descriptor on it."""
    descriptor = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        set_label(descriptor, label)
    finally:
        os.close(descriptor)


def receipt_of(step: MakeDirectory | AdjustAttributes, kind: str, found: os.stat_result) -> Receipt:
    """The receipt of what a step made, or gave other attributes."""
    return Receipt(
        step.path,
        kind,
        step.sha256 if isinstance(step, AdjustAttributes) else None,
        size=found.st_size if kind == "file" else 0,
        mode=step.mode,
        uid=step.uid,
        gid=step.gid,
        label=step.label,
        placed=stamp_of(found),
        manifest=step.manifest,
        name=step.name,
        base=step.base,
    )


@dataclass(frozen=True, slots=True)
class SettleReceipts(Step):
    """Forget what is not ovlay's any more: the base is in its place again, or somebody else's file."""

    kind: ClassVar[str] = "settle-receipts"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    target: str
    mount_id: int
    paths: tuple[str, ...]
    durable: bool

    def describe(self) -> str:
        many = f"{len(self.paths)} paths" if len(self.paths) != 1 else f"{self.target}/{self.paths[0]}"
        return f"forget the receipts of {many}"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, ""),)

    def run(self, host: Host) -> str:
        return share(host, self._run)

    def _run(self, shared: Sharing) -> None:
        shared.journal(self.target, self.mount_id, durable=self.durable).forget(self.paths)
