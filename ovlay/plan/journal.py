"""The journal of the plan that is being executed: what `ovlay.plan.recovery` needs to bring to an end what was cut off.

It is written before the first step and removed after the last, below the state directory: a reboot, which takes the
overlays with it, takes it too. Who finds one under the lock knows that nobody is at work on it any more.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ovlay.errors import OvlayError
from ovlay.host import OWN_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ovlay.host import Host
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step


@dataclass(frozen=True, slots=True)
class Record:
    """What a journal says: the steps that can be taken back or ended, how many of them had begun, and the rest.

    ``litter`` are directories, each with its target, in which files may lie that were being written; ``sealed`` are
    the targets and mount ids of overlays that were read-only when it all began; ``flags`` are directories, each with
    its target, that were immutable or append-only, with their flags. ``marks`` are the targets that steps take an
    overlay away from, each with what is never the same of two overlays. ``first`` is the first step, for a person.
    """

    steps: tuple[Step, ...]
    begun: int
    litter: tuple[tuple[str, str], ...]
    sealed: tuple[tuple[str, int], ...]
    flags: tuple[tuple[str, str, int], ...] = ()
    marks: tuple[tuple[str, str], ...] = ()
    first: str = ""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The record in a file; None for one that was not written to its end: then nothing had begun."""
        from ovlay.plan.plan import Plan

        head, newline, rest = text.partition("\n")
        if not newline:
            return None
        try:
            found: dict[str, Any] = json.loads(head)
            steps = Plan.from_json(found["plan"]).steps
            litter = tuple((str(target), str(path)) for target, path in found["litter"])
            sealed = tuple((str(target), int(number)) for target, number in found["sealed"])
            flags = tuple((str(target), str(path), int(number)) for target, path, number in found.get("flags", ()))
            marks = tuple((str(target), str(mark)) for target, mark in found.get("marks", ()))
            first = str(found.get("first", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OvlayError):
            return None
        return cls(steps, min(rest.count("\n"), len(steps)), litter, sealed, flags, marks, first)


@contextlib.contextmanager
def journalled(host: Host, plan: Plan, done: Sequence[Step]) -> Iterator[Callable[[Step], None]]:
    """A journal for the time in which a plan runs; what it yields is called with each step that is about to begin.

    ``done`` are those that are, of which the executor keeps count. There is no journal for a plan that needs no root:
    it touches nothing but the user's own files.
    """
    if not any(step.privileged for step in plan.steps):
        yield lambda _: None
        return
    path = host.journal_path
    head = _head(host, plan)
    host.make_private_directory(host.state_dir)
    host.write(path, json.dumps(head) + "\n", mode=0o600)
    journal = os.open(host.path(path), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def begin(step: Step) -> None:
        if not step.keeps:
            os.write(journal, b"begun\n")

    try:
        yield begin
    except BaseException:  # what had been done was taken back, as far as it goes
        with contextlib.suppress(OSError):
            if len(done) < len(plan.steps) and _is_gone(host, head):
                pass  # it cannot be put back: the next call takes away the rest of it
            elif _is_open(host, head):
                _write_rest(host, head)
            else:
                host.remove(path)
        raise
    else:
        host.remove(path)
    finally:
        os.close(journal)


def _write_rest(host: Host, head: dict[str, Any]) -> None:
    """Leave the journal to the next call, with what is left to do once all steps were taken back."""
    from ovlay.plan.plan import Plan

    rest = {**head, "plan": Plan().to_json(), "marks": []}
    host.write(host.journal_path, json.dumps(rest) + "\n", mode=0o600)


def leave_open(host: Host, record: Record) -> bool:
    """Leave the journal to the next call, without the steps in it; False where it cannot be written."""
    head = {"litter": record.litter, "sealed": record.sealed, "flags": record.flags, "first": record.first}
    try:
        _write_rest(host, head)
    except OSError:
        return False
    return True


def mark_of(host: Host, target: str) -> str:
    """What is never the same of two overlays on a target; "" where none is there.

    The numbers of mounts and devices are given to another one as soon as they are free.
    """
    from ovlay.files.copying import DIRECTORY
    from ovlay.kernel.upper import upper_handle

    mounts = host.mounts_at(target)
    if not mounts or not mounts[-1].is_overlay:
        return ""
    with contextlib.suppress(OSError):
        descriptor = os.open(host.path(target), DIRECTORY)
        try:
            handle = upper_handle(descriptor)
            found = os.fstat(descriptor)
            # Before Linux 6.6 there is no handle; the time says less, and never too much: then nothing is taken away.
            content = str(found.st_ctime_ns) if handle is None else handle.content.hex()
            return f"{mounts[-1].mount_id} {mounts[-1].upper} {found.st_ino} {content}"
        finally:
            os.close(descriptor)
    return f"{mounts[-1].mount_id} {mounts[-1].upper}"


def _is_gone(host: Host, head: dict[str, Any]) -> bool:
    """Whether an overlay was there when the plan began, and is there no more."""
    return any(mark and mark_of(host, target) != mark for target, mark in head["marks"])


def _is_open(host: Host, head: dict[str, Any]) -> bool:
    """Whether there is something that only the next call can bring to an end: a receipt, a flag, or a seal."""
    from ovlay.receipts import book_path, parse_book

    if any(_flags(host, target, path) != flags for target, path, flags in head["flags"]):
        return True
    for target, number in head["sealed"]:
        if any(mount.mount_id == number and not mount.superblock_read_only for mount in host.mounts_at(target)):
            return True
    for target in {target for target, _ in head["litter"]}:
        for mount in host.mounts_at(target)[-1:]:
            for durable in (False, True):
                text = host.read(book_path(host, target, durable=durable), limit=OWN_LIMIT) or ""
                if parse_book(text, "" if durable else mount.device).unfinished:
                    return True
    return False


def _head(host: Host, plan: Plan) -> dict[str, Any]:
    from ovlay.plan.plan import Plan

    litter = {place for step in plan.steps for place in step.litter()}
    return {
        "plan": Plan(tuple(step for step in plan.steps if not step.keeps)).to_json(),
        "litter": sorted(litter),
        "sealed": _sealed(host, {target for target, _ in litter}),
        "flags": [
            (target, path, flags)
            for target, path in sorted({place for step in plan.steps for place in step.unflags()})
            if (flags := _flags(host, target, path))
        ],
        "marks": [
            (target, mark_of(host, target))
            for target in sorted({step.target for step in plan.steps if step.resumes and hasattr(step, "target")})
        ],
        "first": plan.steps[0].describe(),
    }


def _sealed(host: Host, targets: Iterable[str]) -> list[tuple[str, int]]:
    """The overlays on these targets that are read-only, and are going to be written into."""
    return [
        (target, mount.mount_id)
        for target in sorted(targets)
        for mount in host.mounts_at(target)[-1:]
        if mount.is_overlay and mount.superblock_read_only
    ]


def _flags(host: Host, target: str, path: str) -> int:
    from ovlay.files.copying import DIRECTORY, descend
    from ovlay.files.flags import read_flags

    with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
        top = os.open(host.path(target), DIRECTORY)
        stack.callback(os.close, top)
        directory = descend(top, path)
        stack.callback(os.close, directory)
        return read_flags(directory)
    return 0
