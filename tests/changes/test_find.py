"""`Overlay.changes` on the fake driver: the same answer as from the kernel, with no root."""

from __future__ import annotations

import importlib.resources
import json
import os
from typing import TYPE_CHECKING

import jsonschema
import pytest

from ovlay.changes.change import Change, ChangeKind
from ovlay.errors import InvalidInput, NotActive

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.overlay import Overlay


@pytest.fixture
def usr(fake_overlay: Overlay) -> Path:
    from pathlib import Path

    fake_overlay.enable()
    return Path(fake_overlay.host.path("/usr"))


def kinds(overlay: Overlay, *paths: str, everything: bool = False) -> dict[str, str]:
    return {change.path: str(change.kind) for change in overlay.changes(paths, everything=everything).changes}


def test_without_an_overlay_there_is_nothing_to_tell(fake_overlay: Overlay) -> None:
    with pytest.raises(NotActive):
        fake_overlay.changes()


def test_a_fresh_overlay_has_no_changes(fake_overlay: Overlay, usr: Path) -> None:
    found = fake_overlay.changes(everything=True)
    assert (found.changes, found.complete, found.errors, found.submounts) == ((), True, {}, ())


def test_what_a_program_did_comes_out(fake_overlay: Overlay, usr: Path) -> None:
    (usr / "bin/tool").write_bytes(b"#!/bin/sh\necho replaced\n")
    (usr / "bin/alias").unlink()
    (usr / "lib/private").chmod(0o600)
    (usr / "share/new").mkdir()
    (usr / "share/deep").unlink()
    (usr / "share/deep").write_bytes(b"no link any more")
    os.utime(usr / "lib/data")
    answer = {
        "bin/alias": "deleted",
        "bin/tool": "modified",
        "lib/private": "metadata",
        "share/deep": "type-changed",
        "share/new": "added",
    }
    assert kinds(fake_overlay) == answer
    touched = {path for path, kind in kinds(fake_overlay, everything=True).items() if kind == "touched"}
    assert {"lib/data", "share/doc/same-as-data"} <= touched
    assert kinds(fake_overlay, "bin", "/usr/lib") == {path: answer[path] for path in answer if path[0] in "bl"}


def test_a_read_only_overlay_shows_the_true_modes(fake_overlay: Overlay) -> None:
    from ovlay.model import Access, Mode, Persistence

    fake_overlay.enable(Mode(Access.READ_ONLY, Persistence.TRANSIENT))
    assert kinds(fake_overlay, everything=True) == {}
    assert len(fake_overlay.changes().changes) == 0


def test_both_sides_are_told(fake_overlay: Overlay, usr: Path) -> None:
    (usr / "bin/tool").write_bytes(b"new\n")
    (change,) = fake_overlay.changes(hashes=True).changes
    assert isinstance(change, Change)
    assert change.kind is ChangeKind.MODIFIED
    assert change.before is not None
    assert change.after is not None
    assert (change.before.type, change.before.mode, change.after.size) == ("file", 0o755, 4)
    assert change.after.sha256 == "7aa7a5359173d05b63cfd682e3c38487f3cb4f7f1d60659fe59fab1505977d4c"


def test_a_path_outside_is_refused(fake_overlay: Overlay, usr: Path) -> None:
    for path in ("/etc/passwd", "../etc", "/usrlocal"):
        with pytest.raises(InvalidInput):
            fake_overlay.changes([path])


def test_the_json_is_what_the_schema_says(fake_overlay: Overlay, usr: Path) -> None:
    (usr / os.fsdecode(b"bin/\xff\n")).write_bytes(b"x")
    (usr / "bin/alias").unlink()
    schema = json.loads(importlib.resources.files("ovlay").joinpath("schemas/ovlay.changes-1.json").read_text())
    text = json.dumps(fake_overlay.changes(hashes=True, everything=True).to_json())
    jsonschema.validate(json.loads(text), schema)
    assert os.fsdecode(b"bin/\xff\n") in {change["path"] for change in json.loads(text)["changes"]}
