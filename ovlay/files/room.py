"""Whether what is to be written fits on the filesystem behind an overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.errors import NoSpace

if TYPE_CHECKING:
    from ovlay.model import Status

_SPARE = 1 << 20  # bytes that stay free: directories and attributes take room too


def demand_room(status: Status, needed: int, *, freed: int = 0, what: str = "bytes", remedy: str = "") -> None:
    """Raise `NoSpace` where so many bytes of files do not fit, of which ``freed`` take the place of others.

    Nothing to write always fits: who makes room can do it where there is none.
    """
    backing = status.backing
    if backing is None or not needed or needed - freed + _SPARE <= backing.free:
        return
    raise NoSpace(
        f"{needed} {what}, and 1 MiB to spare, do not fit: {backing.free} are free on the {backing.fstype} "
        f"behind {status.target}",
        remedy=remedy or "make room there, or give the overlay a larger filesystem",
    )
