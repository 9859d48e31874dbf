"""Many ovlay at once, from root and from users, with other tools in between; and some of them are killed.

``OVLAY_CROWD=SECONDS`` lets it go on for longer than the few seconds of every test run.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults.table import told
from tests.lab.conftest import BOOKWORM
from tests.lab.striking import run_inside

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost
    from tests.lab.recipe import Recipe

SECONDS = os.environ.get("OVLAY_CROWD", "16")


@pytest.fixture
def bookworm(boot: Callable[[Recipe], LabHost]) -> LabHost:
    """One host is enough: the lock is the same on all."""
    return boot(BOOKWORM)


def test_sixty_four_at_once(bookworm: LabHost) -> None:
    (found,) = run_inside(bookworm, "crowd", "--count", "64", "--seconds", SECONDS)
    sys.stdout.write(f"{found}\n")
    for part in ("peaceful", "deadly"):
        assert found[part]["wrong"] == [], part
        assert sum(found[part]["ended"].values()) > 64, part
    assert any(key.endswith(": -9") for key in found["deadly"]["ended"])
    told(
        "64 processes at once enable, install the same and different files, apply and ask for the status, as root and "
        "as users",
        "no file is lost or torn, each has its receipt, and nothing is left behind",
        "test_crowd.py",
    )
    told(
        "64 processes at once enable, install and unmount, and every tenth is killed at random",
        "no file is torn, none waits for ever, and nothing is left behind: no mount, directory, lock or flag",
        "test_crowd.py",
    )
