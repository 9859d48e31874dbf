"""What the library logs is shown where -v asks for it, and is silent otherwise."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import TYPE_CHECKING

from ovlay.cli.logs import logs_shown
from ovlay.host import Host

if TYPE_CHECKING:
    import pytest

    from tests.cli.conftest import Cli


def test_without_v_nothing_is_shown(cli: Cli) -> None:
    assert cli("enable", "--yes").err == ""


def test_v_shows_the_steps(cli: Cli) -> None:
    said = cli("enable", "--yes", "-v")
    assert said.status == 0
    assert "INFO  ovlay.plan.execute: mount a read-write overlay on /usr" in said.err
    assert "DEBUG" not in said.err


def test_v_shows_what_is_taken_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from ovlay.plan.mounting import MountOverlay

    def full(step: MountOverlay, host: Host) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MountOverlay, "run", full)
    said = cli("enable", "--yes", "-v")
    assert said.status == 5
    assert "INFO  ovlay.plan.execute: take back: make a fresh upper directory" in said.err


def test_vv_shows_every_host_command(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    with logs_shown(2):
        assert Host().run(("/bin/true",)).status == 0
    assert capsys.readouterr().err == "DEBUG ovlay.host: run /bin/true\n"


def test_afterwards_all_is_as_it_was(cli: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("ovlay")
    before = (list(library.handlers), library.level, library.propagate)
    assert cli("status", "-vv").status == 0
    assert (library.handlers, library.level, library.propagate) == before
    assert cli("enable", "--yes").err == ""


def test_a_program_that_embeds_ovlay_hears_nothing_it_did_not_ask_for(cli: Cli) -> None:
    code = f"import ovlay; ovlay.open('fake', root={cli.host.root!r}).enable()"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
