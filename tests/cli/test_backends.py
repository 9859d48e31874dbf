"""``ovlay backends``: every driver, with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay import drivers

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cli.conftest import Cli


def test_every_installed_driver_is_listed(cli: Cli) -> None:
    document = cli("backends", "--json").document("backends")
    assert {entry["name"] for entry in document["backends"]} == set(drivers.driver_names())
    assert all(entry["reason"] for entry in document["backends"])
    assert all(entry["modes"] for entry in document["backends"] if entry["fits"])


def test_the_one_that_is_named_has_a_star(cli: Cli) -> None:
    said = cli("backends")
    assert said.status == 0
    assert next(line.split()[1] for line in said.out.splitlines() if line.startswith("* ")) == "fake"
    assert "* fake is taken: named by --backend" in said.out
    document = cli("backends", "--json").document("backends")
    assert (document["chosen"], document["chosen_by"]) == ("fake", "option")


def test_where_none_fits_it_says_so(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    said = cli.plain("backends", "--root", str(tmp_path / "empty"), "--target", "/opt/nothing")
    assert said.status == 0
    assert "none fits /opt/nothing here" in said.out


def test_verbose_lists_the_modes(cli: Cli) -> None:
    assert "can make: read-only, transient; read-write, persistent; read-write, transient" in cli("backends", "-v").out


def test_the_best_one_comes_first(cli: Cli) -> None:
    scores = [entry["score"] for entry in cli("backends", "--json").document("backends")["backends"]]
    assert scores == sorted(scores, reverse=True)


def test_a_driver_that_cannot_be_loaded_is_listed_with_the_reason(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real = drivers.load_drivers()
    monkeypatch.setattr(drivers, "load_drivers", lambda: (real[0], (("broken", "no module named x"),)))
    document = cli("backends", "--json").document("backends")
    broken = next(entry for entry in document["backends"] if entry["name"] == "broken")
    assert broken["loaded"] is False
    assert broken["reason"] == "cannot be loaded: no module named x"
