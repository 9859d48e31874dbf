"""The driver overlayfs keeps the contract of all drivers on the kernel's overlayfs, with no root."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lacking import lacking

pytestmark = pytest.mark.kernel

NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount")


def test_the_contract_in_a_user_namespace(tmp_path: Path) -> None:
    allowed = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode != 0:
        reason = f"no user namespace can be had: {allowed.stderr.strip()}"
        lacking(reason)
    suite = Path(__file__).parent / "contract_inside.py"
    options = ("-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "inside"))
    done = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "pytest", *options, str(suite)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed", done.stdout.splitlines()[-1])
    assert passed is not None, done.stdout
    assert int(passed[1]) >= 30
