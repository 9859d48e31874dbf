"""``drift check``: the report of bkt's RFC 0034, and the document for a program."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import NO_UTF8

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bkt.conftest import Bkt

REPORT = """\
+-------------------------------------------------------------+
| Drift Report                                                |
+-------------------------------------------------------------+
| System State:                                               |
|   ⚠ usroverlay active (changes ephemeral)                   |
|     /usr/bin/bkt (modified)                                 |
|     /usr/bin/bootc-apply (modified)                         |
+-------------------------------------------------------------+
"""


@pytest.fixture
def drifted(bkt: Bkt) -> Bkt:
    """The host that the RFC shows."""
    bkt("admin usroverlay enable")
    for name in ("bkt", "bootc-apply"):
        bkt.there(f"/usr/bin/{name}").write_text("new\n")
    return bkt


def test_the_report(drifted: Bkt) -> None:
    assert drifted("drift check") == (1, REPORT, "")
    assert drifted("drift check --format human --no-host") == (1, REPORT, "")


def test_no_overlay_is_no_drift(bkt: Bkt) -> None:
    said = bkt("drift check")
    assert said.status == 0
    assert "|   ✓ usroverlay inactive                                     |\n" in said.out
    assert bkt("drift check --format json").document("bkt-drift") == {
        "schema": "ovlay.bkt-drift/1",
        "target": "/usr",
        "drift": False,
        "complete": True,
        "overlay": {"active": False, "ephemeral": False},
        "files": [],
        "errors": {},
    }


def test_an_overlay_with_nothing_in_it_is_no_drift(bkt: Bkt) -> None:
    bkt("admin usroverlay enable")
    said = bkt("drift check")
    assert (said.status, "no file differs from the image" in said.out) == (0, True)


@pytest.mark.parametrize("words", ["--format json", "--format=json", "-f json", "--json"])
def test_the_document(drifted: Bkt, words: str) -> None:
    said = drifted(f"drift check {words}")
    document = said.document("bkt-drift")
    assert said.status == 1
    assert (document["drift"], document["overlay"]) == (True, {"active": True, "ephemeral": True})
    assert [(file["path"], file["change"], file["placed"]) for file in document["files"]] == [
        ("/usr/bin/bkt", "modified", None),
        ("/usr/bin/bootc-apply", "modified", None),
    ]


def test_what_ovlay_placed_is_told_from_what_somebody_wrote(drifted: Bkt, tmp_path: Path) -> None:
    source = tmp_path / "bkt"
    source.write_text("placed\n")
    drifted("admin usroverlay apply-dev --binary", str(source), "/usr/bin/bkt")
    placed, written = drifted("drift check -f json").document("bkt-drift")["files"]
    assert (placed["placed"]["source"], placed["placed"]["manifest"]) == (str(source), None)
    assert written["placed"] is None


def test_a_long_or_strange_path_does_not_break_the_box(drifted: Bkt) -> None:
    drifted.there(f"/usr/bin/{'long' * 20}").write_text("x")
    drifted.there(f"/usr/bin/\033[31m{NO_UTF8}").write_text("x")
    lines = drifted("drift check").out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) > 80
    assert any(r"/usr/bin/\x1b[31mno-\udcff-utf8 (added)" in line for line in lines)
    document = drifted("drift check -f json").document("bkt-drift")
    assert os.fsencode(document["files"][0]["path"]) == b"/usr/bin/\033[31mno-\xff-utf8"


def test_an_error_is_a_document_too(bkt: Bkt) -> None:
    said = bkt.plain("--backend", "no-such", "drift", "check", "--format", "json")
    assert (said.status, said.document("error")["kind"]) == (3, "no-driver")


def test_another_format_is_refused(bkt: Bkt) -> None:
    said = bkt("drift check --format xml")
    assert (said.status, "invalid choice: 'xml'" in said.err) == (2, True)
