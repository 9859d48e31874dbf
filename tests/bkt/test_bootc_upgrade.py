"""``admin bootc upgrade``: a warning where an overlay is active, then bootc with the arguments given."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from ovlay.cli import elevation
from ovlay.errors import NotPermitted
from ovlay.services import guard
from tests.cli.conftest import raising

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bkt.conftest import Bkt


@pytest.fixture
def bootc(bkt: Bkt) -> Bkt:
    """A host with a bootc that says what it was called with."""
    with bkt.host.kernel.unsealed("/usr") as usr:
        _put(f"{usr}/bin/bootc", '#!/bin/sh\necho "bootc: $*"\nread line && echo "read: $line"\nexit 3\n')
    return bkt


def _put(path: str, text: str) -> None:
    from pathlib import Path

    Path(path).write_text(text)
    Path(path).chmod(0o755)


def test_without_an_overlay(bootc: Bkt) -> None:
    assert bootc("admin bootc upgrade") == (3, "bootc: upgrade\n", "")


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ("--check", "--check"),
        ("--quiet --apply", "--quiet --apply"),
        ("--json --root x -v", "--json --root x -v"),
        ("--yes", ""),
        ("--confirm --download-only -y", "--download-only"),
    ],
)
def test_all_arguments_but_bkts_own_are_bootcs(bootc: Bkt, given: str, handed_on: str) -> None:
    assert bootc(f"admin bootc upgrade {given}").out.split() == ["bootc:", "upgrade", *handed_on.split()]


def test_an_active_overlay_is_warned_of(bootc: Bkt) -> None:
    bootc("admin usroverlay enable")
    bootc.there("/usr/bin/bkt").write_text("new\n")
    said = bootc("admin bootc upgrade --check")
    assert (said.status, said.out) == (3, "bootc: upgrade --check\n")
    assert said.err == (
        "⚠ usroverlay active (changes ephemeral)\n"
        "    the read-write, transient overlay on /usr is not there when another image is booted\n"
        "    lost for good: 1 path, which no manifest of the system declares\n"
        "      /usr/bin/bkt (modified)\n"
        "    to keep it: `sudo ovlay capture` declares it in a manifest\n"
    )


def test_who_may_not_look_into_the_overlay_is_warned_all_the_same(bootc: Bkt, monkeypatch: pytest.MonkeyPatch) -> None:
    bootc("admin usroverlay enable")
    monkeypatch.setattr(guard, "forecast_upgrade", raising(NotPermitted("only root may look")))
    said = bootc("admin bootc upgrade")
    assert (said.status, said.out) == (3, "bootc: upgrade\n")
    assert said.err.startswith("⚠ usroverlay active")
    assert "its changes are lost" in said.err


def test_a_dry_run_starts_nothing(bootc: Bkt) -> None:
    assert bootc("-n admin bootc upgrade --apply").out == "/usr/bin/bootc upgrade --apply\n"


@pytest.fixture
def user(bootc: Bkt, monkeypatch: pytest.MonkeyPatch) -> Bkt:
    """A user of that host, who is not root, with programs that say who was asked to let root run what."""
    with bootc.host.kernel.unsealed("/usr") as usr:
        for name in ("sudo", "pkexec"):
            _put(f"{usr}/bin/{name}", f'#!/bin/sh\necho "{name}: $*"\nexit 4\n')
    monkeypatch.setattr(elevation, "_needs_root", lambda _overlay: True)
    monkeypatch.setattr(elevation, "_has_terminal", lambda: True)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.delenv("OVLAY_ELEVATE", raising=False)
    return bootc


def test_for_a_user_root_runs_it_by_pkexec_as_bkts_own_command_does(user: Bkt) -> None:
    """bootc says "must be executed as the root user", whatever a user said before."""
    assert user("admin bootc upgrade --check") == (4, "pkexec: /usr/bin/bootc upgrade --check\n", "")
    assert user("-n admin bootc upgrade").out == "/usr/bin/pkexec /usr/bin/bootc upgrade\n"


def test_for_a_user_it_is_run_by_what_the_user_says(user: Bkt, monkeypatch: pytest.MonkeyPatch) -> None:
    by_sudo = (4, "sudo: -- /usr/bin/bootc upgrade\n", "")
    assert user("--elevate sudo admin bootc upgrade --yes") == by_sudo
    monkeypatch.setenv("OVLAY_ELEVATE", "sudo")
    assert user("admin bootc upgrade") == by_sudo
    assert user("--elevate pkexec admin bootc upgrade").out == "pkexec: /usr/bin/bootc upgrade\n"


def test_without_pkexec_it_is_run_by_what_is_there(user: Bkt) -> None:
    with user.host.kernel.unsealed("/usr") as usr:
        os.unlink(f"{usr}/bin/pkexec")
    assert user("admin bootc upgrade").out == "sudo: -- /usr/bin/bootc upgrade\n"
    with user.host.kernel.unsealed("/usr") as usr:
        os.unlink(f"{usr}/bin/sudo")
    said = user("admin bootc upgrade")
    assert (said.status, "could ask for a password\n  next: log in as root" in said.err) == (6, True)


def test_a_user_who_wants_no_way_to_root_is_told_that_bootc_needs_one(user: Bkt) -> None:
    said = user("--elevate none admin bootc upgrade")
    assert (said.status, said.out) == (6, "")
    assert "ovlay-bkt: only root can run bootc\n  next: " in said.err


def test_without_bootc(bkt: Bkt) -> None:
    said = bkt("admin bootc upgrade")
    assert (said.status, "bootc is not installed" in said.err) == (7, True)


def test_help_is_ours(bootc: Bkt) -> None:
    said = bootc("admin bootc upgrade --help")
    assert (said.status, "ARGUMENT OF BOOTC" in said.out) == (0, True)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 5), (signal.SIGTERM, 6)])
def test_signals_are_bootcs_to_handle(bkt: Bkt, tmp_path: Path, number: signal.Signals, status: int) -> None:
    with bkt.host.kernel.unsealed("/usr") as usr:
        script = "#!/bin/sh\ntrap 'exit 5' INT\ntrap 'exit 6' TERM\n"
        _put(f"{usr}/bin/bootc", script + f"touch {tmp_path}/ready\nwhile :; do sleep 0.05; done\n")
    code = "import sys; from ovlay.bkt.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["--backend", "fake", "--root", bkt.host.root, "admin", "bootc", "upgrade"]
    running = subprocess.Popen([sys.executable, "-c", code, *words], start_new_session=True)
    with running:
        try:
            end = time.monotonic() + 20
            while not (tmp_path / "ready").exists():
                assert time.monotonic() < end
                time.sleep(0.02)
            if number is signal.SIGINT:  # Ctrl-C: the terminal sends it to the whole group
                os.killpg(running.pid, number)
            else:
                running.send_signal(number)
            assert running.wait(timeout=20) == status
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
