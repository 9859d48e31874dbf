"""The two sides that a manifest is compared with: what the target shows, and what the base has there.

Each is read by name in directories that stay open while names in them are asked for, so that a sorted list of ten
thousand paths is looked up with one walk for each directory. The base is opened when it is first asked for.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from typing import TYPE_CHECKING

from ovlay.ancestry import is_within
from ovlay.changes.classify import Comparison
from ovlay.changes.content import FILE
from ovlay.changes.find import private
from ovlay.errors import InvalidInput
from ovlay.files.copying import is_whiteout
from ovlay.files.destination import opened_parent, place_below
from ovlay.files.label import read_label
from ovlay.files.source import content_of
from ovlay.receipts import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovlay.backend import Backend
    from ovlay.kernel import Mount, Views

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Side:
    """Names below one directory."""

    def __init__(self, root: int, target: str) -> None:
        self.root = root
        self._target = target
        self._folder: str | None = None
        self._descriptor: int | None = None
        self._gone: str | None = None
        self._open = contextlib.ExitStack()

    def close(self) -> None:
        """Close the directory that is open."""
        self._folder, self._descriptor = None, None
        self._open.close()

    def folder(self, path: str) -> int | None:
        """The directory that a path is in, or None where there is none. It is open until another one is asked for.

        Raises `StateForbids` where it is not in the overlay.
        """
        folder = path.rpartition("/")[0]
        if folder != self._folder:
            self.close()
            if self._gone is None or not folder.startswith(self._gone):
                try:
                    self._descriptor = self._open.enter_context(opened_parent(self.root, self._target, path))
                except (FileNotFoundError, InvalidInput):
                    self._gone = folder + "/"  # nor is anything below it
            self._folder = folder
        return self._descriptor

    def followed(self, folder: str) -> str:
        """A directory below this one by its true path; of one that is missing the part that is there."""
        rest = ""
        while folder:
            descriptor = self.folder(folder + "/x")
            if descriptor is not None:
                true = place_below(self.root, descriptor)
                return posixpath.normpath(posixpath.join(true, rest)) if rest else true.removeprefix(".")
            folder, _, name = folder.rpartition("/")
            rest = posixpath.join(name, rest) if rest else name
        return rest

    def look(self, path: str) -> os.stat_result | None:
        """What is at a path; None where nothing is."""
        if path == ".":
            return os.fstat(self.root)
        folder = self.folder(path)
        if folder is None:
            return None
        try:
            found = os.stat(path.rpartition("/")[2], dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        return None if is_whiteout(found) else found

    def digest(self, path: str) -> str:
        """The SHA-256 of the regular file at a path."""
        descriptor = self.opened(path)
        try:
            return content_of(descriptor).sha256
        finally:
            os.close(descriptor)

    def opened(self, path: str) -> int:
        """A descriptor on the regular file at a path, which the caller closes."""
        return os.open(posixpath.basename(path), FILE, dir_fd=self._there(path))

    def link(self, path: str) -> str:
        """The text of the link at a path."""
        return os.readlink(posixpath.basename(path), dir_fd=self._there(path))

    def names(self, path: str) -> list[str]:
        """What is in the directory at a path."""
        descriptor = os.open(posixpath.basename(path), _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._there(path))
        try:
            return sorted(os.listdir(descriptor))
        finally:
            os.close(descriptor)

    def label(self, path: str) -> str | None:
        """The SELinux label of what is at a path."""
        found = read_label(f"/proc/self/fd/{self._there(path)}/{posixpath.basename(path)}")
        return None if found is None else os.fsdecode(found.rstrip(b"\0"))

    def _there(self, path: str) -> int:
        folder = self.folder(path)
        if folder is None:
            raise FileNotFoundError(path)
        return folder


class Shown(Side):
    """What the target shows; of each directory of the base that is going to come back, what the base has in it."""

    def __init__(self, root: int, target: str, base: Callable[[], Side]) -> None:
        super().__init__(root, target)
        self._base = base
        self.returning: set[str] = set()

    def folder(self, path: str) -> int | None:
        """As of any side."""
        found = super().folder(path)
        return self._base().folder(path) if found is None and self.is_coming_back(path) else found

    def is_coming_back(self, path: str) -> bool:
        """Whether it is in a directory that is going to come back."""
        return bool(self.returning) and is_within(path, self.returning)


class Sides:
    """What the target shows (``now``), and what lies beneath it; closed with ``close``.

    Where no overlay is on the target both are the same.
    """

    def __init__(self, backend: Backend, mount: Mount | None) -> None:
        self._backend = backend
        self._mount = mount
        self.target = backend.target
        self._open = contextlib.ExitStack()
        root = os.open(backend.host.path(backend.target), _DIRECTORY)
        self._open.callback(os.close, root)
        self.now = Shown(root, backend.target, lambda: self.base)
        self._open.callback(self.now.close)
        self._views: Views | None = None
        self._pair: tuple[Side, Side] | None = None
        self._walk: Comparison | None = None

    def close(self) -> None:
        """Close all that is open."""
        self._open.close()

    @property
    def views(self) -> Views:
        """Both sides of the overlay; raises `NotPermitted` for who may not look beneath it."""
        if self._views is None:
            assert self._mount is not None
            host = self._backend.host
            candidates = self._backend.upper_candidates(self._mount)
            self._views = self._open.enter_context(host.kernel.views(self._mount, candidates))
        return self._views

    @property
    def base(self) -> Side:
        """What lies beneath the overlay."""
        return self.now if self._mount is None else self._sides()[1]

    def is_bare(self, path: str) -> bool:
        """Whether not even the directory of a path is there, on neither side."""
        return self.now.folder(path) is None and (self._mount is None or self._sides()[1].folder(path) is None)

    def is_base(self, path: str) -> bool:
        """Whether the target has at this path what the base has; of directories only their own attributes count."""
        if self._mount is None or self.now.is_coming_back(path):
            return True
        merged, lower = self._sides()
        now, was = merged.look(path), lower.look(path)
        if now is None or was is None:
            return now is was
        if stat.S_IFMT(now.st_mode) != stat.S_IFMT(was.st_mode):
            return False
        if self.views.own_inodes and _identity(now) == _identity(was):
            return True
        walk = self._comparison()
        walk.forget()
        with contextlib.ExitStack() as stack:
            name = posixpath.basename(path) or "."
            folders = [side.root if path == "." else side.folder(path) for side in (merged, lower)]
            assert None not in folders
            one, other = folders
            assert one is not None
            assert other is not None
            if stat.S_ISDIR(now.st_mode):
                opened = [os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=folder) for folder in (one, other)]
                for descriptor in opened:
                    stack.callback(os.close, descriptor)
                walk.directory(path, opened[0], opened[1], now, was)
            else:
                walk.name(path, name, one, other, 0)
        return not walk.rows and not walk.errors

    def word(self, path: str) -> str:
        """What the base has at a path, in one word: see `ovlay.bases.content_word`."""
        from ovlay.bases import content_word

        found = self.base.look(path)
        if found is None:
            return NOTHING
        if stat.S_ISREG(found.st_mode):
            return self.base.digest(path)
        if stat.S_ISLNK(found.st_mode):
            return content_word("symlink", None, self.base.link(path))
        return "directory" if stat.S_ISDIR(found.st_mode) else "special"

    def changes_below(self, path: str) -> list[str]:
        """The paths at and below one that are there, and are not so in the base."""
        if self._mount is None:
            return []
        from ovlay.changes.find import look

        found = look(self._backend.host, self._mount, self.views, paths=(path,), workers=1)
        return [change.path for change in found.changes if change.after is not None]

    def _sides(self) -> tuple[Side, Side]:
        if self._pair is None:
            target = self._backend.target
            self._pair = (Side(self.views.merged, target), Side(self.views.lower, target))
            for side in self._pair:
                self._open.callback(side.close)
        return self._pair

    def _comparison(self) -> Comparison:
        if self._walk is None:
            from ovlay.host import Host as PlainHost

            assert self._mount is not None
            host = self._backend.host
            plain = type(host).permissions is PlainHost.permissions
            self._walk = Comparison(
                self.views,
                private=private(self._mount),
                labels=not self._mount.super_values("context"),
                permissions=None if plain else host.permissions,
            )
        return self._walk


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return (found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size)
