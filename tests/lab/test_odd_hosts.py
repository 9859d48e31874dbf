"""Hosts on which something is not as it should be, and files that may not go where they were sent."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.lab.witness import fingerprint, kinds, sealed, state

if TYPE_CHECKING:
    from tests.lab.host import LabHost

pytestmark = pytest.mark.usefixtures("sources")


def test_a_stale_flag_after_umount_by_hand(host: LabHost) -> None:
    host.run("ostree", "admin", "unlock")
    host.sh("echo lost >/usr/share/lost; umount -l /usr")
    assert host.ostree_status() == "development"
    assert sealed(host)
    assert "stale-flag" in kinds(host)
    assert "already" in host.run("ostree", "admin", "unlock", check=False).stderr
    host.ovlay("enable", "--yes")
    assert host.stack()[-1] == "overlay ovlay rw"
    assert host.sh("ls /usr/share/lost 2>/dev/null || echo pristine") == "pristine\n"
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    # The flag stays: somebody may still use the overlay that was unmounted by hand, and nobody wrote down its number.
    assert host.ostree_status() == "development"
    assert host.sh("find /var/lib/ovlay/overlays -mindepth 1") == ""
    host.ovlay("enable", "--yes")
    assert host.writable()


def test_a_foreign_overlay_is_left_alone(host: LabHost) -> None:
    host.sh(
        "mkdir /tmp/f; mount -t tmpfs f /tmp/f; mkdir /tmp/f/u /tmp/f/w; chmod 755 /tmp/f/u;"
        "mount -t overlay somebody -o lowerdir=/usr,upperdir=/tmp/f/u,workdir=/tmp/f/w /usr"
    )
    before = fingerprint(host)
    assert "foreign-overlay" in kinds(host)
    assert state(host)["active"] is False
    refused = host.ovlay("enable", "--yes", check=False)
    assert refused.status == 5
    assert "somebody" in refused.stderr
    assert host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one", check=False).status == 5
    host.ovlay("unmount", "--yes", check=False)
    assert fingerprint(host) == before


def test_mounts_below_usr_are_kept(host: LabHost) -> None:
    host.sh("mount -t tmpfs below /usr/games; echo here >/usr/games/file")
    assert state(host)["submounts"] == ["/usr/games"]
    host.ovlay("enable", "--yes")
    assert host.sh("cat /usr/games/file") == "here\n"
    assert host.stack("/usr/games") == ("tmpfs - rw",)
    refused = host.ovlay("install", "--yes", "/tmp/one", "/usr/games/one", check=False)
    assert refused.status == 5
    assert "another mount" in refused.stderr
    host.ovlay("unmount", "--yes")
    assert host.sh("cat /usr/games/file; umount /usr/games; ls /usr/games") == "here\n"
    assert sealed(host)


def test_a_running_program_can_be_replaced(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/usr/bin/sleep", "/usr/bin/napping")
    pid = host.start("echo ready; exec /usr/bin/napping 600")
    assert "Text file busy" in host.run("sh", "-c", "echo x >/usr/bin/napping", check=False).stderr
    host.ovlay("install", "--yes", "/tmp/tool", "/usr/bin/napping")
    assert host.sh("cat /usr/bin/napping") == "#!/bin/sh\n"
    assert host.sh(f"cmp /proc/{pid}/exe /usr/bin/sleep && echo same") == "same\n"


def test_usr_local_that_leads_to_var_is_refused(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    refused = host.ovlay("install", "--yes", "/tmp/tool", "/usr/local/bin/tool", check=False)
    assert refused.status == 5
    assert "var/usrlocal" in refused.stderr
    assert host.sh("ls /var/usrlocal/bin") == ""


def test_a_user_is_refused_and_nothing_changes(host: LabHost) -> None:
    before = fingerprint(host)
    refused = host.ovlay("enable", "--yes", check=False, user=65534)
    assert refused.status == 6
    assert "root" in refused.stderr
    assert fingerprint(host) == before
    found = host.ovlay("status", "--json", user=65534).json()
    assert found["active"] is False
    host.ovlay("enable", "--yes")
    between = fingerprint(host)
    assert host.ovlay("status", "--json", user=65534).json()["active"] is True
    for verb in (("install", "--yes", "/tmp/one", "/usr/share/one"), ("unmount", "--yes")):
        assert host.ovlay(*verb, check=False, user=65534).status == 6, verb
    assert fingerprint(host) == between


def test_inside_a_container_it_is_refused(host: LabHost) -> None:
    host.sh("touch /run/.containerenv")
    before = fingerprint(host)
    refused = host.ovlay("enable", "--yes", check=False)
    assert refused.status == 3
    assert "container" in refused.stderr
    assert fingerprint(host) == before


def test_ostree_missing_is_said(host: LabHost) -> None:
    host.sh("touch /tmp/nothing; mount --bind /tmp/nothing /usr/bin/ostree")
    refused = host.ovlay("enable", "--yes", "--backend", "ostree", check=False)
    assert refused.status == 4
    assert "ostree is not installed" in refused.stderr


def test_the_plan_as_json(host: LabHost) -> None:
    plan = host.ovlay("enable", "--dry-run", "--json").json()
    assert plan["schema"].startswith("ovlay.")
    assert re.search(r"ostree admin unlock", json.dumps(plan))
