"""Writing receipts down while a plan runs: intents before names, and one clean file of all in the end."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from ovlay.receipts import RACY, SCHEMA, Receipt, Stamp, Told, book_path, last_settled, parse_book, parse_line, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ovlay.host import Host

_NOBODY = 4294967295  # what /proc/self/loginuid says of who never logged in: proc_pid_loginuid(5)


def head_of(identity: str) -> str:
    """The first line of a file: for which overlay it is."""
    return json.dumps([SCHEMA, identity]) + "\n"


class Origins:
    """Who placed what for which manifest: written once, in front of a receipt, and named by number from then on."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], int] = {}

    def line(self, receipt: Receipt, state: str) -> str:
        """The line of a receipt, behind that of its origin where that is new."""
        return _closed(self.row(receipt), state, receipt.placed)

    def row(self, receipt: Receipt) -> str:
        """As `line`, without the first and the last field, which `_closed` adds."""
        r = receipt
        origin = (r.manifest, r.name, r.when, r.by)
        number = self._known.get(origin)
        front = ""
        if number is None:
            number = self._known[origin] = len(self._known)
            front = self._origin(origin)
        row = (r.path, r.kind, r.sha256, r.to, r.size, r.mode, r.uid, r.gid, r.label, r.source, r.source_stamp)
        return front + _encode((*row, number, r.base))[1:-1]

    def introduced(self, origin: tuple[Any, ...]) -> str:
        """The line of an origin; "" where it was written before."""
        if origin in self._known:
            return ""
        self._known[origin] = len(self._known)
        return self._origin(origin)

    def origins(self) -> str:
        """The lines of all origins so far."""
        return "".join(map(self._origin, self._known))

    @staticmethod
    def _origin(origin: tuple[Any, ...]) -> str:
        return _encode(("o", *origin)) + "\n"


_encode = json.JSONEncoder().encode


def _closed(line: str, state: str, placed: Stamp | None) -> str:
    """A line of `Origins.row`, whole; the line of its origin stays in front of it."""
    front, newline, row = line.rpartition("\n")
    stamp = "null" if placed is None else "[%d,%d,%d,%d,%d]" % placed  # noqa: UP031 (half the time)
    return f'{front}{newline}["{state}", {row}, {stamp}]\n'


