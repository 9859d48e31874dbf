"""Layers of an overlay as plain directories: merged into one tree, and the changes of that tree put into an upper.

The marks in an upper are the kernel's with ``userxattr``: Documentation/filesystems/overlayfs.rst, "whiteouts and
opaque directories". A whiteout is the device 0:0, which everyone may make since Linux 5.8 (vfs_mknod() in fs/namei.c),
and an opaque directory has ``user.overlay.opaque=y``. Before that a whiteout is an empty file with the attribute
``user.overlay.whiteout`` in a directory with ``user.overlay.opaque=x``, which the kernel takes in a lower layer only.
Where a filesystem has no user attributes the marks are OCI's: ``.wh.NAME`` and ``.wh..wh..opq`` (the image
specification's layer.md).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

from ovlay.changes.compare import Aspect, Entry, Kind, compare, read_entry, read_xattrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Permissions = Callable[[os.stat_result], int]

WHITEOUT = "user.overlay.whiteout"
OPAQUE = "user.overlay.opaque"
OCI_WHITEOUT = ".wh."
OCI_OPAQUE = ".wh..wh..opq"

_PRIVATE = "user.overlay."
_ESCAPED = "user.overlay.overlay."


def merge(layers: Sequence[str]) -> dict[str, str]:
    """What a merge of ``layers`` (topmost first) shows: the path of each name, and where it really is.

    The root is ``.``; parents come before what is in them.
    """
    return {".": layers[0], **dict(_merge(layers, ""))}


def _merge(directories: Sequence[str], prefix: str) -> Iterator[tuple[str, str]]:
    layers = [_Layer(directory) for directory in directories]
    for name in sorted({name for layer in layers for name in layer.names}):
        shown = list(_shown(layers, name))
        if shown:
            yield prefix + name, shown[0]
            if os.path.isdir(shown[0]) and not os.path.islink(shown[0]):
                yield from _merge(shown, f"{prefix}{name}/")


def _shown(layers: Sequence[_Layer], name: str) -> Iterator[str]:
    """Where ``name`` is: one place, or for a directory one in each layer that takes part."""
    first = True
    for layer in layers:
        if name in layer.names:
            path = f"{layer.path}/{name}"
            if layer.is_whiteout(name):
                return
            if os.path.isdir(path) and not os.path.islink(path):
                yield path
                first = False
            else:
                if first:
                    yield path
                return
        if name in layer.hidden or layer.opaque:
            return


class _Layer:
    """One directory of one layer: the names in it, and what it hides of the layers beneath."""

    def __init__(self, path: str) -> None:
        self.path = path
        names = set(os.listdir(path))
        mark = read_private(path, OPAQUE)
        self._xattr_whiteouts = mark == b"x"
        self.opaque = mark == b"y"
        self.hidden: set[str] = set()
        if not has_user_xattrs(path):
            marks = {name for name in names if name.startswith(OCI_WHITEOUT)}
            self.opaque = OCI_OPAQUE in marks
            self.hidden = {name.removeprefix(OCI_WHITEOUT) for name in marks}
            names -= marks
        self.names = names

    def is_whiteout(self, name: str) -> bool:
        path = f"{self.path}/{name}"
        found = os.lstat(path)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            return True
        return (
            self._xattr_whiteouts
            and stat.S_ISREG(found.st_mode)
            and found.st_size == 0
            and read_private(path, WHITEOUT) is not None
        )


def has_user_xattrs(path: str) -> bool:
    """Whether the filesystem that ``path`` is on keeps user attributes."""
    try:
        os.getxattr(path, OPAQUE)
    except OSError as error:
        return error.errno != errno.ENOTSUP
    return True


def read_private(path: str, name: str) -> bytes | None:
    """An attribute that belongs to the overlay itself, or None."""
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return None


def entries_of(tree: Mapping[str, str], permissions: Permissions, *, layers: bool) -> dict[str, Entry]:
    """The entries of a tree for `compare`. In ``layers`` attributes can be marks, which nobody sees."""
    found = {path: os.lstat(real) for path, real in tree.items()}
    groups: dict[tuple[int, int], list[str]] = {}
    for path, entry in found.items():
        if entry.st_nlink > 1 and not stat.S_ISDIR(entry.st_mode):
            groups.setdefault((entry.st_dev, entry.st_ino), []).append(path)
    names = {path: tuple(sorted(group)) for group in groups.values() if len(group) > 1 for path in group}
    return {
        path: _without_marks(entry, tree[path]) if layers and entry.xattrs else entry
        for path, entry in (
            (path, read_entry(real, found[path], permissions(found[path]), names.get(path, ())))
            for path, real in tree.items()
        )
    }


def _without_marks(entry: Entry, real: str) -> Entry:
    return replace(entry, xattrs=tuple(_public_xattrs(real)))


def _public_xattrs(path: str) -> Iterator[tuple[str, bytes]]:
    """The attributes that the merged view shows: not the overlay's own, and a user's with such a name unescaped."""
    for name, value in read_xattrs(path):
        if name.startswith(_ESCAPED):
            yield _PRIVATE + name.removeprefix(_ESCAPED), value
        elif not name.startswith(_PRIVATE):
            yield name, value


def materialise(tree: Mapping[str, str], destination: str, permissions: Permissions) -> None:
    """Copy a merged tree to ``destination``, which is not there yet, with all its attributes and hard links."""
    copy = _Copy(permissions, escape=False)
    for path, real in tree.items():
        copy.add(real, destination if path == "." else f"{destination}/{path}")
    copy.finish()


def fill_upper(upper: str, lower: Mapping[str, str], merged: Mapping[str, str], permissions: Permissions) -> None:
    """Make ``upper`` what it has to be so that a merge of it over ``lower`` shows ``merged``.

    What was in it is replaced. A name that is as in the lower is not in it, unless a child of it is.
    """
    before, after = entries_of(lower, permissions, layers=True), entries_of(merged, permissions, layers=False)
    differences = {d.path: d.aspects for d in compare(before, after)}
    changed = {path for path, aspects in differences.items() if aspects != (Aspect.HARD_LINKS,)}
    # A new name of an old file: link(2) copies the file up, and both names are in the upper.
    changed |= {other for path in changed & after.keys() if path not in before for other in after[path].same_file}
    for name in os.listdir(upper):
        remove_tree(f"{upper}/{name}")
    xattrs = has_user_xattrs(upper)
    copy = _Copy(permissions, escape=True)
    copy.add(merged["."], upper)
    for path in sorted(changed):
        if path == ".":
            continue
        for parent in reversed(_parents(path)):
            if parent in after and not os.path.lexists(f"{upper}/{parent}"):
                copy.add(merged[parent], f"{upper}/{parent}")
        there = f"{upper}/{path}"
        if path in after:
            if not os.path.lexists(there):
                copy.add(merged[path], there)
            if after[path].kind is Kind.DIRECTORY and _is(before, path) is not Kind.DIRECTORY:
                copy.opaque(there, xattrs=xattrs)
        elif all(_is(before, parent) is _is(after, parent) is Kind.DIRECTORY for parent in (*_parents(path), ".")):
            copy.whiteout(there, xattrs=xattrs)
    copy.finish()


def _is(entries: Mapping[str, Entry], path: str) -> Kind | None:
    return entries[path].kind if path in entries else None


def _parents(path: str) -> list[str]:
    """The directories that a path is in, innermost first, without the root."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


