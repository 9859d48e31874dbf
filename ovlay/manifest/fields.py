"""Which keys the tables of a manifest have, and what each may hold.

`ovlay/schemas/ovlay.manifest-1.json` says the same as JSON Schema; a test holds one against the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ovlay.manifest.conditions import SPECIFIER_MARKS
from ovlay.manifest.document import Kind, When
from ovlay.manifest.values import (
    Mistake,
    Parse,
    Wrong,
    one_of,
    parse_account,
    parse_label,
    parse_leaf,
    parse_link,
    parse_mode,
    parse_name,
    parse_path,
    parse_pattern,
    parse_replaces,
    parse_schema,
    parse_sha256,
    parse_source,
    parse_text,
    parse_word,
    shown,
    some_of,
)
from ovlay.model import Access, Mode, Persistence

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Field:
    """A key: what makes a value of what it holds, and whether it must be there."""

    parse: Parse
    required: bool = False


Fields: TypeAlias = Mapping[str, Field]


def read_table(fields: Fields, table: dict[str, Any]) -> tuple[dict[str, Any], list[Mistake]]:
    """What is right in a table, and what is not: by the names of our attributes, which have no hyphens."""
    found: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for key, value in table.items():
        if key not in fields:
            mistakes.append(unknown(key, fields))
            continue
        try:
            found[key.replace("-", "_")] = fields[key].parse(value)
        except Wrong as error:
            mistakes += (mistake._replace(path=(key, *mistake.path)) for mistake in error.mistakes)
    mistakes += (
        Mistake("is missing", path=(key,)) for key, field in fields.items() if field.required and key not in table
    )
    return found, mistakes


def unknown(key: str, known: Fields) -> Mistake:
    """There is no such key; which one was meant?"""
    import difflib

    close = difflib.get_close_matches(key.lower().replace("_", "-"), known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
    return Mistake("there is no such key", hint, (key,))


def parse_table(value: Any, fields: Fields) -> dict[str, Any]:
    """A table with known keys, by the names of our attributes."""
    if not isinstance(value, dict):
        raise Wrong(Mistake(f"must be a table, not {shown(value)}"))
    found, mistakes = read_table(fields, value)
    if mistakes:
        raise Wrong(*mistakes)
    return found


def parse_os_release(value: Any) -> dict[str, str]:
    """Names of os-release(5), each with a glob or with version specifiers (PEP 440)."""
    if not isinstance(value, dict):
        raise Wrong(Mistake(f"must be a table, not {shown(value)}", 'such as { ID = "fedora", VERSION_ID = ">=43" }'))
    mistakes = []
    for key, condition in value.items():
        if not _VARIABLE.fullmatch(key):
            hint = f"did you mean {key.upper()!r}?" if _VARIABLE.fullmatch(key.upper()) else "see os-release(5)"
            mistakes.append(Mistake("is no name of os-release(5)", hint, (key,)))
        try:
            _check_release(condition)
        except Wrong as error:
            mistakes += [mistake._replace(path=(key,)) for mistake in error.mistakes]
    if mistakes:
        raise Wrong(*mistakes)
    return value


def _check_release(value: Any) -> None:
    text = parse_word(value)
    if not text.startswith(SPECIFIER_MARKS):
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        hint = 'such as ">=43,<44"; "=" alone is written "=="'
        raise Wrong(Mistake(f"{shown(text)} is no set of version specifiers (PEP 440)", hint)) from None


def parse_when(value: Any) -> When:
    """Conditions."""
    return When(**parse_table(value, WHEN))


def parse_overlay(value: Any) -> Mode:
    """A mode, with the default for what is left out."""
    return Mode(**parse_table(value, OVERLAY))


WHEN: Fields = {
    "image": Field(some_of(parse_word)),
    "checksum": Field(some_of(parse_word)),
    "os-release": Field(parse_os_release),
    "missing": Field(some_of(parse_path)),
    "present": Field(some_of(parse_path)),
}

OVERLAY: Fields = {"access": Field(one_of(Access)), "persistence": Field(one_of(Persistence))}

_OWNERSHIP: Fields = {"owner": Field(parse_account), "group": Field(parse_account), "label": Field(parse_label)}
_PATH = Field(parse_path, required=True)
_LEAF = Field(parse_leaf, required=True)
_WHEN = Field(parse_when)

ENTRIES: Mapping[Kind, Fields] = {
    Kind.FILE: {
        "path": _LEAF,
        "source": Field(parse_source),
        "text": Field(parse_text),
        "sha256": Field(parse_sha256),
        "mode": Field(parse_mode),
        **_OWNERSHIP,
        "replaces": Field(parse_replaces),
        "when": _WHEN,
    },
    Kind.TREE: {
        "path": _PATH,
        "source": Field(parse_source, required=True),
        **_OWNERSHIP,
        "file-mode": Field(parse_mode),
        "directory-mode": Field(parse_mode),
        "exclude": Field(some_of(parse_pattern, empty=True)),
        "when": _WHEN,
    },
    Kind.SYMLINK: {
        "path": _LEAF,
        "to": Field(parse_link, required=True),
        **_OWNERSHIP,
        "replaces": Field(parse_replaces),
        "when": _WHEN,
    },
    Kind.DIRECTORY: {"path": _PATH, "mode": Field(parse_mode), **_OWNERSHIP, "when": _WHEN},
    Kind.ABSENT: {"path": _PATH, "replaces": Field(parse_replaces), "when": _WHEN},
}
"""The tables of entries. That a file has exactly one of ``source`` and ``text`` is checked by `ovlay.manifest.load`."""

HEAD: Fields = {
    "schema": Field(parse_schema, required=True),
    "name": Field(parse_name),
    "target": Field(parse_path),
    "overlay": Field(parse_overlay),
    "when": Field(parse_when),
}
"""The keys at the top, besides the lists of entries."""
