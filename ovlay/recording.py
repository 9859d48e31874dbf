"""Writing receipts down while a plan runs: intents before names, and one clean file of all in the end."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from ovlay.errors import OvlayError, reason_of
from ovlay.host import OWN_LIMIT
from ovlay.receipts import (
    SCHEMA,
    Receipt,
    Stamp,
    Told,
    book_path,
    has_settled,
    last_settled,
    parse_book,
    parse_line,
    settled_from,
    withdraw_verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
        front, row = self.row(receipt)
        return front + _closed(row, state, receipt.placed)

    def row(self, receipt: Receipt) -> tuple[str, str]:
        """The line of the origin where it is new, else ""; and the receipt without what `_closed` adds."""
        r = receipt
        origin = (r.manifest, r.name, r.when, r.by)
        front = "" if origin in self._known else self.introduced(origin)
        row = (
            f"{_quoted(r.path)}, {_quoted(r.kind)}, {_maybe(r.sha256)}, {_maybe(r.to)}, {r.size}, {r.mode}, {r.uid}, "
            f"{r.gid}, {_maybe(r.label)}, {_maybe(r.source)}, {_stamp(r.source_stamp)}, {self._known[origin]}, "
            f"{_maybe(r.base)}"
        )
        return front, row

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
        return json.dumps(("o", *origin)) + "\n"


# JSON by hand: json.dumps() of each of ten thousand rows takes as long as to write the files.
_quoted = json.encoder.encode_basestring_ascii


def _maybe(text: str | None) -> str:
    return "null" if text is None else _quoted(text)


def _stamp(stamp: Stamp | None) -> str:
    return "null" if stamp is None else "[%d, %d, %d, %d, %d]" % stamp  # noqa: UP031 (half the time)


def _closed(row: str, state: str, placed: Stamp | None) -> str:
    """A row of `Origins.row` as a whole line."""
    return f'["{state}", {row}, {_stamp(placed)}]\n'


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
        self._rows: dict[str, str] = {}
        self._known: dict[str, Receipt] | None = None
        self._done: dict[str, Receipt | None] = {}
        self._intended: dict[str, Receipt] = {}
        self.stamps: dict[str, Stamp | None] = {}
        """How all that was placed looked then, by path; None for what is absent."""
        self.when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.by = _login(host)

    def begin(self) -> None:
        """Let it be known that something is going to be placed: what is stopped from now on leaves a trace."""
        if self._descriptor is None:
            self._open()

    def intend(self, receipts: Sequence[Receipt]) -> None:
        """Write down what is about to be placed, in one write."""
        self.begin()
        assert self._descriptor is not None
        lines: list[str] = []
        for each in receipts:
            receipt = each if each.when else each._replace(when=self.when, by=self.by)
            self._intended[receipt.path] = receipt
            front, row = self._origins.row(receipt)
            lines += (front, _closed(row, "i", receipt.placed))
            self._rows[receipt.path] = row
        write_all(self._descriptor, "".join(lines).encode())
        if self._durable:
            os.fsync(self._descriptor)

    def placed(self, path: str, stamp: Stamp | None) -> None:
        """What was intended is so, and looks like this; None for what is absent."""
        self._done[path] = self._intended.pop(path)
        self.stamps[path] = stamp

    def introduce(self, manifest: str | None, name: str) -> None:
        """Write down for which manifest something is going to be placed, before two processes do it."""
        self.begin()
        assert self._descriptor is not None
        line = self._origins.introduced((manifest, name, self.when, self.by))
        write_all(self._descriptor, line.encode())

    def told(self) -> list[Told]:
        """All that was placed, in plain values: for another process."""
        rows, stamps = self._rows, self.stamps
        return [
            (*receipt, rows.get(path), stamps.get(path)) for path, receipt in self._done.items() if receipt is not None
        ]

    def take(self, told: Iterable[Told] | None) -> None:
        """What another process placed. Where it is not known (None) what it wrote down before it is read."""
        if told is None:
            self._known = self._read()
            return
        for *fields, row, stamp in told:
            receipt = Receipt(*fields)
            self._done[receipt.path] = receipt
            self.stamps[receipt.path] = stamp
            if row is not None:
                self._rows[receipt.path] = row

    def forget_all(self) -> None:
        """Of a copy of this process: what was done before is told by the other one."""
        self._done, self._intended, self._rows, self.stamps = {}, {}, {}, {}

    def settled(self, receipts: Iterable[Receipt]) -> None:
        """These are so, as was seen by comparing."""
        for receipt in receipts:
            if not receipt.when:
                receipt = receipt._replace(when=self.when, by=self.by)  # noqa: PLW2901
            self._done[receipt.path] = receipt._replace(pending=False, before=None)
            self.stamps[receipt.path] = receipt.placed

    def forget(self, paths: Iterable[str]) -> None:
        """These are not ours any more."""
        for path in paths:
            self._done[path] = None

    def settle(self) -> tuple[str, ...]:
        """Write the file anew with all that is known; nothing where nothing happened.

        Returns what is worth telling: that the record of bases could not be written, without which all goes on.
        """
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        elif not self._done:
            return ()
        host = self._host
        receipts = self._read() if self._known is None else self._known
        for path, intended in self._intended.items():  # of a step that failed: nobody knows how far it came
            receipts[path] = intended._replace(pending=True, before=last_settled(receipts.get(path)))
        for path, receipt in self._done.items():
            if receipt is None:
                receipts.pop(path, None)
            else:
                receipts[path] = receipt
        missed = self._record_bases()
        withdraw_verdicts(host, self._target, durable=self._durable)
        self._make_directory()
        has_settled(self.stamps.values())  # else what is placed last would have to be read the next time
        host.write(self._path, self._text(receipts), mode=0o600, durable=self._durable)
        self._known, self._done, self._intended, self._origins, self._rows = None, {}, {}, Origins(), {}
        return missed

    def _text(self, receipts: Mapping[str, Receipt]) -> str:
        late = self._unsettled(receipts)
        lines = []
        for path in sorted(receipts):
            receipt = receipts[path]
            placed, came, row = receipt.placed, receipt.source_stamp, None
            if self._done.get(path) is receipt:
                placed, row = self.stamps[path], self._rows.get(path)
            if placed is not None and placed[4] in late:
                placed = None  # next time it is read
            if came is not None and came[4] in late:
                receipt, row = receipt._replace(source_stamp=None), None
            if row is None:
                if receipt.before is not None:
                    lines.append(_closed(self._origins.row(receipt.before)[1], "p", receipt.before.placed))
                row = self._origins.row(receipt)[1]
            lines.append(_closed(row, "i" if receipt.pending else "p", placed))
        return "".join((head_of(self._identity), self._origins.origins(), *lines))

    def _unsettled(self, receipts: Mapping[str, Receipt]) -> frozenset[int]:
        """The ctimes of what can be changed again with the same stamps: most often none, as one question tells."""
        now, times = time.time_ns(), [stamp[4] for stamp in self.stamps.values() if stamp is not None]
        times += [receipt.placed[4] for receipt in receipts.values() if receipt.placed is not None]
        times += [receipt.source_stamp[4] for receipt in receipts.values() if receipt.source_stamp is not None]
        late = times if settled_from(times) > now else ()
        return frozenset(each for each in late if settled_from((each,)) > now)

    def _record_bases(self) -> tuple[str, ...]:
        """Write them down; where that cannot be, why: no receipt is lost for it, and no overlay stays for it."""
        from ovlay.bases import bases_path, record_bases

        try:
            record_bases(self._host, self._target, self._done)
        except (OSError, OvlayError) as error:
            path = bases_path(self._host, self._target)
            return (
                f"what the base has beneath could not be written down in {path} ({reason_of(error)}): "
                "where another image has something else there, nobody will be told",
            )
        return ()

    def _make_directory(self) -> None:
        folder = os.path.dirname(self._path)
        self._host.make_private_directory(os.path.dirname(folder))
        self._host.make_private_directory(folder)

    def _read(self) -> dict[str, Receipt]:
        return parse_book(self._host.read(self._path, limit=OWN_LIMIT) or "", self._identity).receipts

    def _open(self) -> None:
        withdraw_verdicts(self._host, self._target, durable=self._durable)
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


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it, however little of it the kernel takes at once: write(2)."""
    while content:
        content = content[os.write(descriptor, content) :]


def _login(host: Host) -> int:
    """Who did it: the user who logged in, whatever he became since; else who we are."""
    text = (host.read("/proc/self/loginuid") or "").strip()
    return int(text) if text.isdecimal() and int(text) != _NOBODY else os.getuid()
