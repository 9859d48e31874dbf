"""What the tests of the simulated kernel do to a host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import Entry, scan_tree
from ovlay.model import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovlay.simulated import SimulatedHost

UPPER = "/var/upper"


def scan(host: SimulatedHost, path: str = "/usr") -> dict[str, Entry]:
    tree = scan_tree(host.path(path), permissions=host.permissions)
    return {path: entry for path, entry in tree.items() if path != "."}


def touch(path: str) -> None:
    """Make a new file, or fail."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))


def append(path: str) -> None:
    """Open a file for writing, or fail."""
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))


def demand_refused(host: SimulatedHost, write: Callable[[str], None], path: str) -> None:
    """Writing there is refused. Root in a container cannot be bound, and then nothing is tried."""
    if host.kernel.refuses_writes():
        with pytest.raises(PermissionError):
            write(host.path(path))


def mount(host: SimulatedHost, access: Access = Access.READ_WRITE) -> int:
    return host.kernel.mount_overlay(
        "/usr", lower=["/usr"], upper=UPPER, work="/var/work", access=access, source="ovlay"
    )


def unmount(host: SimulatedHost, *, lazy: bool = False) -> None:
    host.kernel.unmount(host.mounts_at("/usr")[-1], lazy=lazy)


def remount(host: SimulatedHost) -> None:
    """What is in the upper then is all that is left of the overlay."""
    unmount(host)
    mount(host)
