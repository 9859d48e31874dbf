"""Where a file may go: below the target, whatever links there are, and nowhere else."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import InvalidInput, StateForbids
from ovlay.files.destination import below, opened_parent
from ovlay.kernel import libc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("destination", "relative"),
    [
        ("/usr/bin/tool", "bin/tool"),
        ("//usr//bin///tool", "bin/tool"),
        ("/usr/./bin/tool", "bin/tool"),
        ("/usr/bin/tool/", "bin/tool"),
        ("/usr/a name\nwith \udcff", "a name\nwith \udcff"),
    ],
)
def test_what_is_below_the_target(destination: str, relative: str) -> None:
    assert below("/usr", destination) == relative


@pytest.mark.parametrize(
    "destination",
    ["bin/tool", "", "/", "/usr", "/usr/", "/usrlocal/x", "/etc/passwd", "/usr/../etc/x", "/usr/bin/../x", "/usr/a\0b"],
)
def test_what_is_not_below_the_target(destination: str) -> None:
    with pytest.raises(InvalidInput):
        below("/usr", destination)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[int]:
    """A directory with inner and outer links, opened."""
    root = tmp_path / "usr"
    (root / "lib" / "deep").mkdir(parents=True)
    (root / "file").write_text("")
    (tmp_path / "var").mkdir()
    (root / "lib64").symlink_to("lib")
    (root / "lib" / "up").symlink_to("../lib/deep")
    (root / "local").symlink_to("../var")
    (root / "absolute").symlink_to("/tmp")
    (root / "absolute-inside").symlink_to(root / "lib")
    (root / "lib" / "far").symlink_to("../../var")
    (root / "loop").symlink_to("loop")
    (root / "magic").symlink_to("/proc/self/root")
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.mark.parametrize(
    ("relative", "same_as"), [("top", "."), ("lib/x", "lib"), ("lib64/x", "lib"), ("lib/up/x", "lib/deep")]
)
def test_links_that_stay_inside_are_followed(target: int, relative: str, same_as: str) -> None:
    with opened_parent(target, "/usr", relative) as parent:
        assert os.fstat(parent).st_ino == os.stat(same_as, dir_fd=target).st_ino


@pytest.mark.parametrize(
    ("relative", "named"),
    [
        ("local/bin/x", "/usr/local leads to ../var"),
        ("absolute/x", "/usr/absolute leads to /tmp"),
        ("absolute-inside/x", "/usr/absolute-inside leads to"),
        ("lib/far/x", "/usr/lib/far leads to ../../var"),
        ("magic/x", "/usr/magic leads to /proc/self/root"),
    ],
)
def test_links_that_lead_out_are_refused_by_name(target: int, relative: str, named: str) -> None:
    with pytest.raises(StateForbids) as raised, opened_parent(target, "/usr", relative):
        pass
    assert named in str(raised.value)
    assert raised.value.remedy


def test_a_mount_below_the_target_is_refused(tmp_path: Path) -> None:
    root = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(StateForbids, match="another mount"), opened_parent(root, "", "proc/x"):
            pass
    finally:
        os.close(root)


@pytest.mark.parametrize("relative", ["file/x", "loop/x"])
def test_what_is_no_directory_is_refused(target: int, relative: str) -> None:
    with pytest.raises(InvalidInput), opened_parent(target, "/usr", relative):
        pass


def test_a_missing_directory_is_left_to_the_caller(target: int) -> None:
    with pytest.raises(FileNotFoundError), opened_parent(target, "/usr", "none/x"):
        pass


def test_a_walk_that_something_disturbed_is_tried_again(target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """openat2(2): EAGAIN where a ``..`` was followed while anything was renamed, anywhere on the system."""
    real, disturbed = libc.openat2, iter([True, True, False])

    def openat2(directory: int, path: str, flags: int, *, resolve: int) -> int:
        if next(disturbed):
            raise BlockingIOError(errno.EAGAIN, "openat2", path)
        return real(directory, path, flags, resolve=resolve)

    monkeypatch.setattr(libc, "openat2", openat2)
    with opened_parent(target, "/usr", "lib/up/x") as descriptor:
        assert os.fstat(descriptor).st_ino == os.stat("lib/deep", dir_fd=target).st_ino
    assert next(disturbed, None) is None
