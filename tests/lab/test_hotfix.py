"""A hotfix of real ostree: an overlay that a reboot brings back, and that must not be taken away carelessly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.witness import kinds, sealed, state

if TYPE_CHECKING:
    from tests.lab.host import LabHost

pytestmark = pytest.mark.usefixtures("sources")


def test_a_hotfix_survives_a_reboot_and_can_be_taken_away_safely(host: LabHost) -> None:
    host.ovlay("enable", "--yes", "--persistent")
    assert host.ostree_status() == "hotfix"
    assert state(host)["mode"] == {"access": "read-write", "persistence": "persistent"}
    host.ovlay("install", "--yes", "/tmp/tool", "/usr/bin/mine")
    host.reboot()
    assert host.sh("cat /usr/bin/mine") == "#!/bin/sh\n"
    found = state(host)
    assert found["active"] is True
    assert found["mode"] == {"access": "read-write", "persistence": "persistent"}
    assert found["flag"] == "hotfix"
    assert host.sh(f"cat {found['upper_path']}/bin/mine") == "#!/bin/sh\n"
    host.sh("echo two >/tmp/two")
    host.ovlay("install", "--yes", "/tmp/two", "/usr/share/two")

    before = host.sh("ls -la --time-style=full-iso /sysroot/ostree/deploy/debian/deploy/*/usr")
    busy = host.ovlay("unmount", "--yes", check=False)
    assert busy.status == 5  # everything was started from it
    assert "(pid 1)" in busy.stderr
    assert host.writable()
    host.ovlay("unmount", "--yes", "--lazy")
    assert not host.writable()
    assert host.run("sh", "-c", ": >/usr/bin/planted", check=False).status != 0
    assert host.sh("ls /usr/bin/mine 2>/dev/null || echo gone") == "gone\n"
    assert host.sh("ls -la --time-style=full-iso /sysroot/ostree/deploy/debian/deploy/*/usr") == before
    assert host.run("ostree", "fsck", check=False).status == 0
    host.reboot()
    assert host.sh("cat /usr/bin/mine /usr/share/two") == "#!/bin/sh\ntwo\n"


def test_a_hotfix_in_its_first_boot(host: LabHost) -> None:
    host.ovlay("enable", "--yes", "--persistent")
    host.ovlay("install", "--yes", "/tmp/tool", "/usr/bin/mine")
    host.ovlay("unmount", "--yes")
    assert sealed(host)
    assert "stale-flag" in kinds(host)
    refused = host.ovlay("enable", "--yes", "--persistent", check=False)
    assert refused.status == 5
    assert "reboot" in refused.stderr
    host.ovlay("enable", "--yes")
    assert host.stack()[-1] == "overlay ovlay rw"
    host.reboot()
    assert host.sh("cat /usr/bin/mine") == "#!/bin/sh\n"
