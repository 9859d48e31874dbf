"""The words, the questions, the exit status: what is the same for every verb."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.cli import options
from ovlay.cli.main import BROKEN_PIPE, INTERRUPTED, main
from ovlay.cli.terminal import printable
from ovlay.overlay import Overlay
from tests.cli.conftest import run_script, script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Cli, Said


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


# --- words ---------------------------------------------------------------------------------------------------------


def test_every_verb_is_in_the_help_with_the_first_line_of_its_module(cli: Cli) -> None:
    said = cli.plain("--help")
    assert said.status == 0
    for name, line in options.VERBS.items():
        assert f"  {name:10}{line}" in said.out
        assert (import_module(f"ovlay.cli.{name}").__doc__ or "").startswith(line)


@pytest.mark.parametrize("name", options.VERBS)
def test_every_verb_has_help_with_examples(cli: Cli, name: str) -> None:
    said = cli.plain(name, "--help")
    assert said.status == 0
    assert "examples:\n" in said.out
    assert "--dry-run" in said.out


@pytest.mark.parametrize("name", options.VERBS)
def test_every_example_in_the_help_means_something(name: str) -> None:
    module = options.load_verb(name)
    for line in module.EXAMPLES.splitlines()[1:]:
        command = re.split(r" [<>|] ", line.strip().split("  ")[0])[0]  # without what is said of it, or done with it
        words = shlex.split(command)
        assert words[:2] == ["ovlay", name], line
        options.parse_words(words[1:])


def test_version(cli: Cli) -> None:
    assert cli.plain("--version") == (0, f"ovlay {ovlay.__version__}\n", "")
    assert cli.plain("status", "--version").out == f"ovlay {ovlay.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: VERB"),
        (("statsu",), "there is no verb 'statsu'; did you mean 'status'?"),
        (("zzz",), "there is no verb 'zzz'\n  next: the verbs are: status, "),
        (("status", "--wrong"), "unrecognized arguments: --wrong\n  next: `ovlay status --help`"),
        (("status", "--jso"), "unrecognized arguments: --jso"),
        (("--wrong", "status"), "unrecognized arguments: --wrong"),
        (("enable", "extra"), "unrecognized arguments: extra"),
        (("status", "-q", "-v"), "--quiet and --verbose exclude each other"),
        (("status", "--target", "usr"), "the target 'usr' is not an absolute path"),
        (("status", "--target", "/"), "the target cannot be the root directory"),
        (("status", "--target", ""), "the target '' is not an absolute path"),
        (("install",), "the following arguments are required: SRC... DEST"),
        (("demo", "--backend", "ostree"), "the demo has no 'ostree'"),
    ],
)
def test_wrong_words_are_refused_in_one_message(cli: Cli, words: tuple[str, ...], message: str) -> None:
    said = cli.plain(*words)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("ovlay: ")
    assert message in said.err
    assert len(said.err.splitlines()) <= 2


def test_wrong_words_are_a_document_too(cli: Cli) -> None:
    said = cli.plain("status", "--json", "--wrong")
    document = said.document("error")
    assert (document["kind"], document["exit_code"], said.status) == ("invalid-input", 2, 2)


def test_only_the_chosen_verb_is_imported(cli: Cli) -> None:
    code = "import sys; from ovlay.cli.main import main; main(['--version']); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in options.VERBS if f"ovlay.cli.{name}" in loaded]


def test_status_imports_nothing_heavy(cli: Cli) -> None:
    code = (
        "import sys; from ovlay.cli.main import main; "
        f"main(['status', '--json', '--backend', 'ostree', '--root', {cli.host.root!r}]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"loguru", "subprocess", "dataclasses", "inspect", "platformdirs", "tomllib", "ovlay.plan.step", "rich"}
    assert not heavy & set(done.stderr.split())


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


def raising(error: BaseException) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


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
def test_a_signal_in_the_middle_takes_back_what_was_begun(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    from ovlay.plan.mounting import MountOverlay

    run = MountOverlay.run

    def interrupted(self: MountOverlay, host: ovlay.Host) -> str:
        signal.raise_signal(number)
        return run(self, host)

    monkeypatch.setattr(MountOverlay, "run", interrupted)
    before = list(cli.host.kernel.mounts())
    assert cli("enable", "--yes").status == 128 + number
    assert list(cli.host.kernel.mounts()) == before
    assert cli.host.entries("/run/ovlay/overlays") == ()
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


# --- the host is not what it should be -----------------------------------------------------------------------------


def scratch(tmp_path: Path, *files: str) -> str:
    root = tmp_path / "scratch"
    for name in ("usr/bin", "run", "etc", *(os.path.dirname(file) for file in files)):
        (root / name).mkdir(parents=True, exist_ok=True)
    for file in files:
        (root / file).touch(mode=0o755)
    return str(root)


def test_a_host_that_is_not_image_based(cli: Cli, tmp_path: Path) -> None:
    said = cli.plain("status", "--root", scratch(tmp_path), "--target", "/nowhere")
    assert said.status == 3
    assert "no driver fits /nowhere on this host." in said.err
    assert "`ovlay backends`" in said.err


@pytest.mark.parametrize("mark", ["run/.containerenv", ".dockerenv", "run/.toolboxenv", ".flatpak-info"])
def test_inside_a_container(cli: Cli, tmp_path: Path, mark: str) -> None:
    said = cli.plain("status", "--root", scratch(tmp_path, mark))
    assert said.status == 3
    assert "ovlay: this is inside a container (" in said.err
    assert "  next: run ovlay on the host itself" in said.err


def test_ostree_is_not_installed(cli: Cli, tmp_path: Path) -> None:
    root = scratch(tmp_path, "run/ostree-booted")
    document = cli.plain("backends", "--root", root, "--json").document("backends")
    reasons = {entry["name"]: entry["reason"] for entry in document["backends"]}
    assert reasons["ostree"] == "ostree is not installed"
    said = cli.plain("enable", "--yes", "--root", root, "--backend", "ostree", "--dry-run")
    assert said.status == 4
    assert said.err.startswith("ovlay: ostree is not installed\n  next: install ostree")


def test_another_root_is_for_the_driver_that_plays_a_host(cli: Cli, tmp_path: Path) -> None:
    said = cli.plain("enable", "--yes", "--root", scratch(tmp_path), "--backend", "ostree")
    assert said.status == 2
    assert "changes the running system, and nothing below" in said.err


def test_the_driver_fake_never_works_on_the_real_host(cli: Cli) -> None:
    said = cli.plain("enable", "--yes", "--backend", "fake")
    assert said.status == 2
    assert "works on a scratch directory, not on this host" in said.err


def test_one_who_is_not_root_is_told_how_to_become_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["/home/u/.local/bin/ovlay"])
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/usr/bin/sudo")
    error = ovlay.NotPermitted("only root can change what is mounted", remedy="run it as root, for instance with sudo")
    monkeypatch.setattr(Overlay, "status", raising(error))
    said = cli.plain("status", "--backend", "ostree")
    assert said.status == 6
    assert "  next: run it as root: `sudo /home/u/.local/bin/ovlay status --backend ostree`\n" in said.err
    monkeypatch.setattr(sys, "argv", ["/usr/bin/ovlay"])
    assert "`sudo ovlay status --backend ostree`" in cli.plain("status", "--backend", "ostree").err
    monkeypatch.setattr(sys, "argv", ["/x/ovlay/__main__.py"])
    assert f"`sudo {sys.executable} -m ovlay status" in cli.plain("status", "--backend", "ostree").err


@pytest.mark.skipif(os.geteuid() == 0, reason="root is permitted")
def test_permission_denied_for_real(cli: Cli, tmp_path: Path) -> None:
    words = ("--backend", "overlayfs", "--target", str(tmp_path))
    said = run_script("enable", "--yes", *words)
    assert said.status == 6
    assert (
        "ovlay: only root can change what is mounted, or write into an overlay\n  next: run it as root: `" in said.err
    )
    assert f" enable --yes --backend overlayfs --target {tmp_path}`" in said.err
    assert run_script("enable", "--dry-run", "--json", *words).document("plan")["steps"]


# --- which driver --------------------------------------------------------------------------------------------------


def chosen_by(said: Said) -> tuple[str, str]:
    document = said.document("backends")
    return document["chosen"], document["chosen_by"]


def test_the_option_wins_over_the_environment_over_the_configuration(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ovlay import config

    file = tmp_path / "config.toml"
    file.write_text('backend = "ostree"\ntarget = "/opt"\ntmpfs-size = "64M"\n')
    file.chmod(0o644)
    if os.geteuid() == 0:
        os.chown(file, 0, 0)
    monkeypatch.setattr(config, "config_files", lambda: (str(file),))
    assert chosen_by(cli.plain("backends", "--json")) == ("ostree", "configuration")
    assert cli.plain("backends", "--json").document("backends")["target"] == "/opt"
    monkeypatch.setenv("OVLAY_BACKEND", "overlayfs")
    assert chosen_by(cli.plain("backends", "--json")) == ("overlayfs", "environment")
    assert chosen_by(cli.plain("backends", "--json", "--backend", "fake")) == ("fake", "option")
    said = cli.plain("backends", "--json", "--target", "/srv")
    assert said.document("backends")["target"] == "/srv"


def test_the_configured_size_is_that_of_the_tmpfs(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ovlay import config

    file = tmp_path / "config.toml"
    file.write_text('tmpfs-size = "64M"\n')
    file.chmod(0o644)
    monkeypatch.setattr(config, "config_files", lambda: (str(file),))
    assert "mount a tmpfs of at most 64 MiB on " in cli("enable", "--dry-run").out


def test_a_mistake_in_the_configuration_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ovlay import config

    file = tmp_path / "config.toml"
    file.write_text('backand = "ostree"\n')
    file.chmod(0o644)
    monkeypatch.setattr(config, "config_files", lambda: (str(file),))
    said = cli("status")
    assert said.status == 2
    assert f"{file}: unknown key 'backand', did you mean 'backend'?" in said.err


def test_a_driver_of_that_name_is_not_installed(cli: Cli) -> None:
    said = cli.plain("status", "--backend", "ostre")
    assert said.status == 3
    assert "there is no driver 'ostre'; did you mean 'ostree'?" in said.err
    assert "installed are: " in said.err


# --- logs and odd characters ---------------------------------------------------------------------------------------


def test_control_characters_do_not_reach_the_terminal(cli: Cli) -> None:
    assert printable("a\033[31mb\nc\udcff") == "a\\x1b[31mb\\nc\\udcff"
    cli("enable", "--yes")
    said = cli("install", "-y", "/no\033[2Jwhere", "/usr/bin/x")
    assert "\033" not in said.err
    assert "\\x1b[2J" in said.err


def test_main_takes_the_words_of_the_process(monkeypatch: pytest.MonkeyPatch, cli: Cli, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["ovlay", "status", "--backend", "fake", "--root", cli.host.root, "--quiet"])
    assert main() == 0


def test_the_module_is_the_command(cli: Cli) -> None:
    words = ["status", "--json", "--backend", "fake", "--root", cli.host.root]
    done = subprocess.run([sys.executable, "-m", "ovlay", *words], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["schema"] == "ovlay.status/1"
