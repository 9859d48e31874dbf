"""What ovlay said of a machine that really ran (tests/vm) it says of the machine's files alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ovlay_backends.deployment import parse_admin_status
from ovlay_backends.ostree import OstreeBackend
from ovlay_backends.sysext import parse_sysext_status
from tests.states.host import BOOTS, recorded_folder, recorded_host

if TYPE_CHECKING:
    from pathlib import Path

# What a scratch directory does not have: the room on a disk, and processes that hold an overlay.
UNSEEN = {"held-after-unmount"}
every_boot = pytest.mark.parametrize(
    ("host", "state"), sorted((folder.parent.name, folder.name) for folder in BOOTS.glob("*/*"))
)


def facts(told: dict[str, Any]) -> dict[str, Any]:
    """What of a status rests on files and mounts."""
    found = {key: told[key] for key in ("active", "mode", "flag", "upper_path", "target")}
    found["checksum"] = told["base"]["checksum"]
    found["mounts"] = [(layer["source"], layer["owner"], layer["access"]) for layer in told["stack"]]
    found["anomalies"] = {each["kind"] for each in told["anomalies"]} - UNSEEN
    return found


@every_boot
def test_the_driver_tells_what_it_told_there(host: str, state: str, tmp_path: Path) -> None:
    there = json.loads((recorded_folder(host, state) / "ovlay-status.json").read_text())
    here = OstreeBackend(recorded_host(tmp_path, host, state), "/usr").status()
    assert facts(json.loads(json.dumps(here.to_json()))) == facts(there)


@every_boot
def test_what_the_tools_said_is_read(host: str, state: str) -> None:
    folder = recorded_folder(host, state)
    told = json.loads((folder / "ovlay-status.json").read_text())
    assert parse_admin_status((folder / "ostree-admin-status.txt").read_text()) == (told["flag"] or "none")
    merged = parse_sysext_status((folder / "systemd-sysext-status.json").read_text(), "/usr")
    assert bool(merged) == any(layer["owner"] == "sysext" for layer in told["stack"])
    assert "ostree" in (folder / "versions.txt").read_text()
