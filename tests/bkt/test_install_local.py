"""``dev install-local``: build as the caller, enable, install; and a failed build changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.bkt import caller
from ovlay.bkt.cargo import find_built, find_cargo
from ovlay.errors import InvalidInput
from tests.bkt.conftest import Bkt, Cargo, Repository
from tests.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLED = "✓ Local bkt installed (ephemeral until reboot)\n"
BUILT = "built\nfn main() "


def test_all_in_one(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    said = bkt("dev install-local")
    assert said.status == 0
    assert said.out == (
        "Building bkt in release mode...\nEnabling usroverlay...\nInstalling to /usr/bin/bkt...\n" + INSTALLED
    )
    assert said.err == "   Compiling bkt v0.1.0\n"
    assert bkt.there("/usr/bin/bkt").read_text().startswith(BUILT)
    assert bkt.there("/usr/bin/bkt").stat().st_mode & 0o7777 == 0o755
    ((words, uid, where),) = cargo.calls()
    crate = f"{repository.root}/bkt/Cargo.toml"
    assert words == f"build --release --manifest-path {crate} --message-format=json-render-diagnostics"
    assert (uid, where) == (str(os.geteuid()), str(repository.root))


def test_twice_is_as_once(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    bkt("dev install-local --with-scripts")
    assert bkt("dev install-local --with-scripts").out == "Building bkt in release mode...\n" + INSTALLED


def test_with_scripts(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    said = bkt("dev install-local --with-scripts")
    assert said.out.endswith(
        "Installing to /usr/bin/bkt...\nInstalling to /usr/bin/bootc-apply...\n"
        "Installing to /usr/bin/bootc-bootstrap...\n" + INSTALLED
    )
    for name in ("bootc-apply", "bootc-bootstrap"):
        assert bkt.there(f"/usr/bin/{name}").read_text() == (repository.scripts / name).read_text()


def test_a_failed_build_changes_nothing(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    cargo.fail()
    said = bkt("dev install-local")
    assert (said.status, said.out) == (7, "Building bkt in release mode...\n")
    assert "error: could not compile bkt\novlay-bkt: Build failed\n" in said.err
    assert bkt("admin usroverlay status").out.startswith("Overlay: inactive\n")
    assert bkt.there("/usr/bin/bkt").read_text() == "old bkt\n"
    document = bkt("dev install-local --json").document("error")
    assert (document["message"], document["exit_code"]) == ("Build failed", 7)


def test_no_enable_refuses_before_the_build(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    said = bkt("dev install-local --no-enable")
    assert (said.status, cargo.calls()) == (5, [])
    assert "next: Run 'bkt admin usroverlay enable' to enable." in said.err
    bkt("admin usroverlay enable")
    assert bkt("dev install-local --no-enable").status == 0


def test_a_missing_script_is_found_before_the_build(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    (repository.scripts / "bootc-apply").unlink()
    said = bkt("dev install-local --with-scripts")
    assert (said.status, cargo.calls()) == (2, [])
    assert "scripts/bootc-apply: there is no such file" in said.err


def test_no_build(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    said = bkt("dev install-local --no-build")
    assert said.status == 2
    assert "bkt/target/release/bkt: there is no such file" in said.err
    assert bkt("admin usroverlay status").out.startswith("Overlay: inactive\n")
    bkt("dev install-local")
    bkt("admin usroverlay disable --now")
    said = bkt("dev install-local --no-build")
    assert said.out == "Enabling usroverlay...\nInstalling to /usr/bin/bkt...\n" + INSTALLED
    assert [call[0].split()[0] for call in cargo.calls()] == ["metadata", "build", "metadata"]


def test_the_overlay_goes_again_where_the_file_cannot_be_placed(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    with bkt.host.kernel.unsealed("/usr") as usr:
        Path(usr, "bin/bkt").unlink()
        Path(usr, "bin/bkt").mkdir()
    said = bkt("dev install-local")
    assert (said.status, "/usr/bin/bkt is a directory" in said.err) == (2, True)
    assert bkt("admin usroverlay status").out.startswith("Overlay: inactive\n")


def test_an_overlay_that_was_there_stays_where_the_file_cannot_be_placed(
    bkt: Bkt, repository: Repository, cargo: Cargo
) -> None:
    with bkt.host.kernel.unsealed("/usr") as usr:
        Path(usr, "bin/bkt").unlink()
        Path(usr, "bin/bkt").mkdir()
    bkt("admin usroverlay enable")
    assert bkt("dev install-local").status == 2
    assert bkt("admin usroverlay status").out.startswith("Overlay: active\n")


def test_a_dry_run_builds_nothing(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    said = bkt("dev install-local -n --with-scripts")
    assert said.status == 0
    assert "cargo build --release" in said.out
    assert "then scripts/bootc-apply is installed as /usr/bin/bootc-apply\n" in said.out
    assert bkt("dev install-local -n --json").document("plan")["steps"]
    assert cargo.calls() == []
    assert bkt("admin usroverlay status").out.startswith("Overlay: inactive\n")


def test_the_outcome_as_a_document(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    document = bkt("dev install-local --json").document("outcome")
    assert (document["verb"], document["changed"], document["status"]["active"]) == ("install", True, True)
    assert document["plan"]["steps"][-1]["step"] == "place-file"
    assert len(document["plan"]["steps"]) > 1


def test_outside_of_a_repository(bkt: Bkt, cargo: Cargo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = bkt("dev install-local")
    assert (said.status, "neither it nor a directory above has .git and bkt/Cargo.toml" in said.err) == (2, True)
    monkeypatch.setenv("BKT_REPO_PATH", str(tmp_path))
    said = bkt("dev install-local")
    assert (said.status, f"BKT_REPO_PATH is {tmp_path}" in said.err) == (2, True)
    monkeypatch.setenv("BKT_REPO_PATH", str(Repository(tmp_path / "elsewhere").root))
    assert bkt("dev install-local").status == 0


def test_in_a_work_tree_of_git(bkt: Bkt, repository: Repository, cargo: Cargo) -> None:
    (repository.root / ".git").rmdir()
    (repository.root / ".git").write_text("gitdir: /elsewhere/.git/worktrees/checkout\n")
    assert bkt("dev install-local").status == 0


def test_without_cargo(bkt: Bkt, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = bkt("dev install-local")
    assert said.status == 7
    assert "cargo is not installed for " in said.err
    built = repository.crate / "target/release/bkt"
    built.parent.mkdir(parents=True)
    built.write_text("built elsewhere\n")
    assert bkt("dev install-local --no-build").status == 0
    assert bkt.there("/usr/bin/bkt").read_text() == "built elsewhere\n"


@pytest.mark.parametrize("place", [".cargo/bin", ".local/bin", ".local/bin/distrobox"])
def test_cargo_is_found_in_the_callers_home(
    place: str, repository: Repository, home: Path, cargo: Cargo, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / place).mkdir(parents=True)
    program = shutil.copy(cargo.folder / "cargo", home / place / "cargo")
    monkeypatch.setenv("PATH", str(home))
    found = find_cargo(str(repository.root), caller.find_caller())
    assert found is not None
    assert found.program == str(program)


def test_what_cargo_does_not_tell_is_looked_for(
    bkt: Bkt, repository: Repository, cargo: Cargo, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CARGO_TARGET_DIR", str(tmp_path / "moved"))
    (cargo.folder / "cargo").write_text(
        '#!/bin/sh\n[ "$1" = build ] || exit 1\n'
        'mkdir -p "$CARGO_TARGET_DIR/release"; echo x >"$CARGO_TARGET_DIR/release/bkt"\n'
    )
    assert bkt("dev install-local").status == 0
    assert bkt.there("/usr/bin/bkt").read_text() == "x\n"


def test_ctrl_c_in_the_build_ends_cargo_and_changes_nothing(
    bkt: Bkt, repository: Repository, cargo: Cargo, tmp_path: Path
) -> None:
    (cargo.folder / "cargo").write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n")
    code = "import sys; from ovlay.bkt.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["--backend", "fake", "--root", bkt.host.root, "dev", "install-local"]
    running = subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True)
    with running:
        pid = _pid(tmp_path / "pid")
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=20) == 130
        assert running.stderr is not None
        assert "interrupted" in running.stderr.read()
    end = time.monotonic() + 20
    while not _has_ended(pid):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert bkt("admin usroverlay status").out.startswith("Overlay: inactive\n")


def _has_ended(pid: int) -> bool:
    """Whether nothing of a process is left but what its parent, by then that of all orphans, has not asked for yet."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def _pid(file: Path) -> int:
    end = time.monotonic() + 20
    while not (file.exists() and file.read_text().endswith("\n")):
        assert time.monotonic() < end
        time.sleep(0.02)
    return int(file.read_text())


