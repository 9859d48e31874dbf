"""Sealed trees: a read-only mount played with what a filesystem has without one.

With root's privilege directories and files get the immutable flag (ioctl_iflags(2)), which binds root too, and nothing
else about them changes. Where that is refused, write permission is taken away from all of them, and the true modes
are kept in a file; where root runs in a container that binds everyone but root. Both can be undone by the files'
owner, as the mount could be by root; and a write is refused with EPERM or EACCES where a read-only mount says EROFS.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# _IOR('f', 1, long) and _IOW('f', 2, long) of include/uapi/linux/fs.h. A few architectures number them otherwise:
# there the call fails, and modes are used.
_LONG = struct.calcsize("l")
_GET_FLAGS = 0x80006601 | _LONG << 16
_SET_FLAGS = 0x40006602 | _LONG << 16
_IMMUTABLE = 0x10

_WRITE = 0o222


def set_immutable(path: str, *, on: bool) -> bool:
    """Set or clear the immutable flag of a file or directory; whether it is so then. False for anything else."""
    if stat.S_IFMT(os.lstat(path).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _set_immutable(descriptor, on=on)
    finally:
        os.close(descriptor)


def _set_immutable(descriptor: int, *, on: bool) -> bool:
    try:
        flags = _flags(descriptor)
        if bool(flags & _IMMUTABLE) is not on:
            changed = flags | _IMMUTABLE if on else flags & ~_IMMUTABLE
            fcntl.ioctl(descriptor, _SET_FLAGS, struct.pack("i", changed))
            return bool(_flags(descriptor) & _IMMUTABLE) is on
    except OSError:
        return False
    return True


def _flags(descriptor: int) -> int:
    value: int = struct.unpack("i", fcntl.ioctl(descriptor, _GET_FLAGS, struct.pack("i", 0)))[0]
    return value


class Seals:
    """Which trees are sealed, and what the modes of their files truly are; kept in the file ``record``."""

    def __init__(self, record: str) -> None:
        self._record = record
        self._read_at: tuple[int, ...] = ()
        self._known: dict[str, Any] = {"trees": {}, "modes": {}}

    # --- questions ---------------------------------------------------------------------------------------------

    def sealed(self, tree: str) -> bool:
        """Whether this tree is sealed."""
        return _identity(os.lstat(tree)) in self._load()["trees"]

    def bind(self) -> bool:
        """Whether a seal keeps this very process from writing.

        It does not where root may not set the immutable flag, as in most containers, and in user namespaces: nothing
        that a filesystem has binds root then.
        """
        probe = f"{self._record}.probe.{os.getpid()}"
        os.mkdir(probe, 0o500)
        try:
            set_immutable(probe, on=True)
            return not os.access(probe, os.W_OK, effective_ids=True)
        finally:
            set_immutable(probe, on=False)
            os.rmdir(probe)

    def true_mode(self, found: os.stat_result) -> int:
        """The permission bits that a file has on the simulated host."""
        shown = stat.S_IMODE(found.st_mode)
        kept = self._load()["modes"].get(_identity(found))
        # Who changed the mode meanwhile meant it: then the record says nothing any more.
        return int(kept[0]) if kept is not None and kept[1] == shown else shown

    # --- changes -----------------------------------------------------------------------------------------------

    def seal(self, tree: str, *, beside: Collection[str] = ()) -> None:
        """Refuse writes to everything at and below ``tree``, but not at and below the paths ``beside``."""
        known = self._load()
        identity = _identity(os.lstat(tree))
        if set_immutable(tree, on=True):
            known["trees"][identity] = "immutable"
            self._save(known)
            for path, _ in _walk(tree, beside):
                set_immutable(path, on=True)
            return
        known["trees"][identity] = "modes"
        changes = []
        for path, found in _walk(tree, beside):
            true = self.true_mode(found)
            if true & _WRITE and found.st_uid == os.geteuid():
                known["modes"][_identity(found)] = [true, true & ~_WRITE]
                changes.append((path, true & ~_WRITE))
        self._save(known)  # before the first change: after a crash the true modes are still known
        for path, mode in changes:
            os.chmod(path, mode)

    def unseal(self, tree: str) -> None:
        """Let everything at and below ``tree`` be written again, as its true modes allow."""
        known = self._load()
        how = known["trees"].pop(_identity(os.lstat(tree)), None)
        for path, found in _walk(tree, ()):
            if how == "immutable":
                set_immutable(path, on=False)
            self._put_back(path, found, known)
        self._save(known)

    def forget(self, tree: str) -> None:
        """The tree is going to be removed: nothing need be known of it any more."""
        known = self._load()
        known["trees"].pop(_identity(os.lstat(tree)), None)
        for _, found in _walk(tree, ()):
            known["modes"].pop(_identity(found), None)
        self._save(known)

    @contextlib.contextmanager
    def lifted(self, tree: str, *, beside: Collection[str] = ()) -> Iterator[None]:
        """Let this user, and nobody of another name, make and replace files in ``tree`` for the length of a block.

        Where modes make the seal, the directories alone are opened, for their owner alone; the files in them stay as
        they are. Where the immutable flag makes it, everything is opened, since a file that has it cannot be
        replaced. A directory that was never writable to its owner is opened too: root needs no permission.
        """
        known = self._load()
        how = known["trees"].get(_identity(os.lstat(tree)))
        if how == "immutable":
            self.unseal(tree)
        elif os.geteuid() != 0:
            for path, found in _walk(tree, beside):
                shown = stat.S_IMODE(found.st_mode)
                if stat.S_ISDIR(found.st_mode) and shown & 0o300 != 0o300 and found.st_uid == os.geteuid():
                    known["modes"][_identity(found)] = [self.true_mode(found), shown | 0o300]
                    self._save(known)
                    os.chmod(path, shown | 0o300)
        try:
            yield
        finally:
            if how is not None:
                self.seal(tree, beside=beside)
            else:
                known = self._load()
                for path, found in _walk(tree, beside):
                    self._put_back(path, found, known)
                self._save(known)

    @contextlib.contextmanager
    def opened(self, directory: str) -> Iterator[int]:
        """A descriptor on one directory in which names can be made, renamed and removed for the length of a block.

        Afterwards its flag, mode and time stamps are what they were, wherever it is by then.
        """
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            immutable = False
            with contextlib.suppress(OSError):
                immutable = bool(_flags(descriptor) & _IMMUTABLE)
            if immutable:
                _set_immutable(descriptor, on=False)
            mode = stat.S_IMODE(found.st_mode)
            if mode & 0o300 != 0o300:
                os.fchmod(descriptor, mode | 0o300)
            try:
                yield descriptor
            finally:
                if mode & 0o300 != 0o300:
                    os.fchmod(descriptor, mode)
                os.utime(descriptor, ns=(found.st_atime_ns, found.st_mtime_ns))
                if immutable:
                    _set_immutable(descriptor, on=True)
        finally:
            os.close(descriptor)

    def _put_back(self, path: str, found: os.stat_result, known: dict[str, Any]) -> None:
        kept = known["modes"].pop(_identity(found), None)
        if kept is not None and kept[1] == stat.S_IMODE(found.st_mode):
            os.chmod(path, kept[0])

    # --- the record --------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, Any]:
        """The record, read again where another process wrote it."""
        try:
            found = os.stat(self._record)
        except FileNotFoundError:
            return self._known
        read_at = (found.st_mtime_ns, found.st_ino, found.st_size)
        if read_at != self._read_at:
            with open(self._record, encoding="ascii") as stream:
                self._known = json.load(stream)
            self._read_at = read_at
        return self._known

    def _save(self, known: dict[str, Any]) -> None:
        temporary = f"{self._record}.{os.getpid()}"
        with open(temporary, "w", encoding="ascii") as stream:
            json.dump(known, stream)
        os.rename(temporary, self._record)
        self._load()


def _identity(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}"


def _walk(tree: str, beside: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    """Everything in a tree but symbolic links, which have no mode and no flag; what is inside comes first."""
    found = os.lstat(tree)
    if tree in beside or stat.S_ISLNK(found.st_mode):
        return
    if stat.S_ISDIR(found.st_mode):
        for name in os.listdir(tree):
            yield from _walk(f"{tree}/{name}", beside)
    yield tree, found
