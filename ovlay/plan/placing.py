"""Steps that put a file into the merged view: written under a temporary name, complete, and then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import Conflict, InvalidInput, NoSpace
from ovlay.files.label import ATTRIBUTE, label_for
from ovlay.files.source import BLOCK
from ovlay.plan.sharing import TEMPORARY, share
from ovlay.plan.step import Step
from ovlay.receipts import Receipt, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.host import Host
    from ovlay.plan.sharing import Folder, Sharing
    from ovlay.recording import Journal

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


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
        if _found(name, parent) is not None:
            return
        with temporary(parent) as hidden, telling_space(place):
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
    replaced and not followed.
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
        return f"place {what} at {self.target}/{self.path} (mode {self.mode:04o}, {self.size} bytes)"

    def litter(self) -> Iterable[tuple[str, str]]:
        return ((self.target, self.path.rpartition("/")[0]),)

    def run(self, host: Host) -> str:
        if self.text is not None:
            return share(host, lambda shared: self._place(shared, None))
        with host.opened_source(self.source) as source:
            return share(host, lambda shared: self._place(shared, source))

    def _place(self, shared: Sharing, source: int | None) -> None:
        folder = shared.folder(self.target, self.mount_id, self.path, durable=self.durable)
        journal = shared.journal(self.target, self.mount_id, durable=self.durable)
        parent, name = folder.descriptor, self.path.rpartition("/")[2]
        replaced = _found(name, parent)
        if replaced is not None and stat.S_ISDIR(replaced.st_mode):
            raise InvalidInput(f"{self.target}/{self.path} is a directory", remedy="name the file in it")
        hidden = shared.unused_name()
        new = os.open(hidden, _NEW, 0o600, dir_fd=parent)
        try:
            self._fill(journal, source, new, folder, replaces=replaced is not None)
            os.rename(hidden, name, src_dir_fd=parent, dst_dir_fd=parent)
            journal.placed(self.path, os.fstat(new))
        except BaseException as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(hidden, dir_fd=parent)
            if isinstance(error, OSError):
                with telling_space(f"{self.target}/{self.path}"):
                    raise
            raise
        finally:
            os.close(new)

    def _fill(self, journal: Journal, source: int | None, new: int, folder: Folder, *, replaces: bool) -> None:
        """Content, attributes and intent: all but the name."""
        came, sha256 = (None, self._write(new)) if source is None else self._copy(source, new)
        made = os.fstat(new)
        place, mode = f"{self.target}/{self.path}", self.mode
        label = wanted_label(place, stat.S_IFREG | mode, self.label, folder, replaces=replaces)
        if (made.st_uid, made.st_gid) != (self.uid, self.gid):
            os.fchown(new, self.uid, self.gid)
        set_label(new, label)
        os.fchmod(new, mode)
        if self.durable:
            os.fsync(new)
        journal.intend(
            Receipt(
                self.path,
                "file",
                sha256,
                None,
                self.size,
                mode,
                self.uid,
                self.gid,
                self.label,
                None if came is None else self.source,
                None if came is None else stamp_of(came),
                stamp_of(made),
                self.manifest,
                self.name,
                journal.when,
                journal.by,
                self.base,
            )
        )

    def _write(self, new: int) -> str:
        import hashlib

        content = (self.text or "").encode("utf-8", "surrogateescape")
        _write_all(new, content)
        return hashlib.sha256(content).hexdigest()

    def _copy(self, source: int, new: int) -> tuple[os.stat_result, str]:
        """Copy the content, and refuse it where it is not what the plan was made for, or changes meanwhile."""
        import hashlib

        digest, size = hashlib.sha256(), 0
        while chunk := os.read(source, BLOCK):
            digest.update(chunk)
            _write_all(new, chunk)
            size += len(chunk)
            if size >= self.size and len(chunk) < BLOCK:
                break
        came, sha256 = os.fstat(source), digest.hexdigest()
        if size != self.size or came.st_size != size or (self.sha256 is not None and sha256 != self.sha256):
            raise self._changed()
        if self.stamp and stamp_of(came) != self.stamp:  # the same at the end is the same all the time
            raise self._changed()
        return came, sha256

    def _changed(self) -> Conflict:
        return Conflict(f"{self.source} changed since the plan was made", remedy="try again")


# --- what all that is placed has in common ---------------------------------------------------------------------------

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def temporary(parent: int) -> Iterator[str]:
    """A name in a directory that nothing has; what still has it after a failure is removed."""
    hidden = TEMPORARY + secrets.token_hex(8)
    try:
        yield hidden
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(hidden, dir_fd=parent, follow_symlinks=False)
            (os.rmdir if stat.S_ISDIR(found.st_mode) else os.unlink)(hidden, dir_fd=parent)
        raise


@contextlib.contextmanager
def telling_space(place: str) -> Iterator[None]:
    """Raise `NoSpace` where the filesystem behind the overlay is full."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace(
                f"no space for {place}: {error.strerror}",
                remedy="`ovlay status` names the filesystem that is full; make room there",
            ) from error
        raise


def wanted_label(place: str, mode: int, asked: str | None, folder: Folder, *, replaces: bool) -> bytes | None:
    """The label for what is placed at the absolute path ``place``: what was asked for, else what `label_for` says."""
    if asked is not None:
        return os.fsencode(asked) + b"\0"
    replaced = f"/proc/self/fd/{folder.descriptor}/{place.rpartition('/')[2]}" if replaces else None
    return label_for(place, mode, replaced=replaced, inherited=folder.label)


def dress(descriptor: int, uid: int, gid: int, mode: int, label: bytes | None) -> None:
    """Owner, label and mode of an open file, in the order in which none of them undoes another."""
    found = os.fstat(descriptor)
    if (found.st_uid, found.st_gid) != (uid, gid):
        os.fchown(descriptor, uid, gid)
    set_label(descriptor, label)
    os.fchmod(descriptor, mode)


def set_label(where: int | str, label: bytes | None) -> None:
    """Give a file, by descriptor or by path, a label, where its filesystem has labels."""
    if label is None:
        return
    try:
        os.setxattr(where, ATTRIBUTE, label, follow_symlinks=isinstance(where, int))
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise


def _found(name: str, parent: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _write_all(descriptor: int, content: bytes) -> None:
    rest = content[os.write(descriptor, content) :]
    while rest:
        rest = rest[os.write(descriptor, rest) :]
