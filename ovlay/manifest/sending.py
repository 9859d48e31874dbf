"""What is declared, on its way from the process that may read the manifests to the one that may write the target.

The entries are expanded before they go, so that root opens no manifest and walks no tree of a user's. What comes is
held to the same rules as a manifest, and every path to being one below the target.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ovlay.errors import InvalidInput
from ovlay.manifest.document import Declared, Kind, Origin
from ovlay.manifest.items import Item, expand
from ovlay.manifest.values import Wrong, parse_label, parse_link, parse_replaces, parse_sha256
from ovlay.model import Access, Mode, Persistence
from ovlay.notation import is_plain, is_writable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ovlay.host import Host
    from ovlay.receipts import Stamp

_MOST_ID = 2**32 - 2  # the id after it is no user: chown(2)
_LONGEST = 4096  # bytes of a path, with its null: limits.h
_LARGEST = 2**63 - 1  # bytes in a file: off_t


def declared_document(host: Host, declared: Declared) -> dict[str, Any]:
    """What is declared as plain JSON values; raises `InvalidManifest` for sources that cannot be used."""
    origins: dict[Origin, int] = {}
    items = [
        [*item._replace(origin=origins.setdefault(item.origin, len(origins)))]  # type: ignore[arg-type]
        for item in expand(host, declared).items
    ]
    mode = declared.mode
    return {
        "target": declared.target,
        "mode": None if mode is None else [mode.access, mode.persistence],
        "manifests": list(declared.manifests),
        "origins": [[origin.file, origin.name, origin.line] for origin in origins],
        "items": items,
    }


def parse_declared(document: Mapping[str, Any]) -> Declared:
    """What `declared_document` made; raises `InvalidInput` for anything else."""
    target, manifests, origins, items = (document.get(key, ()) for key in ("target", "manifests", "origins", "items"))
    if not _is_path(target) or not _are(manifests, str) or not _are(origins, list) or not _are(items, list):
        raise InvalidInput("what is declared has a target, manifests, origins and items")
    known = [_origin(row) for row in origins]
    parsed = tuple(_item(row, known) for row in items)
    for before, after in pairwise(parsed):
        if not before.path < after.path:
            raise InvalidInput(f"the items are not sorted, or {after.path!r:.100} is there twice")
    return Declared(target, (), _mode(document.get("mode")), (), tuple(manifests), parsed)


def _mode(value: object) -> Mode | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != len(Mode._fields):
        raise InvalidInput(f"{value!r:.100} is not a mode")
    try:
        return Mode(Access(value[0]), Persistence(value[1]))
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def _origin(row: Sequence[object]) -> Origin:
    if len(row) != 3 or not isinstance(row[0], str) or not isinstance(row[1], str) or type(row[2]) is not int:
        raise InvalidInput("an origin is a file, a name and a line")
    if not is_plain(row[0]) or not is_plain(row[1]):
        raise InvalidInput("an origin has a null character in it")
    return Origin(row[0], row[1], row[2])


def _item(row: Sequence[Any], origins: Sequence[Origin]) -> Item:
    if len(row) != len(Item._fields):
        raise InvalidInput(f"an item has {len(Item._fields)} fields")
    item = Item(*row)
    number: Any = item.origin
    if type(number) is not int or not 0 <= number < len(origins):
        raise InvalidInput("an item has an origin")
    if not _is_below(item.path):
        raise InvalidInput(f"{item.path!r:.100} is not a path below the target")
    try:
        return _checked(item)._replace(origin=origins[number])
    except (Wrong, ValueError) as error:
        message = error.args[0].message if isinstance(error, Wrong) else str(error)
        raise InvalidInput(f"{item.path!r:.100}: {message}") from None


def _checked(item: Item) -> Item:
    """The item with the types that it must have; raises `Wrong` or ``ValueError`` where a value cannot be."""
    kind = Kind(item.kind)
    numbers = ((item.size, _LARGEST), (item.mode, 0o7777), (item.uid, _MOST_ID), (item.gid, _MOST_ID))
    if any(type(number) is not int or not 0 <= number <= most for number, most in numbers):
        raise ValueError("a size, a mode or an owner cannot be")
    if kind is Kind.TREE or type(item.given) is not bool:
        raise ValueError("this is no single item")
    if (kind is Kind.SYMLINK) != (item.to is not None) or (item.to is not None and not is_plain(parse_link(item.to))):
        raise ValueError("a link has something that it leads to, and nothing else has")
    sources = (item.source is not None) + (item.text is not None)
    if sources != (kind is Kind.FILE) or (item.source is not None) != (item.stamp is not None):
        raise ValueError("a file has a source with its stamp, or a text, and nothing else has")
    if item.source is not None and not _is_path(item.source):
        raise ValueError("a source is an absolute path")
    if item.text is not None and not (
        isinstance(item.text, str)
        and is_writable(item.text)
        and len(item.text.encode("utf-8", "surrogateescape")) == item.size
    ):
        raise ValueError("a text is as long as it says")
    return item._replace(
        kind=kind,
        stamp=_stamp(item.stamp),
        label=None if item.label is None else parse_label(item.label),
        sha256=None if item.sha256 is None else parse_sha256(item.sha256),
        replaces=None if item.replaces is None else parse_replaces(item.replaces),
    )


def _stamp(value: object) -> Stamp | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 5 or any(type(number) is not int for number in value):
        raise ValueError("a stamp is five numbers")
    device, inode, size, modified, changed = value
    return (device, inode, size, modified, changed)


def _is_below(path: object) -> bool:
    return (
        isinstance(path, str)
        and is_plain(path)
        and len(path.encode("utf-8", "surrogateescape")) < _LONGEST
        and not any(part in ("", ".", "..") for part in path.split("/"))
    )


def _is_path(path: object) -> bool:
    return isinstance(path, str) and path.startswith("/") and is_plain(path)


def _are(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)
