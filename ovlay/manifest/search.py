"""Where manifests are found."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ovlay.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ovlay.host import Host

SYSTEM_FOLDERS = ("/usr/lib/ovlay", "/etc/ovlay")
"""The vendor's and the administrator's, lowest first."""

MAIN = "manifest.toml"
FRAGMENTS = "manifest.d"


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


def place_in_stack(host: Host, file: str) -> tuple[int, str] | None:
    """What sorts manifests as `find_manifests` does, also one that is not there yet; None where it does not look."""
    for number, folder in enumerate(manifest_folders(host)):
        folder, name = os.path.split(os.path.relpath(file, folder))  # noqa: PLW2901
        if (folder, name) == ("", MAIN):
            return number, ""
        if folder == FRAGMENTS:
            return number, name
    return None


def named_manifests(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """The manifests that these words of a caller stand for: a directory for the manifest.toml and manifest.d in it."""
    return tuple(file for path in paths for file in _named(os.fspath(path)))


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
