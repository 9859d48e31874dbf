"""Real ostree through the ``ovlay`` command: 2022.7, 2025.2, 2026.4, and 2026.4 on a composefs root.

The witnesses are the mount table and ``ostree admin status``, never what ovlay says of itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.witness import fingerprint, kinds, sealed, state

if TYPE_CHECKING:
    from tests.lab.host import LabHost

pytestmark = pytest.mark.usefixtures("sources")


def test_a_host_starts_sealed(host: LabHost) -> None:
    assert sealed(host)
    assert host.ostree_status() == "none"
    found = state(host)
    assert (found["backend"], found["active"], found["writable"], found["flag"]) == ("ostree", False, False, None)
    assert found["anomalies"] == []
    assert found["base"]["checksum"] in host.sh("ostree admin status")


def test_enable_install_status_unmount(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    assert host.stack()[-1] == "overlay overlay rw"
    assert host.ostree_status() == "development"
    host.ovlay("install", "--yes", "-m", "0644", "/tmp/one", "/usr/share/one")
    assert host.sh("cat /usr/share/one; stat -c %a:%u:%g /usr/share/one") == "one\n644:0:0\n"
    found = state(host)
    assert found["active"] is True
    assert found["mode"] == {"access": "read-write", "persistence": "transient"}
    assert found["flag"] == "development"
    assert found["anomalies"] == []
    assert host.sh(f"cat {found['upper_path']}/share/one") == "one\n"
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    assert host.ostree_status() == "none"
    assert host.sh("ls /usr/share/one 2>/dev/null || echo gone") == "gone\n"
    assert not state(host)["active"]


def test_ostree_unlocks_again_after_ovlay_unmounted(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.ovlay("unmount", "--yes")
    host.run("ostree", "admin", "unlock")
    assert host.stack()[-1] == "overlay overlay rw"
    assert host.ostree_status() == "development"


def test_everyone_may_read_the_merged_usr(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    assert host.sh("stat -c %a:%u:%g /usr") == "755:0:0\n"
    assert host.sh("ls /usr/bin/env; id -u", user=65534) == "/usr/bin/env\n65534\n"


def test_a_holder_makes_unmount_busy_and_is_named(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.sh("mkdir /usr/share/held")
    pid = host.hold("/usr/share/held")
    refused = host.ovlay("unmount", "--yes", check=False)
    assert refused.status == 5
    assert f"sleep (pid {pid})" in refused.stderr
    assert "--lazy" in refused.stderr
    assert host.stack()[-1] == "overlay overlay rw"
    assert host.ostree_status() == "development"
    host.end(pid)
    host.ovlay("unmount", "--yes")
    assert sealed(host)


def test_a_lazy_unmount_leaves_the_holder_its_data(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.sh("mkdir /usr/share/held; echo kept >/usr/share/held/data")
    pid = host.hold("/usr/share/held")
    told = host.ovlay("unmount", "--yes", "--lazy")
    assert f"sleep (pid {pid})" in told.stdout + told.stderr
    assert sealed(host)
    assert host.sh(f"echo more >>/proc/{pid}/cwd/data; cat /proc/{pid}/cwd/data") == "kept\nmore\n"
    assert host.ostree_status() == "development"  # or else ostree could remove the files under the holder
    assert "held-after-unmount" in kinds(host)

    host.ovlay("enable", "--yes")
    assert host.stack()[-1] == "overlay ovlay rw"
    assert host.sh("ls /usr/share/held 2>/dev/null || echo pristine") == "pristine\n"
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    assert host.sh(f"cat /proc/{pid}/cwd/data; ls /proc/{pid}/cwd/..").split().count("one") == 0
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    assert host.sh(f"cat /proc/{pid}/cwd/data") == "kept\nmore\n"
    host.end(pid)
    assert "held-after-unmount" not in kinds(host)


def test_a_lazy_unmount_with_no_holder_is_a_plain_one(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.ovlay("unmount", "--yes", "--lazy")
    assert sealed(host)
    assert host.ostree_status() == "none"


def test_twice_is_once(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/tmp/tool", "/usr/bin/tool")
    before, inode = host.sh("cat /proc/self/mountinfo"), host.sh("stat -c '%i %Y %Z' /usr/bin/tool")
    again = host.ovlay("enable", "--yes")
    assert "already" in again.stdout + again.stderr
    told = host.ovlay("install", "--yes", "/tmp/tool", "/usr/bin/tool")
    assert "already" in told.stdout + told.stderr
    assert host.sh("cat /proc/self/mountinfo") == before
    assert host.sh("stat -c '%i %Y %Z' /usr/bin/tool") == inode
    host.ovlay("unmount", "--yes")
    twice = host.ovlay("unmount", "--yes")
    assert sealed(host)
    assert twice.status == 0


def test_read_only_with_private_writes(host: LabHost) -> None:
    host.ovlay("enable", "--yes", "--read-only")
    assert host.stack()[-1] == "overlay overlay ro"
    assert not host.writable()
    assert state(host)["mode"] == {"access": "read-only", "persistence": "transient"}
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    assert host.sh("cat /usr/share/one") == "one\n"
    assert not host.writable()
    assert host.mountinfo().stack("/usr")[-1].superblock_read_only
    assert host.run("sh", "-c", "echo x >/usr/share/one", check=False).status != 0
    found = state(host)
    assert (found["writable"], found["anomalies"]) == (False, [])
    host.ovlay("unmount", "--yes")
    assert sealed(host)


def test_a_read_only_overlay_of_another_tool_is_made_writable_on_demand(host: LabHost) -> None:
    """As ``dnf --transient`` leaves it (ostree issue 2369: usr-overlay then "doesn't do anything")."""
    host.run("ostree", "admin", "unlock", "--transient")
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    host.ovlay("enable", "--yes")
    assert host.stack()[-1] == "overlay overlay rw"
    assert host.writable()
    assert host.sh("cat /usr/share/one") == "one\n"
    assert kinds(host) == {"flag-disagrees"}
    host.ovlay("enable", "--yes", "--read-only")
    assert not host.writable()
    assert host.sh("cat /usr/share/one") == "one\n"
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    assert host.ostree_status() == "none"


def test_a_dry_run_changes_nothing(host: LabHost) -> None:
    before = fingerprint(host)
    told = host.ovlay("enable", "--dry-run")
    assert "ostree admin unlock" in told.stdout
    assert fingerprint(host) == before
    host.ovlay("enable", "--yes")
    between = fingerprint(host)
    for verb in (
        ("install", "--dry-run", "/tmp/one", "/usr/share/one"),
        ("unmount", "--dry-run"),
        ("unmount", "--lazy", "--dry-run"),
    ):
        host.ovlay(*verb)
        assert fingerprint(host) == between, verb
    assert host.sh("ls /usr/share/one 2>/dev/null || echo none") == "none\n"


def test_an_unlock_is_gone_after_a_reboot(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    host.reboot()
    assert sealed(host)
    assert host.ostree_status() == "none"
    assert host.sh("ls /usr/share/one 2>/dev/null || echo gone") == "gone\n"
    assert kinds(host) <= {"leftover-upper"}
    host.sh("echo two >/tmp/two")
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/tmp/two", "/usr/share/two")
    assert host.sh("ls /usr/share/one 2>/dev/null || echo gone") == "gone\n"


def test_another_mode_than_the_one_that_is_there(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    refused = host.ovlay("enable", "--yes", "--persistent", check=False)
    assert refused.status == 5
    assert "ovlay unmount" in refused.stderr
    assert host.ostree_status() == "development"
    host.ovlay("enable", "--yes", "--read-only")
    assert host.stack()[-1] == "overlay overlay ro"
    assert not host.writable()
