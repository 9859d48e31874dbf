"""JSON and TOML that somebody else wrote, to plain values, with one error for all that can be wrong with the text.

The parsers of the standard library let more than their own error out: nesting beyond the recursion limit, and numbers
beyond the limit of digits (``sys.set_int_max_str_digits``). JSON is taken in its strict form of RFC 8259: a name twice
in one object means different things to different readers, and NaN is no number there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable

# A dotted key of more than 64 parts: tomllib takes time with the third power of their number.
_LONG_KEY = r"""(?x)
    (?<![\w."'-])
    (?: (?: [A-Za-z0-9_-]++ | "[^"\n]*+" | '[^'\n]*+' ) [ \t]*+ \. [ \t]*+ ){64}
"""


BYTE_ORDER_MARK = "\ufeff"
"""What some editors put before a UTF-8 text, and neither JSON nor TOML has."""

_LONGEST_SHOWN = 200  # characters of a text


def parse_json(text: str) -> Any:
    """The value in a JSON text; raises `InvalidInput` where it is none, or too deep."""
    import json

    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except InvalidInput:
        raise
    except RecursionError:
        raise InvalidInput("not usable JSON: nested too deep") from None
    except ValueError as error:
        raise InvalidInput(f"not JSON: {error}") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The table in a TOML text; raises `InvalidInput` where it is none, too deep, or has a key of many parts."""
    import tomllib

    if text.startswith(BYTE_ORDER_MARK):
        raise InvalidInput("begins with a byte order mark; save it as UTF-8 without one")
    if re.search(_LONG_KEY, text):
        raise InvalidInput("not usable TOML: a key has more than 64 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InvalidInput("not usable TOML: nested too deep") from None
    except ValueError as error:
        raise InvalidInput(str(error)) from error


def is_plain(text: str) -> bool:
    """Whether a text can be a path or a word for the system: with no NUL, and with no half of a surrogate pair.

    JSON can write both. Bytes that are no UTF-8 are other surrogates (PEP 383), and may be.
    """
    try:
        return b"\0" not in text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def is_writable(text: str) -> bool:
    """Whether a text can be written into a file: see `is_plain`; it may have NULs."""
    return is_plain(text.replace("\0", ""))


def shown(value: Any) -> str:
    """A value for a message, which is short however large or deep the value is."""
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…")
    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    return "a large number" if isinstance(value, int) and value.bit_length() > 64 else repr(value)


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InvalidInput(f"not usable JSON: {name[:80]!r} stands twice in one object")
        found[name] = value
    return found


def _no_number(word: str) -> NoReturn:
    raise InvalidInput(f"not JSON: {word} is no number there")
