"""The promises of every driver about placing files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import Aspect, compare
from ovlay.errors import InvalidInput, NotActive, OvlayError, StateForbids, Unsupported
from ovlay.host import Host
from ovlay.requests import InstallFile
from ovlay.testing.subject import RO, RW, Subject

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.overlay import Overlay


class PlacingContract(Subject):
    """A file is placed whole or not at all, where it was meant to be, and once."""

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

    def _owner(self) -> tuple[int, int]:
        """A user and a group that this process may give a file to."""
        return (12, 34) if os.geteuid() == 0 and not Host().in_user_namespace else (os.geteuid(), os.getegid())
