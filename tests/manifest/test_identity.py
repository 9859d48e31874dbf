"""Apply after capture is the identity, on the fake driver and on the kernel."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import ovlay
from ovlay.simulated import SimulatedHost
from tests.lacking import lacking
from tests.manifest.identity import EDITS, PLANTS, check, edit_all

if TYPE_CHECKING:
    from tests.changes.fuzz import Edit

NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount")


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(plants=st.lists(PLANTS, max_size=12), edits=st.lists(EDITS, max_size=12), more=st.lists(EDITS, max_size=4))
@example(plants=[("write", "d/a", b"x")], edits=[("remove", "d", None), ("write", "d", b"y")], more=[])
@example(plants=[("write", "a", b"x")], edits=[("remove", "a", None), ("write", "a/b", b"y")], more=[])
@example(plants=[("write", "d/a", b"x")], edits=[("remove", "d", None)], more=[("write", "d/b", b"y")])
@example(plants=[], edits=[("write", "d/a", b"x")], more=[("remove", "d", None), ("write", "d", b"x")])
def test_on_the_fake_driver(plants: list[Edit], edits: list[Edit], more: list[Edit]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ovlay-identity-") as folder:
        usr = Path(folder, "host/usr")
        usr.mkdir(parents=True)
        edit_all(usr, plants)
        with SimulatedHost(f"{folder}/host") as host:
            check(ovlay.open("fake", host=host), usr, Path(folder, "hot.toml"), edits, more)


@pytest.mark.kernel
def test_on_the_kernel(tmp_path: Path) -> None:
    allowed = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode != 0:
        reason = f"no user namespace can be had: {allowed.stderr.strip()}"
        lacking(reason)
    suite = Path(__file__).parent / "identity_inside.py"
    options = ("-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "inside"))
    done = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "pytest", *options, str(suite)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^1 passed", done.stdout.splitlines()[-1]), done.stdout
