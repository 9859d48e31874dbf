"""Mounts in mounts, reboots and sizes on a simulated kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import compare, scan_tree
from ovlay.errors import Conflict
from ovlay.simulated import SimulatedHost, SimulatedKernel
from tests.simulated.machine import UPPER, mount, scan, touch, unmount

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def submount(host: SimulatedHost) -> SimulatedHost:
    with host.kernel.unsealed("/usr"):
        host.kernel.mount_tmpfs("/usr/share/empty", size=None, mode=0o755, source="locale")
        touch(host.path("/usr/share/empty/mounted"))
    return host


def test_a_mount_below_the_target_is_hidden_and_comes_back(submount: SimulatedHost) -> None:
    mount(submount)
    assert submount.entries("/usr/share/empty") == ()
    assert submount.kernel.mounts().below("/usr") == ()
    unmount(submount)
    assert submount.entries("/usr/share/empty") == ("mounted",)
    assert [found.source for found in submount.kernel.mounts().below("/usr")] == ["locale"]


def test_a_mount_that_is_carried_stays_in_sight_and_out_of_the_upper(submount: SimulatedHost) -> None:
    with submount.kernel.carry(["/usr/share/empty"], detach=False):
        mount(submount)
    assert submount.entries("/usr/share/empty") == ("mounted",)
    assert [found.source for found in submount.kernel.mounts().below("/usr")] == ["locale"]
    submount.kernel.sync("/usr")
    assert submount.entries(UPPER) == ()
    with submount.kernel.carry(["/usr/share/empty"], detach=True):
        unmount(submount)
    assert submount.entries("/usr/share/empty") == ("mounted",)


def test_an_overlay_with_a_mount_in_it_is_busy(submount: SimulatedHost) -> None:
    with submount.kernel.carry(["/usr/share/empty"], detach=False):
        mount(submount)
    with pytest.raises(OSError, match="busy"):
        unmount(submount)
    unmount(submount, lazy=True)
    assert submount.kernel.mounts().below("/usr") == ()


def test_a_mount_point_cannot_be_removed(submount: SimulatedHost) -> None:
    for remove in (submount.remove, submount.remove_tree):
        with pytest.raises(OSError, match="busy"):
            remove("/usr/share/empty")


def test_a_reboot_takes_mounts_and_memory_and_leaves_the_disk(host: SimulatedHost) -> None:
    pristine, first = scan(host), host.boot_id
    os.makedirs(host.path("/run/memory"))
    os.makedirs(host.path("/var/memory"))
    host.kernel.mount_tmpfs("/var/memory", size=None, mode=0o700, source="x")
    touch(host.path("/var/memory/lost"))
    mount(host)
    touch(host.path("/usr/kept"))
    host.reboot()
    assert compare(pristine, scan(host)) == ()
    assert len(host.mounts_at("/usr")) == 1
    assert host.entries("/run") == ()
    assert host.entries("/var/memory") == ()
    assert host.entries(UPPER) == ("kept",)
    assert host.boot_id != first


def test_a_read_only_mount_slides_beneath(host: SimulatedHost) -> None:
    host.kernel.unmount(host.mounts_at("/usr")[-1], lazy=False)
    assert host.kernel.writable("/usr")
    mount(host)
    os.makedirs(host.path("/image/usr"))
    touch(host.path("/image/usr/from-image"))
    host.kernel.slide_beneath(host.mounts_at("/usr")[-1], "/image/usr")
    assert [found.read_only for found in host.mounts_at("/usr")] == [True, False]
    unmount(host)
    assert host.entries("/usr") == ("from-image",)
    assert not host.kernel.writable("/usr")
    host.kernel.unmount(host.mounts_at("/usr")[-1], lazy=False)
    assert "bin" in host.entries("/usr")


def test_a_tmpfs_has_the_size_that_it_was_given(host: SimulatedHost) -> None:
    os.makedirs(host.path("/var/memory"))
    host.kernel.mount_tmpfs("/var/memory", size=1 << 20, mode=0o700, source="x")
    with open(host.path("/var/memory/file"), "wb") as stream:
        stream.write(bytes(5000))
    backing = host.kernel.backing("/var/memory/file")
    assert backing is not None
    assert (backing.fstype, backing.in_memory, backing.total, backing.used) == ("tmpfs", True, 1 << 20, 8192)
    assert backing.free == backing.total - backing.used


def test_only_the_upper_is_the_upper(host: SimulatedHost) -> None:
    number = mount(host)
    found = host.kernel.mounts().by_id(number)
    assert found is not None
    assert host.kernel.is_upper(found, UPPER)
    assert not host.kernel.is_upper(found, "/var/work")
    assert not host.kernel.is_upper(found, UPPER + "/missing")


def test_both_sides_of_an_overlay_can_be_looked_at(host: SimulatedHost) -> None:
    pristine = scan(host)
    number = mount(host)
    touch(host.path("/usr/new"))
    found = host.kernel.mounts().by_id(number)
    assert found is not None
    with host.kernel.views(found) as views:
        lower, merged = scan_tree(f"/proc/self/fd/{views.lower}/."), scan_tree(f"/proc/self/fd/{views.merged}/.")
        assert views.upper is not None
        assert os.listdir(views.upper) == ["new"]
        assert not views.own_inodes
    assert [d.path for d in compare(lower, merged) if d.path != "."] == ["new"]
    assert compare(pristine, {path: entry for path, entry in lower.items() if path != "."}) == ()
    unmount(host)
    with pytest.raises(Conflict), host.kernel.views(found):
        pass


def test_the_kernel_can_be_used_without_a_host(tmp_path: Path) -> None:
    kernel = SimulatedKernel(str(tmp_path / "root"))
    assert kernel.supports("overlay")
    assert not kernel.supports("erofs")
    assert kernel.pristine("/usr") == str(tmp_path / "root/usr")
    kernel.close()
