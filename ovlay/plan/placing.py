"""Steps that put a file into the merged view: written under a temporary name, complete, and then renamed."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.counting import counted
from ovlay.files.label import label_for
from ovlay.plan.dressing import DIRECTORY, dress, telling_space, temporary
from ovlay.plan.sharing import share
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ovlay.host import Host
    from ovlay.plan.sharing import Sharing


@dataclass(frozen=True, slots=True)
class MakeLeadingDirectory(Step):
    """A directory in the merged view that a file is going to be placed in, with the label that belongs there."""

    kind: ClassVar[str] = "make-leading-directory"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    target: str
    mount_id: int
    path: str
    mode: int
    uid: int
    gid: int

    def describe(self) -> str:
        return f"make the directory {self.target}/{self.path}"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, self.path.rpartition("/")[0]),)

    def run(self, host: Host) -> str:
        return share(host, self._run)

    def _run(self, shared: Sharing) -> None:
        folder = shared.folder(self.target, self.mount_id, self.path, durable=False)
        place, parent, name = f"{self.target}/{self.path}", folder.descriptor, self.path.rpartition("/")[2]
        if _is_there(name, parent):
            return
        with temporary(parent) as hidden, telling_space(self.target, self.path):
            os.mkdir(hidden, 0o700, dir_fd=parent)
            made = os.open(hidden, DIRECTORY, dir_fd=parent)
            try:
                label = label_for(place, stat.S_IFDIR, replaced=None, inherited=folder.label)
                dress(made, self.uid, self.gid, self.mode, label)
            finally:
                os.close(made)
            os.rename(hidden, name, src_dir_fd=parent, dst_dir_fd=parent)


@dataclass(frozen=True, slots=True)
class PlaceFile(Step):
    """One file, atomically: the content of ``source``, or ``text`` itself where that is given.

    ``size`` and ``sha256`` are those of the source when the plan was made; where it was not read then, ``sha256`` is
    None, and ``stamp`` says by its stat(2) which file it was (see `ovlay.receipts.stamp_of`). The source is refused
    where it is another by now. ``mount_id`` is that of the overlay: without it the file would land in what lies
    beneath. ``label`` is a SELinux label, where one was asked for; ``base``, ``manifest`` and ``name`` go into the
    receipt.

    The destination is replaced by rename(2), so a running program keeps its own file (no ETXTBSY) and a link there is
    replaced and not followed. Many files for one directory are placed together: see `ovlay.plan.batching`.
    """

    kind: ClassVar[str] = "place-file"
    keeps: ClassVar[bool] = True
    shares: ClassVar[bool] = True

    source: str
    target: str
    mount_id: int
    path: str
    size: int
    sha256: str | None
    mode: int
    uid: int
    gid: int
    durable: bool
    text: str | None = None
    stamp: tuple[int, ...] = ()
    label: str | None = None
    base: str | None = None
    manifest: str | None = None
    name: str = ""

    def describe(self) -> str:
        what = self.source if self.text is None else "text"
        return f"place {what} at {self.target}/{self.path} (mode {self.mode:04o}, {counted(self.size, 'byte')})"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, self.path.rpartition("/")[0]),)

    def run(self, host: Host) -> str:
        from ovlay.plan.batching import place_together

        return share(host, lambda shared: place_together((self,), host, shared, []))


def _is_there(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
