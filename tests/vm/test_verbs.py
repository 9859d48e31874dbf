"""The verbs in every mode on hosts that really boot, before and after a reboot, beside real system extensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.witness import kinds, state
from tests.vm.witness import gone, merge_extension, sealed

if TYPE_CHECKING:
    from tests.vm.conftest import Record
    from tests.vm.host import VmHost

NOBODY = 65534
RW = {"access": "read-write", "persistence": "transient"}
RO = {"access": "read-only", "persistence": "transient"}
HOTFIX = {"access": "read-write", "persistence": "persistent"}


def put_sources(host: VmHost) -> None:
    """Files to be installed, where a reboot leaves them."""
    host.sh("printf '#!/bin/sh\\necho works\\n' >/var/lib/tool; echo two >/var/lib/two")


def test_every_verb_on_transient_overlays(host: VmHost, recorded: Record) -> None:
    """enable (read-write, read-only), status, install, diff, revert, reset, unmount (lazy), as root and as a user"""
    put_sources(host)
    host.ovlay("enable", "--yes")
    assert "already" in host.ovlay("enable", "--yes").stdout
    host.ovlay("install", "--yes", "/var/lib/tool", "/usr/bin/mine")
    assert host.run("mine", user=NOBODY).stdout == "works\n"
    host.sh("echo direct >/usr/share/direct; rm /usr/bin/yes")
    assert (state(host)["active"], state(host)["mode"]) == (True, RW)
    assert host.ovlay("status", user=NOBODY).status == 0
    for verb in (("enable", "--read-only"), ("unmount",), ("reset",), ("install", "/var/lib/two", "/usr/share/two")):
        assert host.ovlay(*verb, "--yes", user=NOBODY, check=False).status == 6
    changed = host.ovlay("diff", "--name-only", check=False)
    assert changed.stdout.splitlines() == ["/usr/bin/mine", "/usr/bin/yes", "/usr/share/direct"]
    host.ovlay("revert", "--yes", "/usr/bin/yes")
    assert host.run("sh", "-c", "yes | head -n 1").stdout == "y\n"
    host.ovlay("reset", "--yes")
    assert host.ovlay("diff").status == 0
    assert gone(host, "/usr/bin/mine")

    host.ovlay("enable", "--yes", "--read-only")
    assert state(host)["mode"] == RO
    assert not host.writable()
    host.ovlay("install", "--yes", "/var/lib/tool", "/usr/bin/mine")
    assert host.run("mine", user=NOBODY).stdout == "works\n"
    assert not host.writable()

    holder = host.hold("/usr/bin")
    busy = host.ovlay("unmount", "--yes", check=False)
    assert busy.status == 5
    assert str(holder) in busy.stderr
    recorded(host, "53-read-only-installed")
    host.ovlay("unmount", "--yes", "--lazy")
    recorded(host, "54-unmounted-while-held")
    assert sealed(host)
    host.end(holder)
    host.ovlay("enable", "--yes")  # with a stale flag, or not: a fresh one
    assert gone(host, "/usr/bin/mine")
    host.sh("echo again >/usr/share/again")
    recorded(host, "55-enabled-again")
    host.reboot()
    assert sealed(host)
    assert gone(host, "/usr/share/again")


def test_a_persistent_overlay_survives(host: VmHost, recorded: Record) -> None:
    """enable --persistent: what is installed and written is there after two reboots"""
    put_sources(host)
    host.ovlay("enable", "--yes", "--persistent")
    assert state(host)["mode"] == HOTFIX
    host.ovlay("install", "--yes", "/var/lib/tool", "/usr/bin/mine")
    host.sh("echo direct >/usr/share/direct")
    host.reboot()
    assert host.run("mine").stdout == "works\n"
    assert host.sh("cat /usr/share/direct") == "direct\n"
    assert (state(host)["mode"], state(host)["flag"]) == (HOTFIX, "hotfix")
    host.ovlay("unmount", "--yes", "--lazy")
    recorded(host, "56-hotfix-rebooted-unmounted")
    assert not host.writable()
    assert gone(host, "/usr/bin/mine")
    host.reboot()
    assert host.run("mine").stdout == "works\n"


def test_a_leftover_upper_is_found_and_salvaged(host: VmHost, recorded: Record) -> None:
    """What an earlier boot left is named by status, and salvaged; stale uppers in /var/tmp are cleaned by tmpfiles"""
    put_sources(host)
    host.sh("mkdir -p /var/tmp/ostree-unlock-ovl.STALE/upper")
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/var/lib/tool", "/usr/bin/mine")
    host.sh("rm /usr/bin/yes")  # its whiteout is what keeps systemd-tmpfiles 257 from cleaning
    host.reboot()
    assert sealed(host)
    assert gone(host, "/var/tmp/ostree-unlock-ovl.STALE")
    assert "leftover-upper" in kinds(host)
    recorded(host, "57-leftover-upper")
    listed = host.ovlay("salvage").stdout
    if host.recipe.suite == "trixie":
        # The upper was in /var/tmp: tmpfiles has removed what it could, and stopped at the device.
        assert "/usr/bin/yes" in listed
        return
    assert "/usr/bin/mine" in listed
    host.ovlay("salvage", "--yes", "--to", "/var/lib/saved")
    assert host.sh("cat /var/lib/saved/bin/mine").startswith("#!/bin/sh")


@pytest.mark.parametrize("when", ["before", "after"])
def test_beside_a_system_extension(host: VmHost, when: str, recorded: Record) -> None:
    """With a real extension merged before, or after: never a silent change of what is not ovlay's"""
    put_sources(host)
    if when == "before":
        merge_extension(host)
        before = host.stack()
        refused = host.ovlay("enable", "--yes", check=False)
        assert refused.status == 5
        assert host.stack() == before
        assert host.sh("cat /usr/share/ext") == "ext\n"
        host.run("systemd-sysext", "unmerge")
        host.ovlay("enable", "--yes")
        assert host.writable()
        return
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/var/lib/tool", "/usr/bin/mine")
    merge_extension(host)
    assert host.sh("cat /usr/share/ext") == "ext\n"
    assert host.run("mine").stdout == "works\n"
    assert "hidden-by-sysext" in kinds(host)
    recorded(host, "58-hidden-by-extension")
    assert not host.writable()
    assert host.ovlay("install", "--yes", "/var/lib/two", "/usr/share/two", check=False).status == 5
    assert host.ovlay("unmount", "--yes", "--lazy", check=False).status == 5
    host.run("systemd-sysext", "unmerge")
    assert host.writable()
    assert host.run("mine").stdout == "works\n"
    host.reboot()
    assert gone(host, "/usr/bin/mine")


