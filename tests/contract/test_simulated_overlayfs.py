"""The driver overlayfs keeps the contract on a simulated kernel; on the real one see the tests marked ``kernel``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.overlay import Overlay, open_overlay
from ovlay.simulated import SimulatedHost
from ovlay.testing.contract import BackendContract
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestOverlayfs(BackendContract):
    @pytest.fixture
    def overlay(self, tmp_path: Path) -> Iterator[Overlay]:
        make_known_tree(tmp_path / "host/usr")
        with SimulatedHost(str(tmp_path / "host")) as host:
            yield open_overlay("overlayfs", host=host)
