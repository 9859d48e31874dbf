"""stevedore's cache of entry points is neither read nor written: what a user plants there never runs.

Any process that can write the user's cache directory could otherwise make ovlay, as root, import what it likes; and
the cache does not see that an updated image has new drivers, since ostree sets all time stamps to 0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Runs in a process of its own, always by the same path: stevedore names its file by a hash of sys.path.
PROGRAM = """
import json, os, sys

def cache_file():
    from stevedore import _cache
    return os.path.join(_cache._get_cache_dir(), _cache._hash_settings_for_path(tuple(sys.path))[0])

def write(groups):
    os.makedirs(os.path.dirname(cache_file()), exist_ok=True)
    with open(cache_file(), "w") as stream:
        json.dump({"groups": groups, "sys.executable": sys.executable, "sys.prefix": sys.prefix, "path_values": []},
                  stream)

def names_by_ovlay():
    from ovlay.drivers import driver_names, load_driver, load_drivers, probe_all
    from ovlay.host import Host
    from stevedore import _cache
    _cache._c._disable_caching = False  # stevedore does not write when Python itself is below /tmp
    drivers, failures = load_drivers()
    probed = probe_all(Host(sys.argv[2]), "/usr")
    return {
        "names": driver_names(),
        "loaded": [f"{driver.__module__}:{driver.__name__}" for driver in drivers],
        "failures": failures,
        "probed": sorted(name for name, _ in probed),
        "one": load_driver("ostree").__module__,
    }

def names_by_stevedore():
    from stevedore import _cache
    _cache._c._disable_caching = False
    from stevedore.extension import ExtensionManager
    return {"loaded": [extension.name for extension in ExtensionManager("ovlay.backends")]}

touched = []
sys.addaudithook(lambda event, given: touched.append(str(given[0])) if event in ("open", "os.listdir") else None)
if sys.argv[1] == "write":
    write(json.load(sys.stdin))
    print("{}")
else:
    found = names_by_ovlay() if sys.argv[1] == "ovlay" else names_by_stevedore()
    found["evil"] = "evil_driver" in sys.modules
    found["touched"] = [path for path in touched if "python-entrypoints" in path]
    print(json.dumps(found))
"""

POISON = {
    "ovlay.backends": [
        ["ostree", "evil_driver:Evil", "ovlay.backends"],
        ["aardvark", "evil_driver:Evil", "ovlay.backends"],
    ]
}
STALE: dict[str, list[list[str]]] = {"ovlay.backends": []}


class Machine:
    """A cache directory, and Python processes that use it."""

    def __init__(self, directory: Path) -> None:
        self.cache = directory / "cache"
        self._nothing = directory / "nothing"
        self._nothing.mkdir()
        self._program = directory / "program.py"
        self._program.write_text(PROGRAM)
        (directory / "evil_driver.py").write_text("class Evil:\n    name = 'evil'\n")

    def run(self, word: str, given: object = None) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, str(self._program), word, str(self._nothing)],
            input=json.dumps(given),
            env={**os.environ, "XDG_CACHE_HOME": str(self.cache), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.cache.rglob("*") if path.is_file()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_poison_works_on_stevedore_itself(machine: Machine) -> None:
    """Else the other tests would show nothing."""
    machine.run("write", POISON)
    found = machine.run("stevedore")
    assert found["loaded"] == ["ostree", "aardvark"]
    assert found["evil"]
    assert found["touched"]


@pytest.mark.parametrize("planted", [POISON, STALE], ids=["poisoned", "stale"])
def test_a_planted_cache_changes_nothing(machine: Machine, planted: dict[str, list[list[str]]]) -> None:
    untouched = machine.run("ovlay")
    machine.run("write", planted)
    before = machine.files()
    found = machine.run("ovlay")
    assert len(before) == 1
    assert found == untouched
    assert {"fake", "ostree"} <= set(found["names"])
    assert found["one"] == "ovlay_backends.ostree"
    assert not found["evil"]
    assert found["touched"] == []
    assert machine.files() == before


def test_no_cache_is_written(machine: Machine) -> None:
    found = machine.run("ovlay")
    assert "ovlay_backends.fake:FakeBackend" in found["loaded"]
    assert not machine.cache.exists()
    machine.run("stevedore")
    assert machine.cache.exists()  # where ovlay would have written it too
