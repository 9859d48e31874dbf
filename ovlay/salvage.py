"""What earlier overlays left on the disk: the upper directories that nothing uses any more, and what is in them.

ostree keeps the upper of the last unlock until the next one, ovlay its own until the next `ovlay enable`. What is in
one is compared with the base that is there now, which need not be the one that it was made over.
"""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.advice import command
from ovlay.changes.change import Attributes, Change, ChangeKind, type_word
from ovlay.changes.content import FILE, as_shown, listed, same_content
from ovlay.errors import InvalidInput, NotPermitted, OvlayError
from ovlay.files.copying import DIRECTORY, is_whiteout, look
from ovlay.paths import anywhere, inside
from ovlay.plan.plan import Plan
from ovlay.plan.salvaging import PRIVATE, CopyOut, is_marked, opened_upper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ovlay.backend import Backend

SALVAGE_SCHEMA = "ovlay.salvage/1"


class Leftover(NamedTuple):
    """One upper directory of an earlier overlay, and how it differs from the base that is there now.

    ``path`` is the directory that holds ``upper`` and ``work``. ``changes`` are sorted by path; their side "before" is
    the base, "after" what can be salvaged. Where a directory was renamed, ``renamed_from`` says from what, and what
    it held in the base is not in the upper. ``errors`` says by path what could not be looked at.
    """

    path: str
    changes: tuple[Change, ...]
    errors: Mapping[str, str]


class Salvage(NamedTuple):
    """All that is left of earlier overlays on a target."""

    target: str
    uppers: tuple[Leftover, ...]

    def to_json(self) -> dict[str, Any]:
        """The machine-readable form, as ``ovlay salvage --json`` prints it (schema ``ovlay.salvage/1``)."""
        from ovlay.model import as_json

        return {"schema": SALVAGE_SCHEMA, **as_json(self)}


def find_leftovers(backend: Backend) -> Salvage:
    """Everything that can be salvaged; reads only. Raises `NotPermitted` for who is not root: uppers are root's."""
    host = backend.host
    if host.euid != 0:
        raise NotPermitted("only root can look into upper directories", remedy="run it as root, for instance with sudo")
    held = _held(backend)
    found = []
    with _base(backend) as base:
        for path in backend.leftover_uppers():
            if path not in held:
                found.append(_read(backend, path, base))
    return Salvage(backend.target, tuple(found))


def plan_salvage(backend: Backend, destination: str, paths: Sequence[str] = (), *, upper: str | None = None) -> Plan:
    """How to copy out of what is left, everything or these paths of the target, to a directory.

    A path that is the target itself is everything. ``upper`` is one of `Salvage.uppers` by its path; it is needed where
    there are several. Raises `InvalidInput` for a path that is not in it, a destination in the target, or an empty
    path, and `NotPermitted`.
    """
    target = backend.target
    place = anywhere(destination)
    if place == target or place.startswith(target + "/"):
        raise InvalidInput(f"{destination} is in {target} itself", remedy="choose a directory that lasts")
    left = find_leftovers(backend).uppers
    if not left:
        return Plan(reason=f"nothing is left of an earlier overlay on {target}")
    chosen = next((found for found in left if found.path == upper), None) if upper is not None else left[0]
    if chosen is None or (upper is None and len(left) > 1):
        listed_paths = ", ".join(found.path for found in left)
        what = (
            f"{upper} is not what an earlier overlay left" if upper is not None else "several overlays left something"
        )
        raise InvalidInput(what, remedy=f"say which with --upper: {listed_paths}")
    there = tuple(change.path for change in chosen.changes if change.after is not None)
    wanted = tuple(dict.fromkeys(_chosen(target, chosen.path, path, there) for path in paths))
    wanted = there if not paths or "." in wanted else wanted
    roots = tuple(_topmost(wanted))
    if not roots:
        return Plan(reason=f"nothing in {chosen.path} differs from the base")
    return Plan((CopyOut(chosen.path, place, roots),))


