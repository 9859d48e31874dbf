"""Changes by way of the upper directory: it names what may have changed, and comparing with the lower says what did.

Of what the upper holds only that is believed which it shows as the merged view does: names, whiteouts, the attributes
and the content of what was copied up whole. Where overlayfs keeps something of its own there, the view is asked:
directories that were made anew or moved, files without their data (metacopy), the flags of chattr(1). The format is
in Documentation/filesystems/overlayfs.rst of the kernel.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ovlay.changes.classify import (
    ADDED,
    METADATA,
    MODIFIED,
    TOUCHED,
    TYPE_CHANGED,
    Comparison,
)
from ovlay.changes.content import FILE, FIRST, as_shown, has_flags, listed, read_attributes, same_content
from ovlay.changes.descent import DIRECTORY, descend

if TYPE_CHECKING:
    from ovlay.changes.classify import Found, Task
    from ovlay.kernel import Views

_TYPE = 0o170000  # S_IFMT


class _Judgement(NamedTuple):
    """What the attributes of a file in the upper mean: whether all are overlayfs's own, and what these say."""

    plain: bool
    moved: bool  # opaque, or with a redirect: what the lower has in its place is not what is merged with it
    own_way: bool  # its data or its flags are not what it shows


class UpperWalk(Comparison):
    """The walk of an upper directory, which the views must have. ``prefix`` is how overlayfs names its attributes.

    ``origins`` are the handles of what added files were copied up from, by path; None for one that is all new.
    """

    begin: ClassVar[Task] = ("walk", "")
    sides: ClassVar[dict[str, tuple[str, ...]]] = {**Comparison.sides, "walk": ("upper", "lower")}

    def __init__(self, views: Views, *, prefix: str, metacopy: bool, **options: Any) -> None:
        super().__init__(views, private=(prefix,), **options)
        self.origins: dict[str, bytes | None] = {}
        self._prefix = prefix
        self._origin = f"{prefix}origin"
        self._metacopy = metacopy
        # Most files have the same few attributes.
        self._judged: dict[tuple[str, ...], _Judgement] = {}

    # --- directories -------------------------------------------------------------------------------------------

    def _walk(self, path: str, upper: int, lower: int, depth: int) -> None:
        """Everything in one directory of the upper; the loops are long because they are what costs."""
        if not path and self._compare_directory(".", upper, lower, os.fstat(upper)):
            self._by_view("", lower, depth)
            return
        prefix = path + "/" if path else ""
        directories: list[tuple[str, str, os.stat_result]] = []
        restricted, look = bool(self._paths), os.stat
        for name in os.listdir(upper):
            inner = prefix + name
            if restricted and not self.is_wanted(inner):
                continue
            try:
                now = look(name, dir_fd=upper, follow_symlinks=False)
                if now[0] & _TYPE == stat.S_IFDIR:
                    directories.append((name, inner, now))
                else:
                    self._leaf(inner, name, upper, lower, now, depth)
            except OSError as error:
                self.missed(inner, error)
        for name, inner, now in directories:
            below = own = -1
            try:
                try:
                    below = os.open(name, DIRECTORY, dir_fd=lower)
                except (FileNotFoundError, NotADirectoryError):
                    self._name_by_view(inner, name, lower, depth)  # it is new, or took the place of something else
                    continue
                own = os.open(name, DIRECTORY, dir_fd=upper)
                moved = self._compare_directory(inner, own, below, now)
                if depth >= self.levels[0]:
                    self.tasks.append(("whole" if moved else "walk", inner))
                elif moved:
                    self._by_view(inner, below, depth + 1)
                else:
                    self._walk(inner, own, below, depth + 1)
            except OSError as error:
                self.missed(inner, error)
            finally:
                if own >= 0:
                    os.close(own)
                if below >= 0:
                    os.close(below)

    def _compare_directory(self, path: str, upper: int, lower: int, now: os.stat_result) -> bool:
        """A directory that is in both; returns whether what the upper has in it is not all that may differ."""
        names = tuple(os.listxattr(upper))
        judgement = self._judged.get(names) or self._judge(names)
        was = os.fstat(lower)
        if (
            now[0] != was[0]
            or now[4] != was[4]
            or now[5] != was[5]
            or ((not judgement.plain or listed(lower)) and self._attributes_differ(upper, lower))
            or ((judgement.own_way or has_flags(lower)) and self._flags_differ(path, lower))
        ):
            self.add(path, METADATA, now, was)
        elif self._everything:
            self._touched(path, now, was)
        return judgement.moved

    # --- everything else ---------------------------------------------------------------------------------------

    def _leaf(  # noqa: PLR0917
        self, path: str, name: str, upper: int, lower: int, now: os.stat_result, depth: int
    ) -> None:
        """A name in the upper that is no directory there."""
        kind = now[0] & _TYPE
        try:
            was = os.stat(name, dir_fd=lower, follow_symlinks=False)
        except FileNotFoundError:
            if kind != stat.S_IFCHR or now.st_rdev:
                self.add(path, ADDED, now, None)
                self._note_origin(path, name, upper, now)
            return
        beneath = was[0] & _TYPE
        if kind == stat.S_IFREG == beneath:
            self._files(path, name, upper, lower, now, was, depth)
        elif kind == stat.S_IFCHR and not now.st_rdev:
            # A whiteout: no view is needed to see that what it lies over is gone, unless that is one too.
            if (beneath != stat.S_IFCHR or was.st_rdev) and not self._hidden(name, lower, was):
                self._gone(path, name, lower, was, depth)
        elif kind == stat.S_IFCHR or beneath != stat.S_IFLNK:
            self._name_by_view(path, name, lower, depth)
        elif kind != stat.S_IFLNK:
            self.add(path, TYPE_CHANGED, now, was)
        elif os.readlink(name, dir_fd=upper) != os.readlink(name, dir_fd=lower):
            self.add(path, MODIFIED, now, was)
        else:
            self._name_by_view(path, name, lower, depth)

    def _files(  # noqa: PLR0917
        self, path: str, name: str, upper: int, lower: int, now: os.stat_result, was: os.stat_result, depth: int
    ) -> None:
        """A regular file that is in both."""
        size = now[6]
        if size != was[6]:
            self.add(path, MODIFIED, now, was)
            return
        new = os.open(name, FILE, dir_fd=upper)
        old = -1
        try:
            # Without blocks it may be one whose data stayed in the lower, whatever the mount's options are by now.
            if (self._metacopy or now.st_blocks == 0) and self._judge_file(new).own_way:
                self._name_by_view(path, name, lower, depth)
                return
            old = os.open(name, FILE, dir_fd=lower)
            if size <= FIRST:
                # One byte more, so that a file that grew meanwhile is not taken for the same.
                differs = os.read(new, size + 1) != os.read(old, size + 1)
            else:
                differs = not same_content(new, old, size)
            if differs:
                self.add(path, MODIFIED, now, was)
            elif now[0] != was[0] or now[4] != was[4] or now[5] != was[5]:
                self.add(path, METADATA, now, was)
            else:
                self._same_modes(path, name, lower, now, was, new, old, depth)
        finally:
            os.close(new)
            if old >= 0:
                os.close(old)

    def _same_modes(  # noqa: PLR0917
        self,
        path: str,
        name: str,
        lower: int,
        now: os.stat_result,
        was: os.stat_result,
        new: int,
        old: int,
        depth: int,
    ) -> None:
        """A regular file with the same bytes, mode and owner on both sides, which are open."""
        judgement = self._judge_file(new)
        if judgement.own_way or has_flags(old):
            self._name_by_view(path, name, lower, depth)
        elif (not judgement.plain or listed(old)) and self._attributes_differ(new, old):
            self.add(path, METADATA, now, was)
        elif self._everything:
            self._touched(path, now, was)

    def _note_origin(self, path: str, name: str, upper: int, now: os.stat_result) -> None:
        """What an added file was copied up from; it was another name then."""
        if stat.S_ISREG(now[0]):
            try:
                self.origins[path] = os.getxattr(f"/proc/self/fd/{upper}/{name}", self._origin, follow_symlinks=False)
            except OSError:  # as most have none
                self.origins[path] = None

    # --- attributes --------------------------------------------------------------------------------------------

    def _judge_file(self, descriptor: int) -> _Judgement:
        names = tuple(os.listxattr(descriptor))
        return self._judged.get(names) or self._judge(names)

    def _judge(self, names: tuple[str, ...]) -> _Judgement:
        prefix = self._prefix
        own = [name for name in names if name.startswith(prefix) and not name.startswith(prefix + "overlay.")]
        judgement = self._judged[names] = _Judgement(
            plain=len(own) == len(names),
            moved=f"{prefix}opaque" in own or f"{prefix}redirect" in own,
            own_way=f"{prefix}protattr" in own or f"{prefix}metacopy" in own,
        )
        return judgement

    def _attributes_differ(self, upper: int, lower: int) -> bool:
        mine, beneath = (read_attributes(side, listed(side), self._ignored) for side in (upper, lower))
        return as_shown(mine, self._private) != as_shown(beneath, self._private)

    # --- the view ----------------------------------------------------------------------------------------------

    def _name_by_view(self, path: str, name: str, lower: int, depth: int) -> None:
        """A name of which the view must be asked what it is."""
        merged = descend(self.views.merged, path.rpartition("/")[0])
        try:
            self.name(path, name, merged, lower, depth)
        finally:
            os.close(merged)

    def _by_view(self, path: str, lower: int, depth: int) -> None:
        merged = descend(self.views.merged, path)
        try:
            self._whole(path, merged, lower, depth)
        finally:
            os.close(merged)

    def _flags_differ(self, path: str, lower: int) -> bool:
        merged = descend(self.views.merged, "" if path == "." else path)
        try:
            return has_flags(merged) != has_flags(lower)
        finally:
            os.close(merged)

    # --- results -----------------------------------------------------------------------------------------------

    def _touched(self, path: str, now: os.stat_result, was: os.stat_result) -> None:
        """It is in the upper and the same, whatever its time stamps say; the root is in the upper of every overlay."""
        if path != ".":
            self.rows.append((path, TOUCHED, was[:7], now[:7]))

    def add(self, path: str, kind: int, now: os.stat_result | None, was: os.stat_result | None) -> None:
        """Keep a change. On a real host the modes are what they seem."""
        if was is not None and was[3] > 1 and was[0] & _TYPE != stat.S_IFDIR:
            self.linked.add((was[2], was[1]))
        self.rows.append((path, kind, was and was[:7], now and now[:7]))

    def found(self) -> Found:
        """All that was found so far."""
        rows, errors, linked, _ = super().found()
        return rows, errors, linked, dict(self.origins)

    def take(self, found: Found) -> None:
        """Add what another walk found."""
        super().take(found)
        self.origins |= found[3]

    def forget(self) -> None:
        """Begin with nothing found."""
        super().forget()
        self.origins = {}
