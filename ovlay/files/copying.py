"""Names copied from one tree into another with all that is attached to them, by descriptors and through no link.

What is copied is what the merged view of an overlay would show of a layer: the overlay's own attributes stay behind.
Names that are one file in the source are one file in the copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput
from ovlay.files.flags import read_flags, set_flags, take_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_BLOCK = 1 << 20

# What a filesystem answers to an attribute that it does not have, or that this process may not set. Whether the copy
# is what it was to be is for the caller to see.
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL, errno.EROFS)


class Copier:
    """Copies names. ``private`` are the prefixes of attributes that stay behind (see `ovlay.changes.content`).

    ``root`` is a directory below which all copies are made. ``skip`` says by its directory, its name and its stat(2)
    what is left out; ``durable`` writes the content of files to the disk at once; ``flags`` is whether the immutable
    and the append-only flag are copied too, but for the topmost name of a copy, which may have to be renamed yet.
    """

    def __init__(
        self,
        root: int,
        *,
        private: tuple[str, ...],
        permissions: Callable[[os.stat_result], int],
        skip: Callable[[int, str, os.stat_result], bool] = lambda *_: False,
        durable: bool = False,
        flags: bool = True,
    ) -> None:
        self._flags = flags
        self._root = root
        self._private = private
        self._permissions = permissions
        self._skip = skip
        self._durable = durable
        self._linked: dict[tuple[int, int], str] = {}
        self._latest: list[tuple[int, int]] = []

    def copy(self, source: int, name: str, target: int, new: str, path: str) -> None:
        """Copy ``name`` of the directory ``source``, with all below it, to ``new`` in the directory ``target``.

        ``path`` is where the copy is below the root. Raises ``FileExistsError`` where there is something.
        """
        self._latest = []
        self._copy(source, name, target, new, path)

    def _copy(self, source: int, name: str, target: int, new: str, path: str) -> None:
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            self._copy_directory(source, name, target, new, path)
            return
        identity = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and self._link(identity, target, new):
            return
        if stat.S_ISREG(found.st_mode):
            self._copy_file(source, name, target, new)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
            settle(source, name, target, new, private=self._private, permissions=self._permissions)
        else:
            os.mknod(new, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev, dir_fd=target)
            settle(source, name, target, new, private=self._private, permissions=self._permissions)
        if found.st_nlink > 1:
            self._linked[identity] = path
            self._latest.append(identity)

    def renamed(self, path: str, new: str) -> None:
        """What was copied last, to ``path``, has another name by now."""
        for identity in self._latest:
            self._linked[identity] = new + self._linked[identity][len(path) :]

    def _link(self, identity: tuple[int, int], target: int, new: str) -> bool:
        """Make a copied file's other name; whether that could be done."""
        first = self._linked.get(identity)
        if first is None:
            return False
        folder, _, name = first.rpartition("/")
        with contextlib.suppress(OSError):
            parent = descend(self._root, folder)
            try:
                os.link(name, new, src_dir_fd=parent, dst_dir_fd=target, follow_symlinks=False)
            finally:
                os.close(parent)
            return True
        return False

    def _copy_directory(self, source: int, name: str, target: int, new: str, path: str) -> None:
        os.mkdir(new, 0o700, dir_fd=target)
        with contextlib.ExitStack() as stack:
            there = os.open(name, DIRECTORY, dir_fd=source)
            stack.callback(os.close, there)
            here = os.open(new, DIRECTORY, dir_fd=target)
            stack.callback(os.close, here)
            for inner in sorted(os.listdir(there)):
                if not self._skip(there, inner, os.stat(inner, dir_fd=there, follow_symlinks=False)):
                    self._copy(there, inner, here, inner, f"{path}/{inner}")
                    if self._flags:
                        copy_flags(there, inner, here, inner)
            settle(source, name, target, new, private=self._private, permissions=self._permissions)

    def _copy_file(self, source: int, name: str, target: int, new: str) -> None:
        with contextlib.ExitStack() as stack:
            there = os.open(name, _FILE, dir_fd=source)
            stack.callback(os.close, there)
            here = os.open(new, _NEW, 0o600, dir_fd=target)
            stack.callback(os.close, here)
            copy_content(there, here)
            settle(source, name, target, new, private=self._private, permissions=self._permissions)
            if self._durable:
                os.fsync(here)


