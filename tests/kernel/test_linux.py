"""The real kernel: what `LinuxKernel` does is what the mount table and the files then show."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import Conflict
from ovlay.kernel import Mount, libc
from ovlay.kernel.linux import LinuxKernel
from ovlay.kernel.mountinfo import parse_mountinfo
from ovlay.model import Access

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.kernel

AWKWARD = {
    "plain": "plain",
    "space": "a b",
    "comma": "a,b=c",
    "colon": "a:b::c",
    "backslash": "a\\b\\",
    "octal": "a\\040b",
    "newline": "a\nb",
    "quote": "a'b\"c",
    "not-ascii": "ü€",
    "not-utf8": "a\udcff",
    "long": "/".join(["x" * 100] * 4),
}


def overlay(
    place: Path, name: str = "usr", *, access: Access = Access.READ_WRITE, source: str = "ovlay"
) -> tuple[LinuxKernel, Mount, Path, Path]:
    """A directory with one file, under an overlay: the kernel, the mount, the target, and the upper directory."""
    kernel = LinuxKernel()
    target, upper, work = place / name / "target", place / name / "upper", place / name / "work"
    for directory in (target, upper, work):
        directory.mkdir(parents=True)
    (target / "base").write_text("base\n")
    number = kernel.mount_overlay(
        str(target), lower=(str(target),), upper=str(upper), work=str(work), access=access, source=source
    )
    found = kernel.mounts().by_id(number)
    assert found is not None
    return kernel, found, target, upper


@pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD)
def test_an_overlay_at_any_path(inside: Path, name: str) -> None:
    kernel, mount, target, upper = overlay(inside, name)
    assert mount.mount_point == str(target)
    assert (mount.fstype, mount.source) == ("overlay", "ovlay")
    assert kernel.mounts().stack(str(target))[-1] == mount
    (target / "new").write_text("new\n")
    assert (upper / "new").read_text() == "new\n"
    assert kernel.is_upper(mount, str(upper))
    if name != AWKWARD["long"] or linux_at_least(6, 13):
        assert mount.upper == str(upper)
        assert mount.lower == (str(target),)
    kernel.unmount(mount, lazy=False)
    assert sorted(os.listdir(target)) == ["base"]
    assert kernel.mounts().by_id(mount.mount_id) is None


def linux_at_least(*version: int) -> bool:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= version


def test_a_read_only_overlay(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside, access=Access.READ_ONLY)
    assert mount.read_only
    assert mount.superblock_read_only
    assert not kernel.writable(str(target))
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").write_text("x")


def test_access_can_be_changed_and_the_changes_stay(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside)
    (target / "new").write_text("new\n")
    for access in (Access.READ_ONLY, Access.READ_WRITE):
        kernel.set_access(mount, access)
        found = kernel.mounts().by_id(mount.mount_id)
        assert found is not None
        assert (found.read_only, found.superblock_read_only) == (access is Access.READ_ONLY,) * 2
        assert kernel.writable(str(target)) == (access is Access.READ_WRITE)
        assert (target / "new").read_text() == "new\n"


def test_access_cannot_be_changed_while_a_file_is_open_for_writing(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside)
    with (target / "new").open("w"), pytest.raises(OSError) as caught:  # noqa: PT011 (errno says which)
        kernel.set_access(mount, Access.READ_ONLY)
    assert caught.value.errno == errno.EBUSY
    found = kernel.mounts().by_id(mount.mount_id)
    assert found is not None
    assert not found.read_only
    (target / "after").write_text("still writable\n")


def test_a_mount_that_is_held_is_busy(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside)
    with (target / "base").open(), pytest.raises(OSError) as caught:  # noqa: PT011 (errno says which)
        kernel.unmount(mount, lazy=False)
    assert caught.value.errno == errno.EBUSY
    assert kernel.held_by_us(mount) is False
    kernel.unmount(mount, lazy=False)


def test_only_the_mount_that_was_looked_at_is_unmounted(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside)
    kernel.mount_tmpfs(str(target), size=1 << 20, mode=0o755, source="over")
    with pytest.raises(Conflict, match="no longer the one"):
        kernel.unmount(mount, lazy=True)
    with pytest.raises(Conflict, match="no longer the one"):
        kernel.set_access(mount, Access.READ_ONLY)
    assert len(kernel.mounts().stack(str(target))) == 2


def test_a_tmpfs_has_its_limit_and_its_mode(inside: Path) -> None:
    kernel, place = LinuxKernel(), inside / "t"
    place.mkdir()
    number = kernel.mount_tmpfs(str(place), size=1 << 20, mode=0o700, source="ovlay")
    assert kernel.mounts().stack(str(place))[-1].mount_id == number
    assert place.stat().st_mode & 0o777 == 0o700
    backing = kernel.backing(str(place))
    assert backing is not None
    assert (backing.fstype, backing.in_memory, backing.total) == ("tmpfs", True, 1 << 20)
    with pytest.raises(OSError, match="No space"):
        (place / "big").write_bytes(b"x" * (2 << 20))


@pytest.fixture
def sleeper() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are ended after the test."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


HOLDERS = {
    "cwd": ("cd {0}/sub; echo ready; exec sleep 60", "cwd"),
    "open file": ("exec 3<{0}/base; echo ready; exec sleep 60", "open file"),
    "program": ("cp $(command -v sleep) {0}/napping; exec {0}/napping 60", "exe"),
    "namespace": ("exec unshare --mount sh -c 'echo ready; exec sleep 60'", "mount namespace"),
}


@pytest.mark.parametrize(("script", "use"), HOLDERS.values(), ids=HOLDERS)
def test_holders_are_found_before_and_after_a_lazy_unmount(inside: Path, script: str, use: str) -> None:
    kernel, mount, target, _ = overlay(inside)
    (target / "sub").mkdir()
    process = subprocess.Popen(["sh", "-c", script.format(target)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        if "ready" in script:
            assert process.stdout.readline() == b"ready\n"
        else:
            time.sleep(0.2)
        before = kernel.holders([mount])
        assert process.pid in {holder.pid for holder in before}
        assert any(use in holder.uses for holder in before)
        kernel.unmount(mount, lazy=True)
        assert kernel.mounts().by_id(mount.mount_id) is None
        after = kernel.holders([mount])
        assert process.pid in {holder.pid for holder in after}
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert kernel.holders([mount]) == ()


def test_holders_of_another_overlay_are_not_ours(inside: Path) -> None:
    kernel, mount, _, _ = overlay(inside, "one")
    _, _, other, _ = overlay(inside, "two")
    process = subprocess.Popen(["sleep", "60"], cwd=other)
    try:
        assert kernel.holders([mount]) == ()
    finally:
        process.kill()
        process.wait()


def test_we_hold_it_ourselves(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside)
    assert not kernel.held_by_us(mount)
    os.chdir(target)
    assert kernel.held_by_us(mount)
    assert kernel.holders([mount]) == ()


def test_mounts_below_are_carried_over_and_back(inside: Path) -> None:
    kernel = LinuxKernel()
    target = inside / "usr"
    for name in ("usr/below", "usr/nested/deep", "upper", "work", "outer"):
        (inside / name).mkdir(parents=True)
    points = [f"{target}/below", f"{target}/nested", f"{target}/nested/deep"]
    for point in points:
        kernel.mount_tmpfs(point, size=1 << 20, mode=0o755, source="below")
        os.makedirs(f"{point}/deep", exist_ok=True)
        Path(point, "file").write_text(point)
    with kernel.carry(points, detach=False):
        number = kernel.mount_overlay(
            str(target),
            lower=(str(target),),
            upper=str(inside / "upper"),
            work=str(inside / "work"),
            access=Access.READ_WRITE,
            source="ovlay",
        )
    for point in points:
        assert Path(point, "file").read_text() == point
        assert len(kernel.mounts().stack(point)) == 1
    mount = kernel.mounts().by_id(number)
    assert mount is not None
    with kernel.carry(points, detach=True):
        kernel.unmount(mount, lazy=False)
    for point in points:
        assert Path(point, "file").read_text() == point
        assert len(kernel.mounts().stack(point)) == 1


def test_carried_mounts_come_back_after_a_failure(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside)
    point = target / "below"
    point.mkdir()
    kernel.mount_tmpfs(str(point), size=1 << 20, mode=0o755, source="below")
    (point / "file").write_text("kept")
    with (target / "base").open():

        def fails() -> None:
            with kernel.carry([str(point)], detach=True):
                kernel.unmount(mount, lazy=False)

        with pytest.raises(OSError) as caught:  # noqa: PT011 (errno says which)
            fails()
    assert caught.value.errno == errno.EBUSY
    assert (point / "file").read_text() == "kept"


def test_a_writable_view_leaves_the_target_read_only(inside: Path) -> None:
    kernel, mount, target, upper = overlay(inside, access=Access.READ_ONLY)
    with kernel.writable_view(str(target)) as view:
        descriptor = os.open("new", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=view)
        os.write(descriptor, b"new\n")
        os.close(descriptor)
        with pytest.raises(OSError, match="Read-only"):
            (target / "other").write_text("x")
    assert (target / "new").read_text() == "new\n"
    assert (upper / "new").read_text() == "new\n"
    found = kernel.mounts().by_id(mount.mount_id)
    assert found is not None
    assert found.read_only
    assert found.superblock_read_only


def test_a_writable_view_goes_back_to_read_only_after_a_failure(inside: Path) -> None:
    kernel, mount, target, _ = overlay(inside, access=Access.READ_ONLY)

    def fails() -> None:
        with kernel.writable_view(str(target)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    found = kernel.mounts().by_id(mount.mount_id)
    assert found is not None
    assert found.superblock_read_only


def test_there_is_no_writable_view_of_what_is_no_overlay(inside: Path) -> None:
    kernel, place = LinuxKernel(), inside / "t"
    place.mkdir()
    kernel.mount_tmpfs(str(place), size=1 << 20, mode=0o755, source="t")
    mount = kernel.mounts().stack(str(place))[-1]
    kernel.set_access(mount, Access.READ_ONLY)
    with pytest.raises(Conflict, match="no overlay"), kernel.writable_view(str(place)):
        pass


def test_a_copy_of_the_upper_is_not_the_upper(inside: Path) -> None:
    kernel, mount, target, upper = overlay(inside)
    (target / "new").write_text("new\n")
    copy = inside / "copy"
    subprocess.run(["cp", "-a", str(upper), str(copy)], check=True)
    assert kernel.is_upper(mount, str(upper))
    assert not kernel.is_upper(mount, str(copy))
    assert not kernel.is_upper(mount, str(inside / "missing"))
    assert not kernel.is_upper(mount, str(target))
    link = inside / "link"
    link.symlink_to(upper)
    assert not kernel.is_upper(mount, str(link))


def test_a_directory_of_the_same_moment_is_not_the_upper(inside: Path) -> None:
    """The kernel's clock ticks every few milliseconds: equal time stamps alone prove little."""
    if in_user_namespace():
        pytest.skip("overlayfs gives no file handles with userxattr: the time stamps must do")
    for number in range(20):
        kernel, mount, _, upper = overlay(inside, str(number))
        assert kernel.is_upper(mount, str(upper))
        assert not kernel.is_upper(mount, str(upper.parent / "work"))


