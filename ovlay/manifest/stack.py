"""Several manifests over each other: what they say together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ovlay.advice import DEFAULT_TARGET
from ovlay.errors import NotPermitted
from ovlay.manifest.conditions import reason_against
from ovlay.manifest.document import Declared, InvalidManifest, Kind, Problem, Retired, When
from ovlay.manifest.load import load_manifest
from ovlay.manifest.search import find_manifests, named_manifests

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ovlay.host import Host
    from ovlay.manifest.conditions import Facts
    from ovlay.manifest.document import Entry, Manifest

_LEAVES = frozenset({Kind.FILE, Kind.SYMLINK, Kind.ABSENT})


def load_stack(host: Host, paths: Sequence[str | os.PathLike[str]] = (), *, user: bool = True) -> tuple[Manifest, ...]:
    """The manifests that are named, or where none is, those that are found; a later one wins.

    A directory that is named stands for the manifest.toml and the manifest.d in it. Raises `InvalidManifest` with
    the mistakes of all of them, or `NotPermitted`.
    """
    if not paths:
        return _load(find_manifests(host, user=user), trusted=False, root=host.root)
    return _load(named_manifests(paths), trusted=True, root="/")


def resolve(manifests: Iterable[Manifest], facts: Facts) -> Declared:
    """What the manifests say together on a host with these facts.

    An entry whose condition does not hold is left out before the last one for each path is taken, so that the one
    below it counts. Raises `InvalidManifest` where they contradict each other: two targets, two entries of one file
    for a path, or one within what is to be a file, a link or absent.
    """
    read = tuple(manifests)
    retired: list[Retired] = []
    problems: list[Problem] = []
    counting: list[Manifest] = []
    chosen: dict[str, Entry] = {}
    for manifest in read:
        why = reason_against(manifest.when, facts)
        if why is not None:
            retired.append(Retired(manifest.origin, None, why))
            continue
        counting.append(manifest)
        for entry in manifest.entries:
            why = reason_against(entry.when, facts)
            if why is not None:
                retired.append(Retired(entry.origin, entry.path, why))
                continue
            other = chosen.pop(entry.path, None)
            chosen[entry.path] = entry
            if other is not None and other.origin.file == entry.origin.file:
                problems.append(_problem(entry, f"{entry.path} is declared on line {other.origin.line} too"))
    problems += _wrong_targets(counting)
    problems += _impossible(chosen)
    if problems:
        raise InvalidManifest(problems)
    target = counting[0].target if counting else read[0].target if read else DEFAULT_TARGET
    modes = [manifest.mode for manifest in counting if manifest.mode is not None]
    return Declared(
        target,
        tuple(chosen.values()),
        modes[-1] if modes else None,
        tuple(retired),
        tuple(manifest.file for manifest in read),
        is_conditional=any(when != When() for manifest in read for when in _conditions(manifest)),
    )


def _load(files: Iterable[str], *, trusted: bool, root: str) -> tuple[Manifest, ...]:
    """Each of the files; all of their mistakes at once."""
    manifests: list[Manifest] = []
    problems: list[Problem] = []
    forbidden: list[NotPermitted] = []
    for file in files:
        try:
            manifests.append(load_manifest(file, trusted=trusted, root=root))
        except InvalidManifest as error:
            problems += error.problems
        except NotPermitted as error:
            forbidden.append(error)
            problems.append(Problem(os.path.abspath(file), 0, "", "may not be read"))
    if len(problems) > len(forbidden):
        raise InvalidManifest(problems)
    if forbidden:
        raise NotPermitted("; ".join(map(str, forbidden)), remedy=forbidden[0].remedy)
    return tuple(manifests)


def _conditions(manifest: Manifest) -> Iterator[When]:
    yield manifest.when
    yield from (entry.when for entry in manifest.entries)


def _problem(entry: Entry, message: str) -> Problem:
    return Problem(entry.origin.file, entry.origin.line, str(entry.kind), message)


def _wrong_targets(manifests: Sequence[Manifest]) -> Iterator[Problem]:
    for manifest in manifests[1:]:
        first = manifests[0]
        if manifest.target != first.target:
            message = f"is {manifest.target}, and that of {first.file} is {first.target}"
            yield Problem(manifest.file, 0, "target", message, "apply them one after the other, each by its name")


def _impossible(chosen: dict[str, Entry]) -> Iterator[Problem]:
    """Entries within what is no directory."""
    leaves = {path: entry for path, entry in chosen.items() if entry.kind in _LEAVES}
    for path, entry in chosen.items():
        around = path
        while (around := os.path.dirname(around)) != "/":
            if around in leaves:
                other = leaves[around]
                kind = "absent" if other.kind is Kind.ABSENT else f"a {other.kind}"
                yield _problem(entry, f"{path} is in {around}, which is to be {kind} ({other.origin})")
