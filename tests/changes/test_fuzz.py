"""Random edits of random trees come out as a full comparison says, with the upper and without."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

from tests.changes.test_topologies import ROOT, reason_to_skip, unshared
from tests.changes.topologies import TOPOLOGIES
from tests.lacking import lacking


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        pytest.param("user", 40, marks=pytest.mark.kernel),
        pytest.param("user-two-filesystems", 40, marks=pytest.mark.kernel),
        pytest.param("fuzz-redirects", 150, marks=pytest.mark.lab),
        pytest.param("fuzz-index", 150, marks=pytest.mark.lab),
    ],
)
def test_random_edits(name: str, examples: int) -> None:
    if reason := reason_to_skip(name):
        lacking(reason)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ovlay-changes-") as place:
        command = [sys.executable, "-m", "tests.changes.fuzz", name, f"{place}/run", str(examples)]
        done = subprocess.run(
            [*unshared(root=TOPOLOGIES[name].root), *command],
            cwd=ROOT,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout + done.stderr
