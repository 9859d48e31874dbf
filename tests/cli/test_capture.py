"""``ovlay capture``: from hand edits to a manifest, on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.manifest.capture import SYSTEM_MANIFEST
from ovlay.manifest.load import load_manifest
from tests.cli.conftest import NO_UTF8

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hot.toml"


def declared(file: Path) -> dict[str, str]:
    return {entry.path: entry.kind for entry in load_manifest(file).entries}


def test_all_that_was_changed(changed: Cli, file: Path) -> None:
    said = changed("capture", "--yes", "--to", str(file))
    assert (said.status, said.err) == (0, "")
    assert said.out.splitlines() == [
        f"captured in {file}",
        "  /usr/lib/fifo: a manifest cannot declare a fifo",
        "  /usr/lib/new/no-\\udcff-utf8: its name is no UTF-8, and a manifest is",
    ]
    assert declared(file) == {
        "/usr/lib/binary": "file",
        "/usr/lib/folder": "file",
        "/usr/lib/gone": "absent",
        "/usr/lib/link": "symlink",
        "/usr/lib/meta": "file",
        "/usr/lib/new": "directory",
        "/usr/lib/new/a\nb": "file",
        "/usr/lib/text": "file",
    }
    again = changed("capture", "--yes", "--to", str(file))
    assert (again.status, again.out) == (0, f"{file} declares all of it already\n")
    assert "/usr/lib/fifo: a manifest cannot declare a fifo\n" in again.err


def test_only_these_and_not_what_is_ignored(changed: Cli, file: Path) -> None:
    assert changed("capture", "--yes", "--to", str(file), "--ignore", "me*", "/usr/lib/text", "lib/meta").status == 0
    assert declared(file) == {"/usr/lib/text": "file"}


def test_without_a_name_it_is_the_systems(changed: Cli) -> None:
    place = changed.host.path(SYSTEM_MANIFEST)
    said = changed("capture", "--yes", "lib/text")
    assert said.out == f"captured in {place}\n"
    assert declared(Path(place)) == {"/usr/lib/text": "file"}
    kept = Path(changed.host.path("/etc/ovlay/manifest.d/captured.files/usr/lib/text"))
    assert kept.read_text() == "one\n2\nthree"


def test_a_dry_run_writes_nothing(changed: Cli, file: Path) -> None:
    said = changed("capture", "--dry-run", "--to", str(file), "lib/text", "lib/fifo")
    assert said.out.splitlines() == [
        f"  1. copy /usr/lib/text to {file.parent}/hot.files/usr/lib/text",
        f"  2. write {file}",
        "note: /usr/lib/fifo: a manifest cannot declare a fifo",
    ]
    assert not file.exists()
    plan = changed("capture", "--dry-run", "--json", "--to", str(file), "lib/text").document("plan")
    assert [step["step"] for step in plan["steps"]] == ["keep-source", "write-manifest"]


def test_the_outcome_as_a_document(changed: Cli, file: Path) -> None:
    document = changed("capture", "--yes", "--json", "--to", str(file), "lib/text", "lib/fifo").document("outcome")
    assert (document["verb"], document["changed"]) == ("capture", True)
    assert document["plan"]["warnings"] == ["/usr/lib/fifo: a manifest cannot declare a fifo"]


def test_where_nothing_can_be_said_it_is_said(changed: Cli, file: Path) -> None:
    said = changed("capture", "--yes", "--to", str(file), "lib/fifo")
    assert said.out == "there is nothing to capture on /usr\n"
    assert said.err == "/usr/lib/fifo: a manifest cannot declare a fifo\n"
    assert not file.exists()


def test_it_is_asked_for(changed: Cli, file: Path) -> None:
    said = changed("capture", "--to", str(file))
    assert (said.status, "not on a terminal: say --yes" in said.err) == (2, True)
    assert not file.exists()


def test_a_broken_manifest_is_not_touched(changed: Cli, file: Path) -> None:
    file.write_text("schema = 1\n[[fiel]]\n")
    said = changed("capture", "--yes", "--json", "--to", str(file))
    assert said.status == 2
    assert json.loads(said.out)["schema"] == "ovlay.error/1"
    assert f"{file}:2" in said.err
    assert file.read_text() == "schema = 1\n[[fiel]]\n"


def test_a_directory_is_no_manifest(changed: Cli, tmp_path: Path) -> None:
    said = changed("capture", "--yes", "--to", str(tmp_path))
    assert (said.status, said.err) == (2, f"ovlay: {tmp_path} is a directory\n  next: give a regular file\n")
    (tmp_path / "file").touch()
    said = changed("capture", "--yes", "--to", str(tmp_path / "file/m.toml"))
    assert (said.status, "is no directory" in said.err) == (2, True)


def test_a_manifest_whose_name_is_no_utf8(changed: Cli, tmp_path: Path) -> None:
    """The sources that it names begin with its own name. The directory that it is in may be called anything."""
    said = changed("capture", "--yes", "--to", str(tmp_path / NO_UTF8))
    assert (said.status, "its name is no UTF-8, and a manifest is" in said.err) == (2, True)
    assert not list(tmp_path.glob("no-*"))
    (tmp_path / NO_UTF8).mkdir()
    assert changed("capture", "--yes", "--to", str(tmp_path / NO_UTF8 / "m.toml")).status == 0


def test_without_an_overlay(cli: Cli) -> None:
    assert cli("capture", "--yes").status == 5