def _chosen(target: str, upper: str, path: str, there: tuple[str, ...]) -> str:
    relative = inside(target, path)
    if relative != "." and not any(found == relative or found.startswith(relative + "/") for found in there):
        listed = command("ovlay salvage", target)
        raise InvalidInput(f"{path}: {upper} has no such change", remedy=f"{listed} lists what it has")
    return relative


def _topmost(paths: tuple[str, ...]) -> Iterator[str]:
    within = None
    for path in sorted(paths, key=lambda path: path.split("/")):
        if within is None or not path.startswith(within):
            yield path
            within = path + "/"


def _held(backend: Backend) -> set[str]:
    """Uppers of ovlay's own that were kept for those who use them still."""
    from ovlay.plan.directories import KEPT, DiscardUpper
    from ovlay.plan.unmounting import View

    folder = f"{backend.host.state_dir}/{KEPT}"
    held = set()
    for name in backend.host.entries(folder):
        try:
            record = DiscardUpper.from_text(backend.host.read(f"{folder}/{name}") or "")
        except InvalidInput:
            continue
        if View(record.target, record.mount_id, record.device).holders(backend.host):
            held.add(record.path)
    return held


@contextmanager
def _base(backend: Backend) -> Iterator[int]:
    """What is beneath the overlay on the target, or the target itself where there is none."""
    from ovlay.changes.find import overlay_of

    with ExitStack() as stack:
        if backend.status().active:
            mount = overlay_of(backend)
            yield stack.enter_context(backend.host.kernel.views(mount, backend.upper_candidates(mount))).lower
            return
        base = os.open(backend.host.path(backend.target), DIRECTORY)
        stack.callback(os.close, base)
        yield base


def _read(backend: Backend, path: str, base: int) -> Leftover:
    reading = _Reading(backend)
    try:
        with opened_upper(backend.host, path) as upper:
            reading.directory("", upper, base)
    except (OSError, OvlayError) as error:
        reading.errors["."] = getattr(error, "strerror", None) or str(error)
    return Leftover(path, tuple(sorted(reading.found, key=lambda change: change.path)), dict(reading.errors))


