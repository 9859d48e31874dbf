"""The words, the questions, the exit status: what is the same for every verb."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.cli import options
from ovlay.cli.main import main
from ovlay.cli.terminal import printable

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli, Said


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
        command = re.split(r" (?:[<>|]|&&) ", line.strip().split("  ")[0])[0]  # without what is said of it
        words = shlex.split(command)
        assert (words[0], options.ALIASES.get(words[1], words[1])) == ("ovlay", name), line
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
