"""Several manifests over each other: where they are found, and what they say together."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ovlay.errors import NotPermitted
from ovlay.manifest.conditions import reason_against
from ovlay.manifest.document import Declared, InvalidManifest, Kind, Problem, Retired
from ovlay.manifest.load import DEFAULT_TARGET, load_manifest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ovlay.host import Host
    from ovlay.manifest.conditions import Facts
    from ovlay.manifest.document import Entry, Manifest

SYSTEM_FOLDERS = ("/usr/lib/ovlay", "/etc/ovlay")
"""The vendor's and the administrator's, lowest first."""

MAIN = "manifest.toml"
FRAGMENTS = "manifest.d"

_LEAVES = frozenset({Kind.FILE, Kind.SYMLINK, Kind.ABSENT})


def manifest_folders(host: Host, *, user: bool = True) -> tuple[str, ...]:
    """The directories that are searched, lowest first, as this process finds them.

    The last one is the user's own, with ``user`` and not for root: privileged code trusts nothing a user can write. In
    a user namespace root is the user.
    """
    folders = [host.path(folder) for folder in SYSTEM_FOLDERS]
    if user and (os.geteuid() != 0 or host.in_user_namespace):
        import platformdirs

        folders.append(platformdirs.user_config_dir("ovlay", appauthor=False))
    return tuple(folders)


def find_manifests(host: Host, *, user: bool = True) -> tuple[str, ...]:
    """The manifests of this host, lowest first: in each directory manifest.toml, then manifest.d/*.toml by name.

    A fragment takes the place of one with the same name in a lower directory. A file that is empty, or a link to
    /dev/null, says nothing and hides all of its name that are lower, as with systemd.unit(5). Raises `NotPermitted`
    where a directory may not be read.
    """
    return _select(manifest_folders(host, user=user))


def load_stack(host: Host, paths: Sequence[str | os.PathLike[str]] = (), *, user: bool = True) -> tuple[Manifest, ...]:
    """The manifests that are named, or where none is, those that are found; a later one wins.

    A directory that is named stands for the manifest.toml and the manifest.d in it. Raises `InvalidManifest` with
    the mistakes of all of them, or `NotPermitted`.
    """
    if not paths:
        return _load(find_manifests(host, user=user), trusted=False, root=host.root)
    return _load([file for path in paths for file in _named(os.fspath(path))], trusted=True, root="/")


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
    )


def _select(folders: Iterable[str]) -> tuple[str, ...]:
    """What counts of what is in the folders."""
    found: list[tuple[str, str]] = []
    for folder in folders:
        for name in (MAIN, *_fragments(folder)):
            file = os.path.join(folder, name)
            says = _says_something(file)
            if says is None:
                continue
            if not says or name != MAIN:
                found = [(other, path) for other, path in found if other != name]
            if says:
                found.append((name, file))
    return tuple(path for _, path in found)


def _fragments(folder: str) -> list[str]:
    """The names of what is in manifest.d, relative to the folder."""
    where = os.path.join(folder, FRAGMENTS)
    try:
        names = os.listdir(where)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError as error:
        raise NotPermitted(f"{where}: may not be read", remedy="run as a user who may read it") from error
    return [f"{FRAGMENTS}/{name}" for name in sorted(names) if name.endswith(".toml") and not name.startswith(".")]


def _says_something(file: str) -> bool | None:
    """Whether there is a manifest, False where it is one that masks others, None where there is nothing."""
    try:
        found = os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise NotPermitted(f"{file}: may not be read", remedy="run as a user who may read it") from error
    if stat.S_ISLNK(found.st_mode):
        return os.path.realpath(file) != os.devnull
    return not (stat.S_ISREG(found.st_mode) and found.st_size == 0)


def _named(path: str) -> tuple[str, ...]:
    """The files that a word of the caller's stands for; a directory with none in it for the one that is missing."""
    if not os.path.isdir(path):
        return (path,)
    return _select((path,)) or (os.path.join(path, MAIN),)


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
