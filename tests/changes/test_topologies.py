"""Every way to see changes gives what a full comparison gives, in every case, on every kind of overlay."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.changes.cases import CASES, NEEDS
from tests.changes.topologies import TOPOLOGIES
from tests.lacking import lacking

ROOT = Path(__file__).parents[2]
UNKNOWN_TO_THE_COMPARISON = {"immutable_and_append_only"}  # it knows no flags: only the expectation tells

BY_ROOT = [pytest.param(name, marks=pytest.mark.lab) for name, kind in TOPOLOGIES.items() if kind.root]
BY_ANYONE = [pytest.param(name, marks=pytest.mark.kernel) for name, kind in TOPOLOGIES.items() if not kind.root]


def unshared(*, root: bool) -> list[str]:
    return ["unshare", "--mount"] if root else ["unshare", "--user", "--map-root-user", "--mount"]


def reason_to_skip(name: str) -> str:
    topology = TOPOLOGIES[name]
    lacking = [tool for tool in topology.tools if shutil.which(tool) is None and not Path(f"/usr/sbin/{tool}").exists()]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    if topology.root and os.geteuid() != 0:
        return "needs root"
    if subprocess.run([*unshared(root=topology.root), "true"], check=False, capture_output=True).returncode:
        return "namespaces cannot be made here"
    return ""


@functools.cache
def report(name: str) -> dict[str, Any]:
    """What the cases came to on one topology; see `tests.changes.inside`."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ovlay-changes-") as place:
        command = [sys.executable, "-m", "tests.changes.inside", name, f"{place}/run"]
        done = subprocess.run(
            [*unshared(root=TOPOLOGIES[name].root), *command], cwd=ROOT, check=False, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    name: str = request.param
    if reason := reason_to_skip(name):
        lacking(reason)
    topology = TOPOLOGIES[name]
    return {**report(name), "topology": topology, "whole_seconds": "-I 128" in topology.lower + topology.upper}


def within(paths: dict[str, str], case: str) -> dict[str, str]:
    """Of changes by path, those in a case's directory, relative to it."""
    inside = {path: kind for path, kind in paths.items() if path == case or path.startswith(case + "/")}
    return {path[len(case) + 1 :]: kind for path, kind in inside.items()}


def without_brought(seen: dict[str, Any], way: str, paths: dict[str, str]) -> dict[str, str]:
    """Only the upper can tell what another layer brought."""
    return {path: kind for path, kind in paths.items() if not (way.startswith("upper") and path in seen["brought"])}


def without_touched(paths: dict[str, str]) -> dict[str, str]:
    return {path: kind for path, kind in paths.items() if kind != "touched"}


every_topology = pytest.mark.parametrize("seen", [*BY_ANYONE, *BY_ROOT], indirect=True)


@every_topology
@pytest.mark.parametrize("case", CASES)
def test_each_way_says_what_the_full_comparison_says(seen: dict[str, Any], case: str) -> None:
    if not NEEDS[case] <= seen["topology"].can:
        pytest.skip("the filesystem has no such thing")
    expected = seen["expected"][case]
    assert not isinstance(expected, str), expected
    for way, answer in seen["ways"].items():
        found = without_touched(within(answer["changes"], case))
        if case not in UNKNOWN_TO_THE_COMPARISON:
            assert found == within(without_brought(seen, way, seen["truth"]), case), way
        if expected is not None and "by-extension" not in found:
            assert found == expected, way


@every_topology
def test_nothing_else_differs_and_nothing_fails(seen: dict[str, Any]) -> None:
    known = {
        path: kind for path, kind in seen["truth"].items() if path.partition("/")[0] not in UNKNOWN_TO_THE_COMPARISON
    }
    for way, answer in seen["ways"].items():
        found = without_touched(answer["changes"])
        told = {path for path in found if path.partition("/")[0] not in UNKNOWN_TO_THE_COMPARISON}
        assert told == without_brought(seen, way, known).keys(), way
        assert answer["errors"] == {}, way
        assert answer["sorted"], way


@every_topology
def test_the_upper_is_found_where_it_can_be(seen: dict[str, Any]) -> None:
    assert seen["reached"] == seen["topology"].reached


@every_topology
def test_what_was_touched_is_the_same_by_upper_and_without(seen: dict[str, Any]) -> None:
    touched = [
        {path for path, kind in answer["changes"].items() if kind == "touched"}
        for way, answer in seen["ways"].items()
        if "everything" in way
    ]
    if seen["whole_seconds"]:
        touched = touched[-1:]  # what was edited in the second in which it was made shows in the upper only
    assert all(paths == touched[0] for paths in touched)
    assert {"chmod_and_back/file", "touched/file", "touched/folder"} <= touched[0]
    assert "parents_of_a_changed_child/a/b/beside" not in touched[0]


@every_topology
def test_renames_are_true_and_the_same_whoever_looks(seen: dict[str, Any]) -> None:
    by_upper = {way: answer["renamed"] for way, answer in seen["ways"].items() if way.startswith("upper")}
    without = {way: answer["renamed"] for way, answer in seen["ways"].items() if way.startswith("pruned")}
    true = {"a_file_moved/to/file": "a_file_moved/from/file", **_moved_directories()}
    for renames in (by_upper, without):
        assert len({json.dumps(found, sort_keys=True) for found in renames.values()}) <= 1
    for found in (*by_upper.values(), *without.values()):
        assert found.items() <= true.items()


def _moved_directories() -> dict[str, str]:
    case, into = "a_directory_moved", "a_directory_moved_into_a_new_one"
    return {
        **{f"{case}/new{rest}": f"{case}/old{rest}" for rest in ("", "/deep", "/deep/file", "/edited")},
        f"{into}/new/old": f"{into}/old",
        f"{into}/new/old/deeper": f"{into}/old/deep",
        f"{into}/new/old/deeper/file": f"{into}/old/deep/file",
    }


@pytest.mark.parametrize("seen", [pytest.param("redirects", marks=pytest.mark.lab)], indirect=True)
def test_a_directory_that_was_moved_is_renamed_with_all_that_came_along(seen: dict[str, Any]) -> None:
    expected = {"a_file_moved/to/file": "a_file_moved/from/file", **_moved_directories()}
    assert seen["ways"]["upper"]["renamed"] == expected
