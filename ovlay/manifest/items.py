"""From entries to single items: trees walked, sources looked at (not read), owners looked up."""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from ovlay.ancestry import around, is_within
from ovlay.errors import InvalidInput
from ovlay.files.accounts import numbers_of
from ovlay.manifest.document import InvalidManifest, Kind, Problem
from ovlay.manifest.looking import exclusion, own_stamp, whole_stamp
from ovlay.receipts import stamp_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.files.accounts import Owner
    from ovlay.host import Host
    from ovlay.manifest.document import Declared, Entry, Origin
    from ovlay.manifest.looking import Look
    from ovlay.receipts import Stamp

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Item(NamedTuple):
    """One path that is to be so.

    ``path`` is relative to the target. A file has a ``source``, an absolute path, with its ``stamp`` and ``size`` as
    they were when it was looked at; or ``text``. ``sha256`` is what the source must be, where that was said. Where the
    mode and the owner of a directory are not ``given``, one that is there may have others: a tree of which a part goes
    into a directory of the base leaves that as it is.
    """

    path: str
    kind: Kind
    origin: Origin
    source: str | None = None
    text: str | None = None
    to: str | None = None
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    label: str | None = None
    sha256: str | None = None
    stamp: Stamp | None = None
    replaces: str | None = None
    given: bool = True


class Expanded(NamedTuple):
    """The items, sorted by path; how the sources of the entries looked (see `ovlay.manifest.looking`); and the owners.

    ``owners`` are all that the entries name, each with the numbers that they stood for.
    """

    items: tuple[Item, ...]
    sources: Look | None
    owners: tuple[tuple[Owner, tuple[int, int]], ...] = ()


def expand(host: Host, declared: Declared) -> Expanded:
    """The items of all entries; one that an entry names itself wins over the same of a tree.

    Raises `InvalidManifest` with every source that is missing or is not what it must be, and for what is declared
    within a file or a link that a tree has.
    """
    work = _Expansion(host, declared.target)
    for entry in declared.entries:
        work.add(entry)
    items = () if work.problems else work.sorted()
    if work.problems:
        raise InvalidManifest(work.problems)
    return Expanded(items, work.sources, tuple(work.owners.items()))


