"""What root lets every user know: that what is declared was found to be so, as a digest that only the same still has.

Receipts and seals are for root alone, since they tell of everybody's sources. Without them a user cannot know that
nothing is left over, and so could not be told that nothing is to be done without giving a password for it. A notice is
the SHA-256 of what was declared and of the stamps of every source and of everything that was placed. Who may look at
all of these makes the same digest of them; who may not learns nothing from it. It is a reason to ask for nothing, and
never one to do something.

It is withdrawn before receipts change, so that one that is there speaks of those that are.
"""

from __future__ import annotations

import contextlib
import json
import marshal
import os
import posixpath
import stat
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ovlay.manifest.document import Kind
from ovlay.manifest.looking import directory_look
from ovlay.receipts import notice_path, settled_from, stamp_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ovlay.host import Host
    from ovlay.manifest.document import Declared
    from ovlay.manifest.finding import Comparison
    from ovlay.manifest.items import Item
    from ovlay.model import Status
    from ovlay.receipts import Stamp

SCHEMA = "ovlay.notice/1"

_MOST = 32  # notices of one target: several manifests can each be as declared, by themselves
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def give_notice(
    host: Host,
    status: Status,
    declared: Declared,
    comparison: Comparison,
    *,
    before: int,
    placed: Mapping[str, Stamp | None],
) -> None:
    """Let users know that everything was found to be as declared, by a comparison that was begun at ``before``.

    Not where anything changed since then, nor so shortly before it that it could be changed again without changing its
    stamp, but for what was ``placed`` since and is as it was left (see `ovlay.receipts.has_settled`); nor where
    something was placed for a manifest besides that not every user can see: that one is gone is a reason to take back
    what it declared.
    """
    others = sorted(set(comparison.manifests) - set(declared.manifests))
    path = notice_path(host, status.target)
    if path is None or status.overlay is None or not all(map(is_in_sight, others)):
        return
    found = _digest(host, status.overlay.device, declared, comparison.items, placed)
    if found is None or found[1] > before:
        return
    notice = [found[0], others]
    known = [each for each in _read(host, path) if each != notice]
    document = {"schema": SCHEMA, "notices": [*known, notice][-_MOST:]}
    with contextlib.suppress(OSError):  # a user is asked for a password more than he need be, and that is all
        if _make_directory(host, posixpath.dirname(path)):
            host.write(path, json.dumps(document) + "\n", mode=0o644)


def is_noticed(host: Host, status: Status, declared: Declared) -> bool:
    """Whether root found just this to be as it is declared, and nothing that counts has changed since."""
    path = notice_path(host, status.target)
    if status.overlay is None or path is None or not (known := _read(host, path)):
        return False
    from ovlay.manifest.items import expand

    found = _digest(host, status.overlay.device, declared, expand(host, declared).items, {})
    return found is not None and any(
        digest == found[0] and all(map(os.path.exists, others)) for digest, others in known
    )


def is_in_sight(path: str) -> bool:
    """Whether every user can see that there is a file: all directories on the way can be entered, the last one read."""
    way = posixpath.dirname(path)
    bits = stat.S_IXOTH | stat.S_IROTH
    try:
        while True:
            if os.stat(way).st_mode & bits != bits:
                return False
            if way == "/":
                return os.path.exists(path)
            way, bits = posixpath.dirname(way), stat.S_IXOTH
    except OSError:
        return False


def _make_directory(host: Host, folder: str) -> bool:
    """See to it that the directory is there, and that only root can write it; False where something else is."""
    try:
        host.make_directory(folder)
    except FileExistsError:
        found = os.lstat(host.path(folder))
        return stat.S_ISDIR(found.st_mode) and found.st_uid == host.euid and not found.st_mode & 0o022
    return True


def _read(host: Host, path: str) -> list[list[Any]]:
    """The notices in a file; none where somebody else could have written them."""
    owners = (0,) if host.root == "/" else (0, host.euid)
    try:
        for each in (posixpath.dirname(path), path):
            found = os.lstat(host.path(each))
            if found.st_uid not in owners or found.st_mode & 0o022 or stat.S_ISLNK(found.st_mode):
                return []
        document = json.loads(host.read(path) or "")
        known = document["notices"] if document["schema"] == SCHEMA else []
        return [[str(digest), [str(other) for other in others]] for digest, others in known]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []


def _digest(
    host: Host, device: str, declared: Declared, items: Sequence[Item], placed: Mapping[str, Stamp | None]
) -> tuple[str, int] | None:
    """The digest of what is declared and how it looks now, and from when on what was not ``placed`` has settled.

    None where something is not there. ``items`` are as they were expanded: with the stamps that the sources had then.
    """
    import hashlib

    looks: list[tuple[Any, ...] | None] = list(map(placed.get, [item.path for item in items]))
    changes = [item.stamp[4] for item in items if item.stamp is not None]
    try:
        root = os.open(host.path(declared.target), _DIRECTORY)
        try:
            for number, item in enumerate(items):
                if looks[number] is None or item.kind is Kind.DIRECTORY:
                    looks[number], changed = _look(root, item)
                    changes.append(changed)
        finally:
            os.close(root)
    except OSError:
        return None
    whole = (SCHEMA, device, declared.target, sorted(declared.manifests), _columns(items), looks)
    # Version 2 of the format writes equal values as equal bytes, in every release of Python: marshal(3).
    return hashlib.sha256(marshal.dumps(whole, 2)).hexdigest(), settled_from(changes)


def _columns(items: Sequence[Item]) -> list[Any]:
    """All that items say, by field: of ten thousand, that is a third of the time that it takes item by item."""
    if not items:
        return []
    paths, kinds, origins, *rest = zip(*items, strict=True)
    manifests = groupby([(origin.file, origin.name) for origin in origins])
    runs = [
        [(*who, len(list(same))) for who, same in manifests],
        [(str(k), len(list(same))) for k, same in groupby(kinds)],
    ]
    return [paths, *runs, *rest]


def _look(root: int, item: Item) -> tuple[tuple[Any, ...] | None, int]:
    """What is at the path of an item, and when it changed; ``OSError`` where nothing is, and something should be.

    Of a directory only what is its own counts: who puts a file into it changes nothing that is declared.
    """
    try:
        found = os.stat(item.path, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        if item.kind is not Kind.ABSENT:
            raise
        return None, 0
    if item.kind is Kind.DIRECTORY:
        return directory_look(found, f"/proc/self/fd/{root}/{item.path}", labelled=item.label is not None), 0
    return stamp_of(found), found.st_ctime_ns
