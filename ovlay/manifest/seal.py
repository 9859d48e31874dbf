"""How everything looked when it was as declared: while it looks the same, there is nothing to do.

It is written when everything was compared and is as declared: the entries, and the stamps (see
`ovlay.receipts.Stamp`) of every source and of what was placed. To look again costs a stat(2) of each, and neither the
receipts nor a single file need be read; where the manifests are the same files still, not even they.

It is withdrawn before receipts change, since what is placed from then on may be left over before it is asked again.
"""

from __future__ import annotations

import json
import marshal
import os
import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import InvalidInput, OvlayError
from ovlay.files.accounts import numbers_of
from ovlay.manifest.looking import Look, Places, Row, changes_of, look_at_sources, whole_stamp
from ovlay.receipts import is_durable, seal_path, settled_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ovlay.files.accounts import Owner
    from ovlay.host import Host
    from ovlay.manifest.document import Declared, Entry
    from ovlay.manifest.finding import Comparison
    from ovlay.model import Status
    from ovlay.receipts import Stamp

SCHEMA = "ovlay.seal/3"

_MANY = 2_000  # files: from here on a process of its own for the one side is worth its start


class Seal(NamedTuple):
    """What was written down. ``read`` are the manifests that counted, ``asked`` the same with their stamps.

    ``asked`` is None where the manifests have conditions, or may have been written to while they were read. ``owners``
    are whom the rows name, each with the numbers that they stood for.
    """

    target: str
    rows: tuple[Row, ...]
    read: tuple[str, ...]
    asked: tuple[tuple[Any, ...], ...] | None
    owners: tuple[tuple[Owner, tuple[int, int]], ...]
    sources: Look
    places: Look

    def is_of(self, declared: Declared) -> bool:
        """Whether this is what was declared then, by the same manifests.

        One that declares nothing any more counts: what was placed for it is left over, but only where it is read.
        """
        return self.read == declared.manifests and self.rows == rows_of(declared.entries)

    def is_for(self, files: Sequence[str]) -> bool:
        """Whether these are the manifests that were read then, and nobody wrote to them since."""
        if self.asked is None or [known[0] for known in self.asked] != [os.path.abspath(file) for file in files]:
            return False
        try:
            return self.asked == _asked(files)
        except OSError:
            return False

    def holds(self, host: Host) -> bool:
        """Whether everything looks as it did, and every name of an owner is that of the same one."""
        if not self._owners_are_the_same(host):
            return False
        count = sum(len(part[2]) for tree in self.sources if isinstance(tree, list) for part in tree)
        child = _forked(lambda: self._is_in_place(host)) if count > _MANY else None
        try:
            same = look_at_sources(self.rows) == self.sources
        except OSError:
            same = False
        finally:
            other = None if child is None else _ended_well(child)
        return same and (self._is_in_place(host) if other is None else other)

    def _owners_are_the_same(self, host: Host) -> bool:
        try:
            return all(numbers_of(owner, host.default_owner) == numbers for owner, numbers in self.owners)
        except InvalidInput:
            return False

    def _is_in_place(self, host: Host) -> bool:
        try:
            return Places(host.path(self.target), self.target).look(self.rows, self.sources) == self.places
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
            manifests, rows, *seen = marshal.loads(stream.read())  # noqa: S302 (we wrote it)
        if not all(os.path.exists(file) for file in manifests):
            return None
        return Seal(status.target, tuple(Row(*row) for row in rows), *seen)
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None


def seal(
    host: Host,
    status: Status,
    declared: Declared,
    comparison: Comparison,
    *,
    before: int,
    placed: Mapping[str, Stamp | None],
) -> None:
    """Write down that everything is as declared, as was found by a comparison that was begun at ``before``.

    Not where anything changed since then, nor so shortly before it that it could be changed again without changing its
    stamp. What was ``placed`` since is as it was left, and has settled: see `ovlay.receipts.has_settled`.
    """
    assert comparison.sources is not None
    rows = rows_of(declared.entries)
    try:
        places = Places(host.path(declared.target), declared.target, placed)
        look = places.look(rows, comparison.sources)
    except OSError:
        return
    if settled_from((*changes_of(comparison.sources), *places.changes)) <= before:
        write_seal(host, status, declared, comparison, places=look)


def write_seal(host: Host, status: Status, declared: Declared, comparison: Comparison, *, places: Look) -> None:
    """Write a seal of what was seen; it is broken where a manifest is gone that something was placed for."""
    assert status.overlay is not None
    try:
        asked = None if declared.is_conditional else _asked(declared.manifests)
    except OSError:
        return
    if asked and settled_from(stamp[-1] for *_, link, file in asked for stamp in (link, file)) > declared.read:
        asked = None
    head = {"schema": SCHEMA, "device": status.overlay.device, "owner": host.default_owner}
    manifests = {*comparison.manifests, *(entry.origin.file for entry in declared.entries)}
    rows = tuple(tuple(row) for row in rows_of(declared.entries))
    seen = (declared.manifests, asked, tuple(comparison.owners), comparison.sources, places)
    path = _path(host, status)
    body = marshal.dumps((sorted(manifests), rows, *seen), 2)
    with suppress(OSError, OvlayError):  # everything is read again the next time, and that is all
        host.make_private_directory(posixpath.dirname(posixpath.dirname(path)))
        host.make_private_directory(posixpath.dirname(path))
        host.write(path, json.dumps(head).encode() + b"\n" + body, mode=0o600)


def rows_of(entries: Iterable[Entry]) -> tuple[Row, ...]:
    """The entries as they are kept."""
    return tuple(_row(entry) for entry in entries)


def _row(e: Entry) -> Row:
    modes = (e.mode, e.file_mode, e.directory_mode)
    content = (e.source, e.text, e.to, e.sha256)
    return Row(str(e.kind), e.path, *content, *modes, e.owner, e.group, e.label, tuple(e.exclude), e.origin.file)


def _path(host: Host, status: Status) -> str:
    return seal_path(host, status.target, durable=is_durable(status))


def _asked(files: Iterable[str]) -> tuple[tuple[Any, ...], ...]:
    """The manifests with what stat(2) says of each: of a link too, and of what it leads to."""
    asked = []
    for file in files:
        path = os.path.abspath(file)
        asked.append((path, os.path.realpath(path), whole_stamp(os.lstat(path)), whole_stamp(os.stat(path))))
    return tuple(asked)


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
