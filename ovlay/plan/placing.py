"""Steps that put a file into the merged view: written under a temporary name, complete, and then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import Conflict, InvalidInput, NoSpace
from ovlay.files.destination import opened_parent
from ovlay.files.label import ATTRIBUTE, label_for
from ovlay.files.source import BLOCK, opened_source
from ovlay.plan.mounting import topmost
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from ovlay.host import Host

TEMPORARY = ".ovlay-new-"
"""How the name of a file begins while it is being written."""


@dataclass(frozen=True, slots=True)
class MakeLeadingDirectory(Step):
    """A directory in the merged view that a file is going to be placed in, with the label that belongs there."""

    kind: ClassVar[str] = "make-leading-directory"

    target: str
    mount_id: int
    path: str
    mode: int
    uid: int
    gid: int

    def describe(self) -> str:
        return f"make the directory {self.target}/{self.path}"

    def run(self, host: Host) -> str:
        topmost(host, self.target, self.mount_id)
        with (
            host.kernel.writable_view(self.target) as view,
            opened_parent(view, self.target, self.path) as parent,
        ):
            name = posixpath.basename(self.path)
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=parent)
                made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
                try:
                    _set_owner(made, self.uid, self.gid)
                    label = label_for(f"{self.target}/{self.path}", stat.S_IFDIR, replaced=None, parent=parent)
                    _set_label(made, label)
                    os.fchmod(made, self.mode)
                finally:
                    os.close(made)
        return ""


@dataclass(frozen=True, slots=True)
class PlaceFile(Step):
    """One file, atomically. ``sha256`` and ``size`` are those of the source when the plan was made.

    ``mount_id`` is that of the overlay: without it the file would land in what lies beneath.

    The source is refused where it is another file by now. The destination is replaced by rename(2), so a running
    program keeps its own file (no ETXTBSY) and a link there is replaced and not followed.
    """

    kind: ClassVar[str] = "place-file"

    source: str
    target: str
    mount_id: int
    path: str
    size: int
    sha256: str
    mode: int
    uid: int
    gid: int
    durable: bool

    def describe(self) -> str:
        return f"place {self.source} at {self.target}/{self.path} (mode {self.mode:04o}, {self.size} bytes)"

    def run(self, host: Host) -> str:
        topmost(host, self.target, self.mount_id)
        with (
            opened_source(self.source) as source,
            host.kernel.writable_view(self.target) as view,
            opened_parent(view, self.target, self.path) as parent,
        ):
            name = posixpath.basename(self.path)
            if _is_directory(name, parent):
                raise InvalidInput(f"{self.target}/{self.path} is a directory", remedy="name the file in it")
            temporary = TEMPORARY + secrets.token_hex(8)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            new = os.open(temporary, flags, 0o600, dir_fd=parent)
            try:
                self._fill(source, new)
                self._finish(new, name, parent)
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException as error:
                os.unlink(temporary, dir_fd=parent)
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise NoSpace(
                        f"no space for {self.target}/{self.path}: {error.strerror}",
                        remedy="`ovlay status` names the filesystem that is full; make room there",
                    ) from error
                raise
            finally:
                os.close(new)
            if self.durable:
                os.fsync(parent)
        return ""

    def _fill(self, source: int, new: int) -> None:
        """Copy the content, and refuse it where it is not what the plan was made for."""
        import hashlib

        digest, size = hashlib.sha256(), 0
        while chunk := os.pread(source, BLOCK, size):
            digest.update(chunk)
            size += len(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(new, rest) :]
        if size != self.size or digest.hexdigest() != self.sha256:
            raise Conflict(f"{self.source} changed since the plan was made", remedy="try again")

    def _finish(self, new: int, name: str, parent: int) -> None:
        """Owner, label and mode, in the order in which none of them undoes another; then what must be on the disk."""
        _set_owner(new, self.uid, self.gid)
        old: int | None = None
        with contextlib.suppress(OSError):
            old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=parent)
        try:
            label = label_for(f"{self.target}/{self.path}", stat.S_IFREG | self.mode, replaced=old, parent=parent)
        finally:
            if old is not None:
                os.close(old)
        _set_label(new, label)
        os.fchmod(new, self.mode)
        if self.durable:
            os.fsync(new)


def _is_directory(name: str, parent: int) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _set_owner(descriptor: int, uid: int, gid: int) -> None:
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)


def _set_label(descriptor: int, label: bytes | None) -> None:
    if label is None:
        return
    try:
        os.setxattr(descriptor, ATTRIBUTE, label)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
