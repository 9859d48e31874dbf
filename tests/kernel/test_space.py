"""A filesystem that is full: what is there stays whole, and nothing half-written is left."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.space import space_of_changes
from ovlay.errors import NoSpace
from ovlay.host import Host
from ovlay.model import AnomalyKind
from ovlay.overlay import open_overlay
from ovlay.requests import InstallFile

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.overlay import Overlay

pytestmark = pytest.mark.kernel

ROOM = 4 << 20


def on_a_small_tmpfs(inside: Path) -> tuple[Overlay, Path]:
    """An overlay on a directory with one file, whose changes go to a tmpfs of 4 MiB."""
    target = inside / "usr"
    (target / "bin").mkdir(parents=True)
    (target / "bin/tool").write_text("the old tool\n")
    host = Host(scratch=str(inside / "scratch"))
    host.tmpfs_size = ROOM
    overlay = open_overlay("overlayfs", target=str(target), host=host)
    assert overlay.enable().changed
    return overlay, target


def test_it_is_looked_at_before_anything_is_written(inside: Path) -> None:
    overlay, target = on_a_small_tmpfs(inside)
    (inside / "new").write_bytes(b"x" * ROOM)
    with pytest.raises(NoSpace, match=r"^4194304 bytes, and 1 MiB to spare, do not fit: [0-9]+ are free"):
        overlay.install_file(str(inside / "new"), str(target / "bin/tool"))
    assert (target / "bin/tool").read_text() == "the old tool\n"
    assert os.listdir(target / "bin") == ["tool"]


def test_what_does_not_fit_is_not_read(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sparse file can be of any size, and the one lock is held while it is read."""
    overlay, target = on_a_small_tmpfs(inside)
    with (inside / "new").open("wb") as stream:
        stream.truncate(1 << 40)
    monkeypatch.setattr("ovlay.files.installing.content_of", lambda _descriptor: pytest.fail("it was read"))
    with pytest.raises(NoSpace, match="1099511627776 bytes"):
        overlay.install_file(str(inside / "new"), str(target / "bin/new"))


def test_what_is_there_already_takes_no_room(inside: Path) -> None:
    overlay, target = on_a_small_tmpfs(inside)
    (inside / "new").write_bytes(b"x" * (2 << 20))
    assert overlay.install_file(str(inside / "new"), str(target / "bin/new")).changed
    with (target / "filler").open("wb") as stream:
        stream.write(b"f" * (1 << 20))
    assert not overlay.install_file(str(inside / "new"), str(target / "bin/new")).changed


def test_a_filesystem_that_fills_meanwhile_leaves_the_old_file_whole(inside: Path) -> None:
    overlay, target = on_a_small_tmpfs(inside)
    (inside / "new").write_bytes(b"x" * (2 << 20))

    def somebody_fills_it(_plan: object) -> bool:
        (target / "filler").write_bytes(b"f" * (3 << 20))
        return True

    with pytest.raises(NoSpace, match="no space for") as caught:
        overlay.install_files([InstallFile(str(inside / "new"), str(target / "bin/tool"))], confirm=somebody_fills_it)
    assert "ovlay status" in caught.value.remedy
    assert (target / "bin/tool").read_text() == "the old tool\n"
    assert os.listdir(target / "bin") == ["tool"]
    (target / "filler").unlink()
    assert overlay.install_file(str(inside / "new"), str(target / "bin/tool")).changed
    assert (target / "bin/tool").stat().st_size == 2 << 20


def test_memory_that_fills_is_told(inside: Path) -> None:
    overlay, target = on_a_small_tmpfs(inside)
    assert not overlay.status().has(AnomalyKind.NEARLY_FULL)
    (target / "large").write_bytes(b"x" * (ROOM * 9 // 10))
    status = overlay.status()
    assert status.has(AnomalyKind.NEARLY_FULL)
    assert status.backing is not None
    assert (status.backing.fstype, status.backing.in_memory) == ("tmpfs", True)
    (target / "large").unlink()
    assert not overlay.status().has(AnomalyKind.NEARLY_FULL)


def test_the_bytes_that_the_changes_take(inside: Path) -> None:
    overlay, target = on_a_small_tmpfs(inside)
    before = space_of_changes(overlay.backend)
    assert before is not None
    (target / "new").mkdir()
    (target / "new/file").write_bytes(b"x" * (1 << 20))
    os.link(target / "new/file", target / "new/the-same-file")
    with (target / "new/hole").open("wb") as stream:
        stream.truncate(1 << 30)
    (target / "bin/tool").unlink()
    taken = space_of_changes(overlay.backend)
    assert taken is not None
    assert 1 << 20 <= taken - before < (1 << 20) + (64 << 10)
