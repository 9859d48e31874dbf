"""The text of a manifest: entries as TOML, put into a file of which all else stays as somebody wrote it."""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ovlay.errors import InvalidInput
from ovlay.manifest.document import SCHEMA, Entry, Kind
from ovlay.manifest.positions import find_positions
from ovlay.paths import normal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

_LINE = re.compile(r"[^\n]*\n|[^\n]+")  # str.splitlines() takes characters for line ends that TOML does not
_BARE = re.compile(r"\s*(#.*)?$")
_HEADER = re.compile(r"^(\s*\[\[?\s*[\"']?)\w+")
_CONDITION = "when"
"""What an entry says that does not come from the overlay: it outlives what the rest is replaced by."""


@dataclass(frozen=True, slots=True)
class Written:
    """An entry as it stands in a text: its kind, its table, and its lines from 0, ``start`` up to before ``end``.

    ``own`` are those of them, relative to ``start``, that hold what the overlay says: all but comments and condition.
    ``whole`` is whether all of the entry is in these lines. ``path`` is what it declares, normalised.
    """

    kind: Kind
    table: dict[str, Any]
    start: int
    end: int
    own: frozenset[int]
    whole: bool
    path: str

    @property
    def line(self) -> int:
        """The line of its header, from 1."""
        return self.start + 1


def begin(target: str) -> str:
    """The text of a manifest with no entries."""
    return f"schema = {SCHEMA}\ntarget = {quoted(target)}\n"


def quoted(text: str) -> str:
    """A text as a basic string of TOML: the escapes of JSON, and the one control character that JSON lets stand."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def unsayable(texts: Iterable[str]) -> bool:
    """Whether one of these cannot stand in a TOML file: it has bytes that are no UTF-8."""
    return any("\udc80" <= letter <= "\udcff" for text in texts for letter in text)


def table_of(entry: Entry, folder: str) -> dict[str, str | int]:
    """The keys of an entry in the order in which they are written; a source below ``folder`` is relative to it."""
    source, above = entry.source, folder.rstrip("/") + "/"
    keys: dict[str, str | int | None] = {
        "path": entry.path,
        "source": source if source is None else source.removeprefix(above),
        "text": entry.text,
        "to": entry.to,
        "sha256": entry.sha256,
        "mode": None if entry.mode is None else f"{entry.mode:04o}",
        "owner": entry.owner,
        "group": entry.group,
        "label": entry.label,
        "replaces": entry.replaces,
    }
    return {key: value for key, value in keys.items() if value is not None}


def entries_in(text: str, file: str) -> tuple[Written, ...]:
    """The entries of a manifest in the order of their lines.

    Raises `InvalidInput` where ``text`` is no TOML, or has entries that are not written under headers.
    """
    import tomllib

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{file}: {error}", remedy=f"mend {file}") from error
    lines = _LINE.findall(text)
    places = find_positions(text).lines
    starts = sorted({line - 1 for line in places.values()})
    found = []
    for kind in Kind:
        for number, table in enumerate(document.get(kind, ())):
            mine = {line - 1: path[2:] for path, line in places.items() if path[:2] == (kind, number)}
            start = places.get((kind, number), 0) - 1
            if start < 0 or not lines[start].lstrip().startswith("[["):
                raise InvalidInput(
                    f"{file} has entries that are not written under [[{kind}]], and cannot be added to",
                    remedy="write them so, or name another file with --to",
                )
            end = next((line for line in starts if line > start and line not in mine), len(lines))
            while _BARE.match(lines[end - 1]):  # a comment above the next header is about what comes next
                end -= 1
            own = frozenset(_own_lines(lines, mine, start, end))
            path = normal(str(table.get("path")))
            found.append(Written(kind, table, start, end, own, all(line < end for line in mine), path))
    return tuple(sorted(found, key=lambda written: written.start))


def _own_lines(lines: Sequence[str], mine: dict[int, tuple[str | int, ...]], start: int, end: int) -> Iterator[int]:
    """Where in the lines of an entry its header is, and its keys but for the condition."""
    begun = [line for line in sorted(mine) if line < end]
    for line, after in zip(begun, [*begun[1:], end], strict=True):
        if mine[line][:1] == (_CONDITION,):
            continue
        while _BARE.match(lines[after - 1]):
            after -= 1  # noqa: PLW2901
        yield from range(line - start, after - start)


def put(
    text: str,
    entries: Iterable[Entry],
    *,
    file: str,
    without: Collection[str] = (),
    retired: Mapping[int, str] = MappingProxyType({}),
    written: Sequence[Written] | None = None,
) -> str:
    """``text`` with these entries: each in the place of the one that has its path, or at the end.

    The entries of the paths ``without`` are taken out. What else is there stays, with comments and layout; an entry
    keeps its condition and the way in which its path is written, and stays as it is where it says the same. ``written``
    are those of the text, where they are known already, maybe by other paths; ``retired`` are the lines of those whose
    condition does not hold here, each with the reason: they stay.

    Raises what `entries_in` raises, and `InvalidInput` for a path of which there are none but retired ones: in one of
    these it would not count, and beside them it would have to have a condition.
    """
    folder = posixpath.dirname(file)
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = _LINE.findall(text)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += newline
    known = entries_in(text, file) if written is None else written
    there = {old.path: old for old in known if old.line not in retired}
    aside = {old.path: old for old in known if old.line in retired}
    pieces: dict[tuple[int, int], list[str]] = {}
    added: list[str] = []
    for entry in entries:
        old, table = there.get(entry.path), table_of(entry, folder)
        if old is None and entry.path in aside:
            raise _retired(file, aside[entry.path], retired)
        if old is None:
            added += ["", f"[[{entry.kind}]]", *_pairs(table)]
            continue
        table["path"] = old.table["path"]
        if old.kind is not entry.kind or table != {k: v for k, v in old.table.items() if k != _CONDITION}:
            if not old.whole and old.kind is not entry.kind:
                raise _scattered(file, old)
            kept = [line for at, line in enumerate(lines[old.start : old.end]) if at not in old.own]
            pieces[old.start, old.end] = [
                f"[[{entry.kind}]]",
                *_pairs(table),
                *(_HEADER.sub(rf"\g<1>{entry.kind}", line.rstrip("\r\n"), count=1) for line in kept),
            ]
    for path in without:
        old = there[path]
        if not old.whole:
            raise _scattered(file, old)
        blank = old.end < len(lines) and not lines[old.end].strip()
        pieces[old.start, old.end + blank] = []
    for (start, end), new in sorted(pieces.items(), reverse=True):
        lines[start:end] = [line + newline for line in new]
    return "".join(lines) + "".join(line + newline for line in added)


def _retired(file: str, written: Written, reasons: Mapping[int, str]) -> InvalidInput:
    return InvalidInput(
        f"{file}:{written.line}: the entry of {written.path} has a condition that does not hold here "
        f"({reasons[written.line]}): what is captured would not count",
        remedy="change the condition, name another file with --to, or leave the path out with --ignore",
    )


def _scattered(file: str, written: Written) -> InvalidInput:
    return InvalidInput(
        f"{file}:{written.line}: the entry of {written.path} is in several places of the file",
        remedy="write it in one piece, or name another file with --to",
    )


def _pairs(table: dict[str, str | int]) -> Iterator[str]:
    for key, value in table.items():
        yield f"{key} = {quoted(value) if isinstance(value, str) else value}"
