"""The contract of all drivers, on the real /usr of a booted host."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.conftest import BOOKWORM, BOOTC, COMPOSEFS, FORKY, TRIXIE
from tests.lab.host import UNDER_TEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost
    from tests.lab.recipe import Recipe

PAIRS = (
    *(("ostree", recipe) for recipe in (BOOKWORM, TRIXIE, FORKY, COMPOSEFS)),
    *(("sysext", recipe) for recipe in (TRIXIE, FORKY, COMPOSEFS)),
    *(("overlayfs", recipe) for recipe in (TRIXIE, COMPOSEFS, BOOTC)),
    ("rpm-ostree", TRIXIE),
    ("bootc", FORKY),
    ("bootc", BOOTC),
)


@pytest.mark.parametrize(("driver", "recipe"), PAIRS, ids=[f"{driver}-{recipe.name}" for driver, recipe in PAIRS])
def test_the_contract(boot: Callable[[Recipe], LabHost], driver: str, recipe: Recipe) -> None:
    host = boot(recipe)
    if driver in ("bootc", "rpm-ostree"):
        host.stand_in(driver)
    suite = (Path(__file__).parent / "contract_inside.py").read_text()
    host.run("sh", "-c", "mkdir /tmp/c && cat >/tmp/c/test_contract.py", stdin=suite)
    ran = host.run(
        *("python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir=/tmp/c", "/tmp/c"),
        check=False,
        environment={"PYTHONPATH": UNDER_TEST, "PYTHONDONTWRITEBYTECODE": "1", "OVLAY_CONTRACT": driver},
    )
    assert ran.status == 0, str(ran)
    passed = re.search(r"^(\d+) passed", ran.stdout.splitlines()[-1])
    assert passed is not None, str(ran)
    assert int(passed[1]) >= 30
