"""The drivers of the ostree family keep the contract, with their tools played: see `ovlay.testing.scripted_ostree`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.changes.compare import compare
from ovlay.errors import StateForbids
from ovlay.model import Access, AnomalyKind, Mode, Persistence
from ovlay.overlay import Overlay, open_overlay
from ovlay.testing.contract import BackendContract
from ovlay.testing.scripted_ostree import bootc_composefs_host, ostree_host
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOTFIX = Mode(Access.READ_WRITE, Persistence.PERSISTENT)


class _Family(BackendContract):
    driver = "ostree"
    composefs = False
    by_descriptor = False

    @pytest.fixture
    def overlay(self, tmp_path: Path) -> Iterator[Overlay]:
        make_known_tree(tmp_path / "host/usr")
        root = str(tmp_path / "host")
        with ostree_host(root, composefs=self.composefs, by_descriptor=self.by_descriptor, image=True) as host:
            yield open_overlay(self.driver, host=host)


class TestOstreeWithPath(_Family):
    """Up to 2025.2."""


class TestOstreeWithDescriptor(_Family):
    """From 2025.3."""

    by_descriptor = True


class TestOstreeOnComposefs(_Family):
    composefs = True
    by_descriptor = True


class TestRpmOstree(_Family):
    driver = "rpm-ostree"


class TestBootcOverOstree(_Family):
    driver = "bootc"
    by_descriptor = True


class TestBootcOnComposefs(BackendContract):
    @pytest.fixture
    def overlay(self, tmp_path: Path) -> Iterator[Overlay]:
        make_known_tree(tmp_path / "host/usr")
        with bootc_composefs_host(str(tmp_path / "host")) as host:
            yield open_overlay("bootc", host=host)


@pytest.fixture(params=[False, True], ids=["plain", "composefs"])
def hotfixed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Overlay]:
    make_known_tree(tmp_path / "host/usr")
    with ostree_host(str(tmp_path / "host"), composefs=request.param, by_descriptor=True) as host:
        overlay = open_overlay("ostree", host=host)
        overlay.enable(HOTFIX)
        yield overlay


def test_a_hotfix_comes_back_after_a_reboot(hotfixed: Overlay, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("fixed")
    hotfixed.install_file(tmp_path / "tool", "/usr/bin/tool")
    hotfixed.host.reboot()  # type: ignore[attr-defined]
    status = hotfixed.status()
    assert (status.mode, status.flag) == (HOTFIX, "hotfix")
    assert (tmp_path / "host/usr/bin/tool").read_text() == "fixed"


def test_unmounting_a_hotfix_after_a_reboot_exposes_no_writable_deployment(hotfixed: Overlay, tmp_path: Path) -> None:
    """On a plain layout nothing read-only is beneath it then, and its files are those of the repository."""
    contract = TestOstreeWithPath()
    hotfixed.unmount(lazy=True)
    pristine = contract.scan(hotfixed)
    hotfixed.host.reboot()  # type: ignore[attr-defined]
    (tmp_path / "tool").write_text("fixed")
    hotfixed.install_file(tmp_path / "tool", "/usr/bin/tool")
    hotfixed.unmount(lazy=True)
    assert not hotfixed.status().active
    assert not hotfixed.status().has(AnomalyKind.WRITABLE_DEPLOYMENT)
    assert compare(pristine, contract.scan(hotfixed)) == ()
    contract._demand_sealed(hotfixed)


def test_a_second_unlock_is_refused_by_the_stand_in_as_by_ostree(tmp_path: Path) -> None:
    make_known_tree(tmp_path / "host/usr")
    with ostree_host(str(tmp_path / "host")) as host:
        first = host.run(["/usr/bin/ostree", "admin", "unlock"])
        again = host.run(["/usr/bin/rpm-ostree", "usroverlay", "--hotfix"])
        assert (first.status, again.status) == (0, 1)
        assert again.stderr == "error: Deployment is already in unlocked state: development\n"
        assert host.run(["/usr/bin/ostree", "admin", "status"]).stdout.splitlines()[1] == "    Unlocked: development"


def test_a_stale_flag_is_no_obstacle_but_for_a_hotfix(tmp_path: Path) -> None:
    make_known_tree(tmp_path / "host/usr")
    with ostree_host(str(tmp_path / "host")) as host:
        overlay = open_overlay("ostree", host=host)
        host.run(["/usr/bin/ostree", "admin", "unlock"])
        host.kernel.unmount(host.mounts_at("/usr")[-1], lazy=True)
        assert overlay.status().has(AnomalyKind.STALE_FLAG)
        with pytest.raises(StateForbids, match="unlocked already"):
            overlay.enable(HOTFIX)
        assert overlay.enable().changed
        assert overlay.status().active
