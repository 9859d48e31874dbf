"""The promises of every driver, as a suite of tests: subclass `BackendContract` and run it with pytest.

    class TestMine(BackendContract):
        @pytest.fixture
        def overlay(self, tmp_path):
            with a_host_in(tmp_path) as host:
                yield ovlay.open("mine", host=host)

The target must be read-only, with the file `BackendContract.existing` in it, and without an overlay; the fixture takes
away what a test leaves. One suite runs on every driver, on simulated and on real kernels, so that none drifts apart.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import compare
from ovlay.drivers import driver_names
from ovlay.errors import Busy, StateForbids, Unsupported
from ovlay.host import Host
from ovlay.model import Access, AnomalyKind, Mode, Persistence
from ovlay.plan.execute import execute
from ovlay.plan.plan import Plan
from ovlay.requests import InstallFile
from ovlay.testing.placing import PlacingContract
from ovlay.testing.subject import RO, RW, Tree, mount_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ovlay.model import Status
    from ovlay.overlay import Overlay
    from ovlay.plan.step import Step

ALL_MODES = tuple(Mode(access, persistence) for access in Access for persistence in Persistence)


class BackendContract(PlacingContract):
    """What every driver must do. Override the fixture `overlay`, and the hooks where the defaults do not fit."""

    # --- questions ---------------------------------------------------------------------------------------------

    def test_the_name_is_that_of_the_entry_point(self, overlay: Overlay) -> None:
        """``--backend NAME`` finds the driver."""
        assert overlay.backend.name in driver_names()

    def test_the_probe_gives_a_reason_and_never_raises(self, overlay: Overlay, tmp_path: Path) -> None:
        """On its own host, and on one where nothing is."""
        (tmp_path / "nothing").mkdir()
        for host in (overlay.host, Host(str(tmp_path / "nothing"))):
            probe = type(overlay.backend)(host, overlay.target).probe()
            assert probe.reason
            assert 0 <= probe.score <= 100

    def test_the_status_of_an_untouched_target(self, overlay: Overlay) -> None:
        """No overlay, nothing writable, and nothing said of what is not there."""
        status = overlay.status()
        assert (status.backend, status.target) == (overlay.backend.name, overlay.target)
        assert (status.active, status.mode, status.overlay, status.upper_path) == (False, None, None, None)
        assert not status.writable
        assert_json(status)

    def test_a_read_only_target_cannot_be_written(self, overlay: Overlay) -> None:
        """The target of the fixture is as sealed as a real /usr."""
        before = self.scan(overlay)
        self._demand_sealed(overlay)
        assert compare(before, self.scan(overlay)) == ()

    @pytest.mark.parametrize("mode", ALL_MODES, ids=str)
    def test_enabling_each_mode(self, overlay: Overlay, mode: Mode) -> None:
        """The status is the evidence of it; a mode that the driver has not is refused, and nothing is changed."""
        before, mounts = self.scan(overlay), mount_ids(overlay)
        if mode not in self.modes(overlay):
            with pytest.raises(Unsupported) as refused:
                overlay.enable(mode)
            assert refused.value.remedy
            assert mount_ids(overlay) == mounts
            assert not overlay.status().active
            return
        outcome = overlay.enable(mode)
        status = overlay.status()
        assert outcome.changed
        assert (status.active, status.mode) == (True, mode)
        assert status.overlay is not None
        assert status.stack[-1].mount_id == status.overlay.mount_id
        assert status.backing is not None
        assert status.backing.free > 0
        assert status.writable is (mode.access is Access.READ_WRITE)
        assert compare(before, self.scan(overlay)) == ()
        assert_json(status)

    @pytest.mark.parametrize("mode", ALL_MODES, ids=str)
    def test_enabling_twice_is_enabling_once(self, overlay: Overlay, mode: Mode) -> None:
        """The second time there is nothing to do, and the plan says why."""
        if mode not in self.modes(overlay):
            with pytest.raises(Unsupported):
                overlay.backend.plan_enable(mode)
            return
        overlay.enable(mode)
        mounts = mount_ids(overlay)
        again = overlay.enable(mode)
        assert not again.changed
        assert not again.plan.steps
        assert again.plan.reason
        assert mount_ids(overlay) == mounts

    def test_another_mode_is_a_change_that_keeps_all_or_an_error(self, overlay: Overlay, source: Path) -> None:
        """Never silence, and never a loss."""
        for wanted in sorted(self.modes(overlay) - {RW}):
            self._enable_fresh(overlay, RW)
            overlay.install_file(source, f"{overlay.target}/{self.existing}")
            refused: StateForbids | None = None
            try:
                overlay.enable(wanted)
            except StateForbids as error:
                refused = error
            assert refused is None or refused.remedy
            assert overlay.status().mode == (wanted if refused is None else RW)
            assert self._read(overlay, self.existing) == source.read_bytes()

    # --- plans -------------------------------------------------------------------------------------------------

    def test_planning_changes_nothing(self, overlay: Overlay, source: Path) -> None:
        """A dry run is only a plan."""
        for prepare, plan in self._plans(overlay, source):
            prepare()
            before, mounts, status = self.scan(overlay), mount_ids(overlay), overlay.status()
            assert plan().steps
            assert compare(before, self.scan(overlay)) == ()
            assert mount_ids(overlay) == mounts
            assert _lasting(overlay.status()) == _lasting(status)

    def test_every_plan_survives_json(self, overlay: Overlay, source: Path) -> None:
        """What a privileged process reads is what was planned; and each step says what it does."""
        for prepare, make in self._plans(overlay, source):
            prepare()
            plan = make()
            assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
            assert all(plan.describe())

    def test_what_is_not_confirmed_is_not_done(self, overlay: Overlay) -> None:
        """The caller sees the plan, says no, and nothing happens."""
        seen: list[Plan] = []

        def refuse(plan: Plan) -> bool:
            seen.append(plan)
            return False

        outcome = overlay.enable(confirm=refuse)
        assert seen == [outcome.plan]
        assert seen[0].steps
        assert not outcome.changed
        assert not overlay.status().active

    def test_a_failure_in_the_middle_leaves_nothing_behind(self, overlay: Overlay) -> None:
        """Whichever step fails, those before it are taken back, and enabling works afterwards."""
        before, mounts = self.scan(overlay), mount_ids(overlay)
        for failing in range(len(overlay.backend.plan_enable(RW).steps)):
            with pytest.raises(_Failed):
                execute(overlay.backend.plan_enable(RW), overlay.host, before=_fail_at(failing))
            assert mount_ids(overlay) == mounts
            assert not overlay.status().active
            assert compare(before, self.scan(overlay)) == ()
        assert overlay.enable(RW).changed
        assert overlay.status().active

    # --- taking it away ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("lazy", [False, True], ids=["plainly", "lazily"])
    def test_unmounting_gives_the_pristine_tree_back(self, overlay: Overlay, source: Path, *, lazy: bool) -> None:
        """Whatever was done in the overlay; and the next overlay has nothing of it."""
        pristine, mounts = self.scan(overlay), mount_ids(overlay)
        overlay.enable(RW)
        overlay.install_file(source, f"{overlay.target}/bin/new")
        self._spoil(overlay)
        assert compare(pristine, self.scan(overlay)) != ()
        outcome = overlay.unmount(lazy=lazy)
        assert outcome.changed
        assert not overlay.status().active
        assert mount_ids(overlay) == mounts
        assert compare(pristine, self.scan(overlay)) == ()
        self._demand_sealed(overlay)
        overlay.enable(RW)
        assert compare(pristine, self.scan(overlay)) == ()

    def test_unmounting_where_nothing_is_mounted_does_nothing(self, overlay: Overlay) -> None:
        """And says so."""
        before = self.scan(overlay)
        for lazy in (False, True):
            outcome = overlay.unmount(lazy=lazy)
            assert not outcome.changed
            assert outcome.plan.reason
        assert compare(before, self.scan(overlay)) == ()

    def test_who_holds_the_overlay_is_named(self, overlay: Overlay, source: Path) -> None:
        """A plain unmount fails, and nothing is lost."""
        overlay.enable(RW)
        overlay.install_file(source, f"{overlay.target}/bin/new")
        with self.hold(overlay):
            with pytest.raises(Busy) as busy:
                overlay.unmount()
            assert busy.value.holders
            assert all(holder.command in str(busy.value) for holder in busy.value.holders[:5])
            assert busy.value.remedy
            assert overlay.status().mode == RW
            assert self._read(overlay, "bin/new") == source.read_bytes()
        assert overlay.unmount().changed

    def test_a_lazy_unmount_leaves_the_holder_its_view(self, overlay: Overlay, source: Path) -> None:
        """The holder reads and writes on; a new overlay has nothing of it and takes nothing away from it."""
        pristine = self.scan(overlay)
        overlay.enable(RW)
        overlay.install_file(source, f"{overlay.target}/bin/held")
        with self.hold(overlay) as view:
            outcome = overlay.unmount(lazy=True)
            assert outcome.changed
            assert outcome.told  # who uses the old view still
            assert not overlay.status().active
            assert overlay.status().has(AnomalyKind.HELD_AFTER_UNMOUNT)
            assert compare(pristine, self.scan(overlay)) == ()
            self._demand_view(view, source)
            assert overlay.enable(RW).changed
            assert compare(pristine, self.scan(overlay)) == ()
            self._demand_view(view, source)
            with open(f"{view}/bin/written-by-holder", "xb") as stream:
                stream.write(b"still here")
            assert not os.path.lexists(self.target_path(overlay, "bin/written-by-holder"))
            assert overlay.unmount().changed
            with open(f"{view}/bin/written-by-holder", "rb") as stream:
                assert stream.read() == b"still here"
            self._demand_view(view, source)
        assert not overlay.status().has(AnomalyKind.HELD_AFTER_UNMOUNT)
        assert compare(pristine, self.scan(overlay)) == ()
        overlay.enable(RW)
        assert compare(pristine, self.scan(overlay)) == ()

    # --- for the length of a block -----------------------------------------------------------------------------

    def test_enabled_undoes_what_it_did(self, overlay: Overlay) -> None:
        """Also when an error leaves the block."""
        pristine = self.scan(overlay)
        with overlay.enabled() as within:
            assert within.status().mode == RW
        assert not overlay.status().active
        with pytest.raises(ZeroDivisionError), overlay.enabled():
            self._spoil_and_fail(overlay)
        assert not overlay.status().active
        assert compare(pristine, self.scan(overlay)) == ()

    def test_enabled_leaves_what_was_there_before(self, overlay: Overlay, source: Path) -> None:
        """An overlay that somebody else enabled stays, with all that is in it."""
        overlay.enable(RW)
        overlay.install_file(source, f"{overlay.target}/bin/new")
        with overlay.enabled():
            assert self._read(overlay, "bin/new") == source.read_bytes()
        assert overlay.status().mode == RW
        assert self._read(overlay, "bin/new") == source.read_bytes()

    # --- how -----------------------------------------------------------------------------------------------------

    def _plans(self, overlay: Overlay, source: Path) -> Iterator[tuple[Callable[[], object], Callable[[], Plan]]]:
        """How to get to each state from the one before, and a plan that can be made there."""
        backend = overlay.backend
        for mode in sorted(self.modes(overlay)):
            yield (lambda: None), (lambda mode=mode: backend.plan_enable(mode))  # type: ignore[misc]
        file = InstallFile(str(source), f"{overlay.target}/lib/a/new", make_parents=True)
        yield (lambda: overlay.enable(RW)), (lambda: backend.plan_install([file]))
        for lazy in (False, True):
            yield (lambda: None), (lambda lazy=lazy: backend.plan_unmount(lazy=lazy))  # type: ignore[misc]

    def _enable_fresh(self, overlay: Overlay, mode: Mode) -> None:
        overlay.unmount()
        overlay.enable(mode)

    def _spoil_and_fail(self, overlay: Overlay) -> None:
        self._spoil(overlay)
        raise ZeroDivisionError

    def _demand_view(self, view: str, source: Path) -> None:
        with open(f"{view}/bin/held", "rb") as stream:
            assert stream.read() == source.read_bytes()


class _Failed(Exception):
    """What the contract makes a plan fail with."""


def _fail_at(number: int) -> Callable[[Step], None]:
    seen = iter(range(number + 1))

    def before(step: Step) -> None:
        if next(seen) == number:
            raise _Failed(step.describe())

    return before


def assert_json(status: Status) -> None:
    """The status is plain JSON, and names its schema."""
    document = status.to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == "ovlay.status/1"


def _lasting(status: Status) -> Status:
    """A status without what other processes change all the time: the free space."""
    return status._replace(backing=None)


__all__ = ["ALL_MODES", "RO", "RW", "BackendContract", "Tree", "mount_ids"]
