"""bkt's commands in the tests: on a simulated host, in a repository that is laid out as bkt's own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay import config
from ovlay.bkt.main import main
from ovlay.simulated import SimulatedHost
from tests.cli.conftest import Said

if TYPE_CHECKING:
    from collections.abc import Iterator

FAKE_CARGO = """\
#!/bin/sh
# A cargo that builds by copying: what it was called with, by whom and where, is in the log.
here=$(dirname "$0")
printf '%s|%s|%s\\n' "$*" "$(id -u)" "$PWD" >>"$here/log"
[ -e "$here/fails" ] && { echo "error: could not compile bkt" >&2; exit 101; }
target=${CARGO_TARGET_DIR:-$PWD/bkt/target}
case $1 in
metadata) echo "{\\"target_directory\\": \\"$target\\"}" ;;
build)
    echo "   Compiling bkt v0.1.0" >&2
    mkdir -p "$target/release"
    { echo built; cat bkt/src/main.rs; } >"$target/release/bkt"
    echo '{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"bkt"},"executable":null}'
    echo "a line that is no JSON"
    echo "{\\"reason\\":\\"compiler-artifact\\",\\"target\\":{\\"kind\\":[\\"bin\\"],\\"name\\":\\"bkt\\"},"\\
"\\"executable\\":\\"$target/release/bkt\\"}"
    echo '{"reason":"build-finished","success":true}' ;;
esac
"""


class Bkt:
    """The command ``ovlay-bkt`` on a simulated host."""

    def __init__(self, host: SimulatedHost, capfd: pytest.CaptureFixture[str]) -> None:
        self.host = host
        self._capfd = capfd

    def __call__(self, words: str, *more: str) -> Said:
        """Run a command line in this process, with the driver fake."""
        return self.plain("--backend", "fake", "--root", self.host.root, *words.split(), *more)

    def plain(self, *words: str) -> Said:
        """Run it in this process, with these words only."""
        self._capfd.readouterr()
        status = main(words)
        out, err = self._capfd.readouterr()
        return Said(status, out, err)

    def there(self, path: str) -> Path:
        """Where a path of the host is."""
        return Path(self.host.path(path))


class Repository:
    """A checkout that is laid out as bkt's is: github.com/wycats/bootc, bkt/ with the crate, scripts/."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.crate = root / "bkt"
        self.scripts = root / "scripts"
        (root / ".git").mkdir(parents=True)
        (root / "manifests").mkdir()
        (self.crate / "src").mkdir(parents=True)
        (self.crate / "Cargo.toml").write_text(
            '[package]\nname = "bkt"\nversion = "0.1.0"\nedition = "2021"\n\n'
            '[lib]\nname = "bkt"\npath = "src/lib.rs"\n\n[[bin]]\nname = "bkt"\npath = "src/main.rs"\n'
        )
        (self.crate / "src/lib.rs").write_text("")
        (self.crate / "src/main.rs").write_text('fn main() { println!("bkt of the checkout"); }\n')
        self.scripts.mkdir()
        for name, mode in (("bootc-apply", 0o644), ("bootc-bootstrap", 0o755), ("bootc-repo", 0o644)):
            (self.scripts / name).write_text(f"#!/usr/bin/env bash\n# {name}\n")
            (self.scripts / name).chmod(mode)


class Cargo:
    """A stand-in for cargo, first in PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        (folder / "cargo").write_text(FAKE_CARGO)
        (folder / "cargo").chmod(0o755)

    def fail(self) -> None:
        """Let every call fail from now on."""
        (self.folder / "fails").touch()

    def calls(self) -> list[list[str]]:
        """Each call: the arguments, who called, and where."""
        log = self.folder / "log"
        return [line.split("|") for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home, and nothing of the machine that runs the tests."""
    for name in ("OVLAY_BACKEND", "SUDO_UID", "PKEXEC_UID", "DOAS_USER", "BKT_REPO_PATH", "CARGO_TARGET_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(config, "config_files", lambda: ())
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHost]:
    """A simulated host with an old bkt, and with /usr/local leading out of /usr as Fedora's images have it."""
    binaries = tmp_path / "host/usr/bin"
    binaries.mkdir(parents=True)
    (binaries / "bkt").write_text("old bkt\n")
    (binaries / "bkt").chmod(0o755)
    (binaries / "bootc-apply").write_text("old bootc-apply\n")
    (tmp_path / "host/var/usrlocal/bin").mkdir(parents=True)
    (tmp_path / "host/usr/local").symlink_to("../var/usrlocal")
    with SimulatedHost(str(tmp_path / "host")) as host:
        yield host


@pytest.fixture
def bkt(host: SimulatedHost, capfd: pytest.CaptureFixture[str]) -> Bkt:
    """bkt's commands on that host."""
    return Bkt(host, capfd)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """A checkout, and the working directory deep in it."""
    made = Repository(tmp_path / "checkout")
    monkeypatch.chdir(made.crate / "src")
    return made


@pytest.fixture
def cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cargo:
    """A stand-in for cargo."""
    made = Cargo(tmp_path / "tools")
    monkeypatch.setenv("PATH", os.pathsep.join([str(made.folder), "/usr/bin", "/bin"]))
    return made
