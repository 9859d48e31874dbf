"""What a fresh start is half-way through: the mode that the new overlay is to have, once the old one is gone.

It is remembered below the state directory from before the first half until after the second, so that whatever stops it
in between, the same command again goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.model import Access, Mode, Persistence

if TYPE_CHECKING:
    from ovlay.host import Host


def remember_mode(host: Host, target: str, mode: Mode) -> None:
    """Write down what is to be there. Only for who holds the lock."""
    host.write(_record(host, target), f"{mode.access} {mode.persistence}\n", mode=0o600)


def remembered_mode(host: Host, target: str) -> Mode | None:
    """What is to be there; None where nothing was cut off."""
    access, _, persistence = (host.read(_record(host, target)) or "").strip().partition(" ")
    try:
        return Mode(Access(access), Persistence(persistence))
    except ValueError:
        return None


def forget_mode(host: Host, target: str) -> None:
    """It is there, or will not be."""
    host.remove(_record(host, target))


def _record(host: Host, target: str) -> str:
    from ovlay.bases import file_name

    return f"{host.state_dir}/fresh-{file_name(target)}"
