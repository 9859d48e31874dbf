"""Sizes as bars: how much of every file is new, and how much is gone, on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LEAST = 10  # columns for the bars, however long the names are


class Bar(NamedTuple):
    """One line: its name, and the bytes before and after; what is on both sides is taken for kept."""

    name: str
    old: int
    new: int
    text: str


def draw(bars: Sequence[Bar], width: int) -> Iterator[str]:
    """A line for each bar: ``=`` for the size that stayed, ``+`` for what came, ``-`` for what went.

    The longest bar ends at ``width``; one that is not empty has at least one sign. A name that is too long is cut in
    front, as in git-diff(1) with --stat.
    """
    texts = max((len(bar.text) for bar in bars), default=0)
    names = max((len(bar.name) for bar in bars), default=0)
    names = max(min(names, width - texts - _LEAST - 4), _LEAST)
    room = max(width - names - texts - 4, _LEAST)
    most = max((max(bar.old, bar.new) for bar in bars), default=0)
    for bar in bars:
        signs = _signs(bar, most, room)
        yield f"{_cut(bar.name, names):{names}} | {bar.text:>{texts}} {signs}".rstrip()


def _signs(bar: Bar, most: int, room: int) -> str:
    large, small = max(bar.old, bar.new), min(bar.old, bar.new)
    if large == 0:
        return ""
    length = max(1, round(large * room / most))
    kept = length if large == small else min(round(small * room / most), length - 1)
    return "=" * kept + ("+" if bar.new > bar.old else "-") * (length - kept)


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else "..." + name[len(name) - width + 3 :]
