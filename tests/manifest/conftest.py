"""The case that most tests begin with; a module that needs another one has a fixture of this name itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    """A simulated host with an overlay on it, and nothing declared yet."""
    case = Case(tmp_path)
    with case.host:
        case.overlay.enable()
        yield case
