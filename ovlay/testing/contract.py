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
import shutil
import stat
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest

from ovlay.changes.compare import Aspect, Entry, compare, scan_tree
from ovlay.drivers import driver_names
from ovlay.errors import Busy, InvalidInput, NotActive, OvlayError, StateForbids, Unsupported
from ovlay.host import Host
from ovlay.model import Access, AnomalyKind, Mode, Persistence
from ovlay.plan.execute import execute
from ovlay.plan.step import Plan
from ovlay.requests import InstallFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ovlay.model import Status
    from ovlay.overlay import Overlay
    from ovlay.plan.step import Step

RW = Mode(Access.READ_WRITE, Persistence.TRANSIENT)
RO = Mode(Access.READ_ONLY, Persistence.TRANSIENT)
ALL_MODES = tuple(Mode(access, persistence) for access in Access for persistence in Persistence)

Tree = dict[str, Entry]


class BackendContract:
    """What every driver must do. Override the fixture `overlay`, and the hooks where the defaults do not fit."""

    existing: ClassVar[str] = "bin/tool"
    """A regular file that is in the target, below it."""

    runs_programs: ClassVar[bool] = True
    """Whether this process can run a program that is in the target."""

    # --- hooks -------------------------------------------------------------------------------------------------

    @pytest.fixture
    def overlay(self) -> Iterator[Overlay]:
        """An overlay that is not enabled, on a host of its own."""
        raise NotImplementedError("a subclass of BackendContract has the fixture `overlay`")

    def modes(self, overlay: Overlay) -> frozenset[Mode]:
        """The modes that are tested: all that the driver says it has."""
        return overlay.backend.modes

    def target_path(self, overlay: Overlay, path: str = "") -> str:
        """Where this process finds ``path``, which is below the target."""
        inside = f"{overlay.target}/{path}" if path else overlay.target
        return overlay.host.path(inside)

    def hold(self, overlay: Overlay) -> AbstractContextManager[str]:
        """Somebody else who uses the target; gives a path to that user's view, which stays when it is unmounted."""
        from ovlay.simulated import SimulatedKernel

        kernel = overlay.host.kernel
        if isinstance(kernel, SimulatedKernel):
            return kernel.hold(overlay.target)
        return _process_in(self.target_path(overlay))

    def refuses_writes(self, overlay: Overlay) -> bool:
        """Whether writes of this process to a read-only target are refused.

        A simulated kernel cannot bind root in a container, and then only what the status says is tested.
        """
        from ovlay.simulated import SimulatedKernel

        kernel = overlay.host.kernel
        return kernel.refuses_writes() if isinstance(kernel, SimulatedKernel) else True

    def scan(self, overlay: Overlay) -> Tree:
        """Everything in the target, in full. The target's own time stamp is the upper's, and is left out."""
        tree = scan_tree(self.target_path(overlay), permissions=overlay.host.permissions)
        return {path: entry for path, entry in tree.items() if path != "."}

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """A file to be installed."""
        path = tmp_path / "source"
        path.write_bytes(b"#!/bin/sh\necho new\n")
        return path

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

    # --- placing files -----------------------------------------------------------------------------------------

    def test_a_new_file_is_placed_whole(self, overlay: Overlay, source: Path) -> None:
        """Content, mode and owner are what was asked for, and no temporary name is left."""
        overlay.enable(RW)
        before = self.scan(overlay)
        owner, group = self._owner()
        outcome = overlay.install_file(source, f"{overlay.target}/bin/new", mode=0o4750, owner=owner, group=group)
        assert outcome.changed
        found = os.stat(self.target_path(overlay, "bin/new"))
        assert self._read(overlay, "bin/new") == source.read_bytes()
        assert stat.S_IMODE(found.st_mode) == 0o4750
        assert (found.st_uid, found.st_gid) == (owner, group)
        added = [d.path for d in compare(before, self.scan(overlay), ignore=[Aspect.MTIME])]
        assert added == ["bin/new"]

    def test_a_file_of_the_image_is_replaced(self, overlay: Overlay, source: Path) -> None:
        """What was there is gone; its neighbours are not touched."""
        overlay.enable(RW)
        before = self.scan(overlay)
        overlay.install_file(source, f"{overlay.target}/{self.existing}")
        assert self._read(overlay, self.existing) == source.read_bytes()
        differing = {d.path for d in compare(before, self.scan(overlay), ignore=[Aspect.MTIME, Aspect.HARD_LINKS])}
        assert differing <= {self.existing}

    def test_the_same_again_writes_nothing(self, overlay: Overlay, source: Path) -> None:
        """Not even the time stamp or the inode is another one."""
        overlay.enable(RW)
        overlay.install_file(source, f"{overlay.target}/bin/new", mode=0o755)
        first = os.stat(self.target_path(overlay, "bin/new"))
        again = overlay.install_file(source, f"{overlay.target}/bin/new", mode=0o755)
        second = os.stat(self.target_path(overlay, "bin/new"))
        assert not again.changed
        assert again.plan.reason
        assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
        assert overlay.install_file(source, f"{overlay.target}/bin/new", mode=0o700).changed

    def test_missing_directories_are_made_when_asked(self, overlay: Overlay, source: Path) -> None:
        """And refused when not."""
        overlay.enable(RW)
        destination = f"{overlay.target}/lib/a/b/c"
        with pytest.raises(InvalidInput, match="no such directory"):
            overlay.install_file(source, destination)
        assert not os.path.lexists(self.target_path(overlay, "lib/a"))
        overlay.install_file(source, destination, make_parents=True)
        assert self._read(overlay, "lib/a/b/c") == source.read_bytes()
        assert stat.S_IMODE(os.stat(self.target_path(overlay, "lib/a")).st_mode) == 0o755

    def test_several_files_are_all_looked_at_before_the_first_is_placed(self, overlay: Overlay, source: Path) -> None:
        """One that cannot be placed keeps all from being placed."""
        overlay.enable(RW)
        good = InstallFile(str(source), f"{overlay.target}/bin/one")
        bad = InstallFile(str(source.parent / "missing"), f"{overlay.target}/bin/two")
        with pytest.raises(InvalidInput, match="missing"):
            overlay.install_files([good, bad])
        assert not os.path.lexists(self.target_path(overlay, "bin/one"))

    def test_what_cannot_be_placed_is_refused_and_nothing_is_written(
        self, overlay: Overlay, source: Path, tmp_path: Path
    ) -> None:
        """Names that lead out, sources that are no regular files, directories in the way."""
        overlay.enable(RW)
        os.symlink("../../somewhere", self.target_path(overlay, "lib/out"))
        os.symlink("/etc", self.target_path(overlay, "lib/etc"))
        os.mkfifo(tmp_path / "fifo")
        before, target = self.scan(overlay), overlay.target
        refused: tuple[tuple[object, str, type[OvlayError]], ...] = (
            (source, f"{target}/../etc/x", InvalidInput),
            (source, f"{target}/lib/../../etc/x", InvalidInput),
            (source, "bin/x", InvalidInput),
            (source, "/somewhere/else", InvalidInput),
            (source, target, InvalidInput),
            (source, f"{target}/lib", InvalidInput),
            (source, f"{target}/{self.existing}/x", InvalidInput),
            (source, f"{target}/lib/out/x", StateForbids),
            (source, f"{target}/lib/etc/x", StateForbids),
            (tmp_path / "fifo", f"{target}/bin/x", InvalidInput),
            (tmp_path, f"{target}/bin/x", InvalidInput),
            (tmp_path / "missing", f"{target}/bin/x", InvalidInput),
        )
        for given, destination, kind in refused:
            with pytest.raises(kind):
                overlay.install_file(str(given), destination, make_parents=True)
        assert compare(before, self.scan(overlay)) == ()

    def test_a_link_is_replaced_and_not_followed(self, overlay: Overlay, source: Path, tmp_path: Path) -> None:
        """What the link led to stays as it was."""
        outside = tmp_path / "outside"
        outside.write_text("untouched")
        overlay.enable(RW)
        os.symlink(outside, self.target_path(overlay, "bin/link"))
        overlay.install_file(source, f"{overlay.target}/bin/link")
        assert not os.path.islink(self.target_path(overlay, "bin/link"))
        assert self._read(overlay, "bin/link") == source.read_bytes()
        assert outside.read_text() == "untouched"

    def test_a_running_program_is_replaced(self, overlay: Overlay, source: Path) -> None:
        """It runs on with its own file, and there is no ETXTBSY."""
        overlay.enable(RW)
        program = shutil.which("sleep")
        assert program is not None
        overlay.install_file(program, f"{overlay.target}/bin/running")
        running = None
        if self.runs_programs:
            running = subprocess.Popen([self.target_path(overlay, "bin/running"), "60"])
        try:
            assert overlay.install_file(source, f"{overlay.target}/bin/running").changed
            assert self._read(overlay, "bin/running") == source.read_bytes()
            assert running is None or running.poll() is None
        finally:
            if running is not None:
                running.kill()
                running.wait()

    def test_without_an_overlay_nothing_is_placed(self, overlay: Overlay, source: Path) -> None:
        """A file in the image itself is never what was meant."""
        before = self.scan(overlay)
        with pytest.raises(NotActive) as refused:
            overlay.install_file(source, f"{overlay.target}/bin/new")
        assert refused.value.remedy
        assert compare(before, self.scan(overlay)) == ()

    def test_a_read_only_overlay_takes_files_and_stays_read_only(self, overlay: Overlay, source: Path) -> None:
        """Placing a file opens the target for nobody else."""
        if RO not in self.modes(overlay):
            with pytest.raises(Unsupported):
                overlay.enable(RO)
            return
        overlay.enable(RO)
        self._demand_sealed(overlay)
        assert overlay.install_file(source, f"{overlay.target}/bin/new", mode=0o755).changed
        assert overlay.install_file(source, f"{overlay.target}/{self.existing}", mode=0o755).changed
        assert not overlay.install_file(source, f"{overlay.target}/bin/new", mode=0o755).changed
        assert self._read(overlay, "bin/new") == source.read_bytes()
        assert self.scan(overlay)["bin/new"].mode == 0o755
        assert overlay.status().mode == RO
        self._demand_sealed(overlay)

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

    # --- how ---------------------------------------------------------------------------------------------------

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

    def _read(self, overlay: Overlay, path: str) -> bytes:
        with open(self.target_path(overlay, path), "rb") as stream:
            return stream.read()

    def _owner(self) -> tuple[int, int]:
        """A user and a group that this process may give a file to."""
        return (12, 34) if os.geteuid() == 0 and not Host().in_user_namespace else (os.geteuid(), os.getegid())

    def _spoil(self, overlay: Overlay) -> None:
        """Change the target in each of the ways in which a tree can change."""
        there = self.target_path(overlay, self.existing)
        with open(there, "ab") as stream:
            stream.write(b"spoiled")
        os.chmod(there, 0o600)
        folder = self.target_path(overlay, "spoiled")
        os.mkdir(folder)
        os.rename(there, f"{folder}/renamed")
        os.mkdir(there)
        os.symlink("nowhere", f"{folder}/link")
        os.link(f"{folder}/renamed", f"{folder}/linked")
        os.utime(self.target_path(overlay, "lib"), ns=(1, 1))

    def _spoil_and_fail(self, overlay: Overlay) -> None:
        self._spoil(overlay)
        raise ZeroDivisionError

    def _demand_sealed(self, overlay: Overlay) -> None:
        """Writes to the target are refused, whatever they try."""
        assert not overlay.status().writable
        if not self.refuses_writes(overlay):
            return
        there = self.target_path(overlay, self.existing)
        attempts: tuple[Callable[[], object], ...] = (
            lambda: open(there, "ab").close(),
            lambda: open(f"{os.path.dirname(there)}/forbidden", "xb").close(),
            lambda: os.unlink(there),
            lambda: os.rename(there, f"{there}-forbidden"),
            lambda: os.mkdir(self.target_path(overlay, "forbidden")),
        )
        for attempt in attempts:
            with pytest.raises(OSError):  # noqa: PT011 (EROFS on a kernel; EACCES or EPERM where it is played)
                attempt()

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


def mount_ids(overlay: Overlay) -> frozenset[int]:
    """All mounts of the host."""
    return frozenset(mount.mount_id for mount in overlay.host.kernel.mounts())


def assert_json(status: Status) -> None:
    """The status is plain JSON, and names its schema."""
    document = status.to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == "ovlay.status/1"


def _lasting(status: Status) -> Status:
    """A status without what other processes change all the time: the free space."""
    return status._replace(backing=None)


@contextmanager
def _process_in(directory: str) -> Iterator[str]:
    """A process that has its working directory there, and so keeps what is mounted busy."""
    process = subprocess.Popen(["/bin/sh", "-c", "echo; read line"], cwd=directory, stdin=-1, stdout=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield f"/proc/{process.pid}/cwd"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
        _wait_until_gone(process.pid)


def _wait_until_gone(pid: int) -> None:
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.01)


__all__ = ["ALL_MODES", "RO", "RW", "BackendContract", "mount_ids"]
