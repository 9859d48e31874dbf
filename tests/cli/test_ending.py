"""Questions at a terminal, and all the ways in which the command can end."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.cli.main import BROKEN_PIPE, INTERRUPTED, UNSAID
from ovlay.overlay import Overlay
from ovlay.plan.steps import MakePrivateDirectory, MakeUpper, MountTmpfs
from tests.cli.conftest import raising, run_script, script

if TYPE_CHECKING:
    from ovlay.plan.step import Step
    from tests.cli.conftest import Cli


def at_a_terminal(argv: list[str], answer: bytes, **environment: str) -> tuple[int, str]:
    """Run a command at a terminal of its own, answer its question, and return its status and all that it said."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.execve(argv[0], argv, {**os.environ, "TERM": "xterm", **environment})
    said, sent = b"", False
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not chunk:
            break
        said += chunk
        if not sent and b"[y/N] " in said:
            time.sleep(0.05)  # the question is read before the process waits for its answer
            os.write(terminal, answer)
            sent = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode().replace("\r\n", "\n")


# --- questions -----------------------------------------------------------------------------------------------------


def test_yes_at_the_terminal_does_it(cli: Cli) -> None:
    status, said = at_a_terminal(cli.argv("enable"), b"y\n")
    assert status == 0
    assert said.index("mount a read-write overlay") < said.index("Proceed? [y/N]") < said.index("is on /usr now")
    assert cli("status", "--json").document("status")["active"] is True


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"maybe\n", b"\x04"])
def test_anything_else_does_nothing(cli: Cli, answer: bytes) -> None:
    status, said = at_a_terminal(cli.argv("enable"), answer)
    assert status == 2
    assert "ovlay: not confirmed; nothing was changed" in said
    assert cli("status", "--json").document("status")["active"] is False


def test_ctrl_c_at_the_question_does_nothing(cli: Cli) -> None:
    status, said = at_a_terminal(cli.argv("enable"), b"\x03")
    assert status == INTERRUPTED
    assert "ovlay: interrupted" in said
    assert "Traceback" not in said
    assert cli("status", "--json").document("status")["active"] is False


def test_disable_offers_to_unmount(cli: Cli) -> None:
    cli("enable", "--yes")
    status, said = at_a_terminal(cli.argv("disable"), b"n\n")
    assert status == 0
    assert "Unmount it now? [y/N]" in said
    assert cli("status", "--json").document("status")["active"] is True
    assert at_a_terminal(cli.argv("disable"), b"yes\n")[0] == 0
    assert cli("status", "--json").document("status")["active"] is False


def test_colour_is_for_terminals_that_want_it(cli: Cli) -> None:
    assert "\033[1m/usr: no overlay\033[0m" in at_a_terminal(cli.argv("status"), b"")[1]
    assert "\033" not in at_a_terminal(cli.argv("status"), b"", NO_COLOR="1")[1]
    assert "\033" not in at_a_terminal(cli.argv("status"), b"", TERM="dumb")[1]
    assert "\033" not in run_script(*cli.argv("status")[len(script()) :]).out


# --- ways to end ---------------------------------------------------------------------------------------------------


def test_the_script_prints_one_document(cli: Cli) -> None:
    said = run_script(*cli.argv("status", "--json")[len(script()) :])
    assert (said.status, said.err) == (0, "")
    assert said.document("status")["target"] == "/usr"


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("--help",), ("backends",), ("demo",)])
def test_a_reader_that_goes_away_is_no_error(cli: Cli, words: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        done = subprocess.run(cli.argv(*words), stdout=stream, stderr=subprocess.PIPE, check=False)
    assert done.returncode == BROKEN_PIPE
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ovlay.InvalidInput("m", remedy="r"), 2, "invalid-input"),
        (ovlay.NoDriver("m", remedy="r"), 3, "no-driver"),
        (ovlay.Unsupported("m", remedy="r"), 4, "unsupported"),
        (ovlay.StateForbids("m", remedy="r"), 5, "state-forbids"),
        (ovlay.NotActive("m", remedy="r"), 5, "not-active"),
        (ovlay.Busy("m", remedy="r", holders=[ovlay.Holder(7, "vi", ("cwd",))]), 5, "busy"),
        (ovlay.NoSpace("m", remedy="r"), 5, "no-space"),
        (ovlay.Conflict("m", remedy="r"), 5, "conflict"),
        (ovlay.NotPermitted("m", remedy="r"), 6, "not-permitted"),
        (ovlay.ToolFailed("m", remedy="r", argv=("x",), status=1), 7, "tool-failed"),
        (ovlay.SystemCallFailed("m", remedy="r"), 7, "system-call-failed"),
    ],
)
def test_every_error_has_its_exit_status_message_and_remedy(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: ovlay.OvlayError, status: int, kind: str
) -> None:
    monkeypatch.setattr(Overlay, "status", raising(error))
    assert cli("status") == (status, "", "ovlay: m\n  next: r\n")
    said = cli("status", "--json")
    document = said.document("error")
    assert (said.status, document["kind"], document["message"], document["remedy"]) == (status, kind, "m", "r")
    assert [holder["pid"] for holder in document["holders"]] == ([7] if kind == "busy" else [])


