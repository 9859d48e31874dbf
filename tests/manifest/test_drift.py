"""Drift: whatever is not as it is declared is told with its state, and nothing else is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay import ConflictKind, State
from ovlay.kernel import Kernel
from ovlay.simulated import SimulatedHost

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place:
    """A simulated host with a manifest."""

    def __init__(self, host: SimulatedHost, folder: Path) -> None:
        self.host = host
        self.overlay = ovlay.open("fake", host=host)
        self.usr = Path(host.path("/usr"))
        self.file = folder / "hot.toml"

    def declare(self, text: str) -> None:
        self.file.write_text("schema = 1\n" + text)

    def apply(self, *, force: bool = False) -> ovlay.Outcome:
        return self.overlay.apply([self.file], force=force)

    def drift(self, ignore: tuple[str, ...] = ()) -> ovlay.Drift:
        return self.overlay.drift([self.file], ignore=ignore)

    def states(self) -> dict[str, State]:
        return {found.path: found.state for found in self.drift().deviations}

    def of(self, path: str) -> ovlay.Deviation:
        (found,) = (found for found in self.drift().deviations if found.path == path)
        return found


TWO = """
[[file]]
path = "/usr/bin/tool"
text = "tool\\n"
mode = "0755"

[[absent]]
path = "/usr/bin/old"
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    usr = tmp_path / "host/usr"
    (usr / "bin").mkdir(parents=True)
    (usr / "lib/deep").mkdir(parents=True)
    (usr / "bin/old").write_text("old\n")
    (usr / "lib/deep/file").write_text("deep\n")
    with SimulatedHost(str(tmp_path / "host")) as host:
        place = Place(host, tmp_path)
        place.declare(TWO)
        yield place


@pytest.fixture
def applied(place: Place) -> Place:
    place.overlay.enable()
    place.apply()
    return place


def test_what_is_applied_is_clean(applied: Place) -> None:
    found = applied.drift()
    assert (found.clean, found.active, found.as_declared, found.deviations) == (True, True, 2, ())
    assert found.manifests == (str(applied.file),)


def test_with_no_overlay_all_is_missing(place: Place) -> None:
    found = place.drift()
    assert not found.active
    assert place.states() == {"bin/tool": State.MISSING, "bin/old": State.DIFFERS}
    tool = place.of("bin/tool")
    assert (tool.file, tool.line) == (str(place.file), 3)


def test_what_was_edited_by_hand_is_a_conflict(applied: Place) -> None:
    (applied.usr / "bin/tool").write_text("edited\n")
    found = applied.of("bin/tool")
    assert (found.state, found.conflict) == (State.CONFLICT, ConflictKind.CHANGED_SINCE)
    assert "somebody changed it since ovlay placed it" in found.detail


def test_what_is_in_the_way(place: Place) -> None:
    place.overlay.enable()
    (place.usr / "bin/tool").write_text("mine\n")
    found = place.of("bin/tool")
    assert (found.state, found.conflict) == (State.CONFLICT, ConflictKind.IN_THE_WAY)


def test_a_base_that_is_another(place: Place) -> None:
    place.overlay.enable()
    place.declare(f'[[file]]\npath = "/usr/bin/old"\ntext = "new"\nreplaces = "{"0" * 64}"\n')
    found = place.of("bin/old")
    assert (found.state, found.conflict) == (State.CONFLICT, ConflictKind.BASE_CHANGED)


def test_what_is_declared_otherwise_now_differs(applied: Place) -> None:
    applied.declare(TWO.replace("tool\\n", "other\\n"))
    assert applied.states() == {"bin/tool": State.DIFFERS}


def test_what_is_declared_no_more_is_left_over(applied: Place) -> None:
    applied.declare('[[absent]]\npath = "/usr/bin/old"\n')
    found = applied.of("bin/tool")
    assert (found.state, found.file, found.line) == (State.LEFTOVER, str(applied.file), None)


def test_what_nobody_declared_is_unmanaged(applied: Place, tmp_path: Path) -> None:
    (applied.usr / "bin/stray").write_text("x")
    shutil.rmtree(applied.usr / "lib/deep")
    (tmp_path / "installed").write_text("x")
    applied.overlay.install_file(tmp_path / "installed", "/usr/bin/installed")
    found = {deviation.path: deviation for deviation in applied.drift().deviations}
    assert {path: deviation.state for path, deviation in found.items()} == dict.fromkeys(
        ("bin/installed", "bin/stray", "lib/deep", "lib/deep/file"), State.UNMANAGED
    )
    assert (found["bin/stray"].detail, found["bin/stray"].file, found["bin/stray"].line) == ("added", None, None)
    assert found["lib/deep"].detail == "deleted"
    assert found["bin/installed"].detail == "added, by `ovlay install`"


def test_what_is_unmanaged_can_be_ignored(applied: Place) -> None:
    (applied.usr / "bin/stray.pyc").write_text("x")
    (applied.usr / "lib/cache").mkdir()
    (applied.usr / "lib/cache/x").write_text("x")
    (applied.usr / "bin/tool").write_text("edited\n")
    found = applied.drift(ignore=("*.pyc", "/usr/lib/cache/", "tool"))
    assert [deviation.path for deviation in found.deviations] == ["bin/tool"]
    assert found.ignored == 3


