"""The program that a unit runs as root, and whether it may: nobody but root can write it, and it lasts."""

from __future__ import annotations

import os
import posixpath
import stat
import sys
from typing import TYPE_CHECKING, NamedTuple

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.host import Host

_VANISHING = ("/tmp", "/run", "/dev", "/proc")  # noqa: S108 (a unit must not name a program there)


class Program(NamedTuple):
    """How ovlay is started: the first words of its command, and the paths of what is run then."""

    argv: tuple[str, ...]
    files: tuple[str, ...]


def running_program() -> Program:
    """The ovlay that runs now: its console script, or the interpreter where it was started as a module."""
    import ovlay

    script = os.path.abspath(sys.argv[0])
    package = os.path.dirname(os.path.abspath(ovlay.__file__))
    folders = [os.path.abspath(path) for path in sys.path if path and os.path.isdir(path)]
    behind = (sys.executable, os.path.realpath(sys.executable), *folders, package)
    as_script = os.path.isfile(script) and os.access(script, os.X_OK) and not script.endswith(".py")
    if as_script:
        return Program((script,), (script, *behind))
    # -I: neither the working directory nor the user's packages are looked into.
    return Program((sys.executable, "-I", "-m", "ovlay"), behind)


def demand_trusted(host: Host, program: Program) -> None:
    """Raise `InvalidInput` where another user than root could change what root is going to run at every boot."""
    for path in dict.fromkeys(program.files):
        for part in _on_the_way(host, path):
            if reason := _distrusted(host, part):
                through = "" if part == path else f", through which {path} is run,"
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


def _on_the_way(host: Host, path: str) -> Iterator[str]:
    """Every directory on the way to ``path``, every link with where it leads, the path, and what is right in it."""
    seen: set[str] = set()
    waiting = [path]
    while waiting:
        now = posixpath.normpath(waiting.pop())
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
    if host.is_directory(path):
        yield from (posixpath.join(path, name) for name in _importable(host, path))


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