def copy_content(source: int, target: int) -> None:
    """Copy the bytes of an open file into an empty one, leaving out its holes."""
    size, position = os.fstat(source).st_size, 0
    while position < size:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
            end = min(os.lseek(source, position, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:  # only a hole is left
                break
            end = size
        while position < end:
            chunk = os.pread(source, min(_BLOCK, end - position), position)
            if not chunk:
                return  # it became shorter meanwhile
            rest = memoryview(chunk)
            while rest:
                written = os.pwrite(target, rest, position)
                rest, position = rest[written:], position + written
    os.ftruncate(target, size)


def settle(
    source: int,
    name: str,
    target: int,
    new: str,
    *,
    private: tuple[str, ...],
    permissions: Callable[[os.stat_result], int],
) -> None:
    """Give ``new`` the owner, attributes, mode and time stamps of ``name``, in the order in which none undoes another.

    Changing the owner takes capabilities and set-id bits away, and an access list changes the mode. Flags are not
    among these: nothing can be renamed that is immutable.
    """
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    made = os.stat(new, dir_fd=target, follow_symlinks=False)
    if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
        with _as_far_as_allowed():
            os.chown(new, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    _copy_attributes(f"/proc/self/fd/{source}/{name}", f"/proc/self/fd/{target}/{new}", private)
    if not stat.S_ISLNK(found.st_mode):
        # chmod(2) follows links; through a descriptor with O_PATH it changes this very file and no other.
        node = os.open(new, _NODE, dir_fd=target)
        try:
            os.chmod(f"/proc/self/fd/{node}", permissions(found))
        finally:
            os.close(node)
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _copy_attributes(source: str, target: str, private: tuple[str, ...]) -> None:
    from ovlay.changes.content import as_shown, listed

    wanted = as_shown({n: os.getxattr(source, n, follow_symlinks=False) for n in listed(source)}, private)
    for name in listed(target):
        if name not in wanted:
            with _as_far_as_allowed():
                os.removexattr(target, name, follow_symlinks=False)
    for name, value in wanted.items():
        if name != "security.evm":  # the kernel's own signature of the others, on this very inode
            with _as_far_as_allowed():
                os.setxattr(target, name, value, follow_symlinks=False)


def copy_flags(source: int, name: str, target: int, new: str) -> None:
    """Give a file or a directory the immutable and the append-only flag of another, as far as that is allowed."""
    if stat.S_IFMT(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
        return
    with contextlib.ExitStack() as stack:
        there = os.open(name, _FILE, dir_fd=source)
        stack.callback(os.close, there)
        if flags := read_flags(there):
            here = os.open(new, _FILE, dir_fd=target)
            stack.callback(os.close, here)
            with _as_far_as_allowed():
                set_flags(here, flags)


@contextlib.contextmanager
def _as_far_as_allowed() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise


def is_whiteout(found: os.stat_result) -> bool:
    """A device 0:0, which overlayfs never shows, wherever it lies."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def look(name: str, directory: int) -> os.stat_result | None:
    """What a name is in a directory, as an overlay would show it; None where it is not there."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return None if is_whiteout(found) else found


def demand_plain(paths: Iterable[str]) -> None:
    """Raise `InvalidInput` for a path that could lead out of the directory that it is relative to."""
    for path in paths:
        if path != "." and any(part in ("", ".", "..") or "\0" in part for part in path.split("/")):
            raise InvalidInput(f"{path!r} is not a plain relative path")


def descend(root: int, path: str) -> int:
    """Open a directory below ``root`` level by level, following no link and staying on its mount.

    Raises ``OSError``: EXDEV where something is mounted on the way, ENOTDIR where there is a link or a file.
    """
    from ovlay.kernel import libc

    current = os.open(".", DIRECTORY, dir_fd=root)
    for name in path.split("/") if path not in ("", ".") else ():
        try:
            deeper = libc.openat2(current, name, DIRECTORY, resolve=libc.RESOLVE_NO_XDEV | libc.RESOLVE_BENEATH)
        finally:
            os.close(current)
        current = deeper
    return current


def remove_whole(directory: int, name: str) -> None:
    """Remove a name with all below it, whatever flags are on it. What is mounted below it makes it fail with EXDEV."""
    from ovlay.kernel import libc

    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    is_directory = stat.S_ISDIR(found.st_mode)
    if is_directory:
        inside = libc.openat2(directory, name, DIRECTORY, resolve=libc.RESOLVE_NO_XDEV)
        try:
            set_flags(inside, 0)
            for inner in os.listdir(inside):
                remove_whole(inside, inner)
        finally:
            os.close(inside)
    remove = os.rmdir if is_directory else os.unlink
    try:
        remove(name, dir_fd=directory)
    except PermissionError:
        take_flags(directory, name)
        remove(name, dir_fd=directory)