class _Reading:
    """A walk through an upper directory beside the base. Every directory is opened in its parent, and no link is."""

    def __init__(self, backend: Backend) -> None:
        self.found: list[Change] = []
        self.errors: dict[str, str] = {}
        self._permissions = backend.host.permissions

    def directory(self, path: str, upper: int, base: int | None) -> None:
        """All that is in a directory; ``base`` is None where the base has none that shows through."""
        names = set(os.listdir(upper))
        for name in sorted(names):
            self._guarded(f"{path}{name}", name, upper, base)
        if base is not None and _mark(upper, "opaque") == b"y":
            for name in sorted(set(os.listdir(base)) - names):
                self._gone(f"{path}{name}", name, base)

    def _guarded(self, path: str, name: str, upper: int, base: int | None) -> None:
        try:
            self._name(path, name, upper, base)
        except OSError as error:
            self.errors[path] = error.strerror or str(error)

    def _name(self, path: str, name: str, upper: int, base: int | None) -> None:
        now = os.stat(name, dir_fd=upper, follow_symlinks=False)
        was = None if base is None else look(name, base)
        if is_whiteout(now) or is_marked(upper, name, ("whiteout",)):
            if base is not None:
                self._gone(path, name, base)
            return
        if stat.S_ISDIR(now.st_mode):
            self._inner(path, name, upper, base, now, was)
        elif was is None or base is None:
            self._add(path, ChangeKind.ADDED, was, now)
        elif stat.S_IFMT(was.st_mode) != stat.S_IFMT(now.st_mode):
            self._add(path, ChangeKind.TYPE_CHANGED, was, now)
        elif is_marked(upper, name, ("metacopy",)):
            # The content is the base's; there is none in the upper.
            self._add(path, ChangeKind.METADATA, was, now)
        elif _content_differs(name, upper, base, now, was):
            self._add(path, ChangeKind.MODIFIED, was, now)
        elif self._attributes_differ(name, upper, base, now, was):
            self._add(path, ChangeKind.METADATA, was, now)

    def _inner(  # noqa: PLR0917
        self, path: str, name: str, upper: int, base: int | None, now: os.stat_result, was: os.stat_result | None
    ) -> None:
        with ExitStack() as stack:
            inside = os.open(name, DIRECTORY, dir_fd=upper)
            stack.callback(os.close, inside)
            moved = _mark(inside, "redirect")
            beneath: int | None = None
            if was is None or base is None:
                came = None if moved is None else _origin(path, os.fsdecode(moved))
                self._add(path, ChangeKind.ADDED, None, now, came)
            elif not stat.S_ISDIR(was.st_mode):
                self._add(path, ChangeKind.TYPE_CHANGED, was, now)
            else:
                if self._attributes_differ(name, upper, base, now, was):
                    self._add(path, ChangeKind.METADATA, was, now)
                beneath = os.open(name, DIRECTORY, dir_fd=base)
                stack.callback(os.close, beneath)
            self.directory(f"{path}/", inside, beneath)

    def _gone(self, path: str, name: str, base: int) -> None:
        was = look(name, base)
        if was is not None:  # a whiteout over nothing is nothing
            self._add(path, ChangeKind.DELETED, was, None)

    def _attributes_differ(self, name: str, upper: int, base: int, now: os.stat_result, was: os.stat_result) -> bool:
        if (now.st_uid, now.st_gid) != (was.st_uid, was.st_gid):
            return True
        if self._permissions(now) != self._permissions(was) and not stat.S_ISLNK(now.st_mode):
            return True
        return _attributes(upper, name) != _attributes(base, name)

    def _add(
        self,
        path: str,
        kind: ChangeKind,
        was: os.stat_result | None,
        now: os.stat_result | None,
        renamed_from: str | None = None,
    ) -> None:
        self.found.append(Change(path, kind, self._side(was), self._side(now), renamed_from))

    def _side(self, found: os.stat_result | None) -> Attributes | None:
        if found is None:
            return None
        mode = self._permissions(found)
        return Attributes(type_word(found.st_mode), found.st_size, mode, found.st_uid, found.st_gid)


def _content_differs(name: str, upper: int, base: int, now: os.stat_result, was: os.stat_result) -> bool:
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(name, dir_fd=upper) != os.readlink(name, dir_fd=base)
    if not stat.S_ISREG(now.st_mode):
        return stat.S_IFMT(now.st_mode) in (stat.S_IFCHR, stat.S_IFBLK) and now.st_rdev != was.st_rdev
    if now.st_size != was.st_size:
        return True
    with ExitStack() as stack:
        opened = []
        for directory in (upper, base):
            opened.append(os.open(name, FILE, dir_fd=directory))
            stack.callback(os.close, opened[-1])
        return not same_content(opened[0], opened[1], now.st_size)


def _attributes(directory: int, name: str) -> Mapping[str, bytes]:
    path = f"/proc/self/fd/{directory}/{name}"
    found = {n: os.getxattr(path, n, follow_symlinks=False) for n in listed(path) if n != "security.evm"}
    return as_shown(found, PRIVATE)


def _mark(directory: int, mark: str) -> bytes | None:
    for prefix in PRIVATE:
        try:
            return os.getxattr(directory, prefix + mark)
        except OSError:
            continue
    return None


def _origin(path: str, redirect: str) -> str:
    """Where a renamed directory came from: an absolute redirect is one from the root of the overlay."""
    if redirect.startswith("/"):
        return redirect.strip("/")
    return posixpath.join(posixpath.dirname(path), redirect)
