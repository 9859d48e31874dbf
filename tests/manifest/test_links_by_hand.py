"""A directory with placed files in it that somebody moved away, with a link in its place."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.manifest.case import Case

FILE = 'file path = "/usr/share/app/f"; text = "x"'
DEEP = 'file path = "/usr/share/app/sub/g"; text = "deep"'
OTHER = 'file path = "/usr/share/other"; text = "other"'


@pytest.fixture
def moved(case: Case) -> Case:
    """Two placed files in a directory that is a link by now."""
    case.says(FILE, DEEP)
    case.apply()
    time.sleep(0.05)
    case.at("share/app").rename(case.at("share/app-1"))
    case.at("share/app").symlink_to("app-1")
    return case


def test_what_is_declared_is_found_where_the_link_leads(moved: Case) -> None:
    for _ in range(3):
        assert not moved.apply().conflicts
        assert moved.states() == {}
        assert (moved.at("share/app-1/f").read_text(), os.readlink(moved.at("share/app"))) == ("x", "app-1")
    moved.says(FILE, DEEP, OTHER)
    assert moved.apply().changed
    assert moved.at("share/other").read_text() == "other"
    assert sorted(moved.receipts()) == ["share/app-1/f", "share/app-1/sub/g", "share/other"]


def test_what_is_declared_otherwise_is_made_so_where_the_link_leads(moved: Case) -> None:
    moved.says(FILE, DEEP, OTHER)
    moved.apply()
    moved.says(FILE.replace('"x"', '"y"'), DEEP)
    moved.apply()
    assert moved.states() == {}
    assert moved.at("share/app-1/f").read_text() == "y"
    assert not moved.at("share/other").exists()


def test_what_is_declared_no_more_is_kept_and_all_the_rest_is_done(moved: Case) -> None:
    moved.says(FILE, OTHER)
    for _ in range(2):
        outcome = moved.apply()
        (conflict,) = (found for found in outcome.conflicts if found.path == "share/app/sub/g")
        assert "a link is on the way by now" in conflict.detail
        assert moved.at("share/other").read_text() == "other"
        assert moved.at("share/app/sub/g").read_text() == "deep"
    again = moved.overlay.drift([moved.manifest])
    assert "share/app/sub/g" in {deviation.path for deviation in again.deviations}


def test_by_force_it_is_nobodys_any_more(moved: Case) -> None:
    moved.says(FILE, OTHER)
    moved.apply()
    moved.apply(force=True)
    assert moved.at("share/app-1/sub/g").read_text() == "deep"
    assert moved.states() == {}
    assert moved.apply().conflicts == ()
    assert sorted(moved.receipts()) == ["share/app-1/f", "share/other"]


def test_with_every_entry_gone_nothing_fails(moved: Case) -> None:
    moved.says(OTHER)
    assert {found.path for found in moved.apply().conflicts} == {
        "share/app", "share/app/f", "share/app/sub", "share/app/sub/g"
    }  # fmt: skip
    assert moved.at("share/other").exists()
    moved.apply(force=True)
    assert moved.states() == {}
    assert not moved.at("share/app").is_symlink()
    assert moved.at("share/app-1/f").exists()


@pytest.mark.parametrize("back", ["renamed", "removed"])
def test_without_the_link_it_is_as_it_was(moved: Case, back: str) -> None:
    moved.says(OTHER)
    moved.apply()
    moved.at("share/app").unlink()
    if back == "renamed":
        moved.at("share/app-1").rename(moved.at("share/app"))
    assert not moved.apply().conflicts
    assert not moved.at("share/app").exists()
    assert moved.states() == {}


def test_a_link_that_leads_out_stops_only_what_is_in_it(case: Case, tmp_path: Path) -> None:
    case.says(FILE)
    case.apply()
    case.at("share/app").rename(tmp_path / "away")
    case.at("share/app").symlink_to(tmp_path / "away")
    case.says(OTHER)
    assert {found.path for found in case.apply().conflicts} == {"share/app", "share/app/f"}
    assert case.at("share/other").exists()
    assert (tmp_path / "away/f").read_text() == "x"


def test_what_never_came_to_be_where_the_link_leads_is_forgotten(moved: Case) -> None:
    moved.at("share/app-1/sub/g").unlink()
    moved.says(FILE, OTHER)
    assert "share/app/sub/g" not in {found.path for found in moved.apply().conflicts}
    assert "share/app/sub/g" not in moved.receipts()