class Journal:
    """The receipts of one target while a plan runs: intents are added, and `settle` makes one clean file of all."""

    def __init__(self, host: Host, target: str, *, durable: bool, identity: str) -> None:
        """``identity`` is the device of a transient overlay; receipts of any other are thrown away."""
        self._host = host
        self._target = target
        self._durable = durable
        self._identity = "" if durable else identity
        self._path = book_path(host, target, durable=durable)
        self._descriptor: int | None = None
        self._origins = Origins()
        self._written: dict[str, str] = {}
        self._known: dict[str, Receipt] | None = None
        self._done: dict[str, Receipt | None] = {}
        self._intended: dict[str, Receipt] = {}
        self.when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.by = _login(host)

    def begin(self) -> None:
        """Let it be known that something is going to be placed: what is stopped from now on leaves a trace."""
        if self._descriptor is None:
            self._open()

    def intend(self, receipt: Receipt) -> None:
        """Write down what is about to be placed."""
        if not receipt.when:
            receipt = receipt._replace(when=self.when, by=self.by)
        self.begin()
        assert self._descriptor is not None
        self._intended[receipt.path] = receipt
        line = self._origins.row(receipt)
        os.write(self._descriptor, _closed(line, "i", receipt.placed).encode("utf-8", "surrogateescape"))
        self._written[receipt.path] = line.rpartition("\n")[2]
        if self._durable:
            os.fsync(self._descriptor)

    def placed(self, path: str, found: os.stat_result | None) -> None:
        """What was intended is so; ``found`` is how it looks, None for what is absent."""
        receipt = self._intended.pop(path)
        self._done[path] = receipt._replace(placed=None if found is None else stamp_of(found))

    def introduce(self, manifest: str | None, name: str) -> None:
        """Write down for which manifest something is going to be placed, before two processes do it."""
        self.begin()
        assert self._descriptor is not None
        line = self._origins.introduced((manifest, name, self.when, self.by))
        os.write(self._descriptor, line.encode("utf-8", "surrogateescape"))

    def told(self) -> list[Told]:
        """All that was placed, in plain values: for another process."""
        written = self._written
        return [(*receipt, written.get(path)) for path, receipt in self._done.items() if receipt is not None]

    def take(self, told: Iterable[Told] | None) -> None:
        """What another process placed. Where it is not known (None) what it wrote down before it is read."""
        if told is None:
            self._known = self._read()
            return
        for *fields, written in told:
            receipt = Receipt(*fields)
            self._done[receipt.path] = receipt
            if written is not None:
                self._written[receipt.path] = written

    def forget_all(self) -> None:
        """Of a copy of this process: what was done before is told by the other one."""
        self._done, self._intended, self._written = {}, {}, {}

    def settled(self, receipts: Iterable[Receipt]) -> None:
        """These are so, as was seen by comparing."""
        for receipt in receipts:
            if not receipt.when:
                receipt = receipt._replace(when=self.when, by=self.by)  # noqa: PLW2901
            self._done[receipt.path] = receipt._replace(pending=False, before=None)

    def forget(self, paths: Iterable[str]) -> None:
        """These are not ours any more."""
        for path in paths:
            self._done[path] = None

    def settle(self) -> None:
        """Write the file anew with all that is known; nothing where nothing happened."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        elif not self._done:
            return
        host = self._host
        receipts = self._read() if self._known is None else self._known
        for path, intended in self._intended.items():  # of a step that failed: nobody knows how far it came
            receipts[path] = intended._replace(pending=True, before=last_settled(receipts.get(path)))
        for path, receipt in self._done.items():
            if receipt is None:
                receipts.pop(path, None)
            else:
                receipts[path] = receipt
        self._record_bases()
        self._make_directory()
        host.write(self._path, self._text(receipts), mode=0o600, durable=self._durable)
        self._known, self._done, self._intended, self._origins, self._written = None, {}, {}, Origins(), {}

    def _text(self, receipts: Mapping[str, Receipt]) -> str:
        now = time.time_ns() - RACY
        lines = [head_of(self._identity), self._origins.origins()]
        for path in sorted(receipts):
            receipt = receipts[path]
            placed, came = receipt.placed, receipt.source_stamp
            written = self._written.get(path) if self._done.get(path) is receipt else None
            if placed is not None and placed[4] > now:
                placed = None  # it can be changed again with the same stamps: next time it is read
            if came is not None and came[4] > now:
                receipt, written = receipt._replace(source_stamp=None), None
            if written is None:
                if receipt.before is not None:
                    lines.append(_closed(self._origins.row(receipt.before), "p", receipt.before.placed))
                written = self._origins.row(receipt)
            lines.append(_closed(written, "i" if receipt.pending else "p", placed))
        return "".join(lines)

    def _record_bases(self) -> None:
        from ovlay.bases import record_bases

        record_bases(self._host, self._target, self._done)

    def _make_directory(self) -> None:
        folder = os.path.dirname(self._path)
        self._host.make_private_directory(os.path.dirname(folder))
        self._host.make_private_directory(folder)

    def _read(self) -> dict[str, Receipt]:
        return parse_book(self._host.read(self._path, limit=1 << 30) or "", self._identity).receipts

    def _open(self) -> None:
        self._make_directory()
        self._known = self._read()
        head = (self._host.read(self._path, limit=1 << 16) or "").partition("\n")[0]
        found = parse_line(head)
        mine = found is not None and found[:2] == [SCHEMA, self._identity]
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if mine else os.O_TRUNC)
        self._descriptor = os.open(self._host.path(self._path), flags, 0o600)
        # The first newline ends a line that was cut off; numbers of origins begin anew.
        start = "\n" if mine else head_of(self._identity)
        os.write(self._descriptor, (start + json.dumps(["b", self.when]) + "\n").encode())


def _login(host: Host) -> int:
    """Who did it: the user who logged in, whatever he became since; else who we are."""
    text = (host.read("/proc/self/loginuid") or "").strip()
    return int(text) if text.isdecimal() and int(text) != _NOBODY else os.getuid()
