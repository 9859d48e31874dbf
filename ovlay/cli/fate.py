"""What a reboot does to an overlay, and the command that puts one on the target again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.model import Access, Owner, Persistence

if TYPE_CHECKING:
    from ovlay.model import Mode, Status


def comes_back(status: Status) -> bool:
    """Whether the next boot mounts the overlay that is there by itself: a persistent one of the host's own tool.

    Of ovlay's own a boot knows nothing: what is in a persistent one is kept, and shows once it is enabled again.
    """
    overlay, mode = status.overlay, status.mode
    if overlay is None or mode is None or mode.persistence is not Persistence.PERSISTENT:
        return False
    return overlay.owner is Owner.TOOL


def enabling(target: str, mode: Mode | None) -> str:
    """The command that puts an overlay of this mode on the target, in backquotes."""
    words = ["ovlay enable"]
    if mode is not None and mode.access is Access.READ_ONLY:
        words.append("--read-only")
    if mode is not None and mode.persistence is Persistence.PERSISTENT:
        words.append("--persistent")
    return command(" ".join(words), target)