class _Expansion:
    def __init__(self, host: Host, target: str) -> None:
        self._host = host
        self._target = target
        self._single: dict[str, Item] = {}
        self._grown: dict[str, Item] = {}
        self._hidden: list[Item] = []
        self.problems: list[Problem] = []
        self.sources: Look = []
        self.owners: dict[Owner, tuple[int, int]] = {}

    def sorted(self) -> tuple[Item, ...]:
        """All of them: what a tree has within what is declared to be a file, a link or absent is left out."""
        leaves = {path for path, item in self._single.items() if item.kind is not Kind.DIRECTORY}
        grown = self._grown
        if leaves:
            grown = {path: item for path, item in grown.items() if not is_within(path, leaves)}
        both = {**grown, **self._single}
        items = tuple(both[path] for path in sorted(both))
        self._demand_room(items, both)
        return items

    def _demand_room(self, items: tuple[Item, ...], by_path: dict[str, Item]) -> None:
        """Keep a problem for each entry that has something within what is to be no directory, because of a tree.

        What entries say of each other by themselves was looked at before (see `ovlay.manifest.stack`). An item of which
        the directory is an item too needs no look further up: that one is looked at itself.
        """
        for other in self._hidden:
            item = by_path.get(other.path)
            if item is not None and item is self._grown[other.path] and item.origin.file == other.origin.file:
                self._no_room(item, other)  # of two manifests the later one wins
        told: set[tuple[str, Origin]] = set()
        last: str | None = None
        leaf: Item | None = None
        for item in items:
            folder = item.path.rpartition("/")[0]
            if folder != last:
                last = folder
                above = next((found for way in around(item.path) if (found := by_path.get(way)) is not None), None)
                leaf = None if above is None or above.kind is Kind.DIRECTORY else above
            if leaf is not None and (leaf.path, item.origin) not in told:
                told.add((leaf.path, item.origin))
                self._no_room(item, leaf)

    def _no_room(self, item: Item, leaf: Item) -> None:
        within = f"{self._target}/{leaf.path}"
        where = f"{within}, here a directory,"
        if item.path != leaf.path:
            where = f"{self._target}/{item.path} is in {within}, which"
        message = f"{where} is to be a {leaf.kind} ({leaf.origin})"
        key = "path" if item.path in self._single else "source"
        hint = "exclude one of them from its tree"
        self.problems.append(Problem(item.origin.file, item.origin.line, key, message, hint))

    def add(self, entry: Entry) -> None:
        """One entry; what is wrong with it is kept for the end."""
        try:
            path = posixpath.relpath(entry.path, self._target)
            if entry.kind is Kind.TREE:
                self.sources.append(self._tree(entry, path))
            else:
                self._single[path], look = self._item(entry, path)
                self.sources.append(look)
        except InvalidInput as error:
            self._problem(entry, str(error))

    def _problem(self, entry: Entry, message: str) -> None:
        key = "source" if entry.source is not None else str(entry.kind)
        self.problems.append(Problem(entry.origin.file, entry.origin.line, key, message))

    def _item(self, entry: Entry, path: str) -> tuple[Item, tuple[int, ...] | None]:
        """The item of an entry, and how its source looks, where it has one."""
        uid, gid = self._owner(entry)
        item = Item(
            path,
            entry.kind,
            entry.origin,
            uid=uid,
            gid=gid,
            label=entry.label,
            sha256=entry.sha256,
            replaces=entry.replaces,
        )
        if entry.kind is Kind.DIRECTORY:
            return item._replace(mode=0o755 if entry.mode is None else entry.mode), None
        if entry.kind is Kind.SYMLINK:
            return item._replace(to=entry.to or "", mode=0o777), None
        if entry.kind is Kind.ABSENT:
            return item, None
        if entry.text is not None:
            size = len(entry.text.encode("utf-8", "surrogateescape"))
            return item._replace(text=entry.text, size=size, mode=0o644 if entry.mode is None else entry.mode), None
        source = entry.source or ""
        _demand_trust(entry, source, self._host.root)
        try:
            found = os.stat(source)
        except OSError as error:
            raise InvalidInput(f"{source}: {_why(error)}") from None
        if not stat.S_ISREG(found.st_mode):
            raise InvalidInput(f"{source} is {'a directory' if stat.S_ISDIR(found.st_mode) else 'not a regular file'}")
        mode = (0o755 if found.st_mode & 0o111 else 0o644) if entry.mode is None else entry.mode
        item = item._replace(source=source, size=found.st_size, mode=mode, stamp=stamp_of(found))
        return item, whole_stamp(found)

    def _tree(self, entry: Entry, path: str) -> Look:
        source = entry.source or ""
        _demand_trust(entry, source, self._host.root)
        walk = _Tree(entry, self._owner(entry), self._grown, exclusion(entry.exclude))
        try:
            descriptor = os.open(source, _DIRECTORY)
        except NotADirectoryError:
            raise InvalidInput(f"{source} is not a directory") from None
        except OSError as error:
            raise InvalidInput(f"{source}: {_why(error)}") from None
        try:
            walk.directory(descriptor, path, source, "")
        finally:
            os.close(descriptor)
        self._hidden += walk.hidden
        for message in (*walk.wrong, *walk.distrust(source)):
            self._problem(entry, message)
        return walk.look

    def _owner(self, entry: Entry) -> tuple[int, int]:
        owner = (entry.owner, entry.group)
        if owner not in self.owners:
            self.owners[owner] = numbers_of(owner, self._host.default_owner)
        return self.owners[owner]


