"""A driver in a distribution of its own is found, listed and used with no change in ovlay, and keeps the contract.

The distribution is a wheel that is put together here: installing it needs neither a network nor a build backend.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = '''
"""third: an overlay by ovlay's own steps, on hosts that have /etc/third.conf."""

import posixpath

from ovlay.backend import Backend
from ovlay.model import Mode, Probe
from ovlay.plan.plan import Plan
from ovlay.plan.steps import DiscardUpper, Unmount
from ovlay.uppers import own_overlay


class ThirdBackend(Backend):
    """A driver that ovlay knows nothing of."""

    name = "third"

    @property
    def modes(self):
        return frozenset({Mode()})

    def probe(self):
        if not self.host.exists("/etc/third.conf"):
            return Probe(0, "/etc/third.conf is missing")
        return Probe(90, "/etc/third.conf is there")

    def plan_enable(self, mode):
        self.demand_mode(mode)
        status = self.status()
        if status.active:
            return self.plan_change(status, mode)
        self.refuse_foreign(status)
        return Plan(own_overlay(self.host, self.target, mode.access, status.submounts))

    def plan_unmount(self, *, lazy):
        status = self.status()
        overlay = status.overlay
        if overlay is None:
            return Plan(reason=f"no overlay is on {self.target}")
        upper = posixpath.dirname(status.upper_path)
        return Plan((
            Unmount(self.target, overlay.mount_id, lazy, status.submounts),
            DiscardUpper(self.target, upper, overlay.mount_id, overlay.device),
        ))
'''

SUITE = """
import pytest

import ovlay
from ovlay.simulated import SimulatedHost
from ovlay.testing.contract import BackendContract
from ovlay.testing.tree import make_known_tree


class TestThird(BackendContract):
    @pytest.fixture
    def overlay(self, tmp_path):
        make_known_tree(tmp_path / "host/usr")
        with SimulatedHost(str(tmp_path / "host")) as host:
            yield ovlay.open("third", host=host)
"""

USE = """
import json, os, pathlib, sys
import ovlay
from ovlay.drivers import driver_names, probe_all
from ovlay.simulated import SimulatedHost
from ovlay.testing.tree import make_known_tree

make_known_tree(sys.argv[1] + "/usr")
with SimulatedHost(sys.argv[1]) as host:
    unfit = dict(probe_all(host, "/usr"))["third"]
    os.mkdir(host.path("/etc"))
    host.write("/etc/third.conf", "")
    best = probe_all(host, "/usr")[0]
    overlay = ovlay.detect(host=host)
    overlay.enable()
    overlay.install_file(sys.argv[2], "/usr/bin/third")
    status = overlay.status()
    print(json.dumps({
        "names": driver_names(), "unfit": list(unfit), "best": [best[0], best[1].score],
        "backend": status.backend, "active": status.active,
        "placed": pathlib.Path(host.path("/usr/bin/third")).read_text(),
        "module": type(overlay.backend).__module__,
    }))
    overlay.unmount()
"""


def build_wheel(directory: Path) -> Path:
    """A pure wheel by hand: the binary distribution format of packaging.python.org."""
    info = "ovlay_third-1.0.dist-info"
    files = {
        "ovlay_third.py": DRIVER,
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: ovlay-third\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[ovlay.backends]\nthird = ovlay_third:ThirdBackend\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f"{name},sha256={digest},{len(text.encode())}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n"
    wheel = directory / "ovlay_third-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


def install(wheel: Path, directory: Path) -> None:
    """With pip where the environment has it; a pure wheel is installed by unpacking it where it has not."""
    if importlib.util.find_spec("pip") is None:
        zipfile.ZipFile(wheel).extractall(directory)
        return
    options = ["--quiet", "--no-index", "--no-deps", "--no-cache-dir", "--disable-pip-version-check", "--no-compile"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(directory), str(wheel)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which the distribution is installed."""
    directory = tmp_path_factory.mktemp("third")
    install(build_wheel(directory), directory / "installed")
    above = os.environ.get("PYTHONPATH")
    path = [str(directory / "installed"), *([above] if above else [])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OVLAY_", "PYTEST_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1"}


def test_it_is_found_and_listed_and_used(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "tool").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-W", "error", "use.py", str(tmp_path / "host"), str(tmp_path / "tool")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"third", "fake", "ostree"} <= set(found["names"])
    assert found["unfit"] == [0, "/etc/third.conf is missing"]
    assert found["best"] == ["third", 90]
    assert (found["backend"], found["active"], found["module"]) == ("third", True, "ovlay_third")
    assert found["placed"] == "mine"


def test_it_keeps_the_contract(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "test_third.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "base")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_it_is_not_there_without_its_distribution() -> None:
    """The driver came from the wheel and from nowhere else."""
    from ovlay.drivers import driver_names

    assert "third" not in driver_names()
