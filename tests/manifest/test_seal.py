"""What was as declared is not compared again: while all that decides it is the same, and not for longer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ovlay.manifest import compare

if TYPE_CHECKING:
    from pathlib import Path

    from tests.manifest.case import Case

SETTLED = 0.05
"""Seconds after which what was written cannot change again without another stamp."""


def manifest(case: Case, name: str, *paths: str) -> Path:
    """A manifest of its own that declares these files."""
    file = case.scratch / name
    file.write_text("schema = 1\n" + "".join(f'[[file]]\npath = "{path}"\ntext = "{path}"\n' for path in paths))
    time.sleep(SETTLED)
    return file


def demand_sealed(case: Case, *manifests: Path) -> None:
    """That it is known by now, with no comparison, that these are as declared."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was compared")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "compare", fail)
        assert not case.overlay.apply(manifests).changed


def test_a_manifest_that_was_emptied_takes_back_what_was_placed_for_it(case: Case) -> None:
    """Although what is left to be declared was found to be so, by a manifest that was applied alone."""
    first, second = manifest(case, "a.toml", "/usr/bin/p"), manifest(case, "b.toml", "/usr/bin/q")
    case.overlay.apply([first, second])
    case.overlay.apply([second])
    demand_sealed(case, second)
    manifest(case, "a.toml")
    assert case.overlay.apply([first, second]).changed
    assert not case.at("bin/p").exists()
    assert case.at("bin/q").exists()
    demand_sealed(case, first, second)


def test_what_was_placed_since_is_taken_back_when_its_manifest_is_gone(case: Case) -> None:
    """A manifest with a conflict is not sealed, and what it placed all the same is unknown to the seal before it."""
    first, second = manifest(case, "a.toml", "/usr/bin/p"), manifest(case, "b.toml", "/usr/bin/q", "/usr/bin/mine")
    case.at("bin/mine").write_text("somebody's")
    case.overlay.apply([first])
    demand_sealed(case, first)
    assert case.overlay.apply([second]).conflicts
    second.unlink()
    assert case.overlay.apply([first]).changed
    assert not case.at("bin/q").exists()
    demand_sealed(case, first)
