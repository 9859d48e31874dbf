"""``ovlay diff``: every change in every shape, and the exit status of diff(1)."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ovlay import config
from ovlay.changes.change import Attributes, Change, ChangeKind, Changes
from ovlay.cli import progress
from ovlay.cli.bars import Bar, draw
from ovlay.cli.diff import listing, statistics, tell_what_is_missing
from ovlay.cli.terminal import Terminal
from ovlay.overlay import Overlay
from tests.cli.conftest import NO_UTF8, Cli, run_script, usr

if TYPE_CHECKING:
    from pathlib import Path


def test_the_list(changed: Cli) -> None:
    said = changed("diff")
    assert said.status == 1
    assert said.out.splitlines() == [
        "modified      /usr/lib/binary  (100 bytes -> 2.9 KiB)",
        "added         /usr/lib/fifo  (fifo)",
        "type-changed  /usr/lib/folder  (directory -> file)",
        "deleted       /usr/lib/gone  (5 bytes)",
        "modified      /usr/lib/link  (link)",
        "metadata      /usr/lib/meta  (mode 0644 -> 0755)",
        "added         /usr/lib/new  (directory)",
        "added         /usr/lib/new/a\\nb  (2 bytes)",
        "added         /usr/lib/new/no-\\udcff-utf8  (2 bytes)",
        "modified      /usr/lib/text  (14 bytes -> 11 bytes)",
    ]
    assert said.err == ""


def test_nothing_differs(cli: Cli) -> None:
    cli("enable", "--yes")
    assert cli("diff") == (0, "", "nothing differs from the base of /usr\n")
    assert cli("diff", "-q") == (0, "", "")
    assert cli("diff", "--json").document("changes")["changes"] == []


def test_without_an_overlay_there_is_nothing_to_compare(cli: Cli) -> None:
    said = cli("diff", "--json")
    assert said.status == 5
    assert said.document("error")["kind"] == "not-active"


def test_a_path_that_is_nowhere_is_a_mistake(changed: Cli) -> None:
    said = changed("diff", "/usr/lib/TYPO")
    assert (said.status, said.out) == (2, "")
    assert "/usr/lib/TYPO: there is no such path, neither now nor in the base" in said.err


def test_only_the_paths_that_are_asked_for(changed: Cli) -> None:
    said = changed("diff", "/usr/lib/new", "lib/text")
    assert [line.split()[1] for line in said.out.splitlines()] == [
        "/usr/lib/new",
        "/usr/lib/new/a\\nb",
        "/usr/lib/new/no-\\udcff-utf8",
        "/usr/lib/text",
    ]
    assert changed("diff", "/usr/bin").status == 0
    assert (changed("diff", "/etc").status, changed("diff", "/etc").err.splitlines()[0]) == (
        2,
        "ovlay: /etc is not in /usr",
    )


def test_the_document(changed: Cli) -> None:
    said = changed("diff", "--json", "--hashes")
    assert said.status == 1
    changes = {change["path"]: change for change in said.document("changes")["changes"]}
    assert changes["lib/meta"]["kind"] == "metadata"
    assert (changes["lib/meta"]["before"]["mode"], changes["lib/meta"]["after"]["mode"]) == (0o644, 0o755)
    assert changes["lib/gone"]["after"] is None
    assert len(changes["lib/text"]["after"]["sha256"]) == 64
    assert f"lib/new/{NO_UTF8}" in changes


def test_digests_for_a_person(changed: Cli) -> None:
    out = changed("diff", "--hashes", "/usr/lib/text", "/usr/lib/meta").out
    assert "/usr/lib/meta  (mode 0644 -> 0755; sha256 2d711642b726)\n" in out
    assert "/usr/lib/text  (14 bytes -> 11 bytes; sha256 " in out
    assert " -> " in out.rpartition("sha256")[2]


def test_what_was_touched_is_no_difference(cli: Cli) -> None:
    cli("enable", "--yes")
    (usr(cli) / "bin/old").write_text("old\n")
    assert cli("diff").status == 0
    said = cli("diff", "--all")
    assert said.status == 0
    assert "touched       /usr/bin/old\n" in said.out


# --- names -----------------------------------------------------------------------------------------------------------


def test_names_for_a_person_are_escaped(changed: Cli) -> None:
    names = changed("diff", "--name-only").out.splitlines()
    assert "/usr/lib/new/a\\nb" in names
    assert len(names) == 10


def test_names_for_a_program_are_what_they_are(changed: Cli) -> None:
    done = subprocess.run(
        changed.argv("diff", "--name-only", "-0"), capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    names = done.stdout.split(b"\0")
    assert b"/usr/lib/new/a\nb" in names
    assert b"/usr/lib/new/no-\xff-utf8" in names
    assert names.pop() == b""
    assert len(names) == 10


def test_a_nul_is_for_names_alone(changed: Cli) -> None:
    said = changed("diff", "-0")
    assert (said.status, "add --name-only" in said.err) == (2, True)


# --- what is ignored -------------------------------------------------------------------------------------------------


def test_globs_leave_out(changed: Cli) -> None:
    said = changed("diff", "--ignore", "lib/", "--ignore", "!text", "--name-only")
    assert said.out == "/usr/lib/text\n"
    said = changed("diff", "--ignore", "/usr/lib/new/", "--ignore", "fifo", "--ignore", "*.conf", "--name-only")
    assert said.status == 1
    assert "/usr/lib/new" not in said.out
    assert "/usr/lib/fifo" not in said.out
    assert said.err == "ignored: 4 changes\n"
    assert changed("diff", "--ignore", "*", "--json").document("changes")["changes"] == []


def test_what_is_ignored_makes_no_difference(changed: Cli) -> None:
    assert changed("diff", "--ignore", "lib/").status == 0


def test_the_configuration_ignores_too(changed: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text('ignore = ["new/", "!text"]\n')
    file.chmod(0o644)
    monkeypatch.setattr(config, "config_files", lambda: (str(file),))
    said = changed("diff", "--ignore", "text", "--name-only")
    assert "/usr/lib/text\n" not in said.out, "what the command line says comes last"
    assert "/usr/lib/new" not in said.out
    assert "/usr/lib/fifo\n" in said.out


@pytest.mark.parametrize("pattern", ["!", "[z-a]"])
def test_what_is_no_pattern(changed: Cli, pattern: str) -> None:
    said = changed("diff", "--ignore", pattern)
    assert (said.status, "not a pattern" in said.err, "gitignore(5)" in said.err) == (2, True, True)


# --- bars ------------------------------------------------------------------------------------------------------------


def test_sizes_as_bars(changed: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = changed("diff", "--stat")
    lines = said.out.splitlines()
    assert said.status == 1
    longest = next(line for line in lines if line.startswith("/usr/lib/binary "))
    assert len(longest) == 80
    assert longest.endswith(" =++++++++++++++++++++++++++++")
    assert next(line for line in lines if "/usr/lib/gone" in line).endswith("5 bytes -")
    assert next(line for line in lines if "/usr/lib/fifo" in line).endswith("fifo")
    assert lines[-1] == (
        "10 in all: 4 added, 3 modified, 1 metadata, 1 deleted, 1 type-changed; 2.8 KiB came, 8 bytes went"
    )


def test_bars_share_one_scale_and_fit() -> None:
    bars = [Bar("a", 0, 1000, "n"), Bar("b", 500, 250, "n"), Bar("c" * 200, 1, 1, "n"), Bar("d", 0, 0, "n")]
    lines = list(draw(bars, 60))
    assert all(len(line) <= 60 for line in lines)
    assert len(lines[0]) == 60
    signs = [line.rpartition(" n")[2].strip() for line in lines]
    assert set(signs[0]) == {"+"}
    assert signs[1] == "=" * signs[1].count("=") + "-" * signs[1].count("-")
    assert signs[1].count("-") in (signs[1].count("="), signs[1].count("=") + 1)
    assert len(signs[1]) == round(len(signs[0]) / 2)
    assert signs[2:] == ["=", ""]
    assert lines[2].startswith("...ccc")


def test_a_change_of_one_byte_is_seen_in_a_bar() -> None:
    line = next(draw([Bar("a", 1000, 1001, "n")], 40))
    assert line.endswith("=+")


# --- what is missing -------------------------------------------------------------------------------------------------


def side(kind: str = "file", size: int = 1, mode: int = 0o644, uid: int = 0) -> Attributes:
    return Attributes(kind, size, mode, uid, 0)


def test_an_answer_that_is_not_complete_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    errors = {f"p{number:02}": "Permission denied" for number in range(12)}
    tell_what_is_missing(Changes("/usr", (), complete=False, errors=errors, submounts=("/usr/m",)), Terminal())
    said = capsys.readouterr().err
    assert "left out: /usr/m, which is a mount of its own\n" in said
    assert "ovlay: the answer is not complete" in said
    assert "  /usr/p00: Permission denied\n" in said
    assert "  and 2 more: `ovlay diff --json` has all of them\n" in said


def test_an_answer_that_is_not_complete_is_no_clean_bill(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("enable", "--yes")
    missed = Changes("/usr", (), complete=False, errors={"x": "Permission denied"})
    monkeypatch.setattr(Overlay, "changes", lambda *_, **__: missed)
    said = cli("diff")
    assert said.status == 1
    assert "nothing differs" not in said.err
    assert cli("diff", "--ignore", "x").status == 0


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            Change("b", ChangeKind.ADDED, None, side(), renamed_from="a"),
            "added         /usr/b  (renamed from /usr/a; 1 bytes)",
        ),
        (
            Change(".", ChangeKind.METADATA, side("directory"), side("directory", uid=7)),
            "metadata      /usr  (owner 0:0 -> 7:0)",
        ),
        (
            Change("c", ChangeKind.METADATA, side(), side()),
            "metadata      /usr/c  (extended attributes or flags)",
        ),
        (
            Change("d", ChangeKind.MODIFIED, side(size=2048), side(size=2049)),
            "modified      /usr/d  (2048 -> 2049 bytes)",
        ),
        (
            Change("e", ChangeKind.TYPE_CHANGED, side("character-device"), side("link")),
            "type-changed  /usr/e  (character device -> link)",
        ),
    ],
)
def test_what_there_is_to_know_of_a_change(change: Change, line: str) -> None:
    assert list(listing(Changes("/usr", (change,), complete=True, errors={}))) == [line]


def test_the_sums_of_nothing() -> None:
    assert list(statistics(Changes("/usr", (), complete=True, errors={}), 80)) == [
        "0 in all; 0 bytes came, 0 bytes went"
    ]


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_is_for_a_terminal_and_for_what_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(progress, "_FIRST", 0.02)
    monkeypatch.setattr(progress, "_THEN", 0.02)
    shown = {}
    for name, screen, seconds in (
        ("long", Screen(), 0.2),
        ("short", Screen(), 0.0),
        ("no terminal", io.StringIO(), 0.1),
    ):
        monkeypatch.setattr(sys, "stderr", screen)
        with progress.shown_progress("looking", Terminal()):
            time.sleep(seconds)
        shown[name] = screen.getvalue()
    assert shown["long"].startswith("\rlooking: 0 s ")
    assert shown["long"].endswith("\r\033[K")
    assert shown["short"] == shown["no terminal"] == ""


def test_one_document_and_nothing_else(changed: Cli) -> None:
    said = run_script("diff", "--json", "--ignore", "new/", "--backend", "fake", "--root", changed.host.root)
    assert json.loads(said.out)["schema"] == "ovlay.changes/1"
    assert said.err == "ignored: 3 changes\n"
    assert said.status == 1