class _Copy:
    """A copy under way: directories get their attributes last, since filling them changes their time stamps.

    With ``escape`` it goes from a merged tree into a layer, where a user's attribute must not be taken for a mark;
    without it goes from layers into a merged tree.
    """

    def __init__(self, permissions: Permissions, *, escape: bool) -> None:
        self._permissions = permissions
        self._escape = escape
        self._linked: dict[tuple[int, int], str] = {}
        self._directories: list[tuple[str, str]] = []
        self._opaque: dict[str, bytes] = {}

    def add(self, source: str, destination: str) -> None:
        """One name, without what is below it."""
        found = os.lstat(source)
        if stat.S_ISDIR(found.st_mode):
            with contextlib.suppress(FileExistsError):
                os.mkdir(destination, 0o700)
            os.chmod(destination, 0o700)
            self._directories.append((source, destination))
            return
        identity = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and identity in self._linked:
            os.link(self._linked[identity], destination, follow_symlinks=False)
            return
        self._linked[identity] = destination
        if stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(source), destination)
        elif stat.S_ISREG(found.st_mode):
            _copy_content(source, destination)
        else:
            os.mknod(destination, stat.S_IFMT(found.st_mode) | 0o600, found.st_rdev)
        self._settle(source, destination, found)

    def opaque(self, directory: str, *, xattrs: bool) -> None:
        """Hide what the layers beneath have in this directory."""
        if xattrs:
            self._opaque[directory] = b"y"
        else:
            os.close(os.open(f"{directory}/{OCI_OPAQUE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))

    def whiteout(self, path: str, *, xattrs: bool) -> None:
        """Hide this name of the layers beneath."""
        directory, name = os.path.split(path)
        if xattrs and _make_whiteout_device(path):
            return
        there = path if xattrs else f"{directory}/{OCI_WHITEOUT}{name}"
        os.close(os.open(there, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        if xattrs:
            os.setxattr(there, WHITEOUT, b"")
            self._opaque.setdefault(directory, b"x")

    def finish(self) -> None:
        """Give the directories their attributes, innermost first."""
        for source, destination in reversed(self._directories):
            if mark := self._opaque.get(destination):
                os.setxattr(destination, OPAQUE, mark)
            self._settle(source, destination, os.lstat(source))

    def _settle(self, source: str, destination: str, found: os.stat_result) -> None:
        """Owner, attributes, mode and times, in the order in which none undoes another."""
        made = os.lstat(destination)
        if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
            with contextlib.suppress(PermissionError):  # only root can give files away
                os.chown(destination, found.st_uid, found.st_gid, follow_symlinks=False)
        wanted = dict(read_xattrs(source) if self._escape else _public_xattrs(source))
        for name, _ in _public_xattrs(destination):
            if name not in wanted:
                with contextlib.suppress(OSError):
                    os.removexattr(destination, name, follow_symlinks=False)
        for name, value in wanted.items():
            kept = name.replace(_PRIVATE, _ESCAPED, 1) if self._escape and name.startswith(_PRIVATE) else name
            with contextlib.suppress(OSError):  # security.* and trusted.* are root's, and not on every filesystem
                os.setxattr(destination, kept, value, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            os.chmod(destination, self._permissions(found))
        os.utime(destination, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)


def _make_whiteout_device(path: str) -> bool:
    try:
        os.mknod(path, stat.S_IFCHR, 0)
    except PermissionError:
        return False
    return True


def _copy_content(source: str, destination: str) -> None:
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writing = os.open(destination, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while chunk := os.read(reading, 1 << 20):
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(writing, rest) :]
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def remove_tree(path: str) -> None:
    """Remove a name and all below it, although its directories may be sealed or not writable."""
    from ovlay.simulated.seals import set_immutable

    if os.path.islink(path) or not os.path.isdir(path):
        set_immutable(path, on=False)
        os.unlink(path)
        return
    set_immutable(path, on=False)
    os.chmod(path, 0o700)
    for name in os.listdir(path):
        remove_tree(f"{path}/{name}")
    os.rmdir(path)
