"""The words before, within and after a command; and the streams, which are UTF-8 whatever the locale says."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ovlay.bkt.words import COMMANDS, command_parser, load_command, split

if TYPE_CHECKING:
    from tests.bkt.conftest import Bkt


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_page_in_the_terminal(bkt: Bkt, name: str) -> None:
    said = bkt(f"{name} --help")
    assert said.status == 0
    assert said.out.startswith("usage: ovlay-bkt ")
    line = (load_command(name).__doc__ or "").strip()
    assert line in said.out
    assert f"{name} " in command_parser(name, load_command(name)).format_usage() + " "
    assert f"  {name:26} {line}\n" in bkt("--help").out


def test_options_may_stand_anywhere() -> None:
    words = ["--root", "x", "admin", "-n", "usroverlay", "--json", "enable", "-q", "more"]
    assert split(words) == ("admin usroverlay enable", ["--root", "x", "-n", "--json"], ["-q", "more"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "no command was given"),
        ("admin", "'admin' is not all of a command: admin usroverlay enable, "),
        ("admin usroverlay", "'admin usroverlay' is not all of a command"),
        ("admin usroverlay enabel", "did you mean 'admin usroverlay enable'?"),
        ("admin usroverlay enable more", "unrecognized arguments: more"),
        ("admin usroverlay status --nosuch", "unrecognized arguments: --nosuch"),
        ("admin usroverlay status -q -v", "--quiet and --verbose exclude each other"),
    ],
)
def test_words_that_mean_nothing(bkt: Bkt, words: str, message: str) -> None:
    said = bkt(words)
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("ovlay-bkt: ")
    assert message in said.err


def test_the_version(bkt: Bkt) -> None:
    from ovlay import __version__

    assert bkt.plain("--version") == (0, f"ovlay {__version__}\n", "")


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}],
)
def test_utf8_without_a_terminal_in_any_locale(bkt: Bkt, locale: dict[str, str]) -> None:
    code = "import sys; from ovlay.bkt.main import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "--backend", "fake", "--root", bkt.host.root, "drift", "check"]
    done = subprocess.run(
        words, capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, **locale}, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "|   ✓ usroverlay inactive ".encode() in done.stdout


def test_a_reader_that_goes_away(bkt: Bkt) -> None:
    code = "import sys; from ovlay.bkt.main import main; sys.exit(main(sys.argv[1:]))"
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, "--help"], stdout=write, stderr=subprocess.PIPE, check=False, timeout=60
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
