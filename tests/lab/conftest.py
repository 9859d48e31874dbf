"""Fixtures of the lab: hosts that are made once, and one booted copy for each test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.elevate.machine import Machine
from tests.elevate.stack import machine_with_stack
from tests.lab.host import UNDER_TEST, LabHost
from tests.lab.recipe import Image, Layout, Recipe, made, missing_tools
from tests.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOOKWORM = Recipe("bookworm")  # ostree 2022.7, systemd 252, Python 3.11
TRIXIE = Recipe("trixie")  # ostree 2025.2, systemd 257, Python 3.13
FORKY = Recipe("forky")  # ostree 2026.4, systemd 262, Python 3.14
COMPOSEFS = Recipe("forky", Layout.COMPOSEFS)
BOOTC = Recipe("forky", Layout.BOOTC)
RECIPES = {recipe.name: recipe for recipe in (BOOKWORM, TRIXIE, FORKY, COMPOSEFS)}

_LAUNCH = f"""#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{UNDER_TEST}")
from ovlay.cli.main import main
sys.exit(main())
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is a test of the lab."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> None:
    """Skip where the lab cannot be; fail where it must be (``OVLAY_LAB_REQUIRED=1``)."""
    if os.geteuid() != 0:
        lacking("needs root")
    if missing := missing_tools():
        lacking(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def under_test(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as a user would install it, with all that it needs, in one directory."""
    place = tmp_path_factory.mktemp("under-test")
    checkout = Path(__file__).parents[2]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--target", str(place)]
    # pytest is for the contract of all drivers, which runs inside.
    subprocess.run([*pip, "--no-compile", "--root-user-action=ignore", str(checkout), "pytest"], check=True)
    launch = place / "launch"
    launch.write_text(_LAUNCH)
    launch.chmod(0o755)
    place.chmod(0o755)
    return place


@pytest.fixture
def boot(lab: None, under_test: Path, tmp_path: Path) -> Iterator[Callable[[Recipe], LabHost]]:
    """Boot a fresh host of a recipe."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def booted(recipe: Recipe) -> LabHost:
            image: Image = made(recipe)
            return stack.enter_context(LabHost(image, tmp_path / recipe.name, under_test))

        yield booted


@pytest.fixture(params=list(RECIPES.values()), ids=list(RECIPES))
def host(request: pytest.FixtureRequest, boot: Callable[[Recipe], LabHost]) -> LabHost:
    """A fresh host, booted: the test runs once for each of them."""
    recipe: Recipe = request.param
    return boot(recipe)


@pytest.fixture
def sources(host: LabHost) -> None:
    """Files to be installed."""
    host.sh("echo one >/tmp/one; echo two >/tmp/two; echo '#!/bin/sh' >/tmp/tool")


@pytest.fixture(scope="module")
def shared_machine(under_test: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One machine with users and the tools that ask for passwords, for all tests of a module."""
    if missing := Machine.missing():
        lacking(f"not installed: {', '.join(missing)}")
    with machine_with_stack(tmp_path_factory.mktemp("machine"), under_test) as machine:
        yield machine


@pytest.fixture
def machine(shared_machine: Machine) -> Iterator[Machine]:
    """The machine, as it was in the beginning."""
    yield shared_machine
    shared_machine.reset()
