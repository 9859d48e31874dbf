"""Revert and reset on the kernel's own overlayfs: what was changed through the overlay is as in the base again.

The witness is a full comparison of the two trees, with modification times and attributes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from typing import TYPE_CHECKING, Any

import pytest

from ovlay.errors import Conflict, InvalidInput, NoSpace, NotActive, StateForbids
from ovlay.host import Host
from ovlay.model import Access, Mode, Persistence
from ovlay.overlay import Overlay
from ovlay.plan.restoring import RestorePaths
from ovlay_backends.overlayfs import OverlayfsBackend
from tests.changes.machine import ODD, Machine, edit_all
from tests.kernel.namespace import Privilege, Refused, run_inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(params=list(Privilege), ids=str)
def inside(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Callable[[Path], None]], None]:
    """Run a function in a child in namespaces of its own; it gets an empty directory on a tmpfs."""
    privilege: Privilege = request.param
    if privilege is Privilege.ROOT and os.geteuid() != 0:
        pytest.skip("needs root")
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def run(body: Callable[[Path], None]) -> None:
        try:
            run_inside(privilege, scratch, lambda: body(scratch))
        except Refused as refused:
            pytest.skip(f"no user namespace can be had: {refused}")

    return run


def test_reset_makes_everything_as_in_the_base(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        edit_all(machine.target)
        assert len(machine.differences()) > 20
        assert machine.overlay.reset().changed
        machine.is_base()

    inside(body)


def test_reset_twice_is_once(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        edit_all(machine.target)
        machine.overlay.reset()
        again = machine.overlay.reset()
        assert not again.changed
        assert again.plan.reason == f"nothing on {machine.target} differs from the base"

    inside(body)


def test_the_target_itself_is_all_that_is_in_it(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (machine.target / "new").write_text("x")
        outcome = machine.overlay.revert([machine.target, "new"])
        assert not [warning for warning in outcome.plan.warnings if "already" in warning]
        again = machine.overlay.revert([machine.target])
        assert (again.plan.reason, again.plan.warnings) == (f"nothing on {machine.target} differs from the base", ())
        machine.is_base()

    inside(body)


def test_revert_restores_what_it_is_told_and_no_more(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        edit_all(machine.target)
        machine.overlay.revert(["bin/tool", machine.target / "lib/deep", "new", "share/empty"])
        left = {found.path for found in machine.differences()}
        assert not [path for path in left if path.startswith(("bin/tool", "lib/deep", "new", "share/empty"))]
        assert {"bin/other", "lib/link", "renamed", f"share/{ODD}", "."} <= left
        assert stat.S_IMODE((machine.target / "bin/tool").stat().st_mode) == 0o4755

    inside(body)


def test_an_undone_change_leaves_no_time_stamp_behind(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (machine.target / "lib/deep/a").write_text("changed")
        (machine.target / "lib/deep/er/new").write_text("new")
        machine.overlay.revert(["lib/deep/a", "lib/deep/er/new"])
        assert machine.differences() == ()

    inside(body)


def test_a_directory_with_other_names_in_it_keeps_its_time_stamp(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (machine.target / "lib/deep/a").write_text("changed")
        (machine.target / "lib/deep/mine").write_text("stays")
        before = (machine.target / "lib/deep").stat().st_mtime_ns
        machine.overlay.revert(["lib/deep/a"])
        assert (machine.target / "lib/deep").stat().st_mtime_ns == before

    inside(body)


def test_hard_links_that_come_back_together_stay_one_file(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        shutil.rmtree(machine.target / "share/doc")
        machine.overlay.reset()
        text, same = (machine.target / "share/doc" / name for name in ("text", "same"))
        assert text.stat().st_ino == same.stat().st_ino
        text.write_text("one")
        same.unlink()
        machine.overlay.reset()
        assert text.stat().st_ino == same.stat().st_ino
        machine.is_base()

    inside(body)


def test_a_hole_comes_back_as_a_hole(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (machine.target / "lib/sparse").unlink()
        machine.overlay.reset()
        found = (machine.target / "lib/sparse").stat()
        assert (found.st_size, found.st_blocks < 1024) == (5 << 20, True)

    inside(body)


def test_a_holder_keeps_the_old_file(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (machine.target / "bin/tool").write_text("changed")
        with (machine.target / "bin/tool").open() as held:
            machine.overlay.revert(["bin/tool"])
            assert held.read() == "changed"
        assert (machine.target / "bin/tool").read_text().startswith("bin/tool\n")

    inside(body)


def test_no_link_is_followed(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        outside = scratch / "outside"
        (outside / "er").mkdir(parents=True)
        (outside / "a").write_text("outside")
        shutil.rmtree(machine.target / "lib/deep")
        (machine.target / "lib/deep").symlink_to(outside)
        with pytest.raises(StateForbids, match="is no directory any more"):
            machine.overlay.revert(["lib/deep/a"])
        with pytest.raises(Conflict, match="lib/deep/a"):
            machine.step((), ("lib/deep/a",)).run(machine.host)
        assert (outside / "a").read_text() == "outside"
        machine.overlay.reset()
        machine.is_base()
        assert sorted(path.name for path in outside.rglob("*")) == ["a", "er"]

    inside(body)


def test_a_read_only_overlay_stays_read_only(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        edit_all(machine.target)
        machine.overlay.enable(Mode(Access.READ_ONLY, Persistence.TRANSIENT))
        machine.overlay.reset()
        with pytest.raises(OSError, match="Read-only"):
            (machine.target / "new").mkdir()
        machine.is_base()

    inside(body)


def test_a_persistent_overlay_is_reset_on_the_disk(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch, Mode(Access.READ_WRITE, Persistence.PERSISTENT))
        edit_all(machine.target)
        (step,) = machine.overlay.backend.plan_reset().steps
        assert step.to_json()["durable"] is True
        machine.overlay.reset()
        machine.is_base()
        with pytest.raises(NotActive):
            machine.overlay.reset()

    inside(body)


def test_a_mount_below_the_target_is_left_alone(inside: Any) -> None:
    def body(scratch: Path) -> None:
        from ovlay.kernel import libc

        machine = Machine(scratch)
        (machine.target / "lib/deep/mine").write_text("covered")
        (machine.target / "bin/tool").write_text("changed")
        (scratch / "other").mkdir()
        (scratch / "other/file").write_text("not ours")
        clone = libc.open_tree(str(scratch / "other"))
        libc.move_mount(clone, str(machine.target / "lib/deep"))
        plan = machine.overlay.backend.plan_reset()
        assert any("/lib/deep and 1 more path stay as they are" in line for line in plan.warnings)
        machine.overlay.reset()
        assert (machine.target / "bin/tool").read_text().startswith("bin/tool\n")
        assert (scratch / "other/file").read_text() == "not ours"
        with pytest.raises(Conflict, match="something is mounted there"):
            machine.step(("lib/deep/file",), ()).run(machine.host)
        assert (scratch / "other/file").read_text() == "not ours"

    inside(body)


def test_what_the_base_has_is_never_removed(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        for step in (machine.step(("lib",), ()), machine.step((), ("nowhere",))):
            with pytest.raises(Conflict):
                step.run(machine.host)
        assert machine.differences() == ()

    inside(body)


@pytest.mark.parametrize("path", ["../other", "lib/../../other", "/etc", "", "lib//deep", "lib/."])
def test_a_step_that_nobody_planned_cannot_lead_out(inside: Any, path: str) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (scratch / "other").write_text("outside")
        for step in (machine.step((path,), ()), machine.step((), (path,))):
            with pytest.raises(InvalidInput, match="not a plain relative path"):
                step.run(machine.host)
        assert (scratch / "other").read_text() == "outside"

    inside(body)


def test_immutable_files_are_no_obstacle(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (machine.target / "added").mkdir()
        (machine.target / "added/file").write_text("x")
        (machine.target / "bin/tool").write_text("changed")
        try:
            for path in ("added/file", "added", "bin/tool", "bin"):
                set_flag(machine.target / path)
        except OSError:
            pytest.skip("this filesystem, or this user, has no immutable flag")
        machine.overlay.reset()
        machine.is_base()

    inside(body)


def test_what_does_not_fit_is_refused_before_anything_is_written(inside: Any) -> None:
    def body(scratch: Path) -> None:
        target = scratch / "usr"
        target.mkdir()
        (target / "large").write_bytes(b"x" * (3 << 20))
        host = Host("/", scratch=str(scratch / "own"))
        host.tmpfs_size = 2 << 20
        overlay = Overlay(OverlayfsBackend(host, str(target)))
        overlay.enable()
        (target / "large").unlink()
        (target / "small").write_text("small")
        with pytest.raises(NoSpace, match="3145728 bytes of the base, and 1 MiB to spare, do not fit") as caught:
            overlay.reset()
        assert "ovlay reset --fresh" in caught.value.remedy
        assert (target / "small").exists()
        overlay.reset(fresh=True)
        assert (target / "large").stat().st_size == 3 << 20

    inside(body)


def fill(path: Path) -> None:
    """Write into a file for as long as there is room."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass


