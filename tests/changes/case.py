"""What can be done to a tree, with the right answer: each case makes a directory, yields, edits it, and returns.

What is returned are the kinds by path relative to the directory, or None where the answer depends on the overlay, so
that only the full comparison can tell. A case that needs something is marked with `needs`.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    Answer = dict[str, str] | None
    Case = Callable[[Path], Generator[None, None, Answer]]

MODIFIED, METADATA, ADDED, DELETED, TYPE = "modified", "metadata", "added", "deleted", "type-changed"

CASES: dict[str, Case] = {}
NEEDS: dict[str, frozenset[str]] = {}

F = TypeVar("F", bound="Case")


def case(*needs: str) -> Callable[[F], F]:
    """``needs``: devices (mknod), attributes (trusted and security), flags (chattr), and so on."""

    def keep(function: F) -> F:
        CASES[function.__name__] = function
        NEEDS[function.__name__] = frozenset(needs)
        return function

    return keep


def move(source: Path, destination: Path) -> None:
    """As mv(1) does: without redirects overlayfs answers EXDEV for a directory of the lower."""
    shutil.move(source, destination)


def put(path: Path, content: bytes = b"content\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
