"""From paths that are to be as in the base again to the step that makes them so."""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING, NamedTuple

from ovlay.advice import command
from ovlay.ancestry import directories_of, is_below
from ovlay.changes.change import ChangeKind
from ovlay.changes.find import look, overlay_of
from ovlay.changes.meaning import find_meant
from ovlay.counting import counted
from ovlay.errors import NotActive, StateForbids, Unsupported
from ovlay.files.copying import descend
from ovlay.files.copying import look as look_at
from ovlay.files.room import demand_room
from ovlay.model import Persistence
from ovlay.plan.plan import Plan
from ovlay.plan.restoring import RestorePaths
from ovlay.plan.settling import SettleReceipts
from ovlay.receipts import read_receipts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ovlay.backend import Backend
    from ovlay.changes.change import Change
    from ovlay.changes.meaning import Meant
    from ovlay.kernel import Mount, Views
    from ovlay.model import Status

_WHOLE = (ChangeKind.ADDED, ChangeKind.DELETED, ChangeKind.TYPE_CHANGED)
_SHOWN = 3


def plan_restore(backend: Backend, paths: Sequence[str] | None) -> Plan:
    """How to make these paths of the target, with what is below them, as in the base; None is for all there is.

    ``paths`` are absolute, or relative to the target; an empty sequence is for nothing. Raises `NotActive`,
    `NotPermitted`, `InvalidInput` for a path that is empty, not in the target or on neither side, `StateForbids` where
    something lies over the overlay, `Unsupported` where other layers are part of it, and `NoSpace` where the copies of
    what the base has would not fit.
    """
    status = backend.status()
    _demand_overlay(backend, status)
    if paths is not None and not paths:
        return Plan(reason="no path was given")
    mount = overlay_of(backend)
    submounts = tuple(found.mount_point for found in backend.host.kernel.mounts().below(backend.target))
    with backend.host.kernel.views(mount, backend.upper_candidates(mount)) as views:
        meant = None if paths is None else _meant(backend, views, paths)
        wanted, missing = (None, ()) if meant is None else (meant.found, meant.missing)
        found = look(
            backend.host, mount, views, paths=tuple(wanted or ()), submounts=submounts, everything=True, workers=None
        )
        if len(mount.lower) > 1:
            _demand_no_files_of_layers(backend, mount, views)
        selected = _select(views, found.changes, submounts, backend.target)
    warnings = list(_left_out(backend, selected, found.errors))
    changed = {".", *(change.path for change in selected.changes)}
    changed |= directories_of(changed)
    warnings += [f"{backend.target}/{path} is as in the base already" for path in wanted or () if path not in changed]
    warnings += [f"{given}: there is no such path, neither now nor in the base" for given in missing]
    if not selected.changes:
        return Plan(reason=_nothing(backend, wanted), warnings=tuple(warnings))
    _demand_space(status, selected.changes)
    step = RestorePaths(
        backend.target,
        mount.mount_id,
        tuple(change.path for change in selected.roots if change.kind is ChangeKind.ADDED),
        tuple(change.path for change in selected.roots if change.kind is not ChangeKind.ADDED),
        durable=status.mode is not None and status.mode.persistence is Persistence.PERSISTENT,
    )
    steps = (step, *_forgotten(backend, status, step))
    return Plan(steps, warnings=(_summary(selected), *warnings, *_of_holders(selected, backend.target)))


def _forgotten(backend: Backend, status: Status, step: RestorePaths) -> Iterator[SettleReceipts]:
    """The step that forgets what ovlay had placed there."""
    roots = {*step.added, *step.changed}
    placed = tuple(sorted(path for path in read_receipts(backend.host, status) if is_below(path, roots)))
    if placed:
        yield SettleReceipts(backend.target, step.mount_id, placed, step.durable)


def _demand_no_files_of_layers(backend: Backend, mount: Mount, views: Views) -> None:
    """Raise `Unsupported` where somebody wants what lower layers over the base bring.

    Of a file of theirs that was changed it cannot be seen what it was.
    """
    if views.upper is None or backend.brings_files(mount):
        raise Unsupported(
            f"other layers, such as system extensions, are part of the overlay on {backend.target}: what they bring "
            "cannot be told from what was changed",
            remedy=f"{command('ovlay reset --fresh', backend.target)} takes all changes away and leaves them",
        )


def plan_fresh(backend: Backend) -> Plan:
    """How to take the overlay away, so that a new and empty one of the same mode can be enabled.

    Raises `NotActive`, and `StateForbids` for a persistent one: its changes would come back with it.
    """
    status = backend.status()
    _demand_overlay(backend, status)
    assert status.mode is not None
    if status.mode.persistence is Persistence.PERSISTENT:
        raise StateForbids(
            f"the overlay on {backend.target} is persistent: its changes would come back with a new one",
            remedy=f"undo them in place with {command('ovlay reset', backend.target)}",
        )
    plan = backend.plan_unmount(lazy=True)
    after = f"then a fresh {status.mode} overlay is enabled, as {command('ovlay enable', backend.target)} does it"
    old = "processes that use the old view keep it until they are restarted"
    return Plan(plan.steps, plan.reason, (*plan.warnings, after, old))


class _Selected(NamedTuple):
    """The changes to be undone, those of them that stand for what is below them too, and what cannot be reached."""

    changes: tuple[Change, ...]
    roots: tuple[Change, ...]
    covered: tuple[str, ...]


