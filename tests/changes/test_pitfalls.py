"""Overlays on which a careless walk goes wrong: see `tests.changes.pitfalls` for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from tests.changes.cases import CASES
from tests.changes.pitfalls import KNOWN, PITFALLS, ROOT
from tests.changes.test_topologies import ROOT as CHECKOUT
from tests.changes.test_topologies import unshared
from tests.changes.topologies import TOPOLOGIES
from tests.lacking import lacking

BY_ROOT = [pytest.param(name, marks=pytest.mark.lab) for name in PITFALLS if name in ROOT]
BY_ANYONE = [pytest.param(name, marks=pytest.mark.kernel) for name in PITFALLS if name not in ROOT]


@pytest.mark.parametrize("name", [*BY_ANYONE, *BY_ROOT])
def test_pitfall(name: str) -> None:
    if name in ROOT and os.geteuid() != 0:
        lacking("needs root")
    unshare = unshared(root=name in ROOT)
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode:
        lacking("namespaces cannot be made here")
    if "images" in name and shutil.which("mkfs.erofs") is None:
        lacking("not installed: mkfs.erofs")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ovlay-changes-") as place:
        command = [sys.executable, "-W", "error", "-m", "tests.changes.pitfalls", name, f"{place}/run"]
        done = subprocess.run([*unshare, *command], cwd=CHECKOUT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_everything_that_is_known_to_go_wrong_is_tried() -> None:
    assert [int(what.split()[0]) for what in KNOWN] == list(range(1, 28))
    tried = CASES.keys() | PITFALLS.keys() | TOPOLOGIES.keys()
    assert {name for names in KNOWN.values() for name in names} <= tried
    assert all(set(names) & (CASES.keys() | PITFALLS.keys()) for names in KNOWN.values())
