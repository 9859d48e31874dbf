"""The page of all attacks is what the tests are."""

from __future__ import annotations

import importlib
from pathlib import Path

from tests.attacks.table import MODULES, page, rows

PAGE = Path(__file__).parents[2] / "docs/attacks.md"


def test_the_page_is_what_the_tests_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.attacks --write docs/attacks.md"


def test_every_test_of_an_attack_is_a_row() -> None:
    tests = {
        f"{name.removeprefix('tests.')}.{test}"
        for name in MODULES
        for test in vars(importlib.import_module(name))
        if test.startswith("test_")
    }
    assert tests == {row.test for row in rows()}
