"""From inside a container: hand the words over to the ovlay of the host, by the way out that the container has.

That is flatpak-spawn(1) in toolbox and flatpak, distrobox-host-exec in distrobox, and host-spawn where it is installed.
Each runs the command as the same user on the host, where ovlay then asks for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput, StateForbids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.host import Host

_WAYS_OUT = (("distrobox-host-exec", ()), ("host-spawn", ()), ("flatpak-spawn", ("--host",)))

_NOT_THERE = 127  # as a shell says that there is no such command


def delegate(words: Sequence[str], host: Host, *, program: str = "ovlay") -> int:
    """Run ``program`` on the host with these words, and return its exit status.

    Raises `InvalidInput` where this is no container, `StateForbids` where there is no way out or no ovlay outside.
    """
    import subprocess

    if host.container is None:
        raise InvalidInput("--host is for use inside a container, and this is none", remedy="leave it away")
    argv = [*_way_out(host), program, *(word for word in words if word != "--host")]
    try:
        status = subprocess.call(argv)
    except OSError as error:
        raise StateForbids(f"cannot run {argv[0]}: {error.strerror}", remedy="run ovlay on the host") from error
    if status == _NOT_THERE:
        raise StateForbids(f"the host has no command {program}", remedy="install ovlay on the host")
    return status


def _way_out(host: Host) -> tuple[str, ...]:
    for name, flags in _WAYS_OUT:
        path = host.find_tool(name)
        if path is not None:
            return (path, *flags)
    known = ", ".join(name for name, _ in _WAYS_OUT)
    raise StateForbids(
        f"this {host.container} container has no way to run a command on its host ({known})",
        remedy="run ovlay on the host",
    )
