"""What a value of a manifest may be: from TOML's to ours, or every mistake in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ovlay.errors import InvalidInput
from ovlay.files.accounts import MAX_ID, number_of
from ovlay.files.destination import NAME_MAX, PATH_MAX, has_long_name
from ovlay.manifest.document import DIRECTORY, NOTHING, SCHEMA

if TYPE_CHECKING:
    from enum import StrEnum

    from ovlay.manifest.positions import KeyPath

Parse: TypeAlias = Callable[[Any], Any]
"""From a value to what it means; raises `Wrong`."""

_WORD_MAX = 4096
_SHOWN = 60

_OCTAL = re.compile(r"0?[0-7]{3,4}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_ACCOUNT = re.compile(r"[^:/\x00-\x1f\x7f]+")
_LABEL = re.compile(r"[^\s:\x00]+(:[^\s:\x00]+){2}(:[^\s\x00]+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Mistake(NamedTuple):
    """What is wrong with a value, or with what lies at ``path`` within it."""

    message: str
    hint: str = ""
    path: KeyPath = ()


class Wrong(Exception):
    """A value with mistakes in it."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes


def shown(value: object) -> str:
    """A value as it stands in a message: never long, never with a control character."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def parse_text(value: Any) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise Wrong(Mistake(f"must be a text, not {shown(value)}", f'write "{value}"' if type(value) is int else ""))
    return value


def parse_some(value: Any) -> str:
    """A text with something in it."""
    text = parse_text(value)
    if not text:
        raise Wrong(Mistake("must not be empty"))
    return text


def parse_word(value: Any) -> str:
    """A text with something in it, of a length that a person writes."""
    text = parse_some(value)
    if len(text) > _WORD_MAX:  # a glob of megabytes keeps whoever compiles it busy for minutes
        raise Wrong(Mistake(f"is longer than {_WORD_MAX} characters"))
    return text


def parse_name(value: Any) -> str:
    """A name that fits into a line."""
    text = parse_word(value)
    if _CONTROL.search(text):
        raise Wrong(Mistake("must be one line, with no control characters"))
    return text


def parse_link(value: Any) -> str:
    """What a symbolic link says."""
    text = parse_some(value)
    if "\0" in text:
        raise Wrong(Mistake("must not contain a null character"))
    if len(text.encode()) >= PATH_MAX:
        raise Wrong(Mistake(f"is longer than {PATH_MAX - 1} bytes"))
    return text


def parse_source(value: Any) -> str:
    """A path, absolute or relative."""
    return parse_link(value)


def parse_path(value: Any) -> str:
    """An absolute path without ``..``, still as it was written."""
    text = parse_link(value)
    if not text.startswith("/"):
        raise Wrong(Mistake(f"{shown(text)} is not an absolute path", "it must begin with /"))
    if ".." in text.split("/"):
        raise Wrong(Mistake(f"{shown(text)} contains '..'", "write the path without it"))
    if has_long_name(text):
        raise Wrong(Mistake(f"has a name of more than {NAME_MAX} bytes in it"))
    return text


def parse_leaf(value: Any) -> str:
    """A path that is not written as that of a directory."""
    text = parse_path(value)
    if text.endswith("/"):
        raise Wrong(Mistake(f"{shown(text)} ends with '/'", "name the file in it"))
    return text


def parse_mode(value: Any) -> int:
    """Permission bits, as octal text or as a number."""
    hint = 'write it as "0755" or 0o755'
    if isinstance(value, str) and _OCTAL.fullmatch(value):
        return int(value, 8)
    if type(value) is not int or not 0 <= value <= 0o7777:
        raise Wrong(Mistake(f"must be a mode, not {shown(value)}", hint))
    return value


def parse_sha256(value: Any) -> str:
    """A SHA-256 in hexadecimal digits."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise Wrong(Mistake(f"must be 64 hexadecimal digits, not {shown(value)}", "sha256sum(1) prints them"))
    return value.lower()


def parse_replaces(value: Any) -> str:
    """A SHA-256, `DIRECTORY` or `NOTHING`."""
    if value in (NOTHING, DIRECTORY):
        return str(value)
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        hint = "it is what sha256sum(1) prints of the file in the base"
        raise Wrong(Mistake(f"must be 64 hexadecimal digits, {NOTHING!r} or {DIRECTORY!r}, not {shown(value)}", hint))
    return value.lower()


def parse_account(value: Any) -> str | int:
    """The name or the number of a user or a group."""
    if type(value) is int and 0 <= value <= MAX_ID:
        return value
    if not isinstance(value, str) or not _ACCOUNT.fullmatch(value):
        raise Wrong(Mistake(f"must be a name or a number, not {shown(value)}"))
    try:
        number_of(value)
    except InvalidInput:
        raise Wrong(Mistake(f"must be at most {MAX_ID}, not {shown(value)}")) from None
    return value


def parse_label(value: Any) -> str:
    """An SELinux context: user, role, type, and a range where the policy has them."""
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise Wrong(Mistake(f"must be an SELinux label, not {shown(value)}", 'such as "system_u:object_r:bin_t:s0"'))
    return value


def parse_schema(value: Any) -> int:
    """The version of the format; a later one is looked at before, see `ovlay.manifest.load`."""
    if type(value) is not int or value != SCHEMA:
        raise Wrong(Mistake(f"must be {SCHEMA}, not {shown(value)}"))
    return value


def one_of(values: type[StrEnum]) -> Parse:
    """One of the words of an enumeration."""

    def parse(value: Any) -> StrEnum:
        if not isinstance(value, str) or value not in list(values):
            import difflib

            close = difflib.get_close_matches(value, list(values), 1) if isinstance(value, str) else []
            known = " or ".join(repr(str(member)) for member in values)
            raise Wrong(
                Mistake(f"must be {known}, not {shown(value)}", f"did you mean {str(close[0])!r}?" if close else "")
            )
        return values(value)

    return parse


def some_of(parse: Parse, *, empty: bool = False) -> Parse:
    """A value, or a list of them, as a tuple."""

    def parse_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            return (parse(value),)
        found, mistakes = [], []
        for number, item in enumerate(value):
            try:
                found.append(parse(item))
            except Wrong as error:
                mistakes += [mistake._replace(path=(number, *mistake.path)) for mistake in error.mistakes]
        if not value and not empty:
            mistakes.append(Mistake("must not be an empty list", "leave it out"))
        if mistakes:
            raise Wrong(*mistakes)
        return tuple(found)

    return parse_all


def parse_pattern(value: Any) -> str:
    """A glob of gitignore(5)."""
    from ovlay.changes.ignore import Ignored

    text = parse_word(value)
    try:
        Ignored("/", (text,))
    except InvalidInput as error:
        raise Wrong(Mistake(str(error), error.remedy)) from None
    return text
