"""How much room the changes take on the filesystem behind an overlay."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ovlay.changes.find import overlay_of

if TYPE_CHECKING:
    from ovlay.backend import Backend

_BLOCK = 512  # bytes of a unit of st_blocks: inode(7)


def space_of_changes(backend: Backend) -> int | None:
    """The bytes that the upper directory's files take on their filesystem; None where no way leads to it.

    A hard link is counted once, a hole not at all. Raises what `ovlay.changes.find.find_changes` raises.
    """
    mount = overlay_of(backend)
    with backend.host.kernel.views(mount, backend.upper_candidates(mount)) as views:
        return None if views.upper is None else _disk_usage(views.upper)


def _disk_usage(top: int) -> int:
    total, linked = 0, set()
    for _, _, names, folder in os.fwalk(".", dir_fd=top, follow_symlinks=False):
        total += os.fstat(folder).st_blocks * _BLOCK
        for name in names:
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue  # it went away meanwhile
            if found.st_nlink > 1:
                if (found.st_dev, found.st_ino) in linked:
                    continue
                linked.add((found.st_dev, found.st_ino))
            total += found.st_blocks * _BLOCK
    return total
