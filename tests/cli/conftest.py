"""The command line in the tests: with the driver fake on a small host of its own, and no configuration of this one."""

from __future__ import annotations

import importlib.resources
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jsonschema  # type: ignore[import-untyped, unused-ignore]
import pytest
import referencing

from ovlay import config
from ovlay.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.simulated import SimulatedHost

NO_UTF8 = os.fsdecode(b"no-\xff-utf8")

SCHEMAS = {
    name: json.loads(importlib.resources.files("ovlay").joinpath(f"schemas/ovlay.{name}-1.json").read_text())
    for name in (
        "backends",
        "bkt-drift",
        "changes",
        "comparison",
        "demo",
        "drift",
        "error",
        "guard",
        "holders",
        "outcome",
        "plan",
        "salvage",
        "service",
        "status",
    )
}
_REGISTRY: referencing.Registry[Any] = referencing.Registry().with_resources(
    (schema["$id"], referencing.Resource.from_contents(schema)) for schema in SCHEMAS.values()
)


class Said(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    def document(self, name: str) -> dict[str, Any]:
        """The one document on standard output, which must be what its schema says."""
        document: dict[str, Any] = json.loads(self.out)
        assert document["schema"] == f"ovlay.{name}/1"
        jsonschema.Draft202012Validator(SCHEMAS[name], registry=_REGISTRY).validate(document)
        return document


class Cli:
    """The command line on a simulated host."""

    def __init__(self, host: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> None:
        self.host = host
        self._capsys = capsys

    def __call__(self, *words: str) -> Said:
        """Run it in this process, with the driver fake."""
        return self.plain("--backend", "fake", "--root", self.host.root, *words)

    def plain(self, *words: str) -> Said:
        """Run it in this process, with these words only."""
        self._capsys.readouterr()
        status = main(words)
        out, err = self._capsys.readouterr()
        return Said(status, out, err)

    def argv(self, *words: str) -> list[str]:
        """The command for a process of its own, with the driver fake."""
        return [*script(), "--backend", "fake", "--root", self.host.root, *words]


def script() -> list[str]:
    """The installed console script, or where there is none the module."""
    path = Path(sys.executable).with_name("ovlay")
    return [str(path)] if path.exists() else [sys.executable, "-m", "ovlay"]


def run_script(*words: str, **environment: str) -> Said:
    """Run the console script with no terminal, and wait for it."""
    done = subprocess.run(
        [*script(), *words],
        capture_output=True,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, **environment},
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine that runs the tests says which driver is taken."""
    monkeypatch.delenv("OVLAY_BACKEND", raising=False)
    monkeypatch.setenv("OVLAY_ELEVATE", "none")  # nobody is there to type a password
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(config, "config_files", lambda: ())


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHost]:
    """A simulated host with a small /usr."""
    from ovlay.simulated import SimulatedHost

    (tmp_path / "host/usr/bin").mkdir(parents=True)
    (tmp_path / "host/usr/bin/old").write_text("old\n")
    with SimulatedHost(str(tmp_path / "host")) as host:
        yield host


@pytest.fixture
def cli(host: SimulatedHost, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line on that host."""
    return Cli(host, capsys)


@pytest.fixture
def tool(tmp_path: Path) -> str:
    """A small file that is worth installing."""
    path = tmp_path / "tool"
    path.write_text("#!/bin/sh\necho hello\n")
    return str(path)


def raising(error: BaseException) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


def usr(cli: Cli) -> Path:
    return Path(cli.host.root) / "usr"


@pytest.fixture
def changed(cli: Cli, host: SimulatedHost) -> Cli:
    """A host on which something of every kind has changed."""
    with host.kernel.unsealed("/usr") as base:
        lib = Path(base) / "lib"
        lib.mkdir()
        (lib / "text").write_text("one\ntwo\nthree\n")
        (lib / "meta").write_text("x")
        (lib / "meta").chmod(0o644)
        (lib / "binary").write_bytes(b"\0" * 100)
        (lib / "gone").write_text("gone\n")
        (lib / "same").write_text("same\n")
        (lib / "link").symlink_to("text")
        (lib / "folder").mkdir()
    cli("enable", "--yes")
    lib = usr(cli) / "lib"
    (lib / "text").write_text("one\n2\nthree")
    (lib / "meta").chmod(0o755)
    (lib / "binary").write_bytes(b"\0" * 3000)
    (lib / "gone").unlink()
    (lib / "same").write_text("same\n")
    (lib / "link").unlink()
    (lib / "link").symlink_to("meta")
    (lib / "folder").rmdir()
    (lib / "folder").write_text("now a file\n")
    (lib / "new").mkdir()
    (lib / "new/a\nb").write_text("x\n")
    (lib / "new" / NO_UTF8).write_text("y\n")
    os.mkfifo(lib / "fifo")
    return cli
