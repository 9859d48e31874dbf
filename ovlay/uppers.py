"""Where ovlay's own uppers lie: below the data directory, a fresh one for each overlay, named by boot and number."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovlay.host import Host
    from ovlay.plan.step import Step


def fresh_upper(host: Host, target: str) -> tuple[str, tuple[Step, ...]]:
    """A directory that is not there yet, and the steps that make it with ``upper`` and ``work`` in it.

    The upper is for the overlay on ``target``. It lies on a disk: a tmpfs would take memory from a running system.
    """
    from ovlay.plan.steps import MakePrivateDirectory, MakeUpper

    folder = f"{host.data_dir}/overlays"
    taken = set(host.entries(folder))
    number = next(n for n in range(1 << 16) if f"{host.boot_id[:8]}-{n}" not in taken)
    directory = f"{folder}/{host.boot_id[:8]}-{number}"
    return directory, (MakePrivateDirectory(host.data_dir), MakePrivateDirectory(folder), MakeUpper(directory, target))
