"""File modes as chmod(1) and install(1) write them, in octal or in symbols, to a number."""

from __future__ import annotations

import re

from ovlay.errors import InvalidInput

_CLAUSE = re.compile(r"(?P<who>[ugoa]*)(?P<actions>(?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = re.compile(r"(?P<how>[-+=])(?P<what>[ugo]|[rwxXst]*)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 4, "w": 2, "x": 1}
_OCTAL = re.compile(r"0*[0-7]{1,4}")


def parse_mode(text: str) -> int:
    """The permission bits that ``text`` means for a new file; raises `InvalidInput` for anything else.

    A symbolic mode starts from no bits at all and knows no umask, as with install(1): ``u=rwx,go=rx`` is 0755.
    """
    if _OCTAL.fullmatch(text):
        return int(text, 8)
    mode = 0
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise InvalidInput(f"{text!r} is not a file mode", remedy="write it as 755, or as u=rwx,go=rx")
        for action in _ACTION.finditer(found["actions"]):
            mode = _act(mode, found["who"], action["how"], action["what"])
    return mode


def _act(mode: int, who: str, how: str, what: str) -> int:
    everybody = not who or "a" in who
    classes = "ugo" if everybody else who
    mask = sum({7 << _SHIFT[c] for c in classes})
    # The set-id bits go with the user and the group; the sticky bit is not tied to one of them (mode(7) of GNU).
    special = (0o4000 if "u" in classes else 0) | (0o2000 if "g" in classes else 0)
    special |= 0o1000 if everybody or "o" in classes else 0
    if what in _SHIFT and what:
        three = mode >> _SHIFT[what] & 7
        bits = sum({three << _SHIFT[c] for c in classes})
    else:
        three = sum({_BITS[c] for c in what if c in _BITS} | ({1} if "X" in what and mode & 0o111 else set()))
        bits = sum({three << _SHIFT[c] for c in set(classes)})
        if "s" in what:
            bits |= special & 0o6000
        if "t" in what:
            bits |= special & 0o1000
    if how == "+":
        return mode | bits
    if how == "-":
        return mode & ~bits
    return mode & ~(mask | special) | bits
