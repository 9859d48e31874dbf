"""The program that a unit runs as root, and whether it may: nobody but root can write it, and it lasts."""

from __future__ import annotations

import os
import posixpath
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from ovlay.errors import InvalidInput, StateForbids
from ovlay.model import Persistence
from ovlay.paths import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.host import Host
    from ovlay.overlay import Overlay

_VANISHING = ("/tmp", "/run", "/dev", "/proc")  # noqa: S108 (a unit must not name a program there)


class Program(NamedTuple):
    """How ovlay is started: the first words of its command, and the paths of what is run then.

    ``own`` are those of them that are ovlay and its interpreter; the rest are directories that Python looks into.
    """

    argv: tuple[str, ...]
    files: tuple[str, ...]
    own: tuple[str, ...]


def running_program(*, own: bool = False) -> Program:
    """The ovlay that runs now: its console script, or the interpreter where it was started as a module.

    With ``own`` a user's own unit is to run it, for whom the packages of that user count too.
    """
    script = os.path.abspath(sys.argv[0])
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folders = [os.path.abspath(path) for path in sys.path if path and os.path.isdir(path)]
    files: tuple[str, ...] = (sys.executable, os.path.realpath(sys.executable), package)
    isolated = "-P" if own else "-I"  # not the working directory, and not what is a user's own
    argv: tuple[str, ...] = (sys.executable, isolated, "-m", "ovlay")
    if os.path.isfile(script) and os.access(script, os.X_OK) and not script.endswith(".py"):
        files, argv = (script, *files), (script,)
    return Program(argv, (*files, *folders), files)


def named_program(host: Host, path: str) -> Program:
    """The ovlay at ``path``, with the interpreter that its first line names; raises `InvalidInput` for none."""
    if not path.startswith("/"):
        raise InvalidInput(f"the program {path!r} is not an absolute path")
    first = (host.read(path, limit=1 << 12) or "").partition("\n")[0]
    words = first[2:].split() if first.startswith("#!") else []
    files = (path, *words[:1])
    if words[:1] and posixpath.basename(words[0]) == "env":
        raise InvalidInput(
            f"{path} is run by whatever {words[-1]} the search path has", remedy="name a script with a full path in it"
        )
    return Program((path,), files, files)


def demand_lasting(overlay: Overlay, program: Program) -> None:
    """Raise `InvalidInput` where the program is in the overlay, and gone after the next boot.

    Raises `NotPermitted` for who may not look beneath the overlay.
    """
    status = overlay.status()
    if status.mode is None or status.mode.persistence is Persistence.PERSISTENT:
        return
    for path in program.own:
        if path.startswith(overlay.target + "/") and _is_changed(overlay, path):
            raise InvalidInput(
                f"{path} is in the overlay, and not there at the next boot until it is applied",
                remedy="install ovlay in the image, or where it lasts: "
                "`sudo python3 -m venv /var/lib/ovlay-venv`, and install the service with that one",
            )


def _is_changed(overlay: Overlay, path: str) -> bool:
    """Whether there is a change at a path, or below it."""
    try:
        return bool(overlay.changes([path]).changes)
    except (InvalidInput, StateForbids):
        return False  # nothing is there; or it leads out of the overlay, or something lies over that, and shows instead


def demand_trusted(host: Host, program: Program) -> None:
    """Raise `InvalidInput` where another user than root could change what root is going to run at every boot."""
    for path in dict.fromkeys(program.files):
        for part in _parts(host, path, whole=path in program.own):
            if reason := _distrusted(host, part):
                relation = "in" if part.startswith(path + "/") else "on the way to"
                through = "" if part == path else f", {relation} {path} which is run,"
                raise InvalidInput(
                    f"{part}{through} {reason}: a unit of the system must not run it",
                    remedy="install ovlay where only root can write and nothing is cleaned up, for instance "
                    "`sudo python3 -m venv /var/lib/ovlay-venv`, and install the service with that one",
                )


def _distrusted(host: Host, path: str) -> str:
    try:
        found = os.lstat(host.path(path))
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if path in _VANISHING:
        return "does not outlive a reboot"
    # Where everyone plays root, as on a simulated host, what belongs to us is root's.
    if found.st_uid not in ({0, os.geteuid()} if host.euid == 0 else {0}):
        return "belongs to another user than root"
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o022:
        return "can be written by others than root"
    return ""


def _parts(host: Host, path: str, *, whole: bool) -> Iterator[str]:
    """What is on the way to a path, the path, and what is in it: all, or what Python would import from there."""
    yield from _on_the_way(host, path)
    if not host.is_directory(path):
        return
    if not whole:
        yield from (posixpath.join(path, name) for name in _importable(host, path))
        return
    for folder, folders, files in os.walk(host.path(path)):
        inside = path + folder[len(host.path(path)) :]
        yield from (posixpath.join(inside, name) for name in (*folders, *files))


def _on_the_way(host: Host, path: str) -> Iterator[str]:
    """Every directory on the way to ``path``, every link with where it leads, and the path."""
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        now = normal(waiting.pop())
        for part in (*reversed(list(_parents(now))), now):
            if part in seen:
                continue
            seen.add(part)
            yield part
            to = host.read_link(part)
            if to is not None:
                rest = now[len(part) :].lstrip("/")
                waiting.append(posixpath.join(posixpath.dirname(part), to, rest))
                break


def _parents(path: str) -> Iterator[str]:
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def _importable(host: Host, folder: str) -> Iterable[str]:
    """What Python would look at in a directory of its path: packages, modules, and ``.pth`` files."""
    return (
        name
        for name in host.entries(folder)
        if name.endswith((".py", ".pth", ".so", ".egg-link"))
        or (name.isidentifier() and host.is_directory(f"{folder}/{name}"))
    )
