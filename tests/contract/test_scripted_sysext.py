"""The driver sysext keeps the contract, with systemd-sysext played: see `ovlay.testing.scripted_sysext`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import compare
from ovlay.model import AnomalyKind
from ovlay.overlay import Overlay, open_overlay
from ovlay.testing.contract import BackendContract
from ovlay.testing.scripted_sysext import sysext_host
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovlay.changes.compare import Entry
    from ovlay.testing.scripted import ScriptedHost

OWN = (".systemd-sysext", "lib/extension-release.d")


class _Sysext(BackendContract):
    version = 257

    @pytest.fixture
    def overlay(self, tmp_path: Path) -> Iterator[Overlay]:
        make_known_tree(tmp_path / "host/usr")
        with sysext_host(str(tmp_path / "host"), self.version) as host:
            yield open_overlay("sysext", host=host)

    def scan(self, overlay: Overlay) -> dict[str, Entry]:
        """Without the marks of a merge: systemd's own, the extension's, and the time of the directory that it has."""
        found = super().scan(overlay)
        found["lib"] = _timeless(found["lib"])
        return {path: entry for path, entry in found.items() if not path.startswith(OWN)}


def _timeless(entry: Entry) -> Entry:
    from dataclasses import replace

    return replace(entry, mtime_ns=0)


class TestSysext257(_Sysext):
    """Merges nothing where no extension is installed."""


class TestSysext262(_Sysext):
    """Leaves a merge as it is where a refresh would change nothing."""

    version = 262


@pytest.fixture(params=[257, 262])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScriptedHost]:
    make_known_tree(tmp_path / "host/usr")
    with sysext_host(str(tmp_path / "host"), request.param) as host:
        yield host


def install_extension(host: ScriptedHost) -> None:
    host.add_file("/run/extensions/ovtest/usr/lib/extension-release.d/extension-release.ovtest", "ID=_any\n")
    host.add_file("/run/extensions/ovtest/usr/share/ovtest/hello", "hi\n")


def test_what_is_written_survives_a_refresh_by_somebody_else(host: ScriptedHost, tmp_path: Path) -> None:
    overlay = open_overlay("sysext", host=host)
    overlay.enable()
    (tmp_path / "tool").write_text("mine")
    overlay.install_file(tmp_path / "tool", "/usr/bin/mine")
    install_extension(host)
    host.run(["/usr/bin/systemd-sysext", "refresh"])
    assert overlay.status().active
    assert (tmp_path / "host/usr/bin/mine").read_text() == "mine"
    assert (tmp_path / "host/usr/share/ovtest/hello").read_text() == "hi\n"


def unmerged_by_somebody(host: ScriptedHost) -> Overlay:
    """An overlay with a change in it, that somebody took away with systemd-sysext."""
    overlay = open_overlay("sysext", host=host)
    overlay.enable()
    host.add_file("/usr/bin/mine", "mine")
    host.run(["/usr/bin/systemd-sysext", "unmerge"])
    status = overlay.status()
    assert not status.active
    assert [anomaly.kind for anomaly in status.anomalies] == [AnomalyKind.LEFTOVER_UPPER]
    assert host.read("/var/lib/extensions.mutable/usr/bin/mine") == "mine"
    return overlay


def test_an_upper_is_not_used_again_after_an_unmerge_by_somebody_else(host: ScriptedHost) -> None:
    """An unmerge is always lazy, and who uses the old view writes to its upper."""
    overlay = unmerged_by_somebody(host)
    assert "all changes in the overlay that somebody took away from /usr are lost" in overlay.enable().plan.warnings
    assert overlay.status().active
    assert not host.exists("/usr/bin/mine")
    assert len(host.mounts_at("/var/lib/extensions.mutable")) == 1
    overlay.unmount()
    assert overlay.status().anomalies == ()


def test_unmount_clears_up_after_an_unmerge_by_somebody_else(host: ScriptedHost) -> None:
    overlay = unmerged_by_somebody(host)
    assert overlay.unmount().changed
    assert not host.mounts_at("/var/lib/extensions.mutable")
    assert not host.exists("/run/extensions/ovlay")
    assert overlay.status().anomalies == ()
    assert not overlay.unmount().changed


def test_extensions_that_were_merged_before_are_merged_afterwards(host: ScriptedHost, tmp_path: Path) -> None:
    install_extension(host)
    host.run(["/usr/bin/systemd-sysext", "merge"])
    contract, overlay = _Sysext(), open_overlay("sysext", host=host)
    before = contract.scan(overlay)
    overlay.enable()
    (tmp_path / "tool").write_text("mine")
    overlay.install_file(tmp_path / "tool", "/usr/bin/mine")
    overlay.unmount()
    assert not overlay.status().active
    assert compare(before, contract.scan(overlay)) == ()
    said = host.run(["/usr/bin/systemd-sysext", "status", "--json=short"]).stdout
    assert {"ovtest"} == set(json.loads(said)[0]["extensions"])


def test_the_stand_in_says_what_each_version_says(host: ScriptedHost) -> None:
    version = 257 if host.exists("/usr/lib/systemd/libsystemd-shared-257.so") else 262
    status = json.loads(host.run(["/usr/bin/systemd-sysext", "status", "--json=short"]).stdout)
    assert status[0] == {"hierarchy": "/usr", "extensions": "none" if version == 257 else [], "since": None}
    merged = host.run(["/usr/bin/systemd-sysext", "merge", "--mutable=yes"])
    assert merged.status == 0
    assert bool(host.mounts_at("/usr")[1:]) is (version == 262)
    install_extension(host)
    host.run(["/usr/bin/systemd-sysext", "refresh"])
    again = host.run(["/usr/bin/systemd-sysext", "merge"])
    assert (again.status, again.stderr) == (1, "Hierarchy '/usr' is already merged.\n")
