"""A simulated overlay shows what the real one would, and leaves in its upper what the real one would."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import Aspect, Difference, compare, scan_tree
from ovlay.errors import Conflict
from ovlay.model import Access
from ovlay.simulated.layers import OPAQUE, WHITEOUT, has_user_xattrs
from tests.simulated.machine import UPPER, append, demand_refused, mount, remount, scan, touch, unmount

if TYPE_CHECKING:
    from ovlay.simulated import SimulatedHost


def test_a_merged_tree_is_the_lower_until_it_is_written(host: SimulatedHost) -> None:
    before = scan(host)
    mount(host)
    assert compare(before, scan(host)) == ()
    assert host.kernel.writable("/usr")
    unmount(host)
    assert compare(before, scan(host)) == ()
    assert os.listdir(host.path(UPPER)) == []


def test_what_was_written_is_in_the_upper_and_comes_back(host: SimulatedHost) -> None:
    usr = host.path("/usr")
    pristine = scan(host)
    mount(host)
    os.unlink(f"{usr}/lib/data")
    os.mkdir(f"{usr}/lib/data")
    os.rename(f"{usr}/share/doc", f"{usr}/moved")
    os.rename(f"{usr}/lib/deep", f"{usr}/lib/gone")
    os.mkdir(f"{usr}/lib/deep")
    touch(f"{usr}/lib/deep/other")
    os.chmod(f"{usr}/bin/tool", 0o4711)
    os.symlink("nowhere", os.fsencode(usr) + b"/\xff\n")
    os.mkfifo(f"{usr}/fifo")
    os.link(f"{usr}/bin/tool", f"{usr}/bin/second")
    written = scan(host)
    unmount(host)
    assert compare(pristine, scan(host)) == ()
    mount(host)
    assert compare(written, scan(host)) == ()
    remount(host)
    assert compare(written, scan(host)) == ()


def test_the_upper_has_the_kernels_own_marks(host: SimulatedHost) -> None:
    upper, usr = host.path(UPPER), host.path("/usr")
    if not has_user_xattrs(upper):
        pytest.skip("the filesystem has no user attributes")
    mount(host)
    os.unlink(f"{usr}/bin/tool")
    os.unlink(f"{usr}/lib/private")
    os.mkdir(f"{usr}/lib/private")
    os.mkdir(f"{usr}/new")
    host.kernel.sync("/usr")
    assert set(scan_tree(upper)) == {".", "bin", "bin/tool", "lib", "lib/private", "new"}
    whiteout = os.lstat(f"{upper}/bin/tool")
    assert (stat.S_IFMT(whiteout.st_mode), whiteout.st_rdev) == (stat.S_IFCHR, 0)
    assert OPAQUE not in os.listxattr(f"{upper}/bin")
    assert os.getxattr(f"{upper}/lib/private", OPAQUE) == b"y"
    assert os.getxattr(f"{upper}/new", OPAQUE) == b"y"
    assert OPAQUE not in os.listxattr(f"{upper}/lib")
    remount(host)
    assert not any(name.startswith("user.overlay.") for path in scan(host).values() for name, _ in path.xattrs)


def test_whiteouts_are_files_where_nobody_may_make_the_device(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As everyone but root before Linux 5.8."""
    upper, usr = host.path(UPPER), host.path("/usr")
    if not has_user_xattrs(upper):
        pytest.skip("the filesystem has no user attributes")
    monkeypatch.setattr("ovlay.simulated.layers._make_whiteout_device", lambda path: False)
    mount(host)
    os.unlink(f"{usr}/bin/tool")
    written = scan(host)
    unmount(host)
    assert os.getxattr(f"{upper}/bin/tool", WHITEOUT) == b""
    assert os.stat(f"{upper}/bin/tool").st_size == 0
    assert os.getxattr(f"{upper}/bin", OPAQUE) == b"x"
    mount(host)
    assert compare(written, scan(host)) == ()


