"""What may happen while two views are walked: a part of the register of `tests.changes.pitfalls`."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING
from unittest import mock

from ovlay.changes.find import look
from ovlay.host import Host
from tests.changes.pitfall import base, expect, kinds, options, overlay_on, pitfall, put, seen
from tests.changes.topologies import Topology, mount_overlay, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovlay.changes.classify import Comparison


@pitfall()
def depth_beyond_the_descriptors_does_no_harm(place: Path) -> None:
    levels = 700

    def fill(d: Path) -> None:
        here = os.open(d, os.O_RDONLY)
        for name in ("deep", "gone", "whole"):
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            for _ in range(levels):
                os.mkdir("d", dir_fd=below)
                deeper = os.open("d", os.O_RDONLY, dir_fd=below)
                os.close(below)
                below = deeper
            os.close(os.open("leaf", os.O_WRONLY | os.O_CREAT, dir_fd=below))
            os.close(below)

    def at_the_end(top: Path, do: Callable[[int], None]) -> None:
        here = os.open(top, os.O_RDONLY)
        for _ in range(levels):
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        do(here)
        os.close(here)

    scratch = base(place, fill)
    mount_overlay(scratch, Topology(options=options()))
    at_the_end(scratch.target / "deep", lambda d: os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=d)))
    at_the_end(scratch.target / "gone", lambda d: os.unlink("leaf", dir_fd=d))
    subprocess.run(["rm", "-rf", scratch.target / "whole"], check=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    mount = overlay_on(scratch)
    deep = "/d" * levels
    with Host().kernel.views(mount) as views:
        for way, changes in seen(mount, views).items():
            found = kinds(changes)
            assert changes.errors == {}, way
            assert found.pop(f"deep{deep}/new") == "added", way
            assert found.pop(f"gone{deep}/leaf") == "deleted", way
            assert len(found) == levels + 2, way
            assert set(found.values()) == {"deleted"}, way
    run("umount", scratch.target)
    subprocess.run(["rm", "-rf", *scratch.target.iterdir()], check=True)
    subprocess.run(["rm", "-rf", scratch.work], check=False, capture_output=True)


@pitfall()
def a_tree_that_changes_meanwhile_is_no_crash(place: Path) -> None:
    def fill(d: Path) -> None:
        for number in range(200):
            put(d / f"folder{number % 20}/file{number}")

    scratch = base(place, fill)
    mount_overlay(scratch, Topology(options=options()))
    ended = threading.Event()

    def disturb() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            folder = scratch.target / f"folder{number % 20}"
            put(folder / f"new{number % 50}/deep/file", b"x" * (number % 5000))
            put(folder / f"file{number % 200}", b"y" * (number % 9000))
            shutil.rmtree(folder / f"new{(number + 25) % 50}", ignore_errors=True)
            if number % 7 == 0:
                shutil.rmtree(folder, ignore_errors=True)
                folder.symlink_to("/")
                folder.unlink()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        mount = overlay_on(scratch)
        with Host().kernel.views(mount) as views:
            for _ in range(30):
                for changes in seen(mount, views).values():
                    assert changes.complete == (not changes.errors)
                    assert not any(change.path.startswith(("etc", "proc")) for change in changes.changes)
    finally:
        ended.set()
        thread.join()


@pitfall()
def links_are_not_followed_out_of_the_tree(place: Path) -> None:
    def fill(d: Path) -> None:
        put(d / "folder/file")
        (d / "link").symlink_to("/etc")
        put(d / "other/file")

    scratch = base(place, fill)
    mount_overlay(scratch, Topology(options=options()))
    shutil.rmtree(scratch.target / "folder")
    (scratch.target / "folder").symlink_to("/etc")
    (scratch.target / "link").unlink()
    put(scratch.target / "link/file")
    answer = {"folder": "type-changed", "folder/file": "deleted", "link": "type-changed", "link/file": "added"}
    expect(overlay_on(scratch), answer)


@pitfall()
def mounts_below_are_left_out(place: Path) -> None:
    scratch = base(place, lambda d: [put(d / f"{name}/file") for name in ("below", "beside")])
    mount_overlay(scratch, Topology(options=options()))
    put(scratch.target / "below/hidden")
    run("mount", "-t", "tmpfs", "tmpfs", scratch.target / "below")
    put(scratch.target / "below/elsewhere")
    put(scratch.target / "beside/file", b"other\n")
    expect(overlay_on(scratch), {"below/hidden": "added", "beside/file": "modified"})


@pitfall()
def only_the_paths_that_were_asked_for(place: Path) -> None:
    def fill(d: Path) -> None:
        for name in ("a/deep/one", "a/deep/two", "ab/one", "gone/deep/one", "gone/two"):
            put(d / name)

    scratch = base(place, fill)
    mount_overlay(scratch, Topology(options=options()))
    for name in ("a/deep/one", "a/deep/two", "ab/one"):
        put(scratch.target / name, b"other\n")
    shutil.rmtree(scratch.target / "gone")
    (scratch.target / "a").chmod(0o700)
    mount = overlay_on(scratch)
    answers = {
        ("a/deep/one",): {"a/deep/one"},
        ("a",): {"a", "a/deep/one", "a/deep/two"},
        ("gone/deep", "ab/one"): {"gone/deep", "gone/deep/one", "ab/one"},
        ("none",): set(),
        (".",): {"a", "a/deep/one", "a/deep/two", "ab/one", "gone", "gone/deep", "gone/deep/one", "gone/two"},
    }
    with Host().kernel.views(mount) as views:
        for paths, answer in answers.items():
            for side in (views, views._replace(upper=None)):
                assert kinds(look(Host(), mount, side, paths=paths, workers=1)).keys() == answer, paths


@pitfall()
def workers_that_are_killed_change_nothing(place: Path) -> None:
    from ovlay.changes import workers

    def fill(d: Path) -> None:
        for number in range(60):
            put(d / f"folder{number}/deep/file")

    scratch = base(place, fill)
    mount_overlay(scratch, Topology(options=options()))
    for number in range(60):
        put(scratch.target / f"folder{number}/deep/file", b"other\n")
    workers._ALONE = 0.0
    parent, work = os.getpid(), workers._do

    def killed(*arguments: object) -> None:
        if os.getpid() != parent:
            os.kill(os.getpid(), 9)
        time.sleep(0.05)
        work(*arguments)  # type: ignore[arg-type]

    mount = overlay_on(scratch)
    with Host().kernel.views(mount) as views, mock.patch.object(workers, "_do", killed):
        changes = look(Host(), mount, views, workers=3)
    assert kinds(changes) == {f"folder{number}/deep/file": "modified" for number in range(60)}


@pitfall(root=True)
def hashes_are_those_of_the_content(place: Path) -> None:
    import hashlib

    def fill(d: Path) -> None:
        put(d / "file", b"one")
        put(d / "gone", b"two")
        (d / "link").symlink_to("file")

    scratch = base(place, fill)
    mount_overlay(scratch, Topology())
    put(scratch.target / "file", b"1")
    (scratch.target / "gone").unlink()
    (scratch.target / "link").unlink()
    put(scratch.target / "new", b"three")
    mount = overlay_on(scratch)
    with Host().kernel.views(mount) as views:
        found = look(Host(), mount, views, workers=1, hashes=True)
    digests = {
        c.path: (c.before.sha256 if c.before else None, c.after.sha256 if c.after else None) for c in found.changes
    }
    one, two, three, other = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two", b"three", b"1"))
    assert digests == {"file": (one, other), "gone": (two, None), "link": (None, None), "new": (None, three)}


@pitfall(root=True)
def memory_and_time_do_not_grow_with_the_base(place: Path) -> None:
    """Of a directory that the upper does not name nothing is read: its access time stays."""
    scratch = base(place, lambda d: [put(d / f"{name}/deep/file") for name in ("a", "b")])
    run("mount", "-o", "remount,strictatime", scratch.work)
    mount_overlay(scratch, Topology())
    put(scratch.target / "a/deep/file", b"other\n")
    mount = overlay_on(scratch)
    with Host().kernel.views(mount) as views:
        before = os.stat("b/deep", dir_fd=views.lower).st_atime_ns
        time.sleep(0.03)
        look(Host(), mount, views, workers=1)
        assert os.stat("b/deep", dir_fd=views.lower).st_atime_ns == before


@pitfall()
def one_directory_that_holds_nearly_everything_is_shared(place: Path) -> None:
    from ovlay.changes import workers
    from ovlay.changes.classify import DEEPEST

    names = [f"large/{number % 7}/{number % 40}/deep{number % 3}/file{number}" for number in range(2000)]
    scratch = base(place, lambda d: [put(d / name) for name in (*names, "small/file")])
    mount_overlay(scratch, Topology(options=options()))
    for name in (*names, "small/file"):
        put(scratch.target / name, b"other\n")
    given, give = place / "given", workers._Work._give

    def begin(walk: Comparison) -> None:
        walk.levels[0] = 0
        walk.step(walk.tasks.pop())
        walk.levels[0] = DEEPEST

    def told(work: workers._Work, walk: Comparison) -> None:
        before = len(walk.tasks)
        give(work, walk)
        if len(walk.tasks) < before:
            given.touch()

    mount = overlay_on(scratch)
    with (
        Host().kernel.views(mount) as views,
        mock.patch.object(workers, "_begin", begin),
        mock.patch.object(workers._Work, "_give", told),
    ):
        for side in (views, views._replace(upper=None)):
            given.unlink(missing_ok=True)
            found = look(Host(), mount, side, workers=3)
            assert found.complete
            assert kinds(found) == dict.fromkeys((*names, "small/file"), "modified")
            assert given.exists()
