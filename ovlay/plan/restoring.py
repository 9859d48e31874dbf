"""The step that makes paths of a merged view what they are in the base, through the view and never behind it.

An upper directory must not be edited under a live mount (Documentation/filesystems/overlayfs.rst, "Changes to
underlying filesystems"). So each path is copied from the base under a temporary name and then renamed; what the base
does not have is removed. Who has a file open keeps the old one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ovlay.advice import command
from ovlay.errors import Conflict
from ovlay.files.copying import Copier, copy_flags, demand_plain, descend, is_whiteout, look, remove_whole, settle
from ovlay.files.flags import read_flags, set_flags, take_flags
from ovlay.plan.mounting import topmost
from ovlay.plan.restored import private, still_different
from ovlay.plan.sharing import TEMPORARY
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.host import Host
    from ovlay.kernel import Mount, Views

_SHOWN = 3  # paths in a line for a person


@dataclass(frozen=True, slots=True)
class RestorePaths(Step):
    """Make paths of the merged view equal to the base; they are relative to the target, ``.`` is the target itself.

    ``added`` are what the base does not have: each goes with all that is in it. ``changed`` are what it has: what is
    missing, or is of another type, comes back with all that is in it; of a directory that is there only its own
    attributes are restored. A directory on the way that is missing is made as it is in the base.

    Afterwards everything is compared again, and `Conflict` names what differs still.
    """

    kind: ClassVar[str] = "restore-paths"

    target: str
    mount_id: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    durable: bool

    def describe(self) -> str:
        parts = []
        if self.changed:
            parts.append(f"restore {self._named(self.changed)} from the base")
        if self.added:
            parts.append(f"remove {self._named(self.added)}, which the base does not have")
        return ", and ".join(parts)

    def litter(self) -> Iterator[tuple[str, str]]:
        for path in (*self.added, *self.changed):
            yield self.target, path.rpartition("/")[0]

    def unflags(self) -> Iterator[tuple[str, str]]:
        for path in (*self.added, *self.changed):
            while path not in ("", "."):
                path = path.rpartition("/")[0]  # noqa: PLW2901
                yield self.target, path

    def _named(self, paths: tuple[str, ...]) -> str:
        shown = ", ".join(self.target if path == "." else f"{self.target}/{path}" for path in paths[:_SHOWN])
        if len(paths) == 1:
            return shown
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        return f"{len(paths)} paths ({shown}{more})"

    def run(self, host: Host) -> str:
        demand_plain((*self.added, *self.changed))
        mount = topmost(host, self.target, self.mount_id)
        with host.kernel.views(mount) as views, host.kernel.writable_view(self.target) as merged:
            work = _Restoration(host, mount, views, merged, durable=self.durable)
            try:
                for path in self.added:  # first, since that makes room
                    work.remove(path)
                for path in self.changed:
                    work.restore(path)
            finally:
                work.finish()
        with host.kernel.views(mount) as views:
            left = dict(work.failed)
            for path, why in still_different(host, mount, views, (*self.added, *self.changed)):
                left.setdefault(path, why)
        if left:
            raise Conflict(
                "not everything is as in the base: "
                + "; ".join(f"{self.target}/{path}: {why}" for path, why in list(left.items())[:_SHOWN])
                + (f"; and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""),
                remedy=f"see what is left with {command('ovlay diff', self.target)}; "
                f"{command('ovlay reset --fresh', self.target)} takes all of it away",
            )
        return ""


class _Before(NamedTuple):
    """What a directory was before something in it was changed."""

    flags: int
    mtime: int


class _Restoration:
    """The work itself. Directories that were changed get their time stamps last, since every change sets them."""

    def __init__(self, host: Host, mount: Mount, views: Views, merged: int, *, durable: bool) -> None:
        self._merged = merged
        self._lower = views.lower
        self._private = private(mount)
        self._permissions = host.permissions
        # What plays a read-only mount with flags has them on files of the base that have none.
        self._flags = views.own_inodes
        self._copier = Copier(
            merged,
            private=self._private,
            permissions=host.permissions,
            skip=lambda _directory, _name, found: is_whiteout(found),
            durable=durable,
            flags=self._flags,
        )
        self._parents: dict[str, _Before] = {}
        self._directories: set[str] = set()
        self.failed: dict[str, str] = {}

    def remove(self, path: str) -> None:
        """Remove what the base does not have."""
        with self._guarded(path), contextlib.suppress(FileNotFoundError), self._opened(path) as (name, merged, lower):
            if lower is not None and look(name, lower) is not None:
                self.failed[path] = "the base has it after all"
            elif look(name, merged) is not None:
                remove_whole(merged, name)

    def restore(self, path: str) -> None:
        """Restore one path; of a directory that is there the attributes, in the end."""
        with self._guarded(path):
            if path == ".":
                self._directories.add(path)
                return
            self._make_parents(path)
            with self._opened(path) as (name, merged, lower):
                was = None if lower is None else look(name, lower)
                if was is None or lower is None:
                    self.failed[path] = "the base does not have it"
                    return
                now = look(name, merged)
                if now is not None and stat.S_ISDIR(now.st_mode) and stat.S_ISDIR(was.st_mode):
                    self._directories.add(path)
                else:
                    self._replace(path, name, merged, lower, now)

    def finish(self) -> None:
        """Give every directory that was changed its attributes, and the time stamp of the base, innermost first.

        One with other names in it than in the base keeps the time stamp that it had.
        """
        for path in sorted({*self._directories, *self._parents}, key=_depth, reverse=True):
            with self._guarded(path), self._both(path) as (merged, lower):
                if path in self._directories and lower is not None:
                    set_flags(merged, 0)
                    settle(lower, ".", merged, ".", private=self._private, permissions=self._permissions)
                    if self._flags and (flags := read_flags(lower)):
                        set_flags(merged, flags)
                elif path in self._parents:
                    before = self._parents[path]
                    mtime = before.mtime
                    if lower is not None and _names(merged) == _names(lower):
                        mtime = os.fstat(lower).st_mtime_ns
                    os.utime(merged, ns=(os.fstat(merged).st_atime_ns, mtime))
                    if before.flags:
                        set_flags(merged, before.flags)

    # --- how ---------------------------------------------------------------------------------------------------

    def _replace(self, path: str, name: str, merged: int, lower: int, now: os.stat_result | None) -> None:
        """A copy of the base's under a temporary name, which then takes the place of what is there."""
        folder = posixpath.dirname(path)
        temporary = TEMPORARY + secrets.token_hex(8)
        hidden = posixpath.join(folder, temporary)
        try:
            self._copier.copy(lower, name, merged, temporary, hidden)
            made = look(temporary, merged)
            assert made is not None
            if now is not None and (stat.S_ISDIR(now.st_mode) or stat.S_ISDIR(made.st_mode)):
                # rename(2) replaces no directory by a file, nor a file by a directory.
                remove_whole(merged, name)
            try:
                os.rename(temporary, name, src_dir_fd=merged, dst_dir_fd=merged)
            except PermissionError:
                take_flags(merged, name)
                take_flags(merged, temporary)
                os.rename(temporary, name, src_dir_fd=merged, dst_dir_fd=merged)
        except BaseException:
            if look(temporary, merged) is not None:
                remove_whole(merged, temporary)
            raise
        self._copier.renamed(hidden, path)
        if look(temporary, merged) is not None:  # rename(2) does nothing where both names are one file
            os.unlink(temporary, dir_fd=merged)
        if self._flags:
            copy_flags(lower, name, merged, name)

    def _make_parents(self, path: str) -> None:
        """Make the directories on the way that are missing, without what else is in them."""
        parts = path.split("/")
        for count in range(1, len(parts)):
            parent = "/".join(parts[:count])
            if parent in self._parents:
                continue
            with self._opened(parent) as (name, merged, lower):
                if lower is not None and look(name, merged) is None:
                    os.mkdir(name, 0o700, dir_fd=merged)
                    self._directories.add(parent)

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[tuple[str, int, int | None]]:
        """The last part of a path, and the directories that it is in: None where the base has no such directory."""
        folder, _, name = path.rpartition("/")
        with contextlib.ExitStack() as stack:
            merged, lower = stack.enter_context(self._both(folder))
            self._prepare(folder or ".", merged)
            yield name, merged, lower

    @contextlib.contextmanager
    def _both(self, folder: str) -> Iterator[tuple[int, int | None]]:
        """A directory of the merged view, and the same of the base: None where that has no such directory."""
        with contextlib.ExitStack() as stack:
            merged = descend(self._merged, folder)
            stack.callback(os.close, merged)
            lower: int | None = None
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                lower = descend(self._lower, folder)
                stack.callback(os.close, lower)
            yield merged, lower

    def _prepare(self, folder: str, directory: int) -> None:
        """Note a directory that is going to be changed, and take the flags off it that forbid that."""
        if folder not in self._parents:
            before = self._parents[folder] = _Before(read_flags(directory), os.fstat(directory).st_mtime_ns)
            if before.flags:
                set_flags(directory, 0)

    @contextlib.contextmanager
    def _guarded(self, path: str) -> Iterator[None]:
        """What fails for one path is told in the end, and does not keep the others from being restored."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                raise
            mounted = "something is mounted there"
            self.failed[path] = mounted if error.errno == errno.EXDEV else error.strerror or str(error)


def _names(directory: int) -> set[str]:
    return {name for name in os.listdir(directory) if look(name, directory) is not None}


def _depth(path: str) -> int:
    return 0 if path == "." else path.count("/") + 1