def in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as stream:
        return stream.read().split()[2] != "4294967295"


def test_a_seal_slides_beneath(inside: Path) -> None:
    """As after the reboot of a hotfix: with nothing under the overlay, what shows after it would be writable."""
    kernel, mount, target, _ = overlay(inside)
    kernel.slide_beneath(mount, str(inside))
    stack = kernel.mounts().stack(str(target))
    assert len(stack) == 2
    assert stack[-1].mount_id == mount.mount_id
    assert stack[0].read_only
    kernel.unmount(mount, lazy=False)
    assert not kernel.writable(str(target))
    with pytest.raises(OSError, match="Read-only"):
        (target / "x").write_text("x")


def test_two_overlays_are_the_most(inside: Path) -> None:
    kernel, _, target, _ = overlay(inside)
    for number in (1, 2):
        for name in ("upper", "work"):
            (inside / f"{name}{number}").mkdir()
    places = {"lower": (str(target),), "access": Access.READ_WRITE, "source": "ovlay"}
    kernel.mount_overlay(str(target), upper=f"{inside}/upper1", work=f"{inside}/work1", **places)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Invalid argument"):  # FILESYSTEM_MAX_STACK_DEPTH
        kernel.mount_overlay(str(target), upper=f"{inside}/upper2", work=f"{inside}/work2", **places)  # type: ignore[arg-type]


def test_the_table_is_what_findmnt_says(inside: Path) -> None:
    overlay(inside, "a b\\c\nd")
    kernel = LinuxKernel()
    for mount in kernel.mounts():
        assert mount.mount_point.startswith("/")
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        text = stream.read()
    assert len(kernel.mounts()) == text.count("\n")
    assert parse_mountinfo(text).mounts == kernel.mounts().mounts


def test_what_the_kernel_supports() -> None:
    kernel = LinuxKernel()
    assert kernel.supports("tmpfs")
    assert not kernel.supports("no-such-filesystem")


def test_every_system_call_that_fails_names_itself_and_the_path(inside: Path) -> None:
    missing = str(inside / "missing")
    for call, name in (
        (lambda: libc.open_tree(missing), "open_tree"),
        (lambda: libc.umount(missing), "umount2"),
        (lambda: libc.openat2(-100, missing, os.O_RDONLY), "openat2"),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert name in str(caught.value)
        assert caught.value.filename == missing
