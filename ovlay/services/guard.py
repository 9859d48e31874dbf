"""What another image does to the overlay: what is lost, what the manifests bring back, and what is in conflict.

An image that is updated is booted with no overlay, or one of its own: what is in this one stays behind. Only what the
manifests of the system declare comes back, for they are what is applied at a boot.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.changes.change import ChangeKind
from ovlay.errors import InvalidInput
from ovlay.model import Mode, as_json
from ovlay.services.units import applies_at_boot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ovlay.backend import Backend
    from ovlay.changes.change import Change, Changes
    from ovlay.host import Host
    from ovlay.manifest.finding import Finding
    from ovlay.receipts import Receipt

GUARD_SCHEMA = "ovlay.guard/1"

_BEFORE_A_BOOT = ("/tmp/", "/run/", "/dev/shm/")  # noqa: S108 (what is in memory is gone after a boot)


class Fate(StrEnum):
    """What becomes of a change when another image is booted."""

    LOST = "lost"  # nothing that is applied at a boot declares it
    RETURNS = "returns"  # it is as a manifest of the system says
    CONFLICT = "conflict"  # a manifest says something else: what is there now is lost


class Loss(NamedTuple):
    """One change, by its path relative to the target, and what becomes of it. ``manifest`` is what declares it.

    ``vanishing`` is the manifest or the source of what is declared, and lost since that is not there after a boot.
    """

    path: str
    kind: ChangeKind
    fate: Fate
    manifest: str | None = None
    detail: str = ""
    vanishing: str | None = None


class Forecast(NamedTuple):
    """What an upgrade does to a target.

    ``applied_at_boot`` is whether the unit is installed that applies the manifests; without it, what returns does so
    with ``ovlay apply``. ``problems`` are why manifests cannot be used, and so bring nothing back; ``complete`` is
    False where something could not be looked at.
    """

    target: str
    active: bool
    mode: Mode | None
    changes: tuple[Loss, ...] = ()
    manifests: tuple[str, ...] = ()
    applied_at_boot: bool = False
    problems: tuple[str, ...] = ()
    complete: bool = True

    @property
    def safe(self) -> bool:
        """Whether nothing is lost that the manifests do not bring back."""
        return self.complete and not self.of(Fate.LOST, Fate.CONFLICT)

    def of(self, *fates: Fate) -> tuple[Loss, ...]:
        """The changes that end so."""
        return tuple(loss for loss in self.changes if loss.fate in fates)

    def to_json(self) -> dict[str, Any]:
        """The machine-readable form, as ``ovlay guard upgrade --json`` prints it (schema ``ovlay.guard/1``)."""
        return {"schema": GUARD_SCHEMA, "safe": self.safe, **as_json(self)}


def forecast_upgrade(backend: Backend, *, ignore: Sequence[str] = ()) -> Forecast:
    """What becomes of all changes when another image is booted; changes nothing.

    ``ignore`` are globs of gitignore(5) for what nobody misses. Raises `NotPermitted` where this process may not look
    beneath the overlay. Manifests that cannot be used are no error: they bring nothing back, which is told.
    """
    from ovlay.changes.find import find_changes
    from ovlay.changes.ignore import leave_out

    host, status = backend.host, backend.status()
    at_boot = applies_at_boot(host)
    findings, manifests, problems = _declared(backend)
    if status.overlay is None:
        return Forecast(backend.target, False, None, (), manifests, at_boot, problems)
    found = leave_out(find_changes(backend), ignore)
    losses = tuple(_losses(backend, found, findings, _receipts(backend)))
    return Forecast(backend.target, True, status.mode, losses, manifests, at_boot, problems, found.complete)


def _declared(backend: Backend) -> tuple[tuple[Finding, ...], tuple[str, ...], tuple[str, ...]]:
    """How the manifests of the system stand to the target, which they are, and what is wrong with them."""
    from ovlay.manifest.compare import compare
    from ovlay.manifest.declaring import declare
    from ovlay.manifest.document import InvalidManifest

    manifests: tuple[str, ...] = ()
    try:
        declared = declare(backend, user=False)
        manifests = declared.manifests
        return compare(backend, declared, bare=True).findings, manifests, ()
    except InvalidManifest as error:
        return (), manifests, tuple(str(problem) for problem in error.problems)
    except InvalidInput as error:
        return (), manifests, (str(error),)


def _receipts(backend: Backend) -> dict[str, Receipt]:
    from ovlay.receipts import read_receipts

    return read_receipts(backend.host, backend.status())


def _losses(
    backend: Backend, found: Changes, findings: Iterable[Finding], receipts: dict[str, Receipt]
) -> Iterator[Loss]:
    from ovlay.ancestry import around, directories_of
    from ovlay.manifest.document import Kind
    from ovlay.manifest.finding import State
    from ovlay.manifest.managed import Derived

    host, target = backend.host, backend.target
    changed = {change.path for change in found.changes}
    by_path = {finding.path: finding for finding in findings if finding.item is not None}
    held = {path for path, finding in by_path.items() if finding.state in (State.AS_DECLARED, State.GRADUATED)}
    leading = directories_of(held)
    absent = {path for path in held if (item := by_path[path].item) is not None and item.kind is Kind.ABSENT}
    derived = Derived(target, {path: item.origin.file for path in held if (item := by_path[path].item) is not None})
    for change in found.changes:
        if change.kind is ChangeKind.TOUCHED or change.path == ".":
            continue
        finding = by_path.get(change.path)
        if finding is not None and finding.item is not None:
            yield _of_declared(host, target, change, finding, changed, held=change.path in held)
        elif change.path in leading and _is_new_directory(change):
            yield Loss(change.path, change.kind, Fate.RETURNS, detail="is on the way to what is declared")
        elif above := next((path for path in around(change.path) if path in absent), None):
            yield Loss(change.path, change.kind, Fate.RETURNS, detail=f"is gone with {target}/{above}")
        elif (file := derived.manifest(change.path)) is not None:
            yield Loss(change.path, change.kind, Fate.RETURNS, file, detail="is made by a trigger")
        else:
            receipt = receipts.get(change.path)
            manifest = None if receipt is None else receipt.manifest
            detail = "was placed for a manifest that no boot applies" if manifest is not None else ""
            yield Loss(change.path, change.kind, Fate.LOST, manifest, detail)


def _of_declared(host: Host, target: str, change: Change, finding: Finding, changed: set[str], *, held: bool) -> Loss:
    """The fate of a change at a path that is declared."""
    from ovlay.ancestry import is_below

    item = finding.item
    assert item is not None
    file = item.origin.file
    if not held:
        return Loss(change.path, change.kind, Fate.CONFLICT, file, finding.detail or "is not as it is declared")
    for path in filter(None, (file, item.source)):
        if path.startswith(_BEFORE_A_BOOT) and host.root == "/":
            return Loss(change.path, change.kind, Fate.LOST, file, f"{path} is gone after a boot", path)
        inside = _inside(host, target, path)
        if inside is not None and is_below(inside, changed):
            return Loss(change.path, change.kind, Fate.LOST, file, f"{path} is in the overlay itself", path)
    return Loss(change.path, change.kind, Fate.RETURNS, file)


def _inside(host: Host, target: str, path: str) -> str | None:
    """A path of this process relative to the target, None where it is not in it."""
    root = host.path(target)
    return path[len(root) + 1 :] if path.startswith(root + "/") else None


def _is_new_directory(change: Change) -> bool:
    return change.kind is ChangeKind.ADDED and change.after is not None and change.after.type == "directory"
