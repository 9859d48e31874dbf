"""How everything looked when it was as declared: while it looks the same, there is nothing to do.

It is written when everything was compared and is as declared: the entries, and the stamps (see
`ovlay.receipts.Stamp`) of every source and of what was placed. To look again costs a stat(2) of each, and neither the
receipts nor a single file need be read; where the manifests are the same files still, not even they.
"""

from __future__ import annotations

import json
import marshal
import os
import posixpath
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.receipts import RACY, book_path, is_durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ovlay.host import Host
    from ovlay.manifest.document import Declared, Entry
    from ovlay.model import Status

SCHEMA = "ovlay.seal/2"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MANY = 2_000  # files: from here on a process of its own for the one side is worth its start

Look = list[Any]
"""What stat(2) said of one side, in an order that is always the same. Of a tree for each directory: its path in the
tree, its own stamp, the names in it that are no directories, and their stamps, three numbers each."""


class Row(NamedTuple):
    """An entry, as far as it decides what is done."""

    kind: str
    path: str
    source: str | None
    text: str | None
    to: str | None
    sha256: str | None
    mode: int | None
    file_mode: int | None
    directory_mode: int | None
    owner: str | int | None
    group: str | int | None
    label: str | None
    exclude: tuple[str, ...]
    file: str


class Seal(NamedTuple):
    """What was written down. ``asked`` are the manifests with their stamps, None where they have conditions."""

    target: str
    rows: tuple[Row, ...]
    asked: tuple[tuple[Any, ...], ...] | None
    sources: Look
    places: Look

    def is_of(self, declared: Declared) -> bool:
        """Whether this is what was declared then."""
        return self.rows == rows_of(declared.entries)

    def is_for(self, files: Sequence[str]) -> bool:
        """Whether these are the manifests that were read then, and nobody wrote to them since."""
        if self.asked is None or [known[0] for known in self.asked] != [os.path.abspath(file) for file in files]:
            return False
        try:
            return self.asked == _asked(files)
        except OSError:
            return False

    def holds(self, host: Host) -> bool:
        """Whether everything looks as it did."""
        count = sum(len(part[2]) for tree in self.sources if isinstance(tree, list) for part in tree)
        child = _forked(lambda: self._is_in_place(host)) if count > _MANY else None
        try:
            same = look_at_sources(self.rows) == self.sources
        except OSError:
            same = False
        finally:
            other = None if child is None else _ended_well(child)
        return same and (self._is_in_place(host) if other is None else other)

    def _is_in_place(self, host: Host) -> bool:
        try:
            return look_at_places(host.path(self.target), self.target, self.rows, self.sources) == self.places
        except OSError:
            return False


def read_seal(host: Host, status: Status) -> Seal | None:
    """The seal on what was placed in the overlay that is there now, where there is one."""
    assert status.overlay is not None
    try:
        with open(host.path(_path(host, status)), "rb") as stream:
            known: dict[str, Any] = json.loads(stream.readline())
            if (known["schema"], known["device"], known["owner"]) != (
                SCHEMA,
                status.overlay.device,
                list(host.default_owner),
            ):
                return None
            rows, asked, manifests, sources, places = marshal.loads(stream.read())  # noqa: S302 (we wrote it)
        if not all(os.path.exists(file) for file in manifests):
            return None
        return Seal(status.target, tuple(Row(*row) for row in rows), asked, sources, places)
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None


def seal(host: Host, status: Status, declared: Declared, manifests: Iterable[str], *, before: int) -> None:
    """Write down that everything is as declared; ``manifests`` are those that something was placed for.

    Not where anything changed after ``before``, when the comparison that says so was begun, nor so shortly before it
    that it could be changed again without changing its stamp.
    """
    rows = rows_of(declared.entries)
    try:
        sources = look_at_sources(rows)
        places = look_at_places(host.path(declared.target), declared.target, rows, sources)
    except OSError:
        return
    if max(youngest(sources), youngest(places)) <= before - RACY:
        write_seal(host, status, declared, manifests, sources=sources, places=places)


def write_seal(
    host: Host, status: Status, declared: Declared, manifests: Iterable[str], *, sources: Look, places: Look
) -> None:
    """Write a seal of what was seen."""
    assert status.overlay is not None
    try:
        asked = None if declared.is_conditional else _asked(declared.manifests)
    except OSError:
        return
    head = {"schema": SCHEMA, "device": status.overlay.device, "owner": host.default_owner}
    rows = tuple(tuple(row) for row in rows_of(declared.entries))
    rest = marshal.dumps((rows, asked, sorted(set(manifests)), sources, places), 2)
    path = _path(host, status)
    host.make_private_directory(posixpath.dirname(posixpath.dirname(path)))
    host.make_private_directory(posixpath.dirname(path))
    host.write(path, json.dumps(head) + "\n" + rest.decode("utf-8", "surrogateescape"), mode=0o600)


def rows_of(entries: Iterable[Entry]) -> tuple[Row, ...]:
    """The entries as they are kept."""
    return tuple(_row(entry) for entry in entries)