def test_notes_of_an_error_are_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    error = ovlay.ToolFailed("m")
    error.add_note("and this could not be taken back: x")
    monkeypatch.setattr(Overlay, "status", raising(error))
    assert cli("status").err == "ovlay: m\n  and this could not be taken back: x\n"


def test_what_nobody_expected_is_one_line_and_says_how_to_see_more(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Overlay, "status", raising(ZeroDivisionError("oops")))
    said = cli("status")
    assert said.status == 7
    assert said.err.startswith("ovlay: unexpected ZeroDivisionError: oops\n  next: ")
    assert "-v" in said.err
    assert "Traceback" not in said.err
    assert "Traceback" in cli("status", "-v").err
    assert "Traceback" not in cli("status", "-v", "--wrong").err
    assert "Traceback" in cli("status", "-vv", "--wrong").err
    assert cli("status", "--json").document("error")["kind"] == "unexpected"


def test_an_error_of_the_system_is_told_as_one_of_ovlay(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Overlay, "status", raising(PermissionError(13, "Permission denied", "/x")))
    said = cli("status")
    assert said.status == 6
    assert "Permission denied (/x)" in said.err


def test_ctrl_c_is_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Overlay, "status", raising(KeyboardInterrupt()))
    said = cli("status", "--json")
    assert said.status == INTERRUPTED
    assert said.document("error")["kind"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", [MakePrivateDirectory, MountTmpfs, MakeUpper])
def test_a_signal_in_the_middle_takes_back_what_was_begun(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, step: type[Step]
) -> None:
    run = step.run

    def interrupted(self: Step, host: ovlay.Host) -> str:
        signal.raise_signal(number)
        return run(self, host)

    monkeypatch.setattr(step, "run", interrupted)
    before = list(cli.host.kernel.mounts())
    assert cli("enable", "--yes").status == 128 + number
    assert list(cli.host.kernel.mounts()) == before
    assert cli.host.entries("/run/ovlay/overlays") == ()
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# --- standard streams ----------------------------------------------------------------------------------------------


LOST = "standard output: No space left on device; what was to be said there is lost\n"


def redirected(cli: Cli, redirection: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with its standard streams redirected by a shell."""
    argv = ["sh", "-c", f'exec "$@" {redirection}', "sh", *cli.argv(*words)]
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env={**plain, **environment})


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_stream_that_is_closed_is_no_failure(cli: Cli, redirection: str) -> None:
    assert redirected(cli, redirection, "enable", "--yes").returncode == 0
    assert cli("status", "--json").document("status")["active"] is True
    assert redirected(cli, redirection, "--version").returncode == 0


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("--version",), ("enable", "--yes")])
def test_what_cannot_be_said_is_told(cli: Cli, words: tuple[str, ...]) -> None:
    done = redirected(cli, ">/dev/full", *words)
    assert (done.returncode, done.stderr.endswith(LOST)) == (UNSAID, True), done
    assert "Traceback" not in done.stderr


def test_what_cannot_be_said_is_told_at_once(cli: Cli) -> None:
    done = redirected(cli, ">/dev/full", "status", PYTHONUNBUFFERED="1")
    assert (done.returncode, done.stderr) == (UNSAID, LOST)


def test_an_error_stays_one_where_its_document_cannot_be_written(cli: Cli) -> None:
    done = redirected(cli, ">/dev/full", "revert", "--json", "--yes", "/usr/bin/tool")
    assert done.returncode == ovlay.NotActive.exit_code
    assert "there is no overlay on /usr" in done.stderr
    assert done.stderr.endswith(LOST)
