"""Fixtures of the real boots. Without ``--full`` (or ``OVLAY_VM_FULL=1``) only the short run is made."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from tests.lab.recipe import Layout
from tests.lacking import lacking
from tests.vm.host import VmHost
from tests.vm.project import install_project, make_project_disk
from tests.vm.recipe import MachineRecipe, made, missing_tools
from tests.vm.recorder import record
from tests.vm.table import ROW, Row, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

TRIXIE = MachineRecipe("trixie")  # ostree 2025.2, systemd 257, Python 3.13
COMPOSEFS = MachineRecipe("forky", Layout.COMPOSEFS)  # ostree 2026.4, systemd 262, Python 3.14
SELINUX = MachineRecipe("trixie", selinux=True)
RECIPES = {recipe.name: recipe for recipe in (TRIXIE, COMPOSEFS)}

_TABLE = pytest.StashKey[Table]()
_HOSTS = pytest.StashKey[list[VmHost]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vm", "real boots")
    group.addoption("--full", action="store_true", help="all boots and power cuts, not only the short run")
    group.addoption("--cuts", type=float, default=1.0, help="how many power cuts, as a part of what --full has")
    group.addoption("--seed", type=int, default=1, help="of the moments of the power cuts")
    group.addoption("--write", action="store_true", help="write the table of the results to docs/vm.md")
    group.addoption("--record", action="store_true", help="keep the states that were seen in tests/states/boots")


def full(config: pytest.Config) -> bool:
    """Whether everything is asked for."""
    return bool(config.getoption("full", default=False)) or os.environ.get("OVLAY_VM_FULL") == "1"


def pytest_configure(config: pytest.Config) -> None:
    """Have a table of what is seen."""
    config.stash[_TABLE] = Table()
    config.pluginmanager.register(config.stash[_TABLE])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Everything here is a test of the machines; without ``--full`` only the short run stays."""
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.vm)
    if not full(config):
        long = [item for item in mine if item.path.name != "test_short.py"]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    # The longest come first, so that two processes end at about the same time.
    items.sort(key=lambda item: item.path.name != "test_power.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure shows what the machines of the test have printed."""
    report = yield
    hosts = item.stash.get(_HOSTS, [])
    if report.failed:
        for host in hosts:
            report.sections.append((f"the machine {host.boots.recipe.name}", host.report()))
    if report.when == "call" or (report.failed and report.when == "setup"):
        report.user_properties.append((ROW, _row(item, report, hosts).to_json()))
    return report


def _row(item: pytest.Item, report: pytest.TestReport, hosts: list[VmHost]) -> Row:
    function = item.function if isinstance(item, pytest.Function) else None
    check = (function.__doc__ or item.name).strip() if function is not None else item.name
    callspec = getattr(item, "callspec", None)
    values = callspec.params.values() if callspec is not None else ()
    which = [value for value in values if isinstance(value, str)]
    notes = tuple(str(text) for key, text in report.user_properties if key == "note")
    outcome = {"passed": "holds", "failed": "**fails**"}.get(report.outcome, report.outcome)
    name = ", ".join(host.boots.recipe.name for host in hosts)
    versions = "; ".join(host.versions for host in hosts)
    return Row(f"{check} ({', '.join(which)})" if which else check, name, outcome, report.duration, notes, versions)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the table, and write it where that was asked for."""
    table = config.stash[_TABLE]
    if not table.rows or not full(config):
        return
    terminalreporter.section("real boots")
    terminalreporter.write_line(table.text())
    if config.getoption("write"):
        table.write()


@pytest.fixture(scope="session")
def vm() -> None:
    """Skip where no machine can be made; fail where it must be (``OVLAY_LAB_REQUIRED=1``)."""
    if os.geteuid() != 0:
        lacking("needs root")
    if missing := missing_tools():
        lacking(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def project(vm: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[MachineRecipe], Path]:
    """The project's disk for a machine."""
    place = tmp_path_factory.mktemp("project")
    install_project(place / "installed")
    disks: dict[str, Path] = {}

    def disk(recipe: MachineRecipe) -> Path:
        if recipe.name not in disks:
            disks[recipe.name] = make_project_disk(place / "installed", made(recipe), place)
        return disks[recipe.name]

    return disk


class Boot(Protocol):
    """Boot a fresh machine of a recipe."""

    def __call__(self, recipe: MachineRecipe, *, quick: bool = True) -> VmHost:
        """``quick`` goes no further than ostree and systemd-tmpfiles need."""


@pytest.fixture
def boot(request: pytest.FixtureRequest, project: Callable[[MachineRecipe], Path], tmp_path: Path) -> Iterator[Boot]:
    """Boot fresh machines, and end them after the test."""
    hosts = request.node.stash.setdefault(_HOSTS, [])
    with ExitStack() as stack:

        def booted(recipe: MachineRecipe, *, quick: bool = True) -> VmHost:
            image = made(recipe)
            host = VmHost(image, tmp_path / recipe.name, project(recipe), boots=image, quick=quick)
            hosts.append(host)
            return stack.enter_context(host)

        yield booted


@pytest.fixture(params=list(RECIPES.values()), ids=list(RECIPES))
def host(request: pytest.FixtureRequest, boot: Boot) -> VmHost:
    """A fresh machine, booted: the test runs once for each of them."""
    recipe: MachineRecipe = request.param
    return boot(recipe)


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Say something in the table of the results."""

    def noted(text: str) -> None:
        request.node.user_properties.append(("note", text))

    return noted


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> Callable[[int], tuple[float, ...]]:
    """When the power goes, as parts of the time that a verb takes: one at random in each of as many as there are."""
    chance = random.Random(f"{request.config.getoption('seed')} {request.node.name}")

    def of(full: int) -> tuple[float, ...]:
        count = max(1, round(full * float(request.config.getoption("cuts"))))
        return tuple((number + chance.random()) / count for number in range(count))

    return of


class Record(Protocol):
    """Keep the state that a machine is in now."""

    def __call__(self, host: VmHost, state: str) -> None:
        """``state`` names it, with a number before."""


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Record:
    """Keep the state that a machine is in now, where ``--record`` asks for it."""
    return record if request.config.getoption("record") else lambda host, state: None
