"""Two sides of a name compared: what it is now in the merged view, and what it was beneath.

What is found is kept as plain tuples, which are cheap to make and can be sent from one process to another; see `Row`.
Every directory is opened by name in its parent and never through a link, so that who may write below the target
cannot lead the walk elsewhere.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, ClassVar

from ovlay.ancestry import directories_of, is_below
from ovlay.changes.content import FILE, attributes_differ, flags_differ, same_content
from ovlay.changes.descent import DIRECTORY, close, descend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.kernel import Views

ADDED, MODIFIED, METADATA, DELETED, TYPE_CHANGED, TOUCHED = range(6)

Row = tuple[str, int, tuple[Any, ...] | None, tuple[Any, ...] | None]
"""A change: path, kind, and of both sides the first seven fields of stat(2): mode, ino, dev, nlink, uid, gid, size."""

Found = tuple[list[Row], dict[str, str], list[tuple[int, int]], dict[str, Any]]

Task = tuple[str, str]
"""What is still to do: the name of a method below, and the directory."""

DEEPEST = 48
"""How many levels are walked with all their directories open; what is deeper is begun anew from the root."""


class Comparison:
    """Compares two views, and keeps what differs in ``rows``.

    What could not be looked at is in ``errors``, by path: then the answer is not complete. ``tasks`` are directories
    that are left for later: `step` does one. ``linked`` holds the lower inodes that changed and have more names.
    """

    def __init__(
        self,
        views: Views,
        *,
        private: tuple[str, ...] = (),
        labels: bool = True,
        everything: bool = False,
        paths: tuple[str, ...] = (),
        skip: frozenset[str] = frozenset(),
        permissions: Callable[[os.stat_result], int] | None = None,
    ) -> None:
        """``private`` are the prefixes of attributes that belong to the overlay, ``labels`` is whether SELinux labels
        are compared. ``paths`` are all that is looked at, () for everything; ``skip`` is what is left out.
        """
        self.views = views
        self.rows: list[Row] = []
        self.errors: dict[str, str] = {}
        self.linked: set[tuple[int, int]] = set()
        self.tasks: list[Task] = []
        # How many levels are walked at once. Another process may set it to 0: then what is left becomes tasks.
        self.levels: bytearray | memoryview = bytearray([DEEPEST])
        self._private = private
        self._ignored = frozenset({"security.evm"} if labels else {"security.evm", "security.selinux"})
        self._everything = everything
        self._skip = skip
        self._paths = frozenset(paths)
        self._above = directories_of(paths)
        self._permissions = permissions

    begin: ClassVar[Task] = ("root", "")
    """The task that a walk begins with."""

    sides: ClassVar[dict[str, tuple[str, ...]]] = {
        "root": ("merged", "lower"),
        "whole": ("merged", "lower"),
        "gone_below": ("lower",),
        "new_below": ("merged",),
    }
    """Which directories the method for a kind of task is given."""

    # --- the order of work -------------------------------------------------------------------------------------

    def step(self, task: Task) -> None:
        """Do one task. It may leave others."""
        how, path = task
        opened: list[int] = []
        try:
            for side in self.sides[how]:
                opened.append(descend(getattr(self.views, side), path))
            getattr(self, "_" + how)(path, *opened, 0)
        except OSError as error:
            self.missed(path, error)
        finally:
            close(opened)

    def is_wanted(self, path: str) -> bool:
        """Whether a path, or something below it, was asked for."""
        return not self._paths or path in self._above or is_below(path, self._paths)

    def _root(self, path: str, merged: int, lower: int, depth: int) -> None:
        self.directory(".", merged, lower, os.fstat(merged), os.fstat(lower))
        self._whole(path, merged, lower, depth)

    # --- one name ----------------------------------------------------------------------------------------------

    def look(self, path: str, name: str, directory: int) -> os.stat_result | None:
        """What a name is in a directory; None where it is not there. Raises what is no answer to that."""
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        # A device 0:0 is a whiteout wherever it lies, in an image too: overlayfs never shows it.
        return None if found.st_rdev == 0 and stat.S_ISCHR(found.st_mode) else found

    def name(self, path: str, name: str, merged: int, lower: int, depth: int) -> None:
        """One name, with all below it where it is a directory."""
        if path in self._skip:
            return
        try:
            now, was = self.look(path, name, merged), self.look(path, name, lower)
            self._entry(path, name, merged, lower, now, was, depth)
        except OSError as error:
            self.missed(path, error)

    def _entry(  # noqa: PLR0917
        self,
        path: str,
        name: str,
        merged: int,
        lower: int,
        now: os.stat_result | None,
        was: os.stat_result | None,
        depth: int,
    ) -> None:
        if now is None:
            if was is not None and not self._hidden(name, lower, was):
                self._gone(path, name, lower, was, depth)
            return
        if was is None:
            self._new(path, name, merged, now, depth)
            return
        kind = stat.S_IFMT(now.st_mode)
        if kind != stat.S_IFMT(was.st_mode):
            self.add(path, TYPE_CHANGED, now, was)
            if stat.S_ISDIR(was.st_mode):
                self._below("gone_below", path, name, lower, depth)
            elif kind == stat.S_IFDIR:
                self._below("new_below", path, name, merged, depth)
        elif kind == stat.S_IFDIR:
            self._directories(path, name, merged, lower, now, was, depth)
        elif kind == stat.S_IFREG:
            self.files(path, name, merged, lower, now, was)
        else:
            self._specials(path, name, merged, lower, now, was, kind)

    def _hidden(self, name: str, lower: int, was: os.stat_result) -> bool:
        """Whether the lower's file is itself a whiteout, marked by attributes as Linux 6.7 and later know them."""
        if was.st_size or not stat.S_ISREG(was.st_mode):
            return False
        here = f"/proc/self/fd/{lower}"
        return any(
            f"{prefix}whiteout" in os.listxattr(f"{here}/{name}", follow_symlinks=False)
            and f"{prefix}opaque" in os.listxattr(here)
            for prefix in self._private
        )

    def files(  # noqa: PLR0917
        self, path: str, name: str, merged: int, lower: int, now: os.stat_result, was: os.stat_result
    ) -> None:
        """A regular file that is on both sides."""
        size = now.st_size
        if size != was.st_size:
            self.add(path, MODIFIED, now, was)
            return
        new = os.open(name, FILE, dir_fd=merged)
        try:
            old = os.open(name, FILE, dir_fd=lower)
            try:
                if size and not same_content(new, old, size):
                    self.add(path, MODIFIED, now, was)
                elif (
                    self._modes_differ(now, was)
                    or attributes_differ(new, old, self._private, self._ignored)
                    or flags_differ(new, old)
                ):
                    self.add(path, METADATA, now, was)
                else:
                    self.same(path, now, was)
            finally:
                os.close(old)
        finally:
            os.close(new)

    def _specials(  # noqa: PLR0917
        self, path: str, name: str, merged: int, lower: int, now: os.stat_result, was: os.stat_result, kind: int
    ) -> None:
        """Links, devices, fifos and sockets."""
        if kind == stat.S_IFLNK:
            content = os.readlink(name, dir_fd=merged) != os.readlink(name, dir_fd=lower)
        else:
            content = now.st_rdev != was.st_rdev and kind in (stat.S_IFCHR, stat.S_IFBLK)
        if content:
            self.add(path, MODIFIED, now, was)
        elif self._modes_differ(now, was) or attributes_differ(
            _at(merged, name), _at(lower, name), self._private, self._ignored
        ):
            self.add(path, METADATA, now, was)
        else:
            self.same(path, now, was)

    def directory(self, path: str, merged: int, lower: int, now: os.stat_result, was: os.stat_result) -> None:
        """A directory itself, which is on both sides; the descriptors are on it, and can be read from."""
        if (
            self._modes_differ(now, was)
            or attributes_differ(merged, lower, self._private, self._ignored)
            or flags_differ(merged, lower)
        ):
            self.add(path, METADATA, now, was)
        else:
            self.same(path, now, was)

    def _modes_differ(self, now: os.stat_result, was: os.stat_result) -> bool:
        if now[4:6] != was[4:6]:
            return True
        true = self._permissions
        return now[0] != was[0] if true is None else true(now) != true(was)

    # --- whole directories -------------------------------------------------------------------------------------

    def _whole(self, path: str, merged: int, lower: int, depth: int) -> None:
        """Two directories compared name by name, whatever lies in the upper."""
        prefix = path + "/" if path else ""
        for name in sorted({*os.listdir(merged), *os.listdir(lower)}):
            if self.is_wanted(prefix + name):
                self.name(prefix + name, name, merged, lower, depth)

    def _directories(  # noqa: PLR0917
        self,
        path: str,
        name: str,
        merged: int,
        lower: int,
        now: os.stat_result,
        was: os.stat_result,
        depth: int,
    ) -> None:
        opened: list[int] = []
        try:
            for parent in (merged, lower):
                opened.append(os.open(name, DIRECTORY, dir_fd=parent))
            self.directory(path, opened[0], opened[1], now, was)
            if depth >= self.levels[0]:
                self.tasks.append(("whole", path))
            else:
                self._whole(path, opened[0], opened[1], depth + 1)
        finally:
            close(opened)

    def _gone(self, path: str, name: str, lower: int, was: os.stat_result, depth: int) -> None:
        self.add(path, DELETED, None, was)
        if stat.S_ISDIR(was.st_mode):
            self._below("gone_below", path, name, lower, depth)

    def _new(self, path: str, name: str, merged: int, now: os.stat_result, depth: int) -> None:
        self.add(path, ADDED, now, None)
        if stat.S_ISDIR(now.st_mode):
            self._below("new_below", path, name, merged, depth)

    def _below(self, how: str, path: str, name: str, parent: int, depth: int) -> None:
        """Everything in a directory that is on one side only."""
        if depth >= self.levels[0]:
            self.tasks.append((how, path))
            return
        directory = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            (self._gone_below if how == "gone_below" else self._new_below)(path, directory, depth + 1)
        finally:
            os.close(directory)

    def _gone_below(self, path: str, lower: int, depth: int) -> None:
        for inner, name, found in self._found(path, lower):
            if not self._hidden(name, lower, found):
                self._guarded(self._gone, inner, name, lower, found, depth)

    def _new_below(self, path: str, merged: int, depth: int) -> None:
        for inner, name, found in self._found(path, merged):
            self._guarded(self._new, inner, name, merged, found, depth)

    def _found(self, path: str, directory: int) -> Iterator[tuple[str, str, os.stat_result]]:
        for name in sorted(os.listdir(directory)):
            inner = f"{path}/{name}"
            if inner in self._skip:
                continue
            try:
                found = self.look(inner, name, directory)
            except OSError as error:
                self.missed(inner, error)
                continue
            if found is not None:
                yield inner, name, found

    def _guarded(  # noqa: PLR0917
        self,
        tell: Callable[[str, str, int, os.stat_result, int], None],
        path: str,
        name: str,
        directory: int,
        found: os.stat_result,
        depth: int,
    ) -> None:
        try:
            tell(path, name, directory, found, depth)
        except OSError as error:
            self.missed(path, error)

    # --- results -----------------------------------------------------------------------------------------------

    def add(self, path: str, kind: int, now: os.stat_result | None, was: os.stat_result | None) -> None:
        """Keep a change."""
        if was is not None and was[3] > 1 and not stat.S_ISDIR(was[0]):
            self.linked.add((was[2], was[1]))
        self.rows.append((path, kind, self._plain(was), self._plain(now)))

    def same(self, path: str, now: os.stat_result, was: os.stat_result) -> None:
        """Both sides are the same; where everything was asked for it is said whether somebody touched it."""
        if not self._everything or path == ".":  # the root is in the upper of every overlay
            return
        if now.st_mtime_ns != was.st_mtime_ns or (self.views.own_inodes and now.st_ctime_ns != was.st_ctime_ns):
            self.rows.append((path, TOUCHED, self._plain(was), self._plain(now)))

    def _plain(self, found: os.stat_result | None) -> tuple[Any, ...] | None:
        if found is None or self._permissions is None:
            return None if found is None else found[:7]
        return (stat.S_IFMT(found[0]) | self._permissions(found), *found[1:7])

    def found(self) -> Found:
        """All that was found so far, in a form that another process can be sent."""
        return list(self.rows), dict(self.errors), list(self.linked), {}

    def take(self, found: Found) -> None:
        """Add what another walk found."""
        rows, errors, linked, _ = found
        self.rows += rows
        self.errors |= errors
        self.linked.update(linked)

    def forget(self) -> None:
        """Begin with nothing found."""
        self.rows, self.errors, self.linked, self.tasks = [], {}, set(), []

    def missed(self, path: str, error: OSError) -> None:
        """Something could not be looked at, or went away while it was being looked at."""
        self.errors[path] = error.strerror or str(error)


def _at(directory: int, name: str) -> str:
    """A path for the calls that take no directory descriptor."""
    return f"/proc/self/fd/{directory}/{name}"
