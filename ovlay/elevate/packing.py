"""Answers on the wire: named tuples as lists of their fields, and back by what their types say."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from ovlay.errors import InvalidInput


def pack(value: Any) -> Any:
    """A value as plain JSON values; bytes become a text of as many characters."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Mapping):
        return {str(key): pack(item) for key, item in value.items()}
    return [pack(item) for item in value]


def unpack(kind: Any, value: Any) -> Any:
    """The value of this type that `pack` was given; raises `InvalidInput` for what is none."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (some,) = (each for each in inner if each is not types.NoneType)
        return None if value is None else unpack(some, value)
    if kind is bytes and isinstance(value, str):
        return value.encode("latin-1")
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind in (str, int, bool):
        if type(value) is kind:
            return value
    elif origin is Mapping and isinstance(value, dict):
        return {key: unpack(inner[1], item) for key, item in value.items()}
    elif isinstance(value, list):
        if origin is Sequence or (origin is tuple and inner[1:] == (...,)):
            return tuple(unpack(inner[0], item) for item in value)
        hints = inner if origin is tuple else tuple(_hints(kind).values())
        if len(hints) == len(value):
            parts = [unpack(hint, item) for hint, item in zip(hints, value, strict=True)]
            return tuple(parts) if origin is tuple else kind(*parts)
    raise InvalidInput(f"an answer has {value!r:.100} in the place of {kind}")


def _hints(kind: Any) -> dict[str, Any]:
    """The types of the fields; those that are imported for the type checker alone are looked up here."""
    from ovlay import receipts
    from ovlay.changes import change
    from ovlay.kernel.holders import FileUse
    from ovlay.manifest import document
    from ovlay.manifest.items import Item

    known = {"Mapping": Mapping, "Sequence": Sequence, "Item": Item, "FileUse": FileUse}
    hints = typing.get_type_hints(kind, localns={**vars(document), **vars(change), **vars(receipts), **known})
    return {name: hints[name] for name in kind._fields}
