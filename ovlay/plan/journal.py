"""The journal of the plan that is being executed, from which the next call brings to an end what a kill cut off.

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
from ovlay.model import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ovlay.host import Host
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step

NAME = "journal"
"""The file, below the state directory."""


@dataclass(frozen=True, slots=True)
class Record:
    """What a journal says: the steps that can be taken back or ended, how many of them had begun, and the rest.

    ``litter`` are directories, each with its target, in which files may lie that were being written; ``sealed`` are
    the targets and mount ids of overlays that were read-only when it all began.
    """

    steps: tuple[Step, ...]
    begun: int
    litter: tuple[tuple[str, str], ...]
    sealed: tuple[tuple[str, int], ...]

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
        except (ValueError, KeyError, TypeError, RecursionError, OvlayError):
            return None
        return cls(steps, min(rest.count("\n"), len(steps)), litter, sealed)


@contextlib.contextmanager
def journalled(host: Host, plan: Plan) -> Iterator[Callable[[Step], None]]:
    """A journal for the time in which a plan runs; what it yields is called with each step that is about to begin.

    There is none for a plan that needs no root: it touches nothing but the user's own files.
    """
    if not any(step.privileged for step in plan.steps):
        yield lambda _: None
        return
    path = f"{host.state_dir}/{NAME}"
    host.make_private_directory(host.state_dir)
    host.write(path, _head(host, plan), mode=0o600)
    journal = os.open(host.path(path), os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)

    def begin(step: Step) -> None:
        if not step.keeps:
            os.write(journal, b"begun\n")

    try:
        yield begin
    finally:  # all steps ran, or those that did were taken back
        os.close(journal)
        host.remove(path)


def _head(host: Host, plan: Plan) -> str:
    from ovlay.plan.plan import Plan

    head = {
        "plan": Plan(tuple(step for step in plan.steps if not step.keeps)).to_json(),
        "litter": sorted({place for step in plan.steps for place in step.litter()}),
        "sealed": _sealed(host, plan),
    }
    return json.dumps(head) + "\n"


def is_unfinished(host: Host) -> bool:
    """Whether there is a journal: of an ovlay that is at work, or of one that was killed."""
    return host.exists(f"{host.state_dir}/{NAME}")


def recover(host: Host) -> tuple[str, ...]:
    """End what a killed ovlay had begun, and say what was done. Only for who holds the lock.

    What it was about to take away goes; what it was about to put up is taken back, unless it stands already; what it
    was writing is removed; an overlay that it had opened for writing is read-only again.
    """
    path = f"{host.state_dir}/{NAME}"
    text = host.read(path)
    if text is None:
        return ()
    record = Record.parse(text)
    told = () if record is None else tuple(_recovered(host, record))
    host.remove(path)
    return told


def _recovered(host: Host, record: Record) -> Iterator[str]:
    standing = [stands for step in record.steps if (stands := step.stands(host)) is not None]
    if not standing:
        yield from _end(host, record.steps[record.begun - 1 :] if record.begun else ())
    elif not any(standing):
        yield from _take_back(host, record.steps[: record.begun])
    for target, number in record.sealed:
        for mount in host.mounts_at(target):
            if mount.mount_id == number and not (mount.read_only and mount.superblock_read_only):
                host.kernel.set_access(mount, Access.READ_ONLY)
                yield f"made the overlay on {target} read-only again"
    for target, directory in record.litter:
        for name in _swept(host, target, directory):
            yield f"removed {target}/{directory}/{name}, which was being written"


def _end(host: Host, steps: Sequence[Step]) -> Iterator[str]:
    """Run what was left to do. A step that was done already fails, since what it was to take away is gone."""
    for step in steps:
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


def _swept(host: Host, target: str, directory: str) -> Iterator[str]:
    """Remove what has the name of an unfinished file from a directory of the merged view."""
    from ovlay.files.copying import remove_whole
    from ovlay.files.destination import opened_parent
    from ovlay.plan.sharing import TEMPORARY

    with contextlib.suppress(OvlayError, OSError), contextlib.ExitStack() as stack:
        view = stack.enter_context(host.kernel.writable_view(target))
        parent = stack.enter_context(opened_parent(view, target, f"{directory}/x"))
        for name in os.listdir(parent):
            if name.startswith(TEMPORARY):
                remove_whole(parent, name)
                yield name


def _sealed(host: Host, plan: Plan) -> list[tuple[str, int]]:
    """The overlays that steps of this plan write into though they are read-only."""
    targets = {target for step in plan.steps for target, _ in step.litter()}
    return [
        (target, mount.mount_id)
        for target in sorted(targets)
        for mount in host.mounts_at(target)[-1:]
        if mount.is_overlay and mount.superblock_read_only
    ]
