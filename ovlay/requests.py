"""What a caller asks for: files to be installed."""

from __future__ import annotations

from typing import NamedTuple


class InstallFile(NamedTuple):
    """One file to be placed: its source, its absolute destination, and how it is to be there.

    ``mode`` holds the permission bits. ``owner`` and ``group`` are a name, a number, or None for those of this
    process. With ``make_parents`` missing directories on the way are made with mode 0755.
    """

    source: str
    destination: str
    mode: int = 0o755
    owner: str | int | None = None
    group: str | int | None = None
    make_parents: bool = False
