"""Paths as callers give them: what an empty one, none at all, and an odd one stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import InvalidInput
from ovlay.paths import anywhere, inside, listed

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovlay.overlay import Overlay


@pytest.fixture
def edited(fake_overlay: Overlay) -> Overlay:
    """An overlay with one changed file."""
    fake_overlay.enable()
    (usr(fake_overlay) / "bin/tool").write_text("changed\n")
    return fake_overlay


def usr(overlay: Overlay) -> Path:
    return Path(overlay.host.path("/usr"))


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("bin/tool", "bin/tool"),
        ("/usr/bin/tool", "bin/tool"),
        ("//usr//bin/./tool/", "bin/tool"),
        ("///usr/bin/tool", "bin/tool"),
        (".", "."),
        ("/usr/", "."),
        ("//usr", "."),
    ],
)
def test_one_path_has_one_form(path: str, relative: str) -> None:
    assert inside("/usr", path) == relative


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "an empty path was given"),
        ("/etc/passwd", "/etc/passwd is not in /usr"),
        ("//etc/passwd", "//etc/passwd is not in /usr"),
        ("../etc", "../etc is not in /usr"),
        ("/usrlocal", "/usrlocal is not in /usr"),
        ("bin/a\0b", "contains a null character"),
    ],
)
def test_a_path_that_cannot_be_in_the_target(path: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        inside("/usr", path)


def test_an_empty_path_says_how_to_say_everything() -> None:
    with pytest.raises(InvalidInput) as caught:
        inside("/usr", "")
    assert caught.value.remedy == "say /usr for all of it"


def test_a_path_that_need_not_be_in_a_target() -> None:
    assert anywhere("//srv/x/../a") == "/srv/a"
    with pytest.raises(InvalidInput, match="an empty path was given"):
        anywhere("")


VERBS: dict[str, Callable[[Overlay], object]] = {
    "revert": lambda overlay: overlay.revert([""]),
    "changes": lambda overlay: overlay.changes([""]),
    "holders": lambda overlay: overlay.holders([""]),
    "capture": lambda overlay: overlay.capture([""], to="/srv/hot.toml"),
    "capture --to": lambda overlay: overlay.capture(to=""),
    "salvage --to": lambda overlay: overlay.salvage(""),
}


@pytest.mark.parametrize("verb", VERBS)
def test_an_empty_path_is_not_the_whole_target(edited: Overlay, verb: str) -> None:
    with pytest.raises(InvalidInput, match="an empty path was given"):
        VERBS[verb](edited)
    assert (usr(edited) / "bin/tool").read_text() == "changed\n"


def test_to_revert_no_path_is_to_revert_nothing(edited: Overlay) -> None:
    outcome = edited.revert([])
    assert not outcome.changed
    assert outcome.plan.reason == "no path was given"
    assert (usr(edited) / "bin/tool").read_text() == "changed\n"
    assert edited.reset().changed


def test_to_ask_with_no_path_is_to_ask_about_everything(edited: Overlay) -> None:
    assert [change.path for change in edited.changes([]).changes] == ["bin/tool"]


@pytest.mark.parametrize("one", ["bin/tool", Path("bin/tool")])
def test_a_single_path_is_a_list_of_one(one: str | Path) -> None:
    assert listed(one) == listed([one]) == listed(iter([one])) == ["bin/tool"]
    assert listed(()) == []


@pytest.mark.parametrize("one", ["bin/tool", Path("/usr/bin/tool")])
def test_every_verb_takes_a_single_path(edited: Overlay, tmp_path: Path, one: str | Path) -> None:
    (usr(edited) / "bin/more").write_text("more\n")
    assert [change.path for change in edited.changes(one).changes] == ["bin/tool"]
    assert edited.holders(one).active
    assert edited.capture(one, to=tmp_path / "hot.toml").changed
    assert (tmp_path / "hot.toml").read_text().count("[[file]]") == 1
    assert not edited.salvage(tmp_path / "saved", one).changed
    assert edited.revert(one).changed
    assert [change.path for change in edited.changes().changes] == ["bin/more"]


def test_a_single_manifest_will_do(edited: Overlay, tmp_path: Path) -> None:
    manifest = tmp_path / "m.toml"
    manifest.write_text('schema = 1\n[[file]]\npath = "/usr/bin/new"\ntext = "new"\n')
    for one in (manifest, str(manifest)):
        assert edited.drift(one).manifests == (str(manifest),)
        assert edited.plan_apply(one).declared is not None
    assert edited.apply(manifest).changed
    assert not edited.apply(str(manifest)).changed
    with pytest.raises(InvalidInput):
        edited.apply("")