class _Tree:
    """A directory with all below it: what is in it is looked at by its name in an open directory, and never opened."""

    def __init__(
        self, entry: Entry, owner: tuple[int, int], items: dict[str, Item], left_out: Callable[[str], bool] | None
    ) -> None:
        self._entry = entry
        self._owner = owner
        self._items = items
        self._left_out = left_out
        self._doubted = _is_doubted(entry)
        self._distrusted: list[str] = []
        self.hidden: list[Item] = []
        self.wrong: list[str] = []
        self.look: Look = []

    def distrust(self, source: str) -> Iterator[str]:
        """What to say where root must not take all of the tree."""
        if self._distrusted:
            more = len(self._distrusted) - 1
            yield f"{source} is not trusted: {self._distrusted[0]}" + (f"; nor are {more} more in it" if more else "")

    def directory(self, descriptor: int, path: str, source: str, inner: str) -> None:
        """An open directory of the source, for ``path`` in the target; ``inner`` is it within the tree."""
        entry, (uid, gid), items = self._entry, self._owner, self._items
        origin, label, file_mode = entry.origin, entry.label, entry.file_mode
        itself = os.fstat(descriptor)
        if self._doubted:
            self._doubt(source, itself)
        mode = stat.S_IMODE(itself.st_mode) if entry.directory_mode is None else entry.directory_mode
        if path != ".":
            given = entry.directory_mode is not None
            if (other := items.get(path)) is not None and other.kind is not Kind.DIRECTORY:
                self.hidden.append(other)  # of another tree
            items[path] = Item(path, Kind.DIRECTORY, origin, mode=mode, uid=uid, gid=gid, label=label, given=given)
        front = "" if path == "." else path + "/"
        inside = inner + "/" if inner else ""
        below, leaves = [], []
        stamps: list[int] = []
        look, left_out, file, doubted = os.stat, self._left_out, Kind.FILE, self._doubted
        names = os.listdir(descriptor)
        names.sort()
        for name in names:
            found = look(name, dir_fd=descriptor, follow_symlinks=False)
            kind = stat.S_IFMT(found.st_mode)
            if left_out is not None and left_out(inside + name + ("/" if kind == stat.S_IFDIR else "")):
                continue
            if kind == stat.S_IFDIR:
                below.append(name)
                continue
            if doubted and (found.st_uid or found.st_mode & _OTHERS):
                self._doubt(f"{source}/{name}", found)
            place, inode, modified, changed = front + name, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
            leaves.append(name)
            stamps += (inode, modified, changed)
            if kind == stat.S_IFREG:
                size = found.st_size
                stamp = (found.st_dev, inode, size, modified, changed)
                bits = found.st_mode & 0o7777 if file_mode is None else file_mode
                items[place] = Item(
                    place, file, origin, f"{source}/{name}", None, None, size, bits, uid, gid, label, None, stamp
                )
            elif kind == stat.S_IFLNK:
                to = os.readlink(name, dir_fd=descriptor)
                items[place] = Item(place, Kind.SYMLINK, origin, to=to, mode=0o777, uid=uid, gid=gid, label=label)
            else:
                self.wrong.append(f"{source}/{name} is neither a file, a directory nor a link")
        self.look.append((inner, own_stamp(itself), leaves, stamps))
        for name in below:
            try:
                deeper = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError as error:
                self.wrong.append(f"{source}/{name}: {_why(error)}")
                continue
            try:
                self.directory(deeper, front + name, f"{source}/{name}", inside + name)
            finally:
                os.close(deeper)

    def _doubt(self, path: str, found: os.stat_result) -> None:
        """Keep why another user could change what is at a path of the source."""
        from ovlay.manifest.trust import reason_against

        if (why := reason_against(path, found)) is not None:
            self._distrusted.append(why)


def _is_doubted(entry: Entry) -> bool:
    """Whether this is root, with a manifest that it found: only what is root's alone may be taken for that."""
    return not entry.origin.named and os.geteuid() == 0


def _demand_trust(entry: Entry, source: str, root: str) -> None:
    """Raise `InvalidInput` where root would take a source that somebody else can change, for a manifest it found."""
    if not _is_doubted(entry):
        return
    from ovlay.manifest.trust import reason_to_distrust

    why = reason_to_distrust(source, root=root if source.startswith(root.rstrip("/") + "/") else "/")
    if why is not None:
        raise InvalidInput(f"{source} is not trusted: {why}")


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or directory"
    if isinstance(error, PermissionError):
        return "may not be read"
    return error.strerror or str(error)
