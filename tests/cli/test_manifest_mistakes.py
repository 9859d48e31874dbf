"""The mistakes in manifests on the command line: a line for each, and a list for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ovlay.cli.failure import report
from ovlay.cli.terminal import Terminal
from ovlay.manifest.document import InvalidManifest, Problem
from tests.cli.conftest import Said

if TYPE_CHECKING:
    import pytest

ERROR = InvalidManifest(
    [
        Problem("/etc/ovlay/manifest.toml", 3, "file[0].mdoe", "there is no such key", "did you mean 'mode'?"),
        Problem("/tmp/a\nb.toml", 0, "", "there is no such file"),
    ]
)


def test_each_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ERROR, (), Terminal(), verbose=0) == 2
    assert capsys.readouterr().err.splitlines() == [
        "ovlay: 2 mistakes in 2 manifests",
        "  /etc/ovlay/manifest.toml:3: file[0].mdoe: there is no such key (did you mean 'mode'?)",
        "  /tmp/a\\nb.toml: there is no such file",
        "  next: mend what is named",
    ]


def test_a_program_gets_them_as_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    status = report(ERROR, (), Terminal(json=True), verbose=0)
    out, err = capsys.readouterr()
    document = Said(status, out, err).document("error")
    assert (document["kind"], document["exit_code"]) == ("invalid-manifest", 2)
    assert document["problems"][0] == {
        "file": "/etc/ovlay/manifest.toml",
        "line": 3,
        "key": "file[0].mdoe",
        "message": "there is no such key",
        "hint": "did you mean 'mode'?",
    }
    assert document["message"].startswith("2 mistakes in 2 manifests\n/etc/ovlay/manifest.toml:3: ")


def test_other_errors_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    report(ValueError("x"), (), Terminal(json=True), verbose=0)
    assert json.loads(capsys.readouterr().out)["problems"] == []
