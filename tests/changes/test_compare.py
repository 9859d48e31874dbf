"""The full comparison sees every way in which two trees can differ, and nothing where they do not."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import Aspect, Difference, compare, compare_trees, scan_tree
from ovlay.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STAMP = 1_600_000_000_000_000_001


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    return make_tree(tmp_path / "before"), make_tree(tmp_path / "after")


def make_tree(root: Path) -> Path:
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"#!/bin/sh\n")
    (root / "bin/tool").chmod(0o755)
    os.link(root / "bin/tool", root / "bin/same")
    (root / "bin/link").symlink_to("tool")
    os.mkfifo(root / "fifo", 0o644)
    (root / "file").write_bytes(b"one")
    settle(root)
    return root


def settle(root: Path) -> None:
    """All time stamps the same, so that only what a test does differs."""
    for directory, names, files in os.walk(root, topdown=False):
        for name in (*names, *files):
            os.utime(os.path.join(directory, name), ns=(STAMP, STAMP), follow_symlinks=False)
    os.utime(root, ns=(STAMP, STAMP))


def test_equal_trees_do_not_differ(trees: tuple[Path, Path]) -> None:
    assert compare_trees(*trees) == ()


def test_a_tree_does_not_differ_from_what_was_scanned_of_it(trees: tuple[Path, Path]) -> None:
    before = scan_tree(trees[0])
    assert set(before) == {".", "bin", "bin/link", "bin/same", "bin/tool", "fifo", "file"}
    assert compare(before, scan_tree(trees[0])) == ()


def rewrite(path: Path) -> None:
    path.write_bytes(b"two")


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def set_xattr(path: Path) -> None:
    try:
        os.setxattr(path, "user.note", b"1")
    except OSError:
        pytest.skip("the filesystem has no user attributes")


@pytest.mark.parametrize(
    ("change", "aspects"),
    [
        (rewrite, (Aspect.CONTENT,)),
        (lambda path: path.chmod(0o600), (Aspect.MODE,)),
        (lambda path: path.chmod(0o4644), (Aspect.MODE,)),
        (replace_by_directory, (Aspect.KIND,)),
        (lambda path: path.unlink(), (Aspect.REMOVED,)),
        (set_xattr, (Aspect.XATTRS,)),
    ],
)
def test_each_aspect_of_a_file_is_seen(
    trees: tuple[Path, Path], change: Callable[[Path], None], aspects: tuple[Aspect, ...]
) -> None:
    change(trees[1] / "file")
    settle(trees[1])
    assert compare_trees(*trees) == (Difference("file", aspects),)


def test_a_time_stamp_alone_is_seen_to_the_nanosecond(trees: tuple[Path, Path]) -> None:
    os.utime(trees[1] / "file", ns=(STAMP, STAMP + 1))
    assert compare_trees(*trees) == (Difference("file", (Aspect.MTIME,)),)
    assert compare_trees(*trees, ignore=[Aspect.MTIME]) == ()


def test_same_size_and_same_time_with_other_bytes_is_seen(trees: tuple[Path, Path]) -> None:
    (trees[1] / "file").write_bytes(b"eno")
    settle(trees[1])
    assert compare_trees(*trees) == (Difference("file", (Aspect.CONTENT,)),)


def test_the_root_itself_is_compared(trees: tuple[Path, Path]) -> None:
    trees[1].chmod(0o700)
    assert compare_trees(*trees) == (Difference(".", (Aspect.MODE,)),)


def test_a_link_that_leads_elsewhere_is_seen(trees: tuple[Path, Path]) -> None:
    (trees[1] / "bin/link").unlink()
    (trees[1] / "bin/link").symlink_to("same")
    settle(trees[1])
    assert compare_trees(*trees) == (Difference("bin/link", (Aspect.TARGET,)),)


def test_a_broken_hard_link_is_seen_on_every_name(trees: tuple[Path, Path]) -> None:
    (trees[1] / "bin/same").unlink()
    (trees[1] / "bin/same").write_bytes(b"#!/bin/sh\n")
    (trees[1] / "bin/same").chmod(0o755)
    settle(trees[1])
    assert compare_trees(*trees) == (
        Difference("bin/same", (Aspect.HARD_LINKS,)),
        Difference("bin/tool", (Aspect.HARD_LINKS,)),
    )


def test_what_is_below_a_new_directory_is_listed_by_path(trees: tuple[Path, Path]) -> None:
    (trees[1] / "new/deep").mkdir(parents=True)
    (trees[1] / "new/deep/file").touch()
    settle(trees[1])
    added = (Aspect.ADDED,)
    assert compare_trees(*trees) == (
        Difference("new", added),
        Difference("new/deep", added),
        Difference("new/deep/file", added),
    )


def test_a_name_that_is_no_utf8_is_seen(trees: tuple[Path, Path]) -> None:
    name = os.fsdecode(b"na\xefve\n")
    (trees[1] / name).touch()
    settle(trees[1])
    assert compare_trees(*trees) == (Difference(name, (Aspect.ADDED,)),)


def test_a_socket_is_no_fifo_and_nothing_is_opened_to_tell(trees: tuple[Path, Path]) -> None:
    (trees[1] / "fifo").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(trees[1], os.O_RDONLY)
        try:
            server.bind(f"/proc/self/fd/{here}/fifo")
        finally:
            os.close(here)
    settle(trees[1])
    assert compare_trees(*trees) == (Difference("fifo", (Aspect.KIND,)),)


@pytest.mark.skipif(
    os.geteuid() != 0 or Host().in_user_namespace, reason="only root can give files away and make devices"
)
def test_owner_and_device_numbers_are_seen(trees: tuple[Path, Path]) -> None:
    os.mknod(trees[0] / "node", 0o020644, os.makedev(1, 3))
    os.mknod(trees[1] / "node", 0o020644, os.makedev(1, 5))
    os.chown(trees[1] / "file", 12, 34)
    for root in trees:
        settle(root)
    assert compare_trees(*trees) == (
        Difference("file", (Aspect.OWNER,)),
        Difference("node", (Aspect.DEVICE,)),
    )


def test_the_caller_may_say_what_the_mode_of_a_file_is(trees: tuple[Path, Path]) -> None:
    (trees[1] / "file").chmod(0o444)
    assert compare_trees(*trees, permissions=lambda found: found.st_mode & 0o111) == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_not_called_equal(trees: tuple[Path, Path]) -> None:
    (trees[1] / "file").chmod(0)
    with pytest.raises(PermissionError):
        compare_trees(*trees)
