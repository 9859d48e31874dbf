"""``ovlay apply``: one plan, one question, and an exit status that says what was kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.test_plan import OLD, TOOL, manifest, there

if TYPE_CHECKING:
    import pytest

    from tests.cli.conftest import Cli


def test_enable_and_apply_in_one(cli: Cli) -> None:
    said = cli("apply", "--yes", "--enable", manifest(cli, TOOL))
    assert (said.status, said.out.splitlines()[0]) == (0, "applied to /usr")
    assert there(cli, "/usr/bin/tool").read_text() == "tool"
    assert cli("apply", "--yes", manifest(cli, TOOL)) == (0, "everything is as declared\n", "")


def test_without_an_overlay(cli: Cli) -> None:
    assert cli("apply", "--yes", manifest(cli, TOOL)).status == 5


def test_conflicts_are_kept_and_named_and_the_rest_is_done(cli: Cli) -> None:
    cli("enable", "--yes")
    there(cli, "/usr/bin/tool").write_text("mine")
    said = cli("apply", "--yes", manifest(cli, TOOL, OLD))
    assert said.status == 5
    assert "kept: /usr/bin/tool  (in-the-way; somebody changed it, and ovlay did not; " in said.err
    assert there(cli, "/usr/bin/tool").read_text() == "mine"
    assert there(cli, "/usr/bin/old").read_text() == "new"
    assert cli("apply", "--yes", "--force", manifest(cli, TOOL, OLD)).status == 0
    assert there(cli, "/usr/bin/tool").read_text() == "tool"


def test_a_dry_run_changes_nothing(cli: Cli) -> None:
    said = cli("apply", "--dry-run", "--enable", manifest(cli, TOOL))
    assert (said.status, "place text at /usr/bin/tool (mode 0644, 4 bytes)" in said.out) == (0, True)
    assert not there(cli, "/usr/bin/tool").exists()


def test_nobody_to_ask(cli: Cli) -> None:
    said = cli("apply", "--enable", manifest(cli, TOOL))
    assert (said.status, "say --yes" in said.err) == (2, True)
    assert not there(cli, "/usr/bin/tool").exists()


def test_a_question_is_asked_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from ovlay.cli.terminal import Terminal

    asked: list[str] = []

    def ask(_: Terminal, question: str) -> bool:
        asked.append(question)
        return True

    monkeypatch.setattr(Terminal, "can_ask", True)
    monkeypatch.setattr(Terminal, "ask", ask)
    said = cli("apply", "--enable", manifest(cli, TOOL))
    assert (said.status, asked) == (0, ["Proceed?"])
    assert "place text at /usr/bin/tool" in said.err


def test_the_outcome_as_a_document(cli: Cli) -> None:
    cli("enable", "--yes")
    there(cli, "/usr/bin/tool").write_text("mine")
    said = cli("apply", "--yes", "--json", manifest(cli, TOOL, OLD))
    document = said.document("outcome")
    assert (said.status, document["verb"], document["changed"]) == (5, "apply", True)
    assert [(found["path"], found["conflict"]) for found in document["conflicts"]] == [("bin/tool", "in-the-way")]
    assert document["needed"] == []
