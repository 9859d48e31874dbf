"""Changes with no upper to look into: merged and lower compared, leaving out what surely is the lower's own.

What the overlay did not copy up shows with the lower's change time and inode number; what it did has a change time of
its own, which nobody can set. A directory is copied up before anything in it is, so that one which surely is the
lower's own is left out with all that is in it, unless a hard link or a redirect leads there: see `Pruning`.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ovlay.changes.classify import Comparison
from ovlay.changes.descent import DIRECTORY, close, descend

if TYPE_CHECKING:
    from ovlay.changes.classify import Found, Task
    from ovlay.kernel import Views

_LOW_BITS = 0xFFFFFFFF  # overlayfs puts the number of the layer into the high bits of an inode number (xino)
_SECOND = 1_000_000_000


class Pruning(NamedTuple):
    """What may be concluded on an overlay.

    ``directories`` are not pruned where several lower layers can merge in one. ``whole_seconds`` prove nothing where
    images of one build meet, since all their times and often their inode numbers are the same. With ``redirects`` the
    directory can be another one of the lower's; its inode number tells, where the overlay has one numbering.
    """

    directories: bool = True
    whole_seconds: bool = True
    redirects: bool = False


class PrunedWalk(Comparison):
    """The walk of two views. It begins with the task ``begin``."""

    begin: ClassVar[Task] = ("pruned", "")
    sides: ClassVar[dict[str, tuple[str, ...]]] = {**Comparison.sides, "pruned": ("merged", "lower")}

    def __init__(self, views: Views, *, pruning: Pruning, **options: Any) -> None:
        super().__init__(views, **options)
        self._pruning = pruning
        self._device = os.fstat(views.merged).st_dev
        # The device that the lower's own files show, and what is added to their inode numbers. Where the device is the
        # overlay's own, directories too have their numbers.
        self.numbering: tuple[int, int] | None = None

    def _pruned(self, path: str, merged: int, lower: int, depth: int) -> None:
        if not path:
            self.directory(".", merged, lower, os.fstat(merged), os.fstat(lower))
        prefix = path + "/" if path else ""
        beneath = set(os.listdir(lower))
        names = os.listdir(merged)
        directories: list[tuple[str, os.stat_result, os.stat_result, bool]] = []
        confirmed = False
        look, whole_seconds, restricted = os.stat, self._pruning.whole_seconds, bool(self._paths)
        for name in names:
            if restricted and not self.is_wanted(prefix + name):
                continue
            try:
                now = look(name, dir_fd=merged, follow_symlinks=False)
                was = look(name, dir_fd=lower, follow_symlinks=False)
            except OSError:
                self.name(prefix + name, name, merged, lower, depth)  # which looks again, and says what is wrong
                continue
            mode = now.st_mode
            ctime = now.st_ctime_ns
            same = (
                ctime == was.st_ctime_ns
                and now[3:7] == was[3:7]  # links, owner, group, size
                and mode == was.st_mode
                and now.st_mtime_ns == was.st_mtime_ns
            )
            if mode & 0o170000 == stat.S_IFDIR:
                directories.append((name, now, was, same))
            elif same and (now.st_ino ^ was.st_ino) & _LOW_BITS == 0 and (whole_seconds or ctime % _SECOND):
                if now.st_nlink == 1:
                    confirmed = True
                self.numbering = now.st_dev, now.st_ino - was.st_ino
            else:
                self.name(prefix + name, name, merged, lower, depth)
        for name in beneath.difference(names):
            if not restricted or self.is_wanted(prefix + name):
                self.name(prefix + name, name, merged, lower, depth)
        for name, now, was, same in directories:
            if same and self._surely_the_lower(now, was, confirmed):
                continue
            if stat.S_ISDIR(was.st_mode):
                self._both(prefix + name, name, merged, lower, depth)
            else:
                self.name(prefix + name, name, merged, lower, depth)

    def _surely_the_lower(self, now: os.stat_result, was: os.stat_result, confirmed: bool) -> bool:  # noqa: FBT001
        """Whether a directory that looks the same is the very one beneath.

        ``confirmed`` is whether a file beside it, with one name only, is the lower's own in the same place.
        """
        if not self._pruning.directories or self.numbering is None:
            return False
        if self.numbering[0] == self._device:
            return (now.st_ino ^ was.st_ino) & _LOW_BITS == 0
        return confirmed or not self._pruning.redirects

    def found(self) -> Found:
        """All that was found so far."""
        rows, errors, linked, _ = super().found()
        return rows, errors, linked, {"numbering": self.numbering}

    def take(self, found: Found) -> None:
        """Add what another walk found."""
        super().take(found)
        self.numbering = self.numbering or found[3].get("numbering")

    def _both(self, path: str, name: str, merged: int, lower: int, depth: int) -> None:
        opened: list[int] = []
        try:
            for parent in (merged, lower):
                opened.append(os.open(name, DIRECTORY, dir_fd=parent))
            shown, below = opened
            self.directory(path, shown, below, os.fstat(shown), os.fstat(below))
            if depth >= self.levels[0]:
                self.tasks.append(("pruned", path))
            else:
                self._pruned(path, shown, below, depth + 1)
        except OSError as error:
            self.missed(path, error)
        finally:
            close(opened)


class LinkedNames(Comparison):
    """All names of lower files that changed under another name, which an overlay with an index changes too.

    ``linked`` are these files, by device and inode number; ``known`` are the paths that were looked at.
    """

    begin: ClassVar[Task] = ("names", "")
    sides: ClassVar[dict[str, tuple[str, ...]]] = {**Comparison.sides, "names": ("lower",)}

    def __init__(self, views: Views, *, linked: set[tuple[int, int]], known: set[str], **options: Any) -> None:
        super().__init__(views, **options)
        self._inodes = {inode for _, inode in linked}
        self._sought = linked
        self._known = known

    def _names(self, path: str, lower: int, depth: int) -> None:
        prefix = path + "/" if path else ""
        directories, found = [], []
        with os.scandir(lower) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.name)
                elif entry.inode() in self._inodes and prefix + entry.name not in self._known:
                    found.append(entry.name)
        self._compare(path, [name for name in found if self.is_wanted(prefix + name)], lower, depth)
        for name in directories:
            inner = prefix + name
            if not self.is_wanted(inner):
                continue
            try:
                if depth >= self.levels[0]:
                    self.tasks.append(("names", inner))
                    continue
                below = os.open(name, DIRECTORY, dir_fd=lower)
                try:
                    self._names(inner, below, depth + 1)
                finally:
                    os.close(below)
            except OSError as error:
                self.missed(inner, error)

    def _compare(self, path: str, names: list[str], lower: int, depth: int) -> None:
        sought = []
        for name in names:
            found = os.stat(name, dir_fd=lower, follow_symlinks=False)
            if (found.st_dev, found.st_ino) in self._sought:
                sought.append(name)
        if not sought:
            return
        merged = descend(self.views.merged, path)
        try:
            for name in sought:
                self.name(f"{path}/{name}" if path else name, name, merged, lower, depth)
        finally:
            os.close(merged)