def test_the_driver_sysext(host: VmHost, recorded: Record) -> None:
    """The driver sysext: its four verbs beside somebody's extension, which comes back after a reboot alone"""
    put_sources(host)
    merge_extension(host, place="/var/lib/extensions")
    driver = ("--backend", "sysext")
    if host.recipe.composefs:
        assert "depth-limit" in {found["kind"] for found in state(host, "sysext")["anomalies"]}
    host.ovlay("enable", "--yes", *driver)
    host.ovlay("install", "--yes", *driver, "/var/lib/tool", "/usr/bin/mine")
    assert host.run("mine").stdout == "works\n"
    assert host.sh("cat /usr/share/ext") == "ext\n"
    recorded(host, "59-driver-sysext")
    host.ovlay("unmount", "--yes", *driver)
    assert gone(host, "/usr/bin/mine")
    assert host.sh("cat /usr/share/ext") == "ext\n"
    host.ovlay("enable", "--yes", *driver)
    host.ovlay("install", "--yes", *driver, "/var/lib/tool", "/usr/bin/mine")
    host.reboot()
    assert gone(host, "/usr/bin/mine")


def test_the_driver_overlayfs_in_every_mode(host: VmHost) -> None:
    """The driver overlayfs on another directory, in its four modes: what is persistent comes back once it is enabled"""
    put_sources(host)
    host.sh("mkdir /var/tree; echo below >/var/tree/below")
    driver = ("--backend", "overlayfs", "--target", "/var/tree")
    for mode in ((), ("--read-only",), ("--persistent",), ("--read-only", "--persistent")):
        host.ovlay("enable", "--yes", *driver, *mode)
        found = host.ovlay("status", "--json", *driver).json()["mode"]
        assert (found["access"] == "read-only", found["persistence"] == "persistent") == (
            "--read-only" in mode,
            "--persistent" in mode,
        )
        assert host.writable("/var/tree") is ("--read-only" not in mode)
        host.ovlay("install", "--yes", *driver, "/var/lib/tool", "/var/tree/mine")
        assert host.sh("/var/tree/mine; cat /var/tree/below", user=NOBODY) == "works\nbelow\n"
        assert host.ovlay("unmount", "--yes", *driver, user=NOBODY, check=False).status == 6
        if "--persistent" not in mode:
            host.ovlay("unmount", "--yes", *driver)
            assert host.sh("ls /var/tree") == "below\n"
            continue
        host.reboot()
        assert host.sh("ls /var/tree") == "below\n"
        host.ovlay("enable", "--yes", *driver, *mode)
        assert host.sh("/var/tree/mine") == "works\n"
        host.ovlay("unmount", "--yes", *driver)
