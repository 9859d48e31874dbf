"""Bring to an end what an ovlay that was killed had begun: only for who holds the lock.

What it was about to take away goes; what it was about to put up is taken back, unless it stands already; what it was
writing is removed, and what it had placed is written down as placed; an overlay that it had opened for writing is
read-only again, and a directory that it had opened immutable again.

What cannot be brought to an end, such as a receipt on a disk that is full, is told and left to the next call: it keeps
nobody from doing something else, least of all from taking the overlay away.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

from ovlay.errors import OvlayError, reason_of
from ovlay.host import OWN_LIMIT
from ovlay.model import Access

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.host import Host
    from ovlay.plan.journal import Record
    from ovlay.plan.step import Step
    from ovlay.receipts import Receipt

_OWN_FOLDERS = ("", "/receipts", "/detached", "/kept", "/bases")
_BEING_WRITTEN = re.compile(r"\.ovlay-[0-9]+-[0-9a-f]{8}\Z")  # what `ovlay.host.Host.write` calls it


def recover(host: Host) -> tuple[str, ...]:
    """End what a killed ovlay had begun, and say what was done. Waits for a host tool that it had started."""
    from ovlay.lock import await_tool

    await_tool(host)
    _sweep_own(host)
    path = host.journal_path
    text = host.read(path, limit=OWN_LIMIT)
    if text is None:
        return ()
    from ovlay.plan.journal import Record, leave_open

    record = Record.parse(text)
    if record is None:
        host.remove(path)
        return ()
    missed: list[str] = []
    told = tuple(_recovered(host, record, missed))
    if not missed or not leave_open(host, record):
        host.remove(path)
    return (*told, *missed)


def _sweep_own(host: Host) -> None:
    """Remove the files of ovlay's own that were being written: under the lock nobody writes any."""
    for folder in (top + inner for top in (host.state_dir, host.data_dir) for inner in _OWN_FOLDERS):
        for name in host.entries(folder):
            if _BEING_WRITTEN.search(name):
                with contextlib.suppress(OSError):  # of a filesystem that is read-only, nothing else is either
                    host.remove(f"{folder}/{name}")


def _recovered(host: Host, record: Record, missed: list[str]) -> Iterator[str]:
    """End it, and say what was done; what could not be is added to ``missed``."""
    standing = [stands for step in record.steps if (stands := step.stands(host)) is not None]
    if not standing:
        yield from _end(host, record)
    elif not any(standing):
        yield from _take_back(host, record.steps[: record.begun])
    for target, directory in record.litter:
        for name in _swept(host, target, directory):
            yield f"removed {target}/{directory}/{name}, which was being written"
    for target, directory, flags in record.flags:
        if _flagged(host, target, directory, flags):
            yield f"gave {target}/{directory} its flags again"
    for target in sorted({target for target, _ in record.litter}):
        with _missed(missed, f"what was placed in {target} could not be written down"):
            yield from _settle_receipts(host, target)
    for target, number in record.sealed:
        with _missed(missed, f"the overlay on {target} could not be made read-only again"):
            yield from _sealed_again(host, target, number)


@contextlib.contextmanager
def _missed(missed: list[str], what: str) -> Iterator[None]:
    """Where something fails, let it be known, and go on."""
    try:
        yield
    except (OvlayError, OSError) as error:
        missed.append(f"{what}: {reason_of(error)}")


def _sealed_again(host: Host, target: str, number: int) -> Iterator[str]:
    for mount in host.mounts_at(target):
        if mount.mount_id == number and not (mount.read_only and mount.superblock_read_only):
            host.kernel.set_access(mount, Access.READ_ONLY)
            yield f"made the overlay on {target} read-only again"


def _end(host: Host, record: Record) -> Iterator[str]:
    """Run what was left to do. A step that was done already fails, since what it was to take away is gone.

    Where another overlay is on the target since, whoever put it there, it was done: nothing more is taken away.
    """
    from ovlay.plan.journal import mark_of

    for target, mark in record.marks:
        if mark_of(host, target) not in ("", mark):
            return
    for step in record.steps[record.begun - 1 :] if record.begun else ():
        if step.resumes:
            with contextlib.suppress(OvlayError, OSError):
                step.run(host)
                yield f"ended what was begun: {step.describe()}"


