"""A capture that is stopped anywhere leaves the manifest that was there, with its sources, or the new one."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.manifest.capture import plan_capture
from ovlay.plan.capturing import KeepSource, WriteManifest
from ovlay.plan.execute import execute
from tests.manifest.place import Place, digest, place_in

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path) as made:
        yield made


def a_plan(place: Place) -> ovlay.Plan:
    for name in ("a", "b", "c"):
        (place.usr / "bin" / name).write_text(name)
    return plan_capture(place.overlay.backend, to=str(place.file))


def test_a_file_that_changed_since_stops_it_and_leaves_nothing(place: Place) -> None:
    plan = a_plan(place)
    (place.usr / "bin/c").write_text("C")
    with pytest.raises(ovlay.Conflict, match="/usr/bin/c changed since the plan was made"):
        execute(plan, place.overlay.host)
    assert list(place.folder.iterdir()) == []


def test_a_manifest_that_changed_since_stops_it(place: Place) -> None:
    plan = a_plan(place)
    place.file.write_text("schema = 1\n")
    with pytest.raises(ovlay.Conflict, match="changed since"):
        execute(plan, place.overlay.host)
    assert {path.name for path in place.folder.iterdir()} == {"hot.toml"}
    assert place.file.read_text() == "schema = 1\n"


@pytest.mark.parametrize("at", range(4))
def test_killed_before_any_step_the_old_manifest_has_its_sources(place: Place, at: int) -> None:
    (place.usr / "bin/a").write_text("before")
    place.capture()
    old = place.file.read_text()
    plan = a_plan(place)
    for step in plan.steps[:at]:
        step.run(place.overlay.host)
    if at < len(plan.steps):
        assert place.file.read_text() == old
    for entry in place.entries().values():
        assert entry.source is not None
        assert digest(Path(entry.source).read_text()) == entry.sha256
    place.capture()
    assert sorted(place.kept().values()) == ["a", "b", "c"]
    assert set(place.entries()) == {"/usr/bin/a", "/usr/bin/b", "/usr/bin/c"}


def test_interrupted_after_the_manifest_was_written_its_sources_stay(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = a_plan(place)
    run = WriteManifest.run

    def interrupted(step: WriteManifest, host: ovlay.Host) -> str:
        run(step, host)
        raise KeyboardInterrupt

    monkeypatch.setattr(WriteManifest, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(plan, place.overlay.host)
    assert sorted(place.kept().values()) == ["a", "b", "c"]
    assert set(place.entries()) == {"/usr/bin/a", "/usr/bin/b", "/usr/bin/c"}


def test_what_a_killed_copy_left_behind_is_removed_by_the_next_capture(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.usr / "bin/new").write_text("new\n")
    (place.usr / "lib/other").write_text("other\n")
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        place.capture()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = place.kept()
    assert os.path.basename(left).startswith(".ovlay-new-")
    place.capture()
    assert place.kept() == {"usr/bin/new": "new\n", "usr/lib/other": "other\n"}


def test_a_link_beside_the_manifest_is_not_followed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "away").mkdir()
    (place.folder / "hot.files").mkdir()
    (place.folder / "hot.files/usr").symlink_to(tmp_path / "away")
    a_plan(place)
    place.capture()
    assert list((tmp_path / "away").iterdir()) == []
    assert {Path(entry.source or "").name for entry in place.entries().values()} == {digest(c) for c in "abc"}
    step = KeepSource("/usr", "bin/a", str(place.file), "hot.files/usr/a", digest("a"))
    with pytest.raises(ovlay.StateForbids, match="in the way"):
        step.run(place.overlay.host)
