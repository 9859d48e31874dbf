"""What is declared, against what the target shows, what the base has, and what ovlay placed before.

What did not change since it was placed is known by its stamps (see `ovlay.receipts.Stamp`), and so nothing is read
where nothing is to be done.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.ancestry import around, directories_of, is_within
from ovlay.changes.change import ChangeKind
from ovlay.changes.find import overlay_of
from ovlay.errors import NotActive, NotPermitted, StateForbids
from ovlay.manifest.document import InvalidManifest, Kind, Problem
from ovlay.manifest.finding import Comparison, ConflictKind, Finding, Readings, State
from ovlay.manifest.items import Expanded, expand
from ovlay.manifest.judging import Judge
from ovlay.manifest.sides import Sides
from ovlay.receipts import Receipt, read_book

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ovlay.backend import Backend
    from ovlay.manifest.document import Declared
    from ovlay.manifest.items import Item
    from ovlay.model import Status

__all__ = ["Comparison", "ConflictKind", "Finding", "Readings", "State", "compare"]


def compare(
    backend: Backend,
    declared: Declared,
    *,
    base: bool = False,
    bare: bool = False,
    force: bool = False,
    readings: Readings | None = None,
) -> Comparison:
    """How everything that is declared, or was placed for a manifest, stands.

    With ``base`` the base is asked about each path, so that what graduated is told, and what is unmanaged is listed.
    With ``bare`` there need not be an overlay: then nothing differs from the base. With ``force`` what is in conflict
    is going to be taken: what is in the way of something else goes, and a directory of the base that it hides is back.

    Raises `NotActive` where there is no overlay, `InvalidManifest` for sources that cannot be used, `NotPermitted`
    where this process may not look beneath the overlay and has to, `StateForbids` for a path that leads out of it.
    """
    status = backend.status()
    if status.overlay is None and not bare:
        enable = command("ovlay apply --enable", backend.target)
        raise NotActive(f"there is no overlay on {backend.target}", remedy=f"{enable} puts one there")
    known = declared.items
    wanted = expand(backend.host, declared) if known is None else Expanded(known, None)
    work = _Work(backend, status, declared, readings or Readings(), force=force)
    try:
        return work.compared(wanted, base=base)
    except PermissionError as error:
        if isinstance(error, NotPermitted):
            raise
        where = "" if error.filename is None else f" ({os.fsdecode(error.filename)})"
        raise NotPermitted(
            f"not everything on {backend.target} can be looked at{where}",
            remedy="run it as root, for instance with sudo",
        ) from error
    finally:
        work.close()


class _Work:
    """One comparison, with all that is open meanwhile."""

    def __init__(
        self, backend: Backend, status: Status, declared: Declared, readings: Readings, *, force: bool
    ) -> None:
        self._backend = backend
        self._force = force
        self._host = backend.host
        self._status = status
        self._declared = declared
        self._book = read_book(self._host, status)
        self._sides = Sides(backend, None if status.overlay is None else overlay_of(backend))
        self._judge = Judge(self._host, self._sides, self._book.receipts, readings)
        self._errors: tuple[tuple[str, str], ...] = ()
        self._folders: dict[str, str] = {}

    def close(self) -> None:
        """Close what is open."""
        self._sides.close()

    def compared(self, wanted: Expanded, *, base: bool) -> Comparison:
        """The comparison of these items, and of what was placed and is none of them any more."""
        items = self._in_their_places(wanted.items)
        self._demand_sums(items.values())
        needed = directories_of(path for path, item in items.items() if item.kind is not Kind.ABSENT)
        findings = list(self._leftovers(items, needed))
        returning = self._sides.now.returning
        returning |= {f.path for f in findings if self._goes(f) and f.there == "directory"}
        for path in sorted(items):
            finding = self._judge.item(items[path], base=base)
            if finding.covered and (finding.conflict is None or self._force):
                returning.add(path)
            findings.append(finding)
        missing = self._missing(sorted(needed - items.keys()))
        findings = list(self._not_through_files(findings, items))
        if base and self._status.overlay is not None:
            findings += self._unmanaged(items)
        findings.sort(key=_by_path)
        return Comparison(
            self._backend.target,
            tuple(findings),
            tuple(missing),
            tuple(self._strays(items)) if self._book.unfinished else (),
            tuple(self._judge.settled),
            tuple(sorted(self._judge.forgotten)),
            self._manifests(findings),
            self._errors,
            wanted.sources,
            wanted.items,
            wanted.owners,
        )

    # --- where an item is ------------------------------------------------------------------------------------------

    def _in_their_places(self, wanted: Sequence[Item]) -> dict[str, Item]:
        """The items by the path that they have when the links on the way are followed."""
        items: dict[str, Item] = {}
        problems, moved = [], False
        folder: str | None = None
        place = ""
        for item in wanted:
            way, _, name = item.path.rpartition("/")
            if way != folder:
                folder, place = way, self._true(way)
            if place != folder:
                item = item._replace(path=f"{place}/{name}" if place else name)  # noqa: PLW2901
                moved = True
            if item.path in items:
                other = items[item.path].origin
                message = f"is {self._backend.target}/{item.path}, which is declared in {other} too"
                problems.append(Problem(item.origin.file, item.origin.line, "path", message))
            items[item.path] = item
        problems += self._without_room(items) if moved else ()
        if problems:
            raise InvalidManifest(problems)
        return items

    def _without_room(self, items: dict[str, Item]) -> Iterator[Problem]:
        """What is, since a link leads there, within something that is to be no directory; see `expand` for all else."""
        for item in items.values():
            above = next((items[folder] for folder in around(item.path) if folder in items), None)
            if above is not None and above.kind is not Kind.DIRECTORY:
                place, leaf = f"{self._backend.target}/{item.path}", f"{self._backend.target}/{above.path}"
                kind = "absent" if above.kind is Kind.ABSENT else f"a {above.kind}"
                message = f"is {place}, in {leaf}, which is to be {kind} ({above.origin})"
                yield Problem(item.origin.file, item.origin.line, "path", message)

    def _true(self, folder: str) -> str:
        """A directory of the target by its true path, asked once: see `ovlay.manifest.sides.Side.followed`."""
        if folder not in self._folders:
            self._folders[folder] = self._sides.now.followed(folder)
        return self._folders[folder]

    def _demand_sums(self, items: Iterable[Item]) -> None:
        """Raise `InvalidManifest` that names every source that is not what its entry says."""
        problems = []
        for item in items:
            if item.sha256 is not None and (found := self._judge.sum_of(item)) != item.sha256:
                message = f"{item.source or 'the text'} has the SHA-256 {found}"
                problems.append(Problem(item.origin.file, item.origin.line, "sha256", message))
        if problems:
            raise InvalidManifest(problems)

    # --- what is no item -------------------------------------------------------------------------------------------

    def _leftovers(self, items: dict[str, Item], needed: set[str]) -> Iterator[Finding]:
        """What was placed for an entry that is declared no more, innermost first."""
        going: set[str] = set()
        linked = directories_of(f"{folder}/" for folder, true in self._folders.items() if folder != true)
        for path in sorted(self._book.receipts, reverse=True):
            receipt = self._book.receipts[path]
            is_directory = receipt.kind == Kind.DIRECTORY
            if path in items or (path in needed and is_directory) or not self._is_covered(receipt):
                continue
            true = self._place_of(path)
            if true == path and path in linked and is_directory:
                self._judge.way(receipt)
                continue
            if true == path:
                finding = self._judge.leftover(receipt, going)
            else:
                wanted = self._force or true in items or true in needed
                finding = self._judge.displaced(receipt, is_out=true is None, is_wanted=wanted)
            if finding is not None:
                if finding.state is State.LEFTOVER:
                    going.add(path)
                yield finding

    def _place_of(self, path: str) -> str | None:
        """Where a path leads by now; None for out of the overlay."""
        folder, _, name = path.rpartition("/")
        try:
            true = self._true(folder)
        except StateForbids:
            return None
        return f"{true}/{name}" if true else name

    def _manifests(self, findings: Sequence[Finding]) -> tuple[str, ...]:
        """Those that something was placed for which is going to stay."""
        gone = {finding.path for finding in findings if finding.state is State.LEFTOVER} | set(self._judge.forgotten)
        receipts = self._book.receipts.items()
        return tuple({r.manifest for path, r in receipts if r.manifest is not None and path not in gone})

    def _missing(self, directories: Sequence[str]) -> list[str]:
        return [path for path in directories if self._sides.now.folder(path + "/x") is None]

    def _not_through_files(self, findings: Sequence[Finding], items: dict[str, Item]) -> Iterator[Finding]:
        """The findings, with a conflict where something on the way is no directory, and stays."""
        going = {finding.path for finding in findings if self._goes(finding)}
        kept = {finding.path for finding in findings if finding.item is not None and finding.conflict is not None}
        known: dict[str, str | None] = {"": None}

        def obstacle(folder: str) -> str | None:
            if folder not in known:
                way = obstacle(folder.rpartition("/")[0])
                found = None if way is not None else self._sides.now.look(folder)
                leads = found is not None and (stat.S_ISDIR(found.st_mode) or stat.S_ISLNK(found.st_mode))
                goes = folder in going or (folder in items and folder not in kept)
                stays = folder in kept if found is None else not (leads or goes)
                known[folder] = folder if stays else way
            return known[folder]

        for finding in findings:
            item = finding.item
            way = None
            if finding.state is State.MISSING and item is not None:
                way = obstacle(item.path.rpartition("/")[0])
            if way is None:
                yield finding
                continue
            detail = f"{self._backend.target}/{way} is not a directory"
            # What is declared to be a directory itself is made one by force.
            forced = State.MISSING if way in kept else None
            yield finding._replace(state=State.CONFLICT, conflict=ConflictKind.IN_THE_WAY, detail=detail, forced=forced)

    def _goes(self, finding: Finding) -> bool:
        """Whether it is taken back."""
        return State.LEFTOVER in (finding.state, finding.forced if self._force else None)

    def _is_covered(self, receipt: Receipt) -> bool:
        """Whether these manifests decide about it: one of them placed it, or one that is not there any more."""
        file = receipt.manifest
        return file is not None and (file in self._declared.manifests or not os.path.exists(file))

    def _unmanaged(self, items: dict[str, Item]) -> Iterator[Finding]:
        from ovlay.changes.find import find_changes
        from ovlay.manifest.managed import Derived

        leaves = {path for path, item in items.items() if item.kind is not Kind.DIRECTORY}
        receipts = self._book.receipts
        placed = {path: receipt.manifest for path, receipt in receipts.items() if receipt.manifest is not None}
        derived = Derived(self._backend.target, {**placed, **{path: i.origin.file for path, i in items.items()}})
        found = find_changes(self._backend)
        self._errors = tuple(found.errors.items())
        for change in found.changes:
            path = change.path
            if change.kind is ChangeKind.TOUCHED or path in items or path in placed:
                continue
            if not is_within(path, leaves) and derived.manifest(path) is None:
                yield Finding(path, State.UNMANAGED, detail=str(change.kind), receipt=receipts.get(path))

    def _strays(self, items: dict[str, Item]) -> Iterator[str]:
        """What an interrupted run left behind under temporary names, wherever it can have been at work."""
        from ovlay.plan.removing import is_stray

        now = self._sides.now
        for folder in sorted({posixpath.dirname(path) for path in (*items, *self._book.receipts)}):
            descriptor = now.folder(f"{folder}/x" if folder else "x")
            for name in sorted(os.listdir(descriptor)) if descriptor is not None else ():
                if is_stray(name):
                    yield f"{folder}/{name}" if folder else name


def _by_path(finding: Finding) -> str:
    return finding.path
