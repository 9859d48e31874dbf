"""Manifests that are not read, since their names do not end in .toml: for who wonders why nothing comes of them."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from ovlay.manifest.search import FRAGMENTS, manifest_folders

if TYPE_CHECKING:
    from ovlay.host import Host

_PUT_ASIDE = re.compile(
    r"\A[.#]|\AREADME|~\Z|\.(bak|old|orig|rej|save|swp|tmp|md|example|disabled|off|dpkg-\w+|ucf-\w+|rpm\w+)\Z"
)
_READS_LIKE_ONE = re.compile(rb"^[ \t]*(schema[ \t]*=|\[\[(file|tree|symlink|directory|absent)\]\])", re.MULTILINE)
_ENOUGH = 4096  # bytes, from the first on


def misnamed_manifests(host: Host, *, user: bool = True) -> tuple[str, ...]:
    """What lies in a manifest.d, reads like a manifest, and has another name; ``user`` is whether the user's count.

    What editors and package managers leave beside a file, and what was put aside by its name, is nobody's mistake. Nor
    is a source that lies there: that is why it is looked into.
    """
    return tuple(path for folder in manifest_folders(host, user=user) for path in _of(os.path.join(folder, FRAGMENTS)))


def _of(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    others = [name for name in names if not name.endswith(".toml") and not _PUT_ASIDE.search(name)]
    return [path for name in others if _READS_LIKE_ONE.search(_head(path := os.path.join(folder, name)))]


def _head(path: str) -> bytes:
    """How a regular file begins; nothing of anything else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _ENOUGH) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)
