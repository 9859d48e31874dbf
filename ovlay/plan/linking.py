"""The step that puts a symbolic link into the merged view."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import InvalidInput
from ovlay.files.copying import look
from ovlay.plan.dressing import set_label, telling_space, temporary, wanted_label
from ovlay.plan.sharing import share
from ovlay.plan.step import Step
from ovlay.receipts import Receipt, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ovlay.host import Host
    from ovlay.plan.sharing import Sharing


@dataclass(frozen=True, slots=True)
class PlaceLink(Step):
    """A symbolic link with the text ``to``, which replaces what is there by rename(2). See `PlaceFile`."""

    kind: ClassVar[str] = "place-link"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    target: str
    mount_id: int
    path: str
    to: str
    uid: int
    gid: int
    label: str | None
    durable: bool
    base: str | None = None
    manifest: str | None = None
    name: str = ""

    def describe(self) -> str:
        return f"link {self.target}/{self.path} to {self.to}"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, self.path.rpartition("/")[0]),)

    def run(self, host: Host) -> str:
        return share(host, self._run)

    def _run(self, shared: Sharing) -> None:
        folder = shared.folder(self.target, self.mount_id, self.path, durable=self.durable)
        journal = shared.journal(self.target, self.mount_id, durable=self.durable)
        place, parent = f"{self.target}/{self.path}", folder.descriptor
        name = self.path.rpartition("/")[2]
        there = look(name, parent)
        if there is not None and stat.S_ISDIR(there.st_mode):
            raise InvalidInput(f"{place} is a directory", remedy="declare it absent first")
        with temporary(parent) as hidden, telling_space(self.target, self.path):
            os.symlink(self.to, hidden, dir_fd=parent)
            made = os.stat(hidden, dir_fd=parent, follow_symlinks=False)
            if (made.st_uid, made.st_gid) != (self.uid, self.gid):
                os.chown(hidden, self.uid, self.gid, dir_fd=parent, follow_symlinks=False)
            label = wanted_label(place, stat.S_IFLNK | 0o777, self.label, folder, replaces=there is not None)
            set_label(f"/proc/self/fd/{parent}/{hidden}", label)
            receipt = Receipt(
                self.path,
                "symlink",
                to=self.to,
                size=made.st_size,
                mode=stat.S_IMODE(made.st_mode),
                uid=self.uid,
                gid=self.gid,
                label=self.label,
                placed=stamp_of(made),
                manifest=self.manifest,
                name=self.name,
                base=self.base,
            )
            journal.intend([receipt])
            os.rename(hidden, name, src_dir_fd=parent, dst_dir_fd=parent)
            journal.placed(self.path, stamp_of(os.stat(name, dir_fd=parent, follow_symlinks=False)))
