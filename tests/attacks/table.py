"""The table of all attacks: every test that has one is a row, and nothing else is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODULES = ("tests.attacks.test_requests", "tests.attacks.test_surroundings", "tests.lab.test_attacks")

HEAD = """\
# Attacks

What was tried against ovlay, and what happened. Every row is a test that makes the attack and sees what comes of it;
those of `tests/lab` make it as root, on the real kernel, with the real sudo. What ovlay promises is in
[privilege](privilege.md).

Written by `python -m tests.attacks --write docs/attacks.md`.

| what was tried | what happened | test |
|---|---|---|
"""

_Test = TypeVar("_Test", bound="Callable[..., None]")


class Row(NamedTuple):
    """One attack, what came of it, and the test that saw it."""

    tried: str
    happened: str
    test: str


_rows: dict[str, Row] = {}


def attack(tried: str, happened: str) -> Callable[[_Test], _Test]:
    """Mark a test as an attack: what it tries, and what happens, which the test asserts."""

    def mark(test: _Test) -> _Test:
        name = f"{test.__module__.removeprefix('tests.')}.{test.__name__}"
        _rows[name] = Row(tried, happened, name)
        return test

    return mark


def rows() -> tuple[Row, ...]:
    """All rows, by module and in the order in which they are written there."""
    for module in MODULES:
        importlib.import_module(module)
    prefixes = tuple(module.removeprefix("tests.") + "." for module in MODULES)
    return tuple(row for prefix in prefixes for row in _rows.values() if row.test.startswith(prefix))


def lines() -> Iterator[str]:
    """The table's rows as Markdown."""
    for row in rows():
        yield f"| {row.tried} | {row.happened} | `{row.test}` |\n"


def page() -> str:
    """The whole page."""
    return HEAD + "".join(lines())