# --- under sudo ------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that other users reach, unlike pytest's."""
    place = Path(tempfile.mkdtemp(prefix="ovlay-bkt-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize(
    ("variable", "value"), [("SUDO_UID", "65534"), ("PKEXEC_UID", "65534"), ("DOAS_USER", "nobody")]
)
def test_root_builds_as_the_user_who_called(
    variable: str, value: str, bkt: Bkt, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        lacking("needs root")
    repository = Repository(open_place / "checkout")
    cargo = Cargo(open_place / "tools")
    for path in (open_place, *open_place.rglob("*")):
        shutil.chown(path, 65534, 65534)
    (cargo.folder / "cargo").write_text(
        (cargo.folder / "cargo").read_text().replace("case $1", 'env >"$here/env"; id -G >"$here/groups"\ncase $1')
    )
    monkeypatch.chdir(repository.root)
    monkeypatch.setenv("PATH", f"{cargo.folder}:/usr/bin:/bin")
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("ROOTS_OWN", "secret")
    assert bkt("dev install-local").status == 0
    assert [call[1] for call in cargo.calls()] == ["65534"]
    assert (cargo.folder / "groups").read_text().split() == ["65534"]
    environment = (cargo.folder / "env").read_text()
    assert "ROOTS_OWN" not in environment
    assert "\nUSER=nobody\n" in f"\n{environment}"
    assert (repository.crate / "target/release/bkt").stat().st_uid == 65534
    assert bkt.there("/usr/bin/bkt").stat().st_uid == 0


def test_who_is_root_with_nobody_behind_builds_as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("SUDO_UID", "0")
    assert caller.find_caller().borrowed is False
    monkeypatch.setenv("SUDO_UID", "no such user")
    assert caller.find_caller().borrowed is False


def test_a_user_is_the_caller_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setenv("SUDO_UID", "0")
    assert (caller.find_caller().uid, caller.find_caller().borrowed) == (65534, False)


# --- with the real cargo ---------------------------------------------------------------------------------------------


@pytest.fixture
def real_cargo(monkeypatch: pytest.MonkeyPatch) -> str:
    """The machine's cargo, if it has one that works."""
    import pwd

    home = pwd.getpwuid(os.geteuid()).pw_dir
    monkeypatch.setenv("RUSTUP_HOME", os.environ.get("RUSTUP_HOME", f"{home}/.rustup"))
    found = shutil.which("cargo", path=f"{os.environ['PATH']}:{home}/.cargo/bin")
    if found is None or subprocess.run([found, "--version"], capture_output=True, check=False).returncode:
        lacking("needs cargo")
    monkeypatch.setenv("PATH", f"{os.path.dirname(found)}:/usr/bin:/bin")
    return found


def test_a_real_build(bkt: Bkt, repository: Repository, real_cargo: str) -> None:
    said = bkt("dev install-local")
    assert said.status == 0, said.err
    assert "Finished `release`" in said.err
    installed = bkt.there("/usr/bin/bkt")
    assert subprocess.run([installed], capture_output=True, text=True, check=True).stdout == "bkt of the checkout\n"
    assert installed.read_bytes() == (repository.crate / "target/release/bkt").read_bytes()
    assert bkt("dev install-local --no-build").out == INSTALLED


def test_a_real_build_in_a_workspace_and_elsewhere(
    bkt: Bkt, repository: Repository, real_cargo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository.root / "Cargo.toml").write_text('[workspace]\nmembers = ["bkt"]\nresolver = "2"\n')
    assert bkt("dev install-local").status == 0
    assert (repository.root / "target/release/bkt").exists()
    assert bkt("dev install-local --no-build").out == INSTALLED
    found = find_cargo(str(repository.root), caller.find_caller())
    assert find_built(str(repository.root), found) == f"{repository.root}/target/release/bkt"

    (repository.root / ".cargo").mkdir()
    (repository.root / ".cargo/config.toml").write_text(f'[build]\ntarget-dir = "{tmp_path}/by-configuration"\n')
    assert bkt("dev install-local").status == 0
    assert find_built(str(repository.root), found) == f"{tmp_path}/by-configuration/release/bkt"


def test_a_real_build_that_fails(bkt: Bkt, repository: Repository, real_cargo: str) -> None:
    (repository.crate / "src/main.rs").write_text("fn main() { this does not compile }\n")
    said = bkt("dev install-local")
    assert said.status == 7
    assert "error: could not compile `bkt`" in said.err
    assert said.err.endswith(
        "ovlay-bkt: Build failed\n  next: nothing was changed; mend what cargo says above, then try again\n"
    )
    assert json.loads(bkt("admin usroverlay status --json").out)["active"] is False


def test_nothing_was_built(repository: Repository) -> None:
    with pytest.raises(InvalidInput, match=r"bkt/target/release/bkt: there is no such file"):
        find_built(str(repository.root), None)
