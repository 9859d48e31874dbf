"""The pytest plugin: the fixture ``fake_overlay``, an overlay on a small /usr that needs no root and no kernel help.

pytest loads this module in every project that has ovlay installed, so it imports nothing of ovlay until a test asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovlay.overlay import Overlay

pytest.register_assert_rewrite("ovlay.testing.contract", "ovlay.testing.placing", "ovlay.testing.subject")


@pytest.fixture
def fake_overlay(tmp_path: Path) -> Iterator[Overlay]:
    """An `ovlay.Overlay` of the driver ``fake``: a sealed /usr below ``tmp_path`` that `ovlay.testing.tree` made.

    ``fake_overlay.host.path("/usr/bin/tool")`` is where a test finds a file of the host. No overlay is enabled yet.
    """
    from ovlay.overlay import open_overlay
    from ovlay.simulated import SimulatedHost
    from ovlay.testing.tree import make_known_tree

    root = tmp_path / "host"
    make_known_tree(root / "usr")
    with SimulatedHost(str(root)) as host:
        yield open_overlay("fake", host=host)
