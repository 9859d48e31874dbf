"""What the base had at a path when an entry of a manifest was first applied there: the third side of a comparison.

It outlasts the overlay, and the image: where the base has something else by the time that the same content is to be
applied again, the entry was made for another base. One file for each target, below the data directory.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple

from ovlay.host import OWN_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ovlay.host import Host
    from ovlay.receipts import Receipt

SCHEMA = "ovlay.bases/1"

_LONGEST = 226  # bytes: with 6 around it, such as ".jsonl", and with what `Host.write` adds, a name has at most 255


class Seen(NamedTuple):
    """What the base had, and what was wanted in its place: SHA-256, or ``nothing``; of a link that of its text."""

    base: str
    wanted: str


def read_bases(host: Host, target: str) -> dict[str, Seen]:
    """What was seen, by path relative to the target; {} where nothing is known, or where it is not for us."""
    try:
        document = json.loads(host.read(bases_path(host, target), limit=OWN_LIMIT) or "")
        return {path: Seen(str(base), str(wanted)) for path, (base, wanted) in document["bases"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def file_name(target: str) -> str:
    """A target as a part of the name of a file, as systemd-escape(1) has it for paths; a long one by its hash."""
    name = target.strip("/").replace("-", "\\x2d").replace("/", "-")
    if len(os.fsencode(name)) <= _LONGEST:
        return name
    import hashlib

    return hashlib.sha256(os.fsencode(target)).hexdigest()


def bases_path(host: Host, target: str) -> str:
    """Where it is written."""
    return f"{host.data_dir}/bases/{file_name(target)}.json"


def record_bases(host: Host, target: str, placed: Mapping[str, Receipt | None]) -> None:
    """Write down what lay beneath what was placed for a manifest; forget it of what was taken back (None)."""
    known = read_bases(host, target)
    now = dict(known)
    for path, receipt in placed.items():
        if receipt is None:
            now.pop(path, None)
        elif receipt.base is not None and receipt.manifest is not None:
            now[path] = Seen(receipt.base, wanted_of(receipt))
    if now == known:
        return
    path = bases_path(host, target)
    host.make_private_directory(host.data_dir)
    host.make_private_directory(os.path.dirname(path))
    document = {"schema": SCHEMA, "bases": dict(sorted(now.items()))}
    host.write(path, json.dumps(document) + "\n", mode=0o600, durable=True)


def wanted_of(receipt: Receipt) -> str:
    """The content that a receipt is of, in one word."""
    return content_word(receipt.kind, receipt.sha256, receipt.to)


def content_word(kind: str, sha256: str | None, to: str | None) -> str:
    """What a file, a link, a directory or nothing is told by."""
    if kind == "symlink":
        import hashlib

        return hashlib.sha256(os.fsencode(to or "")).hexdigest()
    return sha256 or kind
