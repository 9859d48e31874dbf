"""From a comparison to the steps that make everything as it is declared."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from ovlay.errors import StateForbids
from ovlay.files.room import demand_room
from ovlay.manifest.finding import Comparison, Finding, Readings, State
from ovlay.manifest.seal import read_seal, seal
from ovlay.model import AnomalyKind, Mode, Persistence
from ovlay.plan.plan import Plan
from ovlay.receipts import has_settled, is_durable
from ovlay.recording import Journal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ovlay.backend import Backend
    from ovlay.manifest.document import Declared, Retired
    from ovlay.model import Status
    from ovlay.plan.step import Step
    from ovlay.plan.triggering import RunTrigger
    from ovlay.receipts import Stamp

DONE = "everything is as declared"
NOTHING_DECLARED = "no manifest was found, and so nothing is declared"


class Application(NamedTuple):
    """What is going to be done, and what is kept as it is.

    ``declared`` is None where no manifest had to be read. ``triggers`` are the steps that are needed after it, whether
    they are in the plan or not. ``began`` is when it was begun to be compared, in nanoseconds; 0 where nothing had to
    be.
    """

    plan: Plan
    comparison: Comparison
    declared: Declared | None
    triggers: tuple[RunTrigger, ...] = ()
    began: int = 0

    @property
    def retired(self) -> tuple[Retired, ...]:
        """What does not count on this host."""
        return () if self.declared is None else self.declared.retired

    def settle(self, backend: Backend, placed: Mapping[str, Stamp | None]) -> None:
        """Write down what was seen of receipts while it was compared, and that all is as declared, where it is.

        ``placed`` is what the plan placed, and how that looked: neither need be looked at again.
        """
        comparison, status = self.comparison, backend.status()
        if status.overlay is None or self.declared is None or not self.began:
            return
        if comparison.settled or comparison.forgotten:
            device = status.overlay.device
            journal = Journal(backend.host, backend.target, durable=is_durable(status), identity=device)
            journal.settled(comparison.settled)
            journal.forget(comparison.forgotten)
            for line in journal.settle():
                backend.host.told(line)
        clean = all(
            finding.state in (State.AS_DECLARED, State.LEFTOVER) or finding.path in placed
            for finding in comparison.findings
        )
        if not clean or not has_settled(placed.values()):
            return
        from ovlay.manifest.notice import give_notice

        host, declared, before = backend.host, self.declared, self.began
        if declared.entries and comparison.sources is not None:
            seal(host, status, declared, comparison, before=before, placed=placed)
        give_notice(host, status, declared, comparison, before=before, placed=placed)

    @property
    def conflicts(self) -> tuple[Finding, ...]:
        """What is kept as it is, although something else is declared."""
        return self.comparison.conflicts


def plan_apply(backend: Backend, declared: Declared, *, force: bool = False, enable: bool = False) -> Plan:
    """How to make everything as it is declared. See `prepare`."""
    return prepare(backend, declared, force=force, enable=enable).plan


def prepare_files(
    backend: Backend,
    paths: Sequence[str | os.PathLike[str]],
    *,
    user: bool = True,
    force: bool = False,
    enable: bool = False,
    triggers: bool = False,
    quick: bool = False,
    readings: Readings | None = None,
) -> Application:
    """As `prepare`, for these manifests, or those that are found: see `ovlay.manifest.declaring.declare`.

    With ``quick`` they are not read where it is known that nothing changed.
    """
    status = backend.status()
    known = read_seal(backend.host, status) if quick and status.overlay is not None else None
    if known is not None and known.is_for(_believed(backend, paths, user=user)):
        if known.holds(backend.host):
            return unchanged(backend, None)
        quick = False
    from ovlay.manifest.declaring import declare

    declared = declare(backend, paths, user=user)
    return prepare(backend, declared, force=force, enable=enable, triggers=triggers, quick=quick, readings=readings)


def _believed(backend: Backend, paths: Sequence[str | os.PathLike[str]], *, user: bool) -> tuple[str, ...]:
    """The manifests that are named, or found; nothing where root must not believe one that was found."""
    from ovlay.manifest.search import find_manifests, named_manifests

    if paths:
        return named_manifests(paths)
    from ovlay.manifest.trust import reason_to_distrust

    root = backend.host.root
    files = find_manifests(backend.host, user=user)
    if os.geteuid() == 0 and any(reason_to_distrust(os.path.abspath(file), root=root) for file in files):
        return ()
    return files


def unchanged(backend: Backend, declared: Declared | None) -> Application:
    """That nothing is to be done."""
    return Application(Plan(reason=nothing_to_do(declared)), Comparison(backend.target, ()), declared)


def nothing_to_do(declared: Declared | None) -> str:
    """Why nothing is to be done where nothing differs; ``declared`` is None where no manifest had to be read."""
    return DONE if declared is None else declared.found_nothing or DONE


def prepare(
    backend: Backend,
    declared: Declared,
    *,
    force: bool = False,
    enable: bool = False,
    triggers: bool = False,
    quick: bool = False,
    readings: Readings | None = None,
) -> Application:
    """The plan that makes everything as it is declared, and what it leaves alone.

    What is in conflict is left out, unless ``force``. With ``enable`` an overlay of the mode that is declared is put on
    the target first where none is there; with ``triggers`` the tools that must be told of the change are run after it.
    With ``quick`` nothing is compared where it is known that nothing changed (see `ovlay.manifest.seal`).

    Raises what `ovlay.manifest.compare.compare` raises, and `NoSpace` where the files would not fit.
    """
    status, began = backend.status(), time.time_ns()
    if quick and status.overlay is not None:
        known = read_seal(backend.host, status)
        if known is not None and known.is_of(declared) and known.holds(backend.host):
            return unchanged(backend, declared)
    from ovlay.manifest.compare import compare
    from ovlay.manifest.stepping import Steps

    first: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()
    if status.overlay is None and enable:
        mode = declared.mode or Mode()
        before = backend.plan_enable(mode)
        first, warnings = before.steps, before.warnings
        durable = mode.persistence is Persistence.PERSISTENT
    else:
        _demand_uncovered(status)
        durable = is_durable(status)
    comparison = compare(backend, declared, bare=bool(first), force=force, readings=readings)
    mount_id = 0 if status.overlay is None else status.overlay.mount_id
    work = Steps(backend.host, backend.target, mount_id, durable=durable, force=force)
    steps = work.of(comparison)
    _demand_space(status, steps, comparison)
    needed = _triggers(backend, work.touched) if steps else ()
    last = needed if triggers else ()
    warnings += _notes(backend, work.touched) if steps else ()
    warnings += (NOTHING_DECLARED,) if declared.found_nothing and (first or steps) else ()
    plan = Plan((*first, *steps, *last), "" if first or steps else _reason(comparison, declared), warnings)
    return Application(plan, comparison, declared, needed, began)


def _reason(comparison: Comparison, declared: Declared) -> str:
    kept = len(comparison.conflicts)
    if kept:
        return f"nothing can be done: {kept} path{'s are' if kept > 1 else ' is'} in conflict"
    return nothing_to_do(declared)


def _triggers(backend: Backend, paths: Iterable[str]) -> tuple[RunTrigger, ...]:
    from ovlay.services.triggers import needed_triggers

    return needed_triggers(backend.host, backend.target, paths)


def _notes(backend: Backend, paths: Iterable[str]) -> tuple[str, ...]:
    from ovlay.services.triggers import notes_on

    return notes_on(backend.host, backend.target, paths)


def _demand_uncovered(status: Status) -> None:
    if status.overlay is not None and status.has(AnomalyKind.HIDDEN_BY_SYSEXT):
        raise StateForbids(
            f"the overlay on {status.target} is hidden by merged system extensions",
            remedy="run `systemd-sysext unmerge` first",
        )


def _demand_space(status: Status, steps: Sequence[Step], comparison: Comparison) -> None:
    """Raise `NoSpace` where the files would not fit; what takes the place of an older one needs only what it grew."""
    from ovlay.manifest.document import Kind
    from ovlay.plan.placing import PlaceFile

    needed = sum(step.size for step in steps if isinstance(step, PlaceFile))
    freed = sum(
        finding.receipt.size
        for finding in comparison.of(State.DIFFERS, State.LEFTOVER)
        if finding.receipt is not None and finding.receipt.kind == Kind.FILE
    )
    demand_room(status, needed, freed=freed)