def test_marks_of_the_image_form_where_there_are_no_attributes(
    host: SimulatedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ovlay.simulated.layers.has_user_xattrs", lambda path: False)
    upper, usr = host.path(UPPER), host.path("/usr")
    mount(host)
    os.unlink(f"{usr}/bin/tool")
    os.unlink(f"{usr}/lib/private")
    os.mkdir(f"{usr}/lib/private")
    written = scan(host)
    unmount(host)
    assert os.path.exists(f"{upper}/bin/.wh.tool")
    assert os.path.exists(f"{upper}/lib/private/.wh..wh..opq")
    mount(host)
    assert compare(written, scan(host)) == ()


def test_an_attribute_that_looks_like_a_mark_is_the_users(host: SimulatedHost) -> None:
    """As the kernel has it: an overlay can lie in an overlay."""
    if not has_user_xattrs(host.path(UPPER)):
        pytest.skip("the filesystem has no user attributes")
    mount(host)
    os.setxattr(host.path("/usr/lib"), "user.overlay.opaque", b"y")
    host.kernel.sync("/usr")
    assert os.getxattr(host.path(UPPER + "/lib"), "user.overlay.overlay.opaque") == b"y"
    remount(host)
    assert os.listdir(host.path("/usr/lib"))
    assert os.getxattr(host.path("/usr/lib"), "user.overlay.opaque") == b"y"


def test_an_upper_of_the_kernel_is_understood(host: SimulatedHost) -> None:
    """Both forms of whiteouts, and opaque directories."""
    upper = host.path(UPPER)
    if not has_user_xattrs(upper):
        pytest.skip("the filesystem has no user attributes")
    os.makedirs(f"{upper}/lib/deep")
    os.setxattr(f"{upper}/lib/deep", OPAQUE, b"y")
    os.setxattr(f"{upper}/lib", OPAQUE, b"x")
    for name in ("data", "not-a-whiteout"):
        touch(f"{upper}/lib/{name}")
    os.setxattr(f"{upper}/lib/data", WHITEOUT, b"")
    os.mkdir(f"{upper}/bin")
    os.mknod(f"{upper}/bin/tool", stat.S_IFCHR, 0)
    mount(host)
    assert sorted(os.listdir(host.path("/usr/lib"))) == ["deep", "not-a-whiteout", "private"]
    assert os.listdir(host.path("/usr/lib/deep")) == []
    assert not os.path.exists(host.path("/usr/bin/tool"))
    assert os.path.exists(host.path("/usr/bin/alias")) is False  # it leads to what is gone


def test_a_read_only_overlay_is_sealed_and_can_be_opened_and_sealed_again(host: SimulatedHost) -> None:
    before = scan(host)
    mount(host, Access.READ_ONLY)
    demand_refused(host, touch, "/usr/bin/forbidden")
    host.kernel.set_access(host.mounts_at("/usr")[-1], Access.READ_WRITE)
    touch(host.path("/usr/bin/allowed"))
    host.kernel.set_access(host.mounts_at("/usr")[-1], Access.READ_ONLY)
    assert host.exists(UPPER + "/bin/allowed")
    demand_refused(host, touch, "/usr/bin/forbidden")
    assert compare(before, scan(host), ignore=[Aspect.MTIME]) == (Difference("bin/allowed", (Aspect.ADDED,)),)


def test_a_private_view_can_be_written_while_the_files_stay_sealed(host: SimulatedHost) -> None:
    mount(host, Access.READ_ONLY)
    modes = {path: entry.mode for path, entry in scan(host).items()}
    with host.kernel.writable_view("/usr") as view:
        with open(os.open("bin/private", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=view), "w"):
            pass
        if os.geteuid() != 0:
            demand_refused(host, append, "/usr/bin/tool")
    assert host.exists(UPPER + "/bin/private")
    demand_refused(host, append, "/usr/bin/private")
    assert {path: entry.mode for path, entry in scan(host).items() if path != "bin/private"} == modes


def test_an_image_without_an_overlay_has_no_private_view(host: SimulatedHost) -> None:
    with pytest.raises(Conflict), host.kernel.writable_view("/usr"):
        pass


def test_directories_that_nobody_may_write_are_written_as_root_would(host: SimulatedHost) -> None:
    """As /usr/bin is on Fedora, with mode 0555."""
    with host.kernel.unsealed("/usr") as usr:
        os.chmod(f"{usr}/bin", 0o555)
    mount(host)
    with host.kernel.writable_view("/usr") as view:
        os.close(os.open("bin/new", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=view))
    assert stat.S_IMODE(os.stat(host.path("/usr/bin")).st_mode) == 0o555
    unmount(host)
    assert scan(host)["bin"].mode == 0o555
    host.remove_tree(UPPER)
    assert not host.exists(UPPER)


def test_overlays_stack_twice_and_no_deeper(host: SimulatedHost) -> None:
    kernel = host.kernel
    mount(host)
    for name in ("second", "third"):
        os.makedirs(host.path(f"/var/{name}"))
    touch(host.path("/usr/first"))
    kernel.mount_overlay(
        "/usr", lower=["/usr"], upper="/var/second", work="/var/work", access=Access.READ_WRITE, source="other"
    )
    assert host.exists("/usr/first")
    os.unlink(host.path("/usr/first"))
    with pytest.raises(OSError, match="depth") as refused:
        kernel.mount_overlay(
            "/usr", lower=["/usr"], upper="/var/third", work="/var/work", access=Access.READ_WRITE, source="third"
        )
    assert refused.value.errno == errno.EINVAL
    unmount(host)
    assert host.exists("/usr/first")
    unmount(host)
    assert not host.exists("/usr/first")


def test_only_the_topmost_mount_can_be_unmounted(host: SimulatedHost) -> None:
    beneath = host.mounts_at("/usr")[-1]
    mount(host)
    with pytest.raises(Conflict):
        host.kernel.unmount(beneath, lazy=False)


def test_a_mount_that_fails_leaves_everything_as_it_was(host: SimulatedHost) -> None:
    before, table = scan(host), host.read("/proc/self/mountinfo")
    with pytest.raises(FileNotFoundError):
        host.kernel.mount_overlay(
            "/usr", lower=["/usr"], upper="/var/missing", work="/var/work", access=Access.READ_WRITE, source="x"
        )
    with pytest.raises(FileNotFoundError):
        host.kernel.mount_tmpfs("/missing", size=None, mode=0o700, source="x")
    assert host.read("/proc/self/mountinfo") == table
    assert compare(before, scan(host)) == ()
