"""The contract of all drivers for the driver overlayfs, to be run in a user namespace: see test_contract.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.host import Host
from ovlay.kernel import libc
from ovlay.testing.contract import BackendContract
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestOverlayfs(BackendContract):
    """On a read-only bind of a known tree, on a tmpfs."""

    @pytest.fixture
    def overlay(self, tmp_path: Path) -> Iterator[ovlay.Overlay]:
        place = tmp_path / "place"
        place.mkdir()
        libc.make_private()
        context = libc.fsopen("tmpfs")
        libc.fsconfig_create(context)
        libc.move_mount(libc.fsmount(context), str(place))
        target = place / "usr"
        make_known_tree(target)
        sealed = libc.open_tree(str(target))
        libc.mount_set_read_only(sealed, read_only=True)
        libc.move_mount(sealed, str(target))
        yield ovlay.open("overlayfs", target=target, host=Host(scratch=str(place / "scratch")))
        libc.umount(str(place), lazy=True)
