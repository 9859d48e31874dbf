"""The driver fake keeps the contract of all drivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import compare, scan_tree
from ovlay.errors import Busy, InvalidInput
from ovlay.host import Host
from ovlay.model import Mode, Persistence
from ovlay.overlay import Overlay, open_overlay
from ovlay.simulated import SimulatedHost
from ovlay.testing.contract import BackendContract
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PERSISTENT = Mode(persistence=Persistence.PERSISTENT)


class TestFake(BackendContract):
    @pytest.fixture
    def overlay(self, tmp_path: Path) -> Iterator[Overlay]:
        make_known_tree(tmp_path / "host/usr")
        with SimulatedHost(str(tmp_path / "host")) as host:
            yield open_overlay("fake", host=host)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Overlay]:
    make_known_tree(tmp_path / "host/usr")
    with SimulatedHost(str(tmp_path / "host")) as host:
        yield open_overlay("fake", host=host)


def test_it_never_fits_by_itself(fake: Overlay) -> None:
    probe = fake.backend.probe()
    assert (probe.score, probe.fits) == (0, False)
    assert "by name" in probe.reason


@pytest.mark.parametrize("root", ["/", "/../", "//"])
def test_it_is_not_for_this_host(root: str) -> None:
    with pytest.raises(InvalidInput, match="scratch directory") as refused:
        open_overlay("fake", root=root)
    assert refused.value.remedy


def test_it_refuses_to_plan_on_a_real_host(tmp_path: Path) -> None:
    """Its steps are the real ones, and would mount over the real /usr."""
    backend = open_overlay("fake", host=Host(str(tmp_path))).backend
    with pytest.raises(InvalidInput, match="real /usr"):
        backend.plan_enable(Mode())
    with pytest.raises(InvalidInput, match="real /usr"):
        backend.plan_unmount(lazy=True)


def test_opening_it_makes_a_host(tmp_path: Path) -> None:
    overlay = open_overlay("fake", root=tmp_path / "new")
    try:
        assert not overlay.status().writable
        assert overlay.enable().changed
        assert overlay.status().writable
    finally:
        overlay.host.close()  # type: ignore[attr-defined]


def test_it_works_on_another_target(tmp_path: Path) -> None:
    make_known_tree(tmp_path / "opt/tree")
    before = scan_tree(tmp_path / "opt/tree")
    overlay = open_overlay("fake", root=tmp_path, target="/opt/tree")
    with overlay.enabled():
        (tmp_path / "opt/tree/bin/tool").unlink()
    assert compare(before, scan_tree(tmp_path / "opt/tree")) == ()
    overlay.host.close()  # type: ignore[attr-defined]


def test_what_is_persistent_comes_back_also_after_a_reboot(fake: Overlay, tmp_path: Path) -> None:
    usr, pristine = tmp_path / "host/usr", TestFake().scan(fake)
    fake.enable(PERSISTENT)
    (usr / "bin/tool").unlink()
    (usr / "bin/mine").write_text("mine")
    assert fake.unmount().plan.warnings
    assert compare(pristine, TestFake().scan(fake)) == ()
    fake.enable(PERSISTENT)
    assert not (usr / "bin/tool").exists()
    fake.host.reboot()  # type: ignore[attr-defined]
    assert compare(pristine, TestFake().scan(fake)) == ()
    fake.enable(PERSISTENT)
    assert (usr / "bin/mine").read_text() == "mine"
    fake.unmount()
    fake.enable()
    assert compare(pristine, TestFake().scan(fake)) == ()


def test_a_persistent_upper_serves_one_overlay_at_a_time(fake: Overlay) -> None:
    fake.enable(PERSISTENT)
    with TestFake().hold(fake):
        fake.unmount(lazy=True)
        with pytest.raises(Busy, match="holder") as busy:
            fake.enable(PERSISTENT)
        assert busy.value.holders
        assert fake.enable().changed
        fake.unmount()
    assert fake.enable(PERSISTENT).changed


def test_nothing_transient_is_left_on_the_disk(fake: Overlay) -> None:
    for lazy in (False, True):
        fake.enable()
        fake.unmount(lazy=lazy)
    fake.enable()
    with TestFake().hold(fake):
        fake.unmount(lazy=True)
    fake.enable()
    assert len(fake.host.entries("/run/ovlay/overlays")) == 1
    fake.host.reboot()  # type: ignore[attr-defined]
    assert fake.host.entries("/run") == ()
    assert fake.host.entries("/var/lib/ovlay/overlays") == ()