def test_what_is_absent_takes_what_was_in_it_with_it(place: Place) -> None:
    place.overlay.enable()
    place.declare('[[absent]]\npath = "/usr/lib/deep"\n')
    place.apply()
    assert place.drift().clean


def test_what_the_base_has_by_itself_has_graduated(applied: Place) -> None:
    applied.overlay.unmount()
    with applied.host.kernel.unsealed("/usr") as base:
        tool = Path(base, "bin/tool")
        tool.write_text("tool\n")
        tool.chmod(0o755)
    assert applied.states() == {"bin/tool": State.GRADUATED, "bin/old": State.DIFFERS}
    applied.overlay.enable()
    applied.apply()
    found = applied.of("bin/tool")
    assert found.state is State.GRADUATED
    assert found.detail == f"the base has exactly this by itself: remove the entry, {applied.file}:3"


def test_what_is_retired_is_no_drift(applied: Place) -> None:
    when = 'when = { os-release = { ID = "nowhere" } }\n'
    applied.declare(TWO + f'\n[[file]]\npath = "/usr/bin/later"\ntext = "x"\n{when}')
    found = applied.drift()
    assert found.clean
    assert [(retired.path, retired.origin.line) for retired in found.retired] == [("/usr/bin/later", 11)]


def test_with_no_manifest_all_changes_are_unmanaged(applied: Place) -> None:
    (applied.usr / "bin/stray").write_text("x")
    found = applied.overlay.drift(user=False)
    assert found.manifests == ()
    assert [(each.path, each.state) for each in found.deviations] == [("bin/stray", State.UNMANAGED)]


def test_it_changes_nothing(applied: Place) -> None:
    from ovlay.changes.compare import scan_tree

    (applied.usr / "bin/tool").write_text("edited\n")
    before = scan_tree(applied.usr)
    receipts = scan_tree(applied.host.path(f"{applied.host.state_dir}/receipts"))
    assert not applied.drift().clean
    assert scan_tree(applied.usr) == before
    assert scan_tree(applied.host.path(f"{applied.host.state_dir}/receipts")) == receipts


def test_who_may_not_look_beneath_is_told(applied: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ovlay.NotPermitted("only root can look beneath the overlay on /usr")

    assert isinstance(applied.host.kernel, Kernel)
    monkeypatch.setattr(type(applied.host.kernel), "views", refuse)
    with pytest.raises(ovlay.NotPermitted, match="only root can look beneath"):
        applied.drift()


def test_manifests_of_another_target(applied: Place) -> None:
    applied.declare('target = "/opt"\n')
    with pytest.raises(ovlay.InvalidInput, match="is for /opt"):
        applied.drift()


# --- what diff says of it --------------------------------------------------------------------------------------------


def test_each_change_names_the_manifest_that_it_was_placed_for(applied: Place) -> None:
    (applied.usr / "bin/stray").write_text("x")
    applied.declare(TWO + '[[absent]]\npath = "/usr/lib/deep"\n[[file]]\npath = "/usr/lib/new/a"\ntext = "a"\n')
    applied.apply()
    file = str(applied.file)
    assert {change.path: change.managed for change in applied.overlay.changes().changes} == {
        "bin/old": file,
        "bin/stray": None,
        "bin/tool": file,
        "lib/deep": file,
        "lib/deep/file": file,
        "lib/new": file,
        "lib/new/a": file,
    }


CACHE = "share/glib-2.0/schemas/gschemas.compiled"


def test_what_a_trigger_makes_of_what_is_declared_is_managed(applied: Place) -> None:
    """For drift, diff and the guard alike: a cache is not what somebody did by hand."""
    applied.declare(TWO + '[[file]]\npath = "/usr/share/glib-2.0/schemas/a.gschema.xml"\ntext = "<schemalist/>"\n')
    applied.apply()
    (applied.usr / CACHE).write_text("compiled")
    (applied.usr / "lib/udev").mkdir(parents=True)
    (applied.usr / "lib/udev/hwdb.bin").write_text("of nothing that is declared")
    assert applied.states() == {"lib/udev": State.UNMANAGED, "lib/udev/hwdb.bin": State.UNMANAGED}
    managed = {change.path: change.managed for change in applied.overlay.changes().changes}
    assert managed[CACHE] == str(applied.file)
    assert managed["lib/udev/hwdb.bin"] is None


def test_without_receipts_nothing_is_managed(place: Place) -> None:
    place.overlay.enable()
    (place.usr / "bin/stray").write_text("x")
    assert [change.managed for change in place.overlay.changes().changes] == [None]
    assert os.path.lexists(place.usr / "bin/stray")


@pytest.mark.parametrize("written", ["//usr/bin/later", "/./usr/bin/later"])
def test_a_condition_asks_the_base_however_the_path_is_written(place: Place, written: str) -> None:
    place.declare(f'[[file]]\npath = "/usr/bin/later"\ntext = "x"\nwhen = {{ missing = "{written}" }}\n')
    place.overlay.enable()
    place.apply()
    assert place.drift().retired == ()
    assert (place.usr / "bin/later").read_text() == "x"
