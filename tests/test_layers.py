"""The arrows of the architecture point down only: read from the imports, whether at the top of a file or within."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).parents[1]

LAYERS = (
    ("ovlay.advice", "ovlay.ancestry", "ovlay.counting", "ovlay.errors", "ovlay.model", "ovlay.requests"),
    ("ovlay.notation", "ovlay.paths"),
    ("ovlay.kernel", "ovlay.files.source", "ovlay.command", "ovlay.lock"),
    ("ovlay.host",),
    ("ovlay.target",),
    ("ovlay.changes.content", "ovlay.changes.descent"),
    ("ovlay.changes.classify", "ovlay.files", "ovlay.bases"),
    ("ovlay.receipts",),
    ("ovlay.recording",),
    ("ovlay.plan",),
    ("ovlay.files.installing", "ovlay.uppers"),
    ("ovlay.survey", "ovlay.changes"),
    ("ovlay.backend", "ovlay.simulated", "ovlay.config", "ovlay.entry_points"),
    ("ovlay.drivers", "ovlay.holders", "ovlay.salvage", "ovlay.services"),
    ("ovlay.manifest", "ovlay.carrying"),
    ("ovlay.services.guard",),
    ("ovlay.overlay",),
    ("ovlay",),
    ("ovlay.elevate",),
    ("ovlay.testing", "ovlay.cli"),
    ("ovlay.bkt",),
    ("ovlay.__main__",),
)
"""Lowest first. A module imports from rows below its own, and from its own package."""

DRIVERS_MAY_USE = frozenset(
    {"advice", "errors", "model", "requests", "kernel", "host", "files", "plan", "uppers", "survey", "backend"}
)
"""The driver interface; the driver fake also has the simulated host, which is what it is made of."""

HEAVY = frozenset({"subprocess", "ctypes", "loguru", "platformdirs", "tomllib", "tempfile", "hashlib", "shutil"})
"""What costs a start-up as much as all the rest; it is imported where it is used."""

LIGHT_ALL_THE_SAME = {
    "ovlay.kernel.libc": {"ctypes"},  # itself imported where it is used
    "ovlay.cli.story": {"subprocess"},  # only by the demo
}

MODULES = {
    ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
    for root, package in ((CHECKOUT, "ovlay"), (CHECKOUT / "backends", "ovlay_backends"))
    for path in sorted((root / package).rglob("*.py"))
}


def imported(tree: ast.AST, *, nested: bool = True) -> Iterator[str]:
    """The modules that are imported when the code runs; imports for the type checker alone are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found = node.module or ""
            # "from ovlay import config" imports a module too.
            below = [f"{found}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else found for name in below)
        elif nested or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imported(node, nested=nested)


def layer(module: str) -> tuple[int, str]:
    """The row of a module, and the entry that it belongs to: the longest that fits."""
    fitting = [
        (len(entry), row, entry)
        for row, entries in enumerate(LAYERS)
        for entry in entries
        if module == entry or (entry != "ovlay" and module.startswith(entry + "."))
    ]
    assert fitting, f"{module} has no place in LAYERS: give it one"
    _, row, entry = max(fitting)
    return row, entry


def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


CORE = [module for module in MODULES if module.split(".")[0] == "ovlay"]
DRIVERS = [module for module in MODULES if module.split(".")[0] == "ovlay_backends"]


@pytest.mark.parametrize("module", CORE)
def test_the_core_imports_only_what_is_below(module: str) -> None:
    row, entry = layer(module)
    for name in imported(parsed(module)):
        assert not name.startswith("ovlay_backends"), f"{module} imports the driver {name}"
        if name.split(".")[0] == "ovlay":
            other, its_entry = layer(name)
            assert other < row or its_entry == entry, f"{module} imports {name}, which is not below it"


@pytest.mark.parametrize("module", DRIVERS)
def test_drivers_import_the_driver_interface(module: str) -> None:
    allowed = DRIVERS_MAY_USE | ({"simulated"} if module == "ovlay_backends.fake" else set())
    for name in imported(parsed(module)):
        if name.split(".")[0] == "ovlay":
            assert name.split(".")[1] in allowed, f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_only_one_file_knows_stevedore(module: str) -> None:
    knows = any(name.split(".")[0] == "stevedore" for name in imported(parsed(module)))
    assert knows == (module == "ovlay.drivers")


@pytest.mark.parametrize("module", MODULES)
def test_nothing_heavy_is_imported_at_the_top(module: str) -> None:
    top = {name.split(".")[0] for name in imported(parsed(module), nested=False)}
    if module.startswith("ovlay.testing"):
        return  # it is imported by tests, where pytest has imported all of it before
    assert not (top & HEAVY) - LIGHT_ALL_THE_SAME.get(module, set())


def test_the_test_sees_an_arrow_that_points_up() -> None:
    tree = ast.parse("def f():\n    from ovlay.cli import main\n")
    (name,) = imported(tree)
    assert name == "ovlay.cli.main"
    assert layer(name) > layer("ovlay.plan.step")
    assert not list(imported(tree, nested=False))
