"""The SHA-256 of the regular files that changed, on both sides."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ovlay.changes.content import FILE
from ovlay.changes.descent import close, descend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ovlay.changes.classify import Row
    from ovlay.kernel import Views

_BLOCK = 256 * 1024


def digest_rows(views: Views, rows: Iterable[Row], errors: dict[str, str]) -> dict[tuple[str, bool], str]:
    """Digests in hexadecimal by path and side (True: the merged one). What cannot be read goes into ``errors``."""
    found: dict[tuple[str, bool], str] = {}
    for path, _, was, now in rows:
        for side, view, seen in ((False, views.lower, was), (True, views.merged, now)):
            if seen is not None and stat.S_ISREG(seen[0]):
                try:
                    found[path, side] = _digest(view, path)
                except OSError as error:
                    errors[path] = error.strerror or str(error)
    return found


def _digest(view: int, path: str) -> str:
    import hashlib

    folder, _, name = path.rpartition("/")
    opened = [descend(view, folder)]
    try:
        opened.append(os.open(name, FILE, dir_fd=opened[0]))
        digest = hashlib.sha256()
        while block := os.read(opened[1], _BLOCK):
            digest.update(block)
        return digest.hexdigest()
    finally:
        close(opened)
