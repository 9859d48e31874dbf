"""The contract of all drivers on a real /usr: copied into a host of the lab, and run there by its own Python.

``OVLAY_CONTRACT`` names the driver. After each test the host is as it was before, by means that are not ovlay's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.changes.compare import scan_tree
from ovlay.testing.contract import BackendContract, Tree

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVER = os.environ["OVLAY_CONTRACT"]
ON_OSTREE_COMPOSEFS = "- overlay composefs " in Path("/proc/self/mountinfo").read_text()

_RESTORE = """
for flag in /run/ostree/deployment-state/*/unlocked-*; do rm -f "$flag"; done
[ -e /run/ostree-booted ] || exit 0
mount -o remount,bind,rw /sysroot
cd /sysroot/ostree/deploy/debian/deploy
if grep -q ^unlocked= ./*.origin; then
    sed -i /^unlocked=/d ./*.origin
    booted=$(ls -d ./*.0)
    chattr -i "$booted"
    rm -rf "$booted/.usr-ovl-upper" "$booted/.usr-ovl-work"
    ostree admin undeploy 1
    chattr +i "$booted"
fi
"""


def _mounts_on(target: str) -> int:
    return sum(line.split()[4] == target for line in Path("/proc/self/mountinfo").read_text().splitlines())


class TestOnRealUsr(BackendContract):
    """The driver on /usr itself."""

    @pytest.fixture
    def overlay(self) -> Iterator[ovlay.Overlay]:
        before = _mounts_on("/usr")
        yield ovlay.open(DRIVER)
        while _mounts_on("/usr") > before:
            subprocess.run(
                ["umount", "--lazy", "--recursive", "/usr/.systemd-sysext"], check=False, capture_output=True
            )
            subprocess.run(["umount", "--lazy", "/usr"], check=True)
        while _mounts_on("/var/lib/extensions.mutable"):
            subprocess.run(["umount", "--lazy", "/var/lib/extensions.mutable"], check=True)
        for path in ("/run/extensions/ovlay", "/var/lib/extensions.mutable", "/var/lib/ovlay"):
            shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["unshare", "--mount", "sh", "-euc", _RESTORE], check=True)

    def scan(self, overlay: ovlay.Overlay) -> Tree:
        """What the contract touches; all of /usr would take a second each time."""
        found: Tree = {}
        for part in ("bin", "spoiled", "forbidden", "lib/a"):
            place = self.target_path(overlay, part)
            if os.path.lexists(place):
                tree = scan_tree(place, permissions=overlay.host.permissions)
                found |= {part if path == "." else f"{part}/{path}": entry for path, entry in tree.items()}
        if ON_OSTREE_COMPOSEFS:
            # There ostree's overlay lies on the deployment's checkout, not on the composefs that is seen without it:
            # the same files and links, but other time stamps of links, and names that are one file in the repository.
            return {path: replace(entry, mtime_ns=0, same_file=()) for path, entry in found.items()}
        return found
