"""All that can be asked about an overlay: answered here, or where a user may not look, by root after one prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.elevate.packing import pack, unpack
from ovlay.errors import InvalidInput, NotPermitted

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ovlay.changes.change import Changes
    from ovlay.changes.patch import Part
    from ovlay.elevate.calls import Words
    from ovlay.holders import Holders
    from ovlay.manifest.apply import Application
    from ovlay.manifest.document import Declared
    from ovlay.manifest.drift import Drift
    from ovlay.overlay import Overlay
    from ovlay.salvage import Salvage
    from ovlay.services.guard import Forecast
    from ovlay.services.masks import Mask

    Ask = Callable[[str, Mapping[str, Any]], Any]
    Paths = Sequence[str | os.PathLike[str]]

_MOST_BYTES = 16 << 20  # of the files whose patches are in one message
_MOST_PATHS = 1000


class Look(NamedTuple):
    """What `ovlay plan` tells; not ``complete`` where what was placed before could not be seen."""

    application: Application
    complete: bool


class Questions:
    """The questions. ``ask`` is how to ask root, None where nobody is to be asked."""

    def __init__(self, overlay: Overlay, ask: Ask | None = None) -> None:
        self._overlay = overlay
        self._ask = ask

    def changes(self, paths: Paths, *, hashes: bool = False, everything: bool = False) -> Changes:
        """See `Overlay.changes`."""
        from ovlay.changes.change import Changes

        try:
            return self._overlay.changes(paths, hashes=hashes, everything=everything)
        except NotPermitted:
            if self._ask is None:
                raise
            asked = {"paths": list(map(str, paths)), "hashes": hashes, "everything": everything}
            found: Changes = unpack(Changes, self._ask("changes", asked))
            return found

    def patch(self, found: Changes) -> Iterator[Part]:
        """See `ovlay.changes.patch.make_patch`."""
        from ovlay.changes.patch import Part, make_patch

        try:
            yield from make_patch(self._overlay.backend, found)
        except NotPermitted:
            if self._ask is None:
                raise
            for paths in _portions(found):
                for part in self._ask("patch", {"paths": paths}):
                    yield unpack(Part, part)

    def drift(self, manifests: Paths, *, user: bool, ignore: Sequence[str]) -> Drift:
        """See `Overlay.drift`."""
        from ovlay.manifest.drift import Drift, find_drift

        declared = self._declared(manifests, user=user)
        try:
            return find_drift(self._overlay.backend, declared, ignore=ignore)
        except NotPermitted:
            if self._ask is None:
                raise
            asked = {"declared": self._sent(declared), "ignore": list(ignore)}
            found: Drift = unpack(Drift, self._ask("drift", asked))
            return found._replace(retired=declared.retired)

    def plan(self, manifests: Paths, *, user: bool, force: bool) -> Look:
        """What `Overlay.apply` would do."""
        from ovlay.manifest.apply import prepare, unchanged
        from ovlay.manifest.notice import is_noticed
        from ovlay.receipts import may_read_receipts

        overlay = self._overlay
        backend, status = overlay.backend, overlay.status()
        declared = self._declared(manifests, user=user)
        if may_read_receipts(overlay.host, status):
            return Look(prepare(backend, declared, enable=True, force=force), complete=True)
        if is_noticed(overlay.host, status, declared):
            return Look(unchanged(backend, declared), complete=True)
        if self._ask is None:
            return Look(prepare(backend, declared, enable=True, force=force), complete=False)
        answer = self._ask("plan", {"declared": self._sent(declared), "force": force})
        return Look(_application(answer, declared), complete=True)

    def holders(self, paths: Paths) -> Holders:
        """See `Overlay.holders`."""
        from ovlay.holders import Holders

        found = self._overlay.holders(paths)
        if found.complete or self._ask is None:
            return found
        answer: Holders = unpack(Holders, self._ask("holders", {"paths": list(map(str, paths))}))
        return answer

    def leftovers(self) -> Salvage:
        """See `Overlay.leftovers`."""
        from ovlay.salvage import Salvage

        try:
            return self._overlay.leftovers()
        except NotPermitted:
            if self._ask is None:
                raise
            found: Salvage = unpack(Salvage, self._ask("leftovers", {}))
            return found

    def forecast(self, ignore: Sequence[str]) -> Forecast:
        """See `ovlay.services.guard.forecast_upgrade`."""
        from ovlay.services.guard import Forecast, forecast_upgrade

        try:
            return forecast_upgrade(self._overlay.backend, ignore=ignore)
        except NotPermitted:
            if self._ask is None:
                raise
            found: Forecast = unpack(Forecast, self._ask("forecast", {"ignore": list(ignore)}))
            return found

    def masks(self) -> tuple[Mask, ...] | None:
        """See `ovlay.services.masks.find_masks`; None where they are for root alone to see."""
        from ovlay.services.masks import Mask, find_masks
        from ovlay.services.unit_texts import MASKED

        if not self._overlay.host.is_hidden(MASKED):
            return find_masks(self._overlay.host, self._overlay.backend.base())
        if self._ask is None:
            return None
        return tuple(unpack(Mask, mask) for mask in self._ask("masks", {}))

    def _declared(self, manifests: Paths, *, user: bool) -> Declared:
        from ovlay.manifest.declaring import declare

        asked = None if self._ask is None else base_has(self._ask)
        return declare(self._overlay.backend, manifests, user=user, base_has=asked)

    def _sent(self, declared: Declared) -> dict[str, Any]:
        from ovlay.manifest.sending import declared_document

        return declared_document(self._overlay.host, declared)


def base_has(ask: Ask) -> Callable[[str], bool]:
    """What asks root whether the base has a path."""
    return lambda path: ask("base-has", {"path": path}) is True


def _portions(found: Changes) -> Iterator[list[str]]:
    """The paths that are asked for together, so that what is answered is not too long for a message."""
    paths: list[str] = []
    taken = 0
    for change in found.changes:
        size = sum(side.size for side in (change.before, change.after) if side is not None)
        if paths and (taken + size > _MOST_BYTES or len(paths) == _MOST_PATHS):
            yield paths
            paths, taken = [], 0
        paths.append(change.path)
        taken += size
    if paths:
        yield paths


def _application(answer: Any, declared: Declared) -> Application:
    from ovlay.manifest.apply import Application
    from ovlay.manifest.finding import Comparison, Finding
    from ovlay.plan.plan import Plan

    plan, findings, triggers = answer
    comparison = Comparison(declared.target, tuple(unpack(Finding, finding) for finding in findings))
    return Application(Plan.from_json(plan), comparison, declared, Plan.from_json(triggers).steps)  # type: ignore[arg-type]


# --- root's side ------------------------------------------------------------------------------------------------------


def answer(question: str, words: Words, overlay: Overlay) -> Any:
    """What root answers, as it goes on the wire; raises `InvalidInput` for a question that is none."""
    known: dict[str, Callable[[Overlay, Words], Any]] = {
        "changes": _changes,
        "patch": _patch,
        "drift": _drift,
        "plan": _plan,
        "holders": lambda overlay, words: overlay.holders(words.texts("paths")),
        "leftovers": lambda overlay, _: overlay.leftovers(),
        "forecast": _forecast,
        "base-has": _base_has,
        "masks": _masks,
    }
    if question not in known:
        raise InvalidInput(f"{question!r:.100} cannot be asked")
    return pack(known[question](overlay, words))


def _changes(overlay: Overlay, words: Words) -> Changes:
    hashes, everything = words.flag("hashes"), words.flag("everything")
    return overlay.changes(words.texts("paths"), hashes=hashes, everything=everything)


def _patch(overlay: Overlay, words: Words) -> Sequence[Part]:
    from ovlay.changes.patch import make_patch

    wanted = frozenset(words.texts("paths"))
    found = overlay.changes(everything=True)
    only = tuple(change for change in found.changes if change.path in wanted)
    return tuple(make_patch(overlay.backend, found._replace(changes=only)))


def _drift(overlay: Overlay, words: Words) -> Drift:
    from ovlay.manifest.drift import find_drift

    return find_drift(overlay.backend, _told(overlay, words), ignore=words.texts("ignore"))


def _plan(overlay: Overlay, words: Words) -> Any:
    from ovlay.plan.plan import Plan

    found = overlay.plan_apply(declared=_told(overlay, words), enable=True, force=words.flag("force"))
    findings = found.comparison.findings
    return [found.plan.to_json(), findings, Plan(found.triggers).to_json()]


def _forecast(overlay: Overlay, words: Words) -> Forecast:
    from ovlay.services.guard import forecast_upgrade

    return forecast_upgrade(overlay.backend, ignore=words.texts("ignore"))


def _masks(overlay: Overlay, _: Words) -> Sequence[Mask]:
    from ovlay.services.masks import find_masks

    return find_masks(overlay.host, overlay.backend.base())


def _base_has(overlay: Overlay, words: Words) -> bool:
    from ovlay.changes.find import overlay_of
    from ovlay.manifest.sides import Sides
    from ovlay.paths import inside

    path = inside(overlay.target, words.text("path"))
    sides = Sides(overlay.backend, overlay_of(overlay.backend))
    try:
        return sides.base.look(path) is not None
    finally:
        sides.close()


def _told(overlay: Overlay, words: Words) -> Declared:
    from ovlay.manifest.sending import parse_declared

    declared = parse_declared(words.table("declared"))
    if declared.target != overlay.target:
        raise InvalidInput(f"what is declared is for {declared.target}, and not for {overlay.target}")
    return declared