def _row(e: Entry) -> Row:
    modes = (e.mode, e.file_mode, e.directory_mode)
    content = (e.source, e.text, e.to, e.sha256)
    return Row(str(e.kind), e.path, *content, *modes, e.owner, e.group, e.label, tuple(e.exclude), e.origin.file)


def exclusion(patterns: Sequence[str]) -> Callable[[str], bool] | None:
    """What says of a path in a tree whether it is left out; None where nothing is."""
    if not patterns:
        return None
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns).match_file


def _path(host: Host, status: Status) -> str:
    return book_path(host, status.target, durable=is_durable(status)).removesuffix(".jsonl") + ".seal"


def _asked(files: Iterable[str]) -> tuple[tuple[Any, ...], ...]:
    """The manifests with what stat(2) says of each: of a link too, and of what it leads to."""
    asked = []
    for file in files:
        path = os.path.abspath(file)
        asked.append((path, os.path.realpath(path), _stamp(os.lstat(path)), _stamp(os.stat(path))))
    return tuple(asked)


# --- looking ---------------------------------------------------------------------------------------------------------


def look_at_sources(rows: Iterable[Row]) -> Look:
    """How the sources look; raises ``OSError`` where one is not there."""
    found: Look = []
    for row in rows:
        if row.kind == "tree":
            descriptor = os.open(row.source or "", _DIRECTORY)
            try:
                tree: Look = []
                _look_at_tree(tree, descriptor, "", exclusion(row.exclude))
            finally:
                os.close(descriptor)
            found.append(tree)
        else:
            found.append(None if row.source is None else _stamp(os.stat(row.source)))
    return found


def look_at_places(top: str, target: str, rows: Iterable[Row], sources: Look) -> Look:
    """How that looks which was placed for these rows; raises ``OSError`` where something is not there."""
    found: Look = []
    root = os.open(top, _DIRECTORY)
    try:
        for row, came in zip(rows, sources, strict=True):
            path = posixpath.relpath(row.path, target)
            if row.kind == "tree":
                found.append(_look_at_copy(root, path, came))
                continue
            try:
                there = os.stat(path, dir_fd=root, follow_symlinks=False)
            except FileNotFoundError:
                if row.kind != "absent":
                    raise
                found.append(None)
            else:
                found.append(own_stamp(there) if row.kind == "directory" else _stamp(there))
    finally:
        os.close(root)
    return found


def _look_at_tree(tree: Look, descriptor: int, inner: str, left_out: Callable[[str], bool] | None) -> None:
    below: list[str] = []
    leaves: list[str] = []
    stamps: list[int] = []
    look = os.stat
    names = os.listdir(descriptor)
    names.sort()
    front = f"{inner}/" if inner else ""
    for name in names:
        found = look(name, dir_fd=descriptor, follow_symlinks=False)
        is_directory = found.st_mode & 0o170000 == 0o040000
        if left_out is not None and left_out(front + name + ("/" if is_directory else "")):
            continue
        if is_directory:
            below.append(name)
        else:
            leaves.append(name)
            stamps += (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    tree.append((inner, own_stamp(os.fstat(descriptor)), leaves, stamps))
    for name in below:
        deeper = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
        try:
            _look_at_tree(tree, deeper, front + name, left_out)
        finally:
            os.close(deeper)


def _look_at_copy(root: int, path: str, came: Look) -> Look:
    """The same directories and names as in a tree that was looked at, where it was placed."""
    tree: Look = []
    for inner, _, leaves, _ in came:
        place = posixpath.join(path, inner) if inner else path
        descriptor = os.open(place, _DIRECTORY | (os.O_NOFOLLOW if inner else 0), dir_fd=root)
        try:
            look = os.stat
            stamps: list[int] = []
            for name in leaves:
                found = look(name, dir_fd=descriptor, follow_symlinks=False)
                stamps += (found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
            tree.append((inner, own_stamp(os.fstat(descriptor)), leaves, stamps))
        finally:
            os.close(descriptor)
    return tree


def own_stamp(found: os.stat_result) -> tuple[int, ...]:
    """Of a directory only what is its own: who puts other files into it does not change what is declared."""
    return (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid)


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return (*own_stamp(found), found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def youngest(look: Look) -> int:
    """The latest change of all that was looked at."""
    times = [0]
    for part in look:
        if isinstance(part, list):
            times += [max(stamps[2::3]) for *_, stamps in part if stamps]
        elif part is not None and len(part) == len(_FULL):
            times.append(part[-1])
    return max(times)


_FULL = ("st_dev", "st_ino", "st_mode", "st_uid", "st_gid", "st_size", "st_mtime_ns", "st_ctime_ns")


def _forked(question: Callable[[], bool]) -> int | None:
    """A process that answers a question with its exit status; None where this one cannot be copied."""
    try:
        if len(os.sched_getaffinity(0)) < 2 or len(os.listdir("/proc/self/task")) != 1:
            return None
        pid = os.fork()
    except OSError:
        return None
    if pid:
        return pid
    status = 2
    try:
        status = 0 if question() else 1
    finally:
        os._exit(status)


def _ended_well(pid: int) -> bool | None:
    """The answer; None where there is none."""
    try:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except (OSError, ValueError):
        return None
    return {0: True, 1: False}.get(status)
