"""How a path stands to what is declared: the nouns of a comparison."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.files.accounts import Owner
    from ovlay.manifest.items import Item
    from ovlay.manifest.looking import Look
    from ovlay.receipts import Receipt, Stamp


class State(StrEnum):
    """How a path stands to what is declared."""

    AS_DECLARED = "as-declared"
    MISSING = "missing"
    DIFFERS = "differs"
    CONFLICT = "conflict"
    GRADUATED = "graduated"  # the base has exactly this by itself
    LEFTOVER = "leftover"  # placed for an entry that is declared no more
    UNMANAGED = "unmanaged"  # changed, and neither declared nor placed for a manifest


class ConflictKind(StrEnum):
    """Why something is kept as it is, although something else is declared."""

    CHANGED_SINCE = "changed-since"  # somebody changed what ovlay had placed
    IN_THE_WAY = "in-the-way"  # somebody else's change is where the entry wants to go
    BASE_CHANGED = "base-changed"  # the base has something else than when the entry was written, or first applied


class Finding(NamedTuple):
    """One path, relative to the target, and how it stands.

    ``item`` is what is declared (None for what is left over or unmanaged), ``receipt`` what was placed, ``base`` what
    the base has in one word (`ovlay.bases.content_word`), where that was asked. Of a conflict ``state`` is
    `State.CONFLICT`, and ``forced`` is what it would be with no conflict, None where nothing can be done about it.

    ``there`` is the type of what the target shows (see `ovlay.changes.change.type_word`), of what is left over that of
    what the base has; None for nothing. With ``only_attributes`` the content, of which ``sha256`` is known, is right.
    What is ``covered`` is a directory of the base that is hidden, and comes back with what is in it.
    """

    path: str
    state: State
    item: Item | None = None
    conflict: ConflictKind | None = None
    detail: str = ""
    receipt: Receipt | None = None
    base: str | None = None
    forced: State | None = None
    there: str | None = None
    sha256: str | None = None
    only_attributes: bool = False
    covered: bool = False


class Comparison(NamedTuple):
    """All findings, sorted by path.

    ``missing`` are directories on the way to what is declared that are not there. ``strays`` are files that an
    interrupted run had not finished. ``settled`` are receipts of what is as declared whose stamps have to be taken
    anew, so that it need not be read again; ``forgotten`` paths whose receipts are of nothing any more.
    ``manifests`` are those that something was placed for which stays. ``errors`` are the paths that could not be looked
    at, each with why: what is unmanaged there is not known. ``sources`` is how the sources looked (see
    `ovlay.manifest.looking`), None where that is not known; ``items`` are what was compared, as it is declared, and
    ``owners`` whom the names in the entries stood for.
    """

    target: str
    findings: tuple[Finding, ...]
    missing: tuple[str, ...] = ()
    strays: tuple[str, ...] = ()
    settled: tuple[Receipt, ...] = ()
    forgotten: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    errors: tuple[tuple[str, str], ...] = ()
    sources: Look | None = None
    items: Sequence[Item] = ()
    owners: Sequence[tuple[Owner, tuple[int, int]]] = ()

    @property
    def conflicts(self) -> tuple[Finding, ...]:
        """What is kept as it is."""
        return tuple(finding for finding in self.findings if finding.state is State.CONFLICT)

    def of(self, *states: State) -> tuple[Finding, ...]:
        """The findings in one of these states."""
        return tuple(finding for finding in self.findings if finding.state in states)


class Readings:
    """What was read of files that have not changed since: two comparisons in one process read nothing twice."""

    def __init__(self) -> None:
        self.digests: dict[Stamp, str] = {}
        self.same: dict[tuple[Stamp, Stamp], bool] = {}
