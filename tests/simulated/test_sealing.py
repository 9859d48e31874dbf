"""A simulated host is sealed where a real one is read-only, and its state is on the disk for every process."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import compare, scan_tree
from ovlay.errors import InvalidInput
from ovlay.simulated import SimulatedHost
from ovlay.testing.tree import make_known_tree
from tests.simulated.machine import demand_refused, mount, scan, touch

if TYPE_CHECKING:
    from pathlib import Path


def test_the_real_root_is_no_scratch_directory() -> None:
    with pytest.raises(InvalidInput) as refused:
        SimulatedHost("/")
    assert refused.value.remedy


def test_a_link_to_the_real_root_is_none_either(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(InvalidInput):
        SimulatedHost(str(tmp_path / "link"))


def test_a_new_host_has_a_sealed_usr(tmp_path: Path) -> None:
    with SimulatedHost(str(tmp_path / "new")) as host:
        assert [(found.mount_point, found.read_only) for found in host.mounts_at("/usr")] == [("/usr", True)]
        assert not host.kernel.writable("/usr")
        assert host.kernel.writable("/var") is False  # there is none
        assert host.kernel.writable("/run")
        demand_refused(host, touch, "/usr/file")


def test_sealing_changes_nothing_that_is_seen(tmp_path: Path) -> None:
    make_known_tree(tmp_path / "host/usr")
    before = scan_tree(tmp_path / "host/usr")
    with SimulatedHost(str(tmp_path / "host")) as host:
        sealed = scan_tree(tmp_path / "host/usr", permissions=host.permissions)
    assert compare(before, sealed) == ()
    assert compare(before, scan_tree(tmp_path / "host/usr")) == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root seals with the immutable flag")
def test_a_mode_that_somebody_set_on_a_sealed_file_is_its_mode(host: SimulatedHost) -> None:
    """The owner of a file can always do that; what was meant is kept."""
    os.chmod(host.path("/usr/bin/tool"), 0o700)
    assert scan(host)["bin/tool"].mode == 0o700
    host.close()
    assert stat.S_IMODE(os.stat(host.path("/usr/bin/tool")).st_mode) == 0o700


def test_opening_again_seals_again(host: SimulatedHost) -> None:
    host.close()
    touch(host.path("/usr/bin/while-open"))
    with SimulatedHost(host.root) as again:
        demand_refused(again, touch, "/usr/bin/sealed")


def test_another_process_sees_the_same_host(host: SimulatedHost) -> None:
    number = mount(host)
    touch(host.path("/usr/bin/written"))
    program = (
        "import sys; from ovlay.simulated import SimulatedHost; host = SimulatedHost(sys.argv[1]);"
        "top = host.mounts_at('/usr')[-1]; print(top.mount_id); host.kernel.unmount(top, lazy=False)"
    )
    done = subprocess.run([sys.executable, "-c", program, host.root], capture_output=True, text=True, check=True)
    assert int(done.stdout) == number
    assert not os.path.exists(host.path("/usr/bin/written"))
    assert [found.mount_id for found in host.mounts_at("/usr")] == [30]


def test_the_mount_table_is_a_file_of_the_host(host: SimulatedHost) -> None:
    os.makedirs(host.path("/var/a b\\c"))
    host.kernel.mount_tmpfs("/var/a b\\c", size=1 << 20, mode=0o700, source="ovlay")
    line = (host.read("/proc/self/mountinfo") or "").splitlines()[-1]
    assert "/var/a\\040b\\134c rw,relatime - tmpfs ovlay rw,size=1024k,mode=700,inode64" in line
    assert host.mounts_at("/var/a b\\c")[-1].fstype == "tmpfs"