def _take_back(host: Host, steps: Sequence[Step]) -> Iterator[str]:
    for step in reversed(steps):
        try:
            step.undo(host)
        except (OvlayError, OSError) as error:
            yield f"could not take back what was begun: {step.describe()}: {error}"
        else:
            yield f"took back what was begun: {step.describe()}"


@contextlib.contextmanager
def _opened(host: Host, target: str, directory: str) -> Iterator[int]:
    """A directory of the merged view that can be written."""
    from ovlay.files.destination import opened_parent

    with host.kernel.writable_view(target) as view, opened_parent(view, target, f"{directory}/x".lstrip("/")) as parent:
        yield parent


def _swept(host: Host, target: str, directory: str) -> Iterator[str]:
    """Remove what has the name of an unfinished file from a directory of the merged view."""
    from ovlay.files.copying import remove_whole
    from ovlay.plan.removing import strays_in

    with contextlib.suppress(OvlayError, OSError), _opened(host, target, directory) as parent:
        for name in strays_in(parent):
            remove_whole(parent, name)
            yield name


def _flagged(host: Host, target: str, directory: str, flags: int) -> bool:
    """Give a directory the flags that it had, where it has them no more."""
    from ovlay.files.flags import read_flags, set_flags

    with contextlib.suppress(OvlayError, OSError), _opened(host, target, directory) as parent:
        if read_flags(parent) != flags:
            set_flags(parent, flags)
            return True
    return False


def _settle_receipts(host: Host, target: str) -> Iterator[str]:
    """Write down what was placed, as far as it is there; yields what else is worth telling."""
    from ovlay.receipts import book_path, parse_book
    from ovlay.recording import Journal

    overlays = [mount for mount in host.mounts_at(target) if mount.is_overlay and mount.upper is not None]
    if not overlays:
        return
    device = overlays[-1].device
    for durable in (False, True):
        path = book_path(host, target, durable=durable)
        book = parse_book(host.read(path, limit=OWN_LIMIT) or "", "" if durable else device)
        if not book.unfinished:
            continue
        if not book.receipts:
            host.remove(path)
            continue
        journal = Journal(host, target, durable=durable, identity=device)
        for receipt in book.receipts.values():
            known = _settled(host, target, receipt) if receipt.pending else receipt
            if known is None:
                journal.forget([receipt.path])
            elif not known.pending:
                journal.settled([known])
        journal.begin()
        yield from journal.settle()


def _settled(host: Host, target: str, receipt: Receipt) -> Receipt | None:
    """A receipt of which nobody knew whether it is so; None where nothing came of it, itself where that is not clear.

    What is not clear is seen to by the next `ovlay apply`, or by who places something there again.
    """
    from ovlay.files.copying import DIRECTORY, descend, look
    from ovlay.receipts import stamp_of

    folder, _, name = receipt.path.rpartition("/")
    with contextlib.ExitStack() as stack:
        found, parent = None, -1
        try:
            top = os.open(host.path(target), DIRECTORY)
            stack.callback(os.close, top)
            parent = descend(top, folder)
            stack.callback(os.close, parent)
            found = look(name, parent)
        except FileNotFoundError:  # it was to come with its directory
            pass
        except OSError:
            return receipt
        for known in (receipt, receipt.before):
            if known is not None and _is_so(known, found, name, parent):
                return known._replace(pending=False, before=None, placed=None if found is None else stamp_of(found))
    return None if found is None and receipt.before is None else receipt


def _is_so(receipt: Receipt, found: os.stat_result | None, name: str, parent: int) -> bool:
    if found is None or receipt.kind == "absent":
        return found is None and receipt.kind == "absent"
    if (found.st_uid, found.st_gid) != (receipt.uid, receipt.gid):
        return False
    if receipt.kind == "symlink":
        return stat.S_ISLNK(found.st_mode) and os.readlink(name, dir_fd=parent) == receipt.to
    if stat.S_IMODE(found.st_mode) != receipt.mode:
        return False
    if receipt.kind == "directory":
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISREG(found.st_mode) and found.st_size == receipt.size and _digest(name, parent) == receipt.sha256


def _digest(name: str, parent: int) -> str:
    import hashlib

    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=parent), "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
