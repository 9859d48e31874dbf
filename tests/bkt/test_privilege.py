"""A user's commands: what goes to the helper that root runs, and to the host of a container."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ovlay import open as open_overlay
from ovlay.cli import delegation, elevation
from ovlay.elevate.calls import perform

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.carrying import Outcome
    from ovlay.cli.changing import Request
    from tests.bkt.conftest import Bkt, Cargo, Repository


@pytest.fixture
def asked(bkt: Bkt, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every request go the way through the helper: by its words alone, as JSON; these are their verbs."""
    verbs: list[str] = []

    def by_words(request: Request, *_: object) -> Outcome:
        call = request.for_root(lambda question, _: pytest.fail(f"{question} was asked"))
        verbs.append(call.verb)
        arguments = json.loads(json.dumps(dict(call.arguments)))
        return perform(call.verb, arguments, open_overlay("fake", root=bkt.host.root).backend, lambda _: True)

    monkeypatch.setattr(elevation, "carry_out", by_words)
    return verbs


def test_every_change_can_be_asked_of_the_helper(bkt: Bkt, asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("new\n")
    assert bkt("admin usroverlay enable").out.startswith("Development mode enabled.")
    assert bkt("admin usroverlay apply-dev --binary", str(tmp_path / "tool"), "/usr/bin/bkt").status == 0
    assert bkt.there("/usr/bin/bkt").read_text() == "new\n"
    assert bkt("admin usroverlay reset").out.startswith("✓ Original /usr restored")
    assert bkt("admin usroverlay disable --now --lazy").out.startswith("Overlay disabled.")
    assert asked == ["enable", "install", "reset", "unmount"]


def test_install_local_asks_for_no_more_than_it_needs(
    bkt: Bkt, asked: list[str], repository: Repository, cargo: Cargo
) -> None:
    assert bkt("dev install-local --with-scripts").status == 0
    assert asked == ["install-anew"]
    assert bkt("dev install-local").status == 0
    assert asked == ["install-anew", "install"]
    assert bkt.there("/usr/bin/bootc-apply").read_text() == (repository.scripts / "bootc-apply").read_text()


def test_from_a_container_the_same_command_is_run_on_the_host(bkt: Bkt, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[tuple[list[str], str]] = []

    def delegate(words: list[str], _host: object, *, program: str) -> int:
        handed.append((words, program))
        return 5

    monkeypatch.setattr(delegation, "delegate", delegate)
    assert bkt.plain("--host", "drift", "check").status == 5
    assert handed == [(["--host", "drift", "check"], "ovlay-bkt")]
