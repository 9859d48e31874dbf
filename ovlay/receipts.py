"""What ovlay placed in an overlay: for each path what, from where, when, by whom, and how it looked then.

One file for each target, a line for each receipt, that only root can read: below the state directory, so that it goes
with a transient overlay, or below the data directory for a persistent one. While a plan runs lines are added only, each
before the name that it is about appears (an intent), so that whatever stops the plan, what was placed is known.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.host import OWN_LIMIT
from ovlay.model import Persistence

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from ovlay.host import Host
    from ovlay.model import Status

SCHEMA = "ovlay.receipts/1"

NOTHING = "nothing"
"""What a base is called that does not have a path."""

_TICK = 20_000_000  # nanoseconds: more than a tick of the clock that file systems take their stamps from (CONFIG_HZ)
_SECOND = 1_000_000_000
_COARSEST = 2 * _SECOND + _TICK

Stamp = tuple[int, int, int, int, int]
"""Of stat(2): device, inode, size, and the nanoseconds of mtime and ctime. While it is the same the file is."""


Told = tuple[Any, ...]
"""The fields of a `Receipt` and its line, as they go from one process to another."""


class Receipt(NamedTuple):
    """One path that was placed, or taken away.

    ``kind`` is ``file``, ``symlink``, ``directory`` or ``absent``. ``manifest`` is None for what `ovlay install`
    placed. ``base`` is what lay beneath it: a SHA-256, `NOTHING`, or None where that was not asked. ``when`` is in UTC,
    ``by`` a user id. ``source_stamp`` and ``placed`` are only there where they can be believed.

    Where ``pending`` a plan was stopped and nobody knows whether it is so, or as in ``before``.
    """

    path: str
    kind: str
    sha256: str | None = None
    to: str | None = None
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    label: str | None = None
    source: str | None = None
    source_stamp: Stamp | None = None
    placed: Stamp | None = None
    manifest: str | None = None
    name: str = ""
    when: str = ""
    by: int = 0
    base: str | None = None
    pending: bool = False
    before: Receipt | None = None


class Book(NamedTuple):
    """All receipts of one overlay; ``unfinished`` where a plan was stopped in the middle."""

    receipts: dict[str, Receipt]
    unfinished: bool = False


def stamp_of(found: os.stat_result) -> Stamp:
    """The stamp of a file."""
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def settled_from(changed: Iterable[int]) -> int:
    """From when on nothing that changed at these times (ctimes) can change again without another stamp, in nanoseconds.

    File systems take the time from a clock that ticks (ktime_get_coarse_real_ts64()), and some keep whole seconds of it
    only: ext4 with inodes of 128 bytes (Documentation/filesystems/ext4/inodes.rst, "Inode Timestamps"), and FAT, where
    it is every second one (fs/fat/misc.c). So a time with no fraction of a second may stand for any in the next two.
    """
    times = list(changed)
    whole = [each for each in times if not each % _SECOND]
    return max(max(times, default=0) + _TICK, max(whole, default=-_COARSEST) + _COARSEST)


def has_settled(stamps: Iterable[Stamp | None]) -> bool:
    """Wait for a tick until no file can be changed again without changing its stamp.

    False where that takes longer, on a file system with coarse stamps or since the clock was set back: what looks so
    has to be read again another time.
    """
    left = settled_from(stamp[4] for stamp in stamps if stamp is not None) - time.time_ns()
    if 0 < left <= _TICK:
        time.sleep(left / _SECOND)
    return left <= _TICK


def is_durable(status: Status) -> bool:
    """Whether what is placed is there after a reboot."""
    return status.mode is not None and status.mode.persistence is Persistence.PERSISTENT


def read_receipts(host: Host, status: Status) -> dict[str, Receipt]:
    """The receipts of the overlay on the target, by path; {} where there is none, or where they are not for us."""
    return read_book(host, status).receipts


def read_book(host: Host, status: Status) -> Book:
    """As `read_receipts`, and whether a plan was stopped."""
    if status.overlay is None:
        return Book({})
    durable = is_durable(status)
    text = host.read(book_path(host, status.target, durable=durable), limit=OWN_LIMIT)
    return parse_book(text or "", "" if durable else status.overlay.device)


def may_read_receipts(host: Host, status: Status) -> bool:
    """Whether what was placed is for this process to see: without that it would not know what is left over."""
    return not status.active or not host.is_hidden(book_path(host, status.target, durable=is_durable(status)))


def book_path(host: Host, target: str, *, durable: bool) -> str:
    """Where the receipts of a target are."""
    from ovlay.bases import file_name

    return f"{host.data_dir if durable else host.state_dir}/receipts/{file_name(target)}.jsonl"


def drop_receipts(host: Host, target: str) -> None:
    """Forget all that was placed in a transient overlay, which is gone."""
    host.remove(book_path(host, target, durable=False))
    withdraw_verdicts(host, target, durable=False)


def seal_path(host: Host, target: str, *, durable: bool) -> str:
    """Where root keeps how everything looked when it was as declared: see `ovlay.manifest.seal`."""
    return book_path(host, target, durable=durable).removesuffix(".jsonl") + ".seal"


def notice_path(host: Host, target: str) -> str | None:
    """Where every user may read that all was as declared (`ovlay.manifest.notice`); None where nobody needs to."""
    from ovlay.bases import file_name

    return None if host.public_dir is None else f"{host.public_dir}/{file_name(target)}.json"


def withdraw_verdicts(host: Host, target: str, *, durable: bool) -> None:
    """Take back the seal and the notices, before receipts change: both say that nothing is left over of any manifest.

    Raises ``OSError`` where one cannot be taken back.
    """
    host.remove(seal_path(host, target, durable=durable))
    path = notice_path(host, target)
    if path is not None and host.exists(path):
        host.remove(path)


# --- the format ------------------------------------------------------------------------------------------------------


def parse_book(text: str, identity: str) -> Book:
    """The receipts in a file; none where it belongs to another overlay. A last line that was cut off does not count."""
    head, _, rest = text.partition("\n")
    first = parse_line(head)
    if first is None or first[0] != SCHEMA or first[1] != identity:
        return Book({})
    receipts: dict[str, Receipt] = {}
    origins: list[list[Any]] = []
    unfinished = False
    for row in _rows(rest):
        if row[:1] == ["o"]:
            origins.append(row[1:])
        elif row[:1] == ["b"]:
            unfinished, origins = True, []
        elif (receipt := _receipt(row, origins)) is not None:
            if receipt.pending:
                receipt = receipt._replace(before=last_settled(receipts.get(receipt.path)))
            receipts[receipt.path] = receipt
    return Book(receipts, unfinished)


def last_settled(receipt: Receipt | None) -> Receipt | None:
    """The receipt itself, or of one that never was settled what was there before it."""
    while receipt is not None and receipt.pending:
        if receipt.before is None:
            return receipt._replace(pending=False, placed=None)
        receipt = receipt.before
    return receipt


_TEXT, _LIST = (str, type(None)), (list, type(None))
_ROW = (str, str, str, _TEXT, _TEXT, int, int, int, int, _TEXT, _TEXT, _LIST, int, _TEXT, _LIST)
_WHOSE = 12  # which of them is the number of the origin
_ORIGIN = (_TEXT, str, str, int)
_STAMP = [int] * 5


def _rows(text: str) -> list[list[Any]]:
    whole = text[: text.rfind("\n") + 1]
    try:
        found: list[Any] = json.loads("[" + whole.rstrip("\n").replace("\n", ",") + "]")
    except (ValueError, RecursionError):
        found = [parse_line(line) for line in whole.split("\n")]
    return [row for row in found if isinstance(row, list)]


def parse_line(text: str) -> list[Any] | None:
    """The row in a line; None where it is none."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, list) and len(row) > 1 else None


def _are(values: list[Any], kinds: tuple[Any, ...]) -> bool:
    return len(values) == len(kinds) and all(map(isinstance, values, kinds))


def _receipt(row: list[Any], origins: list[list[Any]]) -> Receipt | None:
    """The receipt in a row; None where it is none, as what a disk lost can be anything."""
    if not _are(row, _ROW) or not 0 <= row[_WHOSE] < len(origins):
        return None
    state, path, kind, sha256, to, size, mode, uid, gid, label, source, came, origin, base, placed = row
    if not _are(origins[origin], _ORIGIN):
        return None
    if not all(stamp is None or [type(number) for number in stamp] == _STAMP for stamp in (came, placed)):
        return None
    manifest, name, when, by = origins[origin]
    return Receipt(
        path,
        kind,
        sha256,
        to,
        size,
        mode,
        uid,
        gid,
        label,
        source,
        None if came is None else tuple(came),
        None if placed is None else tuple(placed),
        manifest,
        name,
        when,
        by,
        base,
        state == "i",
    )
