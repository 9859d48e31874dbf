"""Files for one directory, placed together: first their contents under temporary names, then their intents in one
write, then their names. A directory that is new comes with the first of its files, and has the temporary name itself.

So what a single file promises holds for many of them, at a part of the cost: a name appears only when the file behind
it is complete and its intent is written down. Whatever stops it, a file is whole or is not there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.errors import Conflict, InvalidInput
from ovlay.files.copying import look
from ovlay.files.label import selinux_is_on
from ovlay.files.source import BLOCK
from ovlay.plan.dressing import DIRECTORY, dress, set_label, tell_space, telling_space, temporary, wanted_label
from ovlay.plan.placing import PlaceFile
from ovlay.plan.settling import MakeDirectory, receipt_of
from ovlay.plan.sharing import Folder
from ovlay.plan.shielding import shielded
from ovlay.receipts import Receipt, stamp_of
from ovlay.recording import write_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.host import Host
    from ovlay.plan.sharing import Sharing
    from ovlay.plan.step import Step
    from ovlay.receipts import Stamp
    from ovlay.recording import Journal

_MOST = 64  # files: as many are open at once
_MOST_IN_NEW = 1024  # files of a directory that is new: none of them stays open
_LARGEST = 4 << 20  # bytes: what was copied so far is lost where it is cut off, and what is replaced takes room
_LISTED = 16  # files: from here on to list their directory costs less than to ask for each name

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_PLAIN = 0o755  # the permissions that a file may have while it is being written, where they are those it will have


def batch_at(steps: Sequence[Step], start: int) -> Sequence[Step]:
    """The steps from ``start`` on that can be carried out together: one, or what goes to one directory."""
    first = steps[start]
    if isinstance(first, MakeDirectory):
        folder, begin, most = first.path, start + 1, _MOST_IN_NEW
    elif isinstance(first, PlaceFile):
        folder, begin, most = first.path.rpartition("/")[0], start, _MOST
    else:
        return (first,)
    size, end = 0, begin
    for step in steps[begin : begin + most]:
        if not isinstance(step, PlaceFile) or step.path.rpartition("/")[0] != folder:
            break
        size += step.size
        if (size > _LARGEST and end > start) or (step.mount_id, step.durable) != (first.mount_id, first.durable):
            break
        end += 1
    return steps[start:end]


def run_batch(batch: Sequence[Step], host: Host, done: list[Step]) -> str:
    """Carry out what `batch_at` gave; each step is put to those that are ``done`` as soon as it is."""
    first, shared = batch[0], host.shared
    if len(batch) == 1 or shared is None:
        with shielded() if first.brief else contextlib.nullcontext():
            said = first.run(host)
            done.append(first)
        return said
    files = [step for step in batch if isinstance(step, PlaceFile)]
    if isinstance(first, MakeDirectory):
        make_filled(first, files, host, shared, done)
    else:
        place_together(files, host, shared, done)
    return ""


def place_together(files: Sequence[PlaceFile], host: Host, shared: Sharing, done: list[Step]) -> None:
    """Place files that go to one directory. Where one cannot be, those before it are placed all the same."""
    first = files[0]
    folder = shared.folder(first.target, first.mount_id, first.path, durable=first.durable)
    journal = shared.journal(first.target, first.mount_id, durable=first.durable)
    filling, parent = _Filling(host, folder, journal), folder.descriptor
    there = frozenset(os.listdir(parent)) if len(files) >= _LISTED else None
    hidden: list[str] = []
    opened: list[int] = []
    named = 0
    try:
        try:
            for file in files:
                replaces = _replaces(file, parent, there)
                hidden.append(shared.unused_name())
                opened.append(filling.fill(file, hidden[-1], replaces=replaces))
        finally:
            journal.intend(filling.receipts)
            for file, temporary_name, new in zip(files, hidden, opened, strict=False):
                os.rename(temporary_name, _name(file), src_dir_fd=parent, dst_dir_fd=parent)
                named += 1
                journal.placed(file.path, stamp_of(os.fstat(new)))  # with the ctime that the rename gave it
                done.append(file)
    except OSError as error:
        tell_space(error, file.target, file.path)
        raise
    finally:
        for new in opened:
            os.close(new)
        for temporary_name in hidden[named:]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary_name, dir_fd=parent)


def make_filled(
    directory: MakeDirectory, files: Sequence[PlaceFile], host: Host, shared: Sharing, done: list[Step]
) -> None:
    """Make a directory with files in it, which appear with it; where it is there already they are placed into it.

    Where one of them cannot be placed the directory appears with those before it.
    """
    d = directory
    folder = shared.folder(d.target, d.mount_id, d.path, durable=d.durable)
    journal = shared.journal(d.target, d.mount_id, durable=d.durable)
    place, parent = f"{d.target}/{d.path}", folder.descriptor
    there = look(_name(d), parent)
    if there is not None:
        if not stat.S_ISDIR(there.st_mode):
            look_at_it = command("ovlay plan", d.target)
            raise Conflict(f"{place} is not a directory", remedy=f"look at it with {look_at_it}, then try again")
        done.append(d)
        for start in range(0, len(files), _MOST):
            place_together(files[start : start + _MOST], host, shared, done)
        return
    with temporary(parent) as hidden, telling_space(d.target, d.path):
        os.mkdir(hidden, 0o700, dir_fd=parent)
        made = os.open(hidden, DIRECTORY, dir_fd=parent)
        try:
            label = wanted_label(place, stat.S_IFDIR | d.mode, d.label, folder, replaces=False)
            set_label(made, label)
            filling = _Filling(host, Folder(made, label), journal)
            try:
                for file in files:
                    os.close(filling.fill(file, _name(file), replaces=False))
            except BaseException:
                for name in set(os.listdir(made)) - {receipt.path.rpartition("/")[2] for receipt in filling.receipts}:
                    os.unlink(name, dir_fd=made)
                raise
            finally:
                dress(made, d.uid, d.gid, d.mode, label)
                if d.durable:
                    os.fsync(made)
                receipts = [receipt_of(d, "directory", os.fstat(made)), *filling.receipts]
                journal.intend(receipts)
                os.rename(hidden, _name(d), src_dir_fd=parent, dst_dir_fd=parent)
                for step, receipt in zip((d, *files), receipts, strict=False):
                    journal.placed(receipt.path, receipt.placed)  # a rename changes nothing of what is within
                    done.append(step)
        finally:
            os.close(made)


class _Filling:
    """Writes files into one directory. ``receipts`` are of those that are complete, but for their names."""

    def __init__(self, host: Host, folder: Folder, journal: Journal) -> None:
        self._host, self._folder, self._journal = host, folder, journal
        self._labels = folder.label is not None or selinux_is_on()
        self._me = (os.geteuid(), os.getegid())
        self.receipts: list[Receipt] = []

    def fill(self, step: PlaceFile, name: str, *, replaces: bool) -> int:
        """Write a file under this name, with all that it is to have, and return a descriptor on it."""
        # What is to have a label, or another owner, is nobody's business before it has it.
        early = step.mode & _PLAIN if not self._labels and (step.uid, step.gid) == self._me else 0o600
        new = os.open(name, _NEW, early, dir_fd=self._folder.descriptor)
        try:
            if step.text is not None:
                came, sha256 = None, _write(new, step.text.encode("utf-8", "surrogateescape"))
            else:
                with self._host.opened_source(step.source) as source:
                    came, sha256 = _copy(step, source, new)
            made = self._dressed(step, new, replaces=replaces)
            if step.durable:
                os.fsync(new)
        except BaseException:
            os.close(new)
            raise
        journal = self._journal
        self.receipts.append(
            Receipt(
                step.path, "file", sha256, None, step.size, step.mode, step.uid, step.gid, step.label,
                None if came is None else step.source, came, stamp_of(made),
                step.manifest, step.name, journal.when, journal.by, step.base,
            )
        )  # fmt: skip
        return new

    def _dressed(self, step: PlaceFile, new: int, *, replaces: bool) -> os.stat_result:
        """Give an open file its owner, its label and its mode; how it looks then."""
        made = os.fstat(new)
        owned = (made.st_uid, made.st_gid) == (step.uid, step.gid)
        if not owned:
            os.fchown(new, step.uid, step.gid)
        if self._labels or step.label is not None:
            kind, place = stat.S_IFREG | step.mode, f"{step.target}/{step.path}"
            set_label(new, wanted_label(place, kind, step.label, self._folder, replaces=replaces))
        elif owned and made.st_mode & 0o7777 == step.mode:
            return made
        os.fchmod(new, step.mode)
        return os.fstat(new)


def _name(step: PlaceFile | MakeDirectory) -> str:
    return step.path.rpartition("/")[2]


def _replaces(step: PlaceFile, parent: int, there: frozenset[str] | None) -> bool:
    """Whether something is in its place; raises `InvalidInput` for a directory. ``there`` is what may be there."""
    if there is not None and _name(step) not in there:
        return False
    try:
        found = os.stat(_name(step), dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise InvalidInput(f"{step.target}/{step.path} is a directory", remedy="name the file in it")
    return True


def _write(new: int, content: bytes) -> str:
    """Write a whole content; its SHA-256."""
    import hashlib

    write_all(new, content)
    return hashlib.sha256(content).hexdigest()


def _copy(step: PlaceFile, source: int, new: int) -> tuple[Stamp, str]:
    """Copy the content, and refuse it where it is not what the plan was made for, or changes meanwhile.

    Returns the stamp of the source, and its SHA-256.
    """
    import hashlib

    digest, size = hashlib.sha256(), 0
    while chunk := os.read(source, BLOCK):
        digest.update(chunk)
        write_all(new, chunk)
        size += len(chunk)
        if size > step.size or (size == step.size and len(chunk) < BLOCK):
            break  # what has more than was planned is refused, however much that is
    came, sha256 = stamp_of(os.fstat(source)), digest.hexdigest()
    same = size == step.size == came[2] and step.sha256 in (None, sha256)
    if not same or step.stamp not in ((), came):  # the same at the end is the same all the time
        raise Conflict(f"{step.source} changed since the plan was made", remedy="try again")
    return came, sha256