def test_what_makes_room_is_not_refused_for_the_lack_of_it(inside: Any) -> None:
    """It said "0 bytes of the base do not fit", on the very filesystem that was to be freed."""

    def body(scratch: Path) -> None:
        target = scratch / "usr"
        target.mkdir()
        (target / "tool").write_text("old")
        host = Host("/", scratch=str(scratch / "own"))
        host.tmpfs_size = 2 << 20
        overlay = Overlay(OverlayfsBackend(host, str(target)))
        overlay.enable()
        (target / "tool").unlink()
        (target / "small").write_bytes(b"x" * 4096)
        fill(target / "filler")
        overlay.revert([str(target / "filler"), str(target / "tool")])
        assert (sorted(os.listdir(target)), (target / "tool").read_text()) == (["small", "tool"], "old")

        fill(target / "filler")
        overlay.revert([str(target / "small")])
        assert sorted(os.listdir(target)) == ["filler", "tool"]

    inside(body)


def test_thousands_of_paths_are_one_small_step(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        (machine.target / "many").mkdir()
        for number in range(2000):
            (machine.target / f"many/{number}").write_text("")
        plan = machine.overlay.backend.plan_reset()
        (step,) = plan.steps
        assert isinstance(step, RestorePaths)
        assert (step.added, step.changed) == (("many",), ())
        assert plan.warnings[0].startswith("2001 changes are undone")
        machine.overlay.reset()
        machine.is_base()

    inside(body)


def test_a_path_outside_or_nowhere(inside: Any) -> None:
    def body(scratch: Path) -> None:
        machine = Machine(scratch)
        for path in ("../other", "/etc/passwd", "lib/never"):
            with pytest.raises(InvalidInput):
                machine.overlay.revert([path])

    inside(body)


def set_flag(path: Path) -> None:
    """Make a file or directory immutable: chattr(1) +i."""
    from ovlay.files.flags import IMMUTABLE, read_flags, set_flags

    descriptor = os.open(path, os.O_RDONLY)
    try:
        set_flags(descriptor, IMMUTABLE)
        assert read_flags(descriptor) == IMMUTABLE
    finally:
        os.close(descriptor)
