"""Which changes are a manifest's: every change in an overlay is managed by one, or by nobody."""

from __future__ import annotations

import os
import posixpath
import re
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ovlay.backend import Backend
    from ovlay.changes.change import Changes
    from ovlay.receipts import Receipt


class Derived:
    """What triggers write because of what manifests placed: a change of that is theirs too (`ovlay.services.triggers`).

    ``managed`` are paths relative to the target, each with its manifest. They are looked at when the first question
    comes.
    """

    def __init__(self, target: str, managed: Mapping[str, str]) -> None:
        self._target = target
        self._managed = managed

    def manifest(self, path: str) -> str | None:
        """The manifest of which a path is made by a trigger; None where it is not."""
        return next((file for pattern, file in self._patterns if pattern.match(path)), None)

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        from fnmatch import translate

        from ovlay.services.triggers import derived_globs

        paths: dict[str, list[str]] = {}
        for path, file in self._managed.items():
            paths.setdefault(file, []).append(path)
        globs = {file: derived_globs(self._target, below) for file, below in paths.items()}
        return [(re.compile("|".join(map(translate, found))), file) for file, found in globs.items() if found]


def mark_managed(found: Changes, receipts: Mapping[str, Receipt]) -> Changes:
    """The changes, each with the manifest that it was placed for; nothing is looked at where there are no receipts."""
    files = {path: receipt.manifest for path, receipt in receipts.items() if receipt.manifest is not None}
    if not files:
        return found
    derived = Derived(found.target, files)
    marked = tuple(
        change._replace(managed=managing(change.path, receipts) or derived.manifest(change.path))
        for change in found.changes
    )
    return found._replace(changes=marked)


def managing(path: str, receipts: Mapping[str, Receipt]) -> str | None:
    """The manifest that a path was placed for, or that took away a directory which it was in."""
    receipt = receipts.get(path)
    while receipt is None and (path := posixpath.dirname(path)):
        above = receipts.get(path)
        receipt = above if above is not None and above.kind != "directory" else None
    return None if receipt is None else receipt.manifest


class Elsewhere(NamedTuple):
    """What manifests that are found declare, and not the one that is asked for: paths, each with its manifest.

    ``held`` are as declared; a directory that is to be absent, or something else, stands for all that was in it.
    ``otherwise`` are declared to be something else than they are, by a manifest that wins over the one asked for.
    """

    held: Mapping[str, str]
    otherwise: Mapping[str, str]


def declared_elsewhere(backend: Backend, file: str) -> Elsewhere:
    """What other manifests than ``file`` declare. Raises what `declare` raises."""
    from ovlay.manifest.compare import compare
    from ovlay.manifest.declaring import declare
    from ovlay.manifest.finding import State
    from ovlay.manifest.search import find_manifests, place_in_stack

    host = backend.host
    if not find_manifests(host):
        return Elsewhere({}, {})
    declared = declare(backend)
    here, place = os.path.realpath(file), place_in_stack(host, file)
    held, otherwise = {}, {}
    for finding in compare(backend, declared).findings:
        other = None if finding.item is None else finding.item.origin.file
        if other is None or os.path.realpath(other) == here:
            continue
        if finding.state is State.AS_DECLARED:
            held[finding.path] = other
        elif place is not None and (place_in_stack(host, other) or place) > place:
            otherwise[finding.path] = other
    return Elsewhere(held, otherwise)