def _select(views: Views, changes: Iterable[Change], submounts: Sequence[str], target: str) -> _Selected:
    points = {posixpath.relpath(point, target) for point in submounts}
    above = directories_of(points)
    kept, roots, covered = [], [], []
    within = ""  # what goes or comes whole, and with a slash at its end
    for change in sorted(changes, key=lambda change: change.path.split("/") if change.path != "." else []):
        if change.kind is ChangeKind.TOUCHED and _same_mtime(views, change.path):
            continue
        if is_below(change.path, points) or (change.kind in _WHOLE and change.path in above):
            covered.append(change.path)
            continue
        kept.append(change)
        if within and change.path.startswith(within):
            continue
        roots.append(change)
        if change.kind in _WHOLE:
            within = change.path + "/"
    if [(change.path, change.kind) for change in kept] == [(".", ChangeKind.TOUCHED)]:
        kept, roots = [], []  # every fresh overlay shows the time stamp of its own upper's root
    parents = {posixpath.dirname(change.path) or "." for change in roots if change.kind is not ChangeKind.TOUCHED}
    # A directory in which something is restored gets its time stamp with that.
    told = [change for change in roots if change.kind is not ChangeKind.TOUCHED or change.path not in parents]
    told.sort(key=lambda change: change.kind is ChangeKind.TOUCHED)  # what matters less is named last
    return _Selected(tuple(kept), tuple(told), tuple(covered))


def _same_mtime(views: Views, path: str) -> bool:
    found = [_stat(view, path) for view in (views.merged, views.lower)]
    return None in found or found[0].st_mtime_ns == found[1].st_mtime_ns  # type: ignore[union-attr]


def _stat(view: int, path: str) -> os.stat_result | None:
    folder, _, name = path.rpartition("/")
    try:
        parent = descend(view, folder)
    except OSError:
        return None
    try:
        return look_at(name, parent)
    finally:
        os.close(parent)


def _demand_overlay(backend: Backend, status: Status) -> None:
    if status.overlay is None:
        raise NotActive(
            f"there is no overlay on {backend.target}, so nothing differs from a base",
            remedy=f"see {command('ovlay status', backend.target)}",
        )
    backend.refuse_covered(status)


# --- which paths are meant -------------------------------------------------------------------------------------------


def _meant(backend: Backend, views: Views, paths: Sequence[str]) -> Meant:
    """What is meant. Where an earlier call was cut off some of what was added is gone, and the rest is to be restored.

    That nothing at all is there is a mistake: `InvalidInput`.
    """
    meant = find_meant(backend, (views.merged, views.lower), paths)
    for path in meant.found or meant.demand_all():
        _demand_directories(backend, views, path)
    return meant


def _demand_directories(backend: Backend, views: Views, path: str) -> None:
    """Raise `StateForbids` where a directory on the way is something else by now: that must be restored first."""
    parts = path.split("/")
    for count in range(1, len(parts)):
        parent = "/".join(parts[:count])
        now = _stat(views.merged, parent)
        if now is not None and not stat.S_ISDIR(now.st_mode):
            raise StateForbids(
                f"{backend.target}/{parent} is no directory any more, so nothing can be restored in it",
                remedy=f"restore it as a whole: {command(f'ovlay revert {backend.target}/{parent}', backend.target)}",
            )


# --- what is to be said of it ----------------------------------------------------------------------------------------


def _nothing(backend: Backend, wanted: tuple[str, ...] | None) -> str:
    if wanted is None or wanted == (".",):
        return f"nothing on {backend.target} differs from the base"
    named = ", ".join(f"{backend.target}/{path}" for path in wanted[:_SHOWN])
    more = f" and {len(wanted) - _SHOWN} more" if len(wanted) > _SHOWN else ""
    return f"no change at {named}{more}: it is as in the base"


def _left_out(backend: Backend, selected: _Selected, errors: object) -> Iterator[str]:
    if selected.covered:
        others = len(selected.covered) - 1
        stay = f" and {counted(others, 'more path')} stay as they are" if others else " stays as it is"
        yield f"{backend.target}/{selected.covered[0]}{stay}: something is mounted there"
    if isinstance(errors, dict) and errors:
        path, why = next(iter(errors.items()))
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        yield f"what could not be looked at stays as it is: {backend.target}/{path} ({why}){more}"


def _summary(selected: _Selected) -> str:
    words = {
        ChangeKind.ADDED: "added",
        ChangeKind.MODIFIED: "modified",
        ChangeKind.METADATA: "changed in mode, owner or attributes",
        ChangeKind.DELETED: "deleted",
        ChangeKind.TYPE_CHANGED: "of another type",
    }
    counts = {kind: sum(change.kind is kind for change in selected.changes) for kind in words}
    listed = ", ".join(f"{count} {words[kind]}" for kind, count in counts.items() if count)
    many = sum(counts.values())
    if not many:
        return "nothing but time stamps differs"
    return f"{many} change{'s are' if many > 1 else ' is'} undone and cannot be brought back: {listed}"


def _of_holders(selected: _Selected, target: str) -> Iterator[str]:
    if any(change.after is not None and change.after.type == "file" for change in selected.changes):
        holders = command("ovlay holders", target)
        yield f"processes that have one of these files open keep the old one until they are restarted: {holders}"


def _demand_space(status: Status, changes: Sequence[Change]) -> None:
    """Raise `NoSpace` where the copies would not fit; what is removed first makes room."""
    needed = sum(_size(change, "before") for change in changes if change.kind is not ChangeKind.TOUCHED)
    freed = sum(_size(change, "after") for change in changes if change.kind is ChangeKind.ADDED)
    if needed > freed:
        fresh = command("ovlay reset --fresh", status.target)
        remedy = f"make room there, or take all changes away with {fresh}"
        demand_room(status, needed, freed=freed, what="bytes of the base", remedy=remedy)


def _size(change: Change, side: str) -> int:
    found = change.before if side == "before" else change.after
    return found.size if found is not None and found.type == "file" else 0
