"""How the manifests, the overlay and the base stand to each other: everything that is not as it is declared."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.manifest.finding import ConflictKind, State

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ovlay.backend import Backend
    from ovlay.manifest.document import Declared, Retired
    from ovlay.manifest.finding import Finding

DRIFT_SCHEMA = "ovlay.drift/1"


class Deviation(NamedTuple):
    """One path that is not as it is declared, or that nobody declared.

    ``path`` is relative to the target. ``file`` and ``line`` are where it is declared; of what was placed for an entry
    that is gone ``file`` is the manifest that had it, and of what is unmanaged both are None. ``conflict`` is set where
    the state is a conflict, and ``detail`` says more for a person.
    """

    path: str
    state: State
    detail: str
    conflict: ConflictKind | None = None
    file: str | None = None
    line: int | None = None


class Drift(NamedTuple):
    """All deviations, sorted by path.

    ``active`` is whether there is an overlay: where there is none, what is declared is missing, or has graduated.
    ``as_declared`` counts the paths that are as they are declared; ``retired`` are entries, and whole manifests, whose
    condition does not hold here; ``ignored`` counts what is unmanaged and was not asked for. ``complete`` is False
    where something could not be looked at: ``errors`` says by path why, and more may be unmanaged there.
    """

    target: str
    active: bool
    manifests: tuple[str, ...]
    as_declared: int
    deviations: tuple[Deviation, ...]
    retired: tuple[Retired, ...]
    ignored: int
    complete: bool
    errors: Mapping[str, str]

    @property
    def clean(self) -> bool:
        """Whether there is no deviation, as far as could be seen."""
        return not self.deviations

    def to_json(self) -> dict[str, Any]:
        """The machine-readable form, as ``ovlay drift --json`` prints it (schema ``ovlay.drift/1``)."""
        from ovlay.model import as_json

        return {"schema": DRIFT_SCHEMA, "clean": self.clean, **as_json(self)}


def find_drift(backend: Backend, declared: Declared, *, ignore: Sequence[str] = ()) -> Drift:
    """How the target stands to what is declared; changes nothing.

    ``ignore`` are globs of gitignore(5) for what is unmanaged. Raises `NotPermitted` where this process may not look
    beneath the overlay, and `InvalidManifest` for sources that cannot be used.
    """
    from ovlay.changes.ignore import Ignored
    from ovlay.manifest.compare import compare

    active = backend.status().overlay is not None
    comparison = compare(backend, declared, base=True, bare=True)
    ignored = Ignored(backend.target, ignore) if ignore else None
    deviations, left_out = [], 0
    for finding in comparison.findings:
        if finding.state is State.AS_DECLARED:
            continue
        if (
            ignored is not None
            and finding.state is State.UNMANAGED
            and ignored.names(finding.path, directory=_is_directory(backend, finding.path))
        ):
            left_out += 1
        else:
            deviations.append(_deviation(finding))
    return Drift(
        backend.target,
        active,
        declared.manifests,
        sum(finding.state is State.AS_DECLARED for finding in comparison.findings),
        tuple(deviations),
        declared.retired,
        left_out,
        not comparison.errors,
        dict(comparison.errors),
    )


def _deviation(finding: Finding) -> Deviation:
    detail, receipt = finding.detail, finding.receipt
    file, line = (None, None) if finding.item is None else (finding.item.origin.file, finding.item.origin.line)
    if finding.state is State.GRADUATED:
        detail = f"the base has exactly this by itself: remove the entry, {file}:{line}"
    elif finding.state is State.UNMANAGED:
        detail = f"{detail}, by `ovlay install`" if receipt is not None else detail
    elif file is None and receipt is not None:
        file = receipt.manifest
    return Deviation(finding.path, finding.state, detail, finding.conflict, file, line)


def _is_directory(backend: Backend, path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(f"{backend.host.path(backend.target)}/{path}").st_mode)
    except OSError:
        return False
