"""rpm-ostree and bootc, played by stand-ins that do with ostree and with the kernel what the real ones do.

The stand-ins are in tests/lab/stand_ins and name the upstream source of each thing they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.conftest import BOOTC
from tests.lab.witness import fingerprint, kinds, sealed, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost
    from tests.lab.recipe import Recipe


WRITTEN = "two\n"


@pytest.fixture
def rpm_ostree(host: LabHost) -> LabHost:
    """Each host with rpm-ostree."""
    host.stand_in("rpm-ostree")
    return host


@pytest.fixture
def bootc(host: LabHost) -> LabHost:
    """Each host as an image of bootc's, over ostree."""
    host.stand_in("bootc")
    host.set_origin("container-image-reference", "ostree-unverified-registry:example.org/lab:latest")
    return host


@pytest.fixture
def composefs_side(boot: Callable[[Recipe], LabHost]) -> LabHost:
    """A host that bootc booted without ostree."""
    host = boot(BOOTC)
    host.stand_in("bootc")
    host.sh("echo one >/tmp/one; echo two >/tmp/two")
    return host


def _does_the_four_verbs(host: LabHost, backend: str) -> None:
    assert state(host)["backend"] == backend
    host.ovlay("enable", "--yes")
    assert host.writable()
    host.ovlay("install", "--yes", "/tmp/two", "/usr/share/two")
    assert host.sh("cat /usr/share/two") == WRITTEN
    found = state(host)
    assert (found["active"], found["mode"]) == (True, {"access": "read-write", "persistence": "transient"})
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    assert host.sh("ls /usr/share/two 2>/dev/null || echo gone") == "gone\n"


@pytest.mark.usefixtures("sources")
def test_rpm_ostree(rpm_ostree: LabHost) -> None:
    _does_the_four_verbs(rpm_ostree, "rpm-ostree")
    assert rpm_ostree.ostree_status() == "none"


def test_rpm_ostree_is_what_runs(rpm_ostree: LabHost) -> None:
    assert "rpm-ostree usroverlay" in rpm_ostree.ovlay("enable", "--dry-run").stdout
    assert "rpm-ostree usroverlay --transient" in rpm_ostree.ovlay("enable", "--dry-run", "--read-only").stdout
    assert "rpm-ostree usroverlay --hotfix" in rpm_ostree.ovlay("enable", "--dry-run", "--persistent").stdout


@pytest.mark.usefixtures("sources")
def test_bootc_over_ostree(bootc: LabHost) -> None:
    _does_the_four_verbs(bootc, "bootc")
    assert bootc.ostree_status() == "none"
    assert state(bootc)["base"]["image"] == "ostree-unverified-registry:example.org/lab:latest"


def test_bootc_over_ostree_read_only(bootc: LabHost) -> None:
    assert "bootc usr-overlay --read-only" in bootc.ovlay("enable", "--dry-run", "--read-only").stdout
    bootc.ovlay("enable", "--yes", "--read-only")
    assert bootc.stack()[-1] == "overlay overlay ro"
    assert bootc.ostree_status() == "transient"
    bootc.ovlay("unmount", "--yes")
    assert sealed(bootc)


def test_an_old_bootc_is_passed_over_for_a_read_only_overlay(bootc: LabHost) -> None:
    """``--read-only`` came with bootc 1.15.0; before, ostree's own command makes the same."""
    bootc.stand_in("bootc", version="1.12.0")
    assert "ostree admin unlock --transient" in bootc.ovlay("enable", "--dry-run", "--read-only").stdout
    bootc.ovlay("enable", "--yes", "--read-only")
    assert bootc.stack()[-1] == "overlay overlay ro"


def test_bootc_over_composefs(composefs_side: LabHost) -> None:
    host = composefs_side
    assert host.stack() == ()
    found = state(host)
    assert (found["backend"], found["active"], found["flag"]) == ("bootc", False, None)
    assert found["base"]["kind"] == "composefs"
    assert found["base"]["image"] == "ostree-unverified-registry:example.org/lab:latest"
    host.ovlay("enable", "--yes")
    assert host.stack() == ("overlay transient rw",)
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    assert host.sh("cat /usr/share/one") == "one\n"
    found = state(host)
    assert found["mode"] == {"access": "read-write", "persistence": "transient"}
    assert found["upper_path"] is None
    assert kinds(host) == {"unreachable-upper", "depth-limit"}
    again = host.ovlay("enable", "--yes")
    assert "already" in again.stdout
    host.ovlay("unmount", "--yes")
    assert host.stack() == ()
    assert not host.writable()


def test_bootc_over_composefs_with_a_holder(composefs_side: LabHost) -> None:
    host = composefs_side
    host.ovlay("enable", "--yes")
    host.sh("mkdir /usr/share/held; echo kept >/usr/share/held/data")
    pid = host.hold("/usr/share/held")
    refused = host.ovlay("unmount", "--yes", check=False)
    assert refused.status == 5
    assert f"sleep (pid {pid})" in refused.stderr
    host.ovlay("unmount", "--yes", "--lazy")
    assert host.stack() == ()
    assert host.sh(f"cat /proc/{pid}/cwd/data") == "kept\n"
    host.ovlay("enable", "--yes")
    assert host.stack() == ("overlay transient rw",)
    assert host.sh("ls /usr/share/held 2>/dev/null || echo pristine") == "pristine\n"
    assert host.sh(f"cat /proc/{pid}/cwd/data") == "kept\n"


@pytest.mark.parametrize("version", ["1.16.3", "1.12.0"])
def test_bootc_over_composefs_read_only(composefs_side: LabHost, version: str) -> None:
    host = composefs_side
    host.stand_in("bootc", version=version)
    host.ovlay("enable", "--yes", "--read-only")
    assert not host.writable()
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    assert host.sh("cat /usr/share/one") == "one\n"
    assert not host.writable()
    host.ovlay("unmount", "--yes")
    assert host.stack() == ()


def test_bootc_that_finds_something_on_usr_is_not_believed(composefs_side: LabHost) -> None:
    """With anything mounted there it says "already mounted" and exits 0, whatever was asked for."""
    host = composefs_side
    host.sh("mount --bind /usr /usr")
    assert "already mounted" in host.sh("bootc usr-overlay")
    before = fingerprint(host)
    refused = host.ovlay("enable", "--yes", check=False)
    assert refused.status == 5
    assert fingerprint(host) == before
