"""The short run: one machine, booted and rebooted, with what ovlay promises first of all."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.lab.witness import kinds, state
from tests.vm.conftest import TRIXIE
from tests.vm.witness import sealed

if TYPE_CHECKING:
    from tests.vm.conftest import Boot


def test_a_reboot_takes_the_overlay_away(boot: Boot) -> None:
    """One boot to the end, and one reboot: what was installed is gone, and nothing odd is left"""
    host = boot(TRIXIE, quick=False)
    assert host.settle() == "running"
    assert sealed(host)
    assert not state(host)["active"]
    host.sh("printf '#!/bin/sh\\necho works\\n' >/var/tmp/tool")

    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/var/tmp/tool", "/usr/bin/mine")
    assert host.run("mine", user=65534).stdout == "works\n"
    found = state(host)
    assert (found["active"], found["flag"]) == (True, "development")
    assert host.ovlay("status", user=65534).stdout.startswith("/usr: read-write, transient")
    assert host.ovlay("diff", "--name-only", check=False).stdout == "/usr/bin/mine\n"
    assert host.ovlay("unmount", "--yes", user=65534, check=False).status != 0

    host.reboot()
    assert sealed(host)
    assert host.run("mine", check=False).status == 127
    assert host.ostree_status() == "none"
    assert not state(host)["active"]
    assert kinds(host) == set()
    assert host.sh("ls /var/tmp") == "tool\n"  # systemd-tmpfiles has removed the upper
    assert json.loads(host.ovlay("backends", "--json").stdout)
