"""Every input of the corpus, those that once broke a parser among them, keeps the promises of its parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.fuzz.__main__ import CORPUS
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

INPUTS = sorted(path for folder in CORPUS.iterdir() for path in folder.iterdir())


def test_every_parser_has_a_corpus() -> None:
    assert {path.parent.name for path in INPUTS} == set(TARGETS)


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in INPUTS) < 300_000


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_the_promises_hold(path: Path) -> None:
    TARGETS[path.parent.name].check(path.read_bytes())
