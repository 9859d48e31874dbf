from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.simulated import SimulatedHost
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHost]:
    make_known_tree(tmp_path / "host/usr")
    (tmp_path / "host/var/upper").mkdir(parents=True)
    (tmp_path / "host/var/work").mkdir()
    with SimulatedHost(str(tmp_path / "host")) as host:
        yield host
