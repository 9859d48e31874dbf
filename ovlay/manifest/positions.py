"""On which line of a TOML text each key stands; tomllib tells the values and not their places.

The scanner walks over valid TOML 1.0 in one pass and linear time. It checks nothing that tomllib checks: where it
does not understand it stops, and what it found until then stays. What it does refuse is what no manifest needs and
tomllib takes very long for: keys of hundreds of parts, nesting without end, numbers of thousands of digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

KeyPath: TypeAlias = "tuple[str | int, ...]"
"""Where a value is in the document: the keys, and the numbers of list items, that lead to it."""

MAX_PARTS = 16
MAX_DEPTH = 16
MAX_BARE = 100
MAX_VALUES = 1_000_000

_BLANK = re.compile(r"[ \t\n]*")
_SPACE = re.compile(r"[ \t]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE = re.compile(r"""\d{4}-\d\d-\d\d[ ]\d\d:[^\s,\[\]{}#="']*|[^\s,\[\]{}#="']+""")
_ENDS = {
    '"""': re.compile(r'\\.|"{3,5}', re.DOTALL),
    "'''": re.compile(r"'{3,5}"),
    '"': re.compile(r'\\.|["\n]', re.DOTALL),
    "'": re.compile(r"['\n]"),
}
"""What opens a string; and what ends it, or must not be taken for its end."""

_PLAIN = re.compile(
    r"""([A-Za-z0-9_-]+)[ \t]*=[ \t]*(?:"(?!"")[^"\\\n]*"|'(?!'')[^'\n]*')[ \t]*(?:#[^\n]*)?(?=\n|\Z)"""
)  # what nearly every line is; to know it at a glance halves the time


class Refused(NamedTuple):
    """Why the text is not to be parsed at all, and the line."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Positions:
    """What was found: lines from 1 by key path, and numbers as they were written.

    A value on the line of what it is in is not listed. ``refused`` is set where the text must not go to tomllib.
    """

    lines: Mapping[KeyPath, int]
    numbers: Mapping[KeyPath, str]
    refused: Refused | None = None

    def line(self, path: KeyPath) -> int:
        """The line of the key, or of the innermost thing around it that is there; 0 where there is none."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return 0


def find_positions(text: str) -> Positions:
    """Where everything is, as far as the text is TOML; line ends are those of tomllib: LF, and CRLF."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    refused = None
    try:
        scanner.scan()
    except _NotUnderstood:
        pass
    except _TooMuch as error:
        refused = Refused(scanner.line, str(error))
    return Positions(scanner.lines, scanner.numbers, refused)


class _NotUnderstood(Exception):
    """This is no TOML, and tomllib will say so."""


class _TooMuch(Exception):
    """A limit is passed."""


class _Scanner:
    """A place in the text, its line, and what was seen before it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self.numbers: dict[KeyPath, str] = {}
        self._counted = 0
        self._line = 1
        self._values = 0
        self._lengths: dict[KeyPath, int] = {}  # of the arrays of tables

    @property
    def line(self) -> int:
        """The line that the scanner is on."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def scan(self) -> None:
        table: KeyPath = ()
        while True:
            self._gap()
            if self.at == len(self.text):
                return
            if self._takes("[["):
                table = self._header(self._key(), array=True)
                self._demand("]]")
            elif self._takes("["):
                table = self._header(self._key(), array=False)
                self._demand("]")
            elif (plain := _PLAIN.match(self.text, self.at)) is not None:
                self._count()
                self.lines.setdefault((*table, plain[1]), self.line)
                self.at = plain.end()
            else:
                self._pair(table, 0)

    def _header(self, parts: list[str], *, array: bool) -> KeyPath:
        path: KeyPath = ()
        line = self.line
        for part in parts[:-1]:
            path = (*path, part)
            self.lines.setdefault(path, line)
            if path in self._lengths:
                path = (*path, self._lengths[path] - 1)
        path = (*path, parts[-1])
        if not array:
            self.lines[path] = line
            return path
        self.lines.setdefault(path, line)
        number = self._lengths.get(path, 0)
        self._lengths[path] = number + 1
        path = (*path, number)
        self.lines[path] = line
        return path

    def _pair(self, table: KeyPath, depth: int) -> None:
        line = self.line
        path = table
        for part in self._key():
            path = (*path, part)
            self.lines.setdefault(path, line)
        self._skip(_SPACE)
        self._demand("=")
        self._skip(_SPACE)
        self._value(path, depth, line)

    def _key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._skip(_SPACE)
            string = self._string()
            if string is None:
                bare = _BARE_KEY.match(self.text, self.at)
                if bare is None:
                    raise _NotUnderstood
                self.at = bare.end()
                parts.append(bare[0])
            else:
                parts.append(_decode(string))
            if len(parts) > MAX_PARTS:
                raise _TooMuch(f"a key of more than {MAX_PARTS} parts")
            self._skip(_SPACE)
            if not self._takes("."):
                return parts

    def _value(self, path: KeyPath, depth: int, line: int) -> None:
        """Step over a value; ``line`` is that which is known of what it is in."""
        self._count()
        if depth > MAX_DEPTH:
            raise _TooMuch(f"lists or tables in each other, more than {MAX_DEPTH} deep")
        if self._takes("["):
            self._array(path, depth, line)
        elif self._takes("{"):
            self._inline_table(path, depth)
        elif self._string() is None:
            found = _BARE.match(self.text, self.at)
            if found is None:
                raise _NotUnderstood
            if found.end() - found.start() > MAX_BARE:
                raise _TooMuch(f"a value of more than {MAX_BARE} characters that is not in quotes")
            if isinstance(path[-1], str) and found[0] not in ("true", "false"):
                self.numbers[path] = found[0]
            self.at = found.end()

    def _string(self) -> str | None:
        """Step over a string, and give it with its quotes; None where there is none."""
        start = self.at
        mark = next((mark for mark in _ENDS if self.text.startswith(mark, start)), None)
        if mark is None:
            return None
        # Piece by piece: possessive quantifiers, which one expression would need, are broken before Python 3.11.5.
        for found in _ENDS[mark].finditer(self.text, start + len(mark)):
            if found[0][0] == mark[0]:
                self.at = found.end()
                return self.text[start : self.at]
            if found[0] == "\n":
                break
        raise _NotUnderstood

    def _count(self) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise _TooMuch(f"more than {MAX_VALUES} values")

    def _array(self, path: KeyPath, depth: int, line: int) -> None:
        number = 0
        while True:
            self._gap()
            if self._takes("]"):
                return
            item = (*path, number)
            here = self.line
            if here != line:
                self.lines[item] = here
            self._value(item, depth + 1, here)
            number += 1
            self._gap()
            if not self._takes(","):
                self._demand("]")
                return

    def _inline_table(self, path: KeyPath, depth: int) -> None:
        while True:
            self._gap()  # TOML 1.0 has no line ends here, TOML 1.1 has
            if self._takes("}"):
                return
            self._pair(path, depth + 1)
            self._gap()
            if not self._takes(","):
                self._demand("}")
                return

    def _gap(self) -> None:
        """Step over white space, line ends and comments."""
        self._skip(_BLANK)
        while self.text.startswith("#", self.at):
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
            self._skip(_BLANK)

    def _skip(self, what: re.Pattern[str]) -> None:
        found = what.match(self.text, self.at)
        if found is not None:
            self.at = found.end()

    def _takes(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _demand(self, mark: str) -> None:
        if not self._takes(mark):
            raise _NotUnderstood


def _decode(string: str) -> str:
    """The text of a key in quotes."""
    if string.startswith("'") or "\\" not in string:
        return string[1:-1]
    import tomllib

    try:
        (key,) = tomllib.loads(f"{string}=0")
    except ValueError:
        raise _NotUnderstood from None
    return key
