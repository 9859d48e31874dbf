"""One number for all that is declared and all that is there: while it is the same, there is nothing to do.

It is taken when everything was compared and is as declared, of the entries and of the stamps (see
`ovlay.receipts.Stamp`) of every source and of what was placed. To take it again costs a stat(2) of each, and neither
the receipts nor a single file need be read.
"""

from __future__ import annotations

import json
import os
import posixpath
from typing import TYPE_CHECKING, Any

from ovlay.errors import OvlayError
from ovlay.manifest.document import Kind
from ovlay.manifest.items import exclusion
from ovlay.receipts import RACY, book_path, is_durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ovlay.host import Host
    from ovlay.manifest.document import Declared, Entry
    from ovlay.model import Status

SCHEMA = "ovlay.seal/1"

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def is_sealed(host: Host, status: Status, declared: Declared) -> bool:
    """Whether nothing changed since everything was as these entries declare it."""
    assert status.overlay is not None
    try:
        known = json.loads(host.read(_path(host, status)) or "")
        number, manifests = known["number"], known["manifests"]
        if known["schema"] != SCHEMA or known["device"] != status.overlay.device:
            return False
        if not all(file in declared.manifests or os.path.exists(file) for file in manifests):
            return False
    except (ValueError, TypeError, KeyError):
        return False
    return bool(number == _taken(host, declared)[0])


def seal(host: Host, status: Status, declared: Declared, manifests: Iterable[str], *, before: int) -> None:
    """Write down that everything is as declared; ``manifests`` are those that something was placed for.

    Not where anything changed after ``before``, when the comparison that says so was begun, nor so shortly before it
    that it could be changed again without changing its stamp.
    """
    assert status.overlay is not None
    number, youngest = _taken(host, declared)
    if number is None or youngest > before - RACY:
        return
    known = {
        "schema": SCHEMA,
        "device": status.overlay.device,
        "number": number,
        "manifests": sorted(set(manifests)),
    }
    path = _path(host, status)
    host.make_private_directory(posixpath.dirname(posixpath.dirname(path)))
    host.make_private_directory(posixpath.dirname(path))
    host.write(path, json.dumps(known) + "\n", mode=0o600)


def _path(host: Host, status: Status) -> str:
    return book_path(host, status.target, durable=is_durable(status)).removesuffix(".jsonl") + ".seal"


def _taken(host: Host, declared: Declared) -> tuple[str | None, int]:
    """The number, and the latest change of all that is in it; None where something is not there."""
    import hashlib
    import marshal

    work = _Look(host, declared.target)
    try:
        for entry in declared.entries:
            work.add(entry)
    except (OSError, OvlayError):
        return None, 0
    finally:
        work.close()
    return hashlib.sha256(marshal.dumps(work.seen)).hexdigest(), work.youngest


class _Look:
    """Stamps of sources and of what is there, in an order that is always the same."""

    def __init__(self, host: Host, target: str) -> None:
        self._target = target
        self._root = os.open(host.path(target), _DIRECTORY)
        self.seen: list[Any] = [target, host.default_owner]
        self.youngest = 0

    def close(self) -> None:
        """Close the target."""
        os.close(self._root)

    def add(self, entry: Entry) -> None:
        """One entry, and what it is about."""
        e = entry
        where = (str(e.kind), e.path, e.source, e.text, e.to, e.sha256, e.origin.file)
        self.seen.append((*where, e.mode, e.file_mode, e.directory_mode, e.owner, e.group, e.label, e.exclude))
        path = posixpath.relpath(entry.path, self._target)
        if entry.kind is Kind.TREE:
            self._tree(entry, path)
            return
        if entry.source is not None:
            self._stamp(os.stat(entry.source))
        try:
            self._stamp(os.stat(path, dir_fd=self._root, follow_symlinks=False), whole=entry.kind is not Kind.DIRECTORY)
        except FileNotFoundError:
            if entry.kind is not Kind.ABSENT:
                raise
            self.seen.append(None)

    def _tree(self, entry: Entry, path: str) -> None:
        source = os.open(entry.source or "", _DIRECTORY)
        try:
            there = self._root if path == "." else os.open(path, _DIRECTORY, dir_fd=self._root)
            try:
                self._directory(source, there, "", exclusion(entry))
            finally:
                if there != self._root:
                    os.close(there)
        finally:
            os.close(source)

    def _directory(self, source: int, there: int, inner: str, left_out: Callable[[str], bool] | None) -> None:
        for side in (source, there):
            self._stamp(os.fstat(side), whole=False)
        seen, youngest, look = self.seen, self.youngest, os.stat
        below = []
        names = os.listdir(source)
        names.sort()
        for name in names:
            one = look(name, dir_fd=source, follow_symlinks=False)
            is_directory = one.st_mode & 0o170000 == 0o040000
            if left_out is not None and left_out(inner + name + ("/" if is_directory else "")):
                continue
            if is_directory:
                below.append(name)
                continue
            other = look(name, dir_fd=there, follow_symlinks=False)
            changed, placed = one.st_ctime_ns, other.st_ctime_ns
            seen.append((name, one.st_ino, one.st_mtime_ns, changed, other.st_ino, other.st_mtime_ns, placed))
            youngest = max(youngest, placed)
            youngest = max(youngest, changed)
        self.youngest = max(youngest, self.youngest)
        for name in below:
            seen.append(name)
            deeper = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=source)
            try:
                other_side = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=there)
                try:
                    self._directory(deeper, other_side, f"{inner}{name}/", left_out)
                finally:
                    os.close(other_side)
            finally:
                os.close(deeper)

    def _stamp(self, found: os.stat_result, *, whole: bool = True) -> None:
        """Of a directory only what is its own: who puts other files into it does not change what is declared."""
        own = (found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid)
        if whole:
            self.seen.append((*own, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
            self.youngest = max(self.youngest, found.st_ctime_ns)
        else:
            self.seen.append(own)
