"""``ovlay drift``: what is not as declared, for a person and for a program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.cli.options import VERBS
from tests.cli.conftest import SCHEMAS

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

MANIFEST = """\
schema = 1

[[file]]
path = "/usr/bin/tool"
text = "tool\\n"

[[file]]
path = "/usr/bin/later"
text = "x"
when = { os-release = { ID = "nowhere" } }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hot.toml"
    path.write_text(MANIFEST)
    return path


@pytest.fixture
def applied(cli: Cli, file: Path) -> Cli:
    """A host on which the manifest was applied."""
    from ovlay.overlay import open_overlay

    overlay = open_overlay("fake", host=cli.host)
    overlay.enable()
    overlay.apply([file])
    return cli


def usr(cli: Cli) -> Path:
    return Path(cli.host.path("/usr"))


def test_all_is_as_declared(applied: Cli, file: Path) -> None:
    said = applied("drift", str(file))
    assert (said.status, said.out) == (0, "")
    assert said.err.splitlines() == [
        f"retired: /usr/bin/later ({file}:7), since os-release has no ID",
        "everything is as declared: 1 path",
    ]


def test_each_deviation_has_a_line_that_says_why_and_where(applied: Cli, file: Path) -> None:
    (usr(applied) / "bin/tool").write_text("edited\n")
    (usr(applied) / "bin/stray").write_text("x")
    said = applied("drift", str(file))
    assert said.status == 1
    stray, tool = said.out.splitlines()
    assert stray == "unmanaged   /usr/bin/stray  (added)"
    assert tool.startswith("conflict    /usr/bin/tool  (changed-since; somebody changed it since ovlay placed it on ")
    assert tool.endswith(f"; {file}:3)")


def test_without_an_overlay_it_says_so(cli: Cli, file: Path) -> None:
    said = cli("drift", str(file))
    assert (said.status, said.out) == (1, f"missing     /usr/bin/tool  (it is not there yet; {file}:3)\n")
    assert "there is no overlay on /usr: what is declared is missing, unless the base has it\n" in said.err


def test_what_has_graduated_names_the_entry(cli: Cli, file: Path) -> None:
    with cli.host.kernel.unsealed("/usr") as base:
        Path(base, "bin/tool").write_text("tool\n")
        Path(base, "bin/tool").chmod(0o644)
    line = f"graduated   /usr/bin/tool  (the base has exactly this by itself: remove the entry, {file}:3)\n"
    assert cli("drift", str(file)).out == line
    cli("enable", "--yes")
    assert cli("drift", str(file)).out == line


def test_what_is_found_counts_where_nothing_is_named(applied: Cli) -> None:
    place = Path(applied.host.path("/etc/ovlay/manifest.d"))
    place.mkdir(parents=True)
    (place / "a.toml").write_text('schema = 1\n[[absent]]\npath = "/usr/bin/old"\n')
    said = applied("drift", "--system")  # what the other manifest placed is managed all the same
    assert [line.split()[:2] for line in said.out.splitlines()] == [["differs", "/usr/bin/old"]]


def test_with_no_manifest_at_all(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("drift", "--system")
    assert (said.status, said.out) == (0, "")
    assert said.err == "no manifest was found: all that was changed is unmanaged\n"


def test_what_is_ignored(applied: Cli, file: Path) -> None:
    (usr(applied) / "bin/stray.pyc").write_text("x")
    said = applied("drift", "--ignore", "*.pyc", str(file))
    assert (said.status, said.out) == (0, "")
    assert "ignored: 1 change\n" in said.err


def test_as_a_document(applied: Cli, file: Path) -> None:
    clean = applied("drift", "--json", str(file)).document("drift")
    assert (clean["clean"], clean["as_declared"], clean["deviations"]) == (True, 1, [])
    assert [retired["path"] for retired in clean["retired"]] == ["/usr/bin/later"]
    (usr(applied) / "bin/tool").write_text("edited\n")
    document = applied("check", "--json", str(file)).document("drift")
    assert document["clean"] is False
    (found,) = document["deviations"]
    assert (found["path"], found["state"], found["conflict"]) == ("bin/tool", "conflict", "changed-since")
    assert (found["file"], found["line"]) == (str(file), 3)


def test_the_schema_has_every_state_and_every_member() -> None:
    from ovlay import ConflictKind, Deviation, Drift, State

    schema = SCHEMAS["drift"]
    deviation = schema["$defs"]["deviation"]
    assert set(deviation["properties"]["state"]["enum"]) == {*State} - {State.AS_DECLARED}
    assert set(deviation["properties"]["conflict"]["enum"]) == {*ConflictKind, None}
    assert set(deviation["properties"]) == set(deviation["required"]) == set(Deviation._fields)
    assert set(schema["properties"]) == set(schema["required"]) == {"schema", "clean", *Drift._fields}


def test_check_is_another_name_of_it(applied: Cli, file: Path) -> None:
    assert applied("check", str(file)) == applied("drift", str(file))
    assert "check" not in VERBS
    assert "ovlay check" in VERBS["drift"]


def test_mistakes_in_manifests_are_named(cli: Cli, file: Path) -> None:
    file.write_text("schema = 1\n[[fiel]]\n")
    said = cli("drift", str(file))
    assert (said.status, f"{file}:2" in said.err) == (2, True)


def test_the_diff_marks_what_nobody_declared(applied: Cli, file: Path) -> None:
    (usr(applied) / "bin/stray").write_text("x")
    assert applied("diff").out.splitlines() == [
        "added         /usr/bin/stray  (1 bytes; unmanaged)",
        "added         /usr/bin/tool  (5 bytes)",
    ]
    changes = applied("diff", "--json").document("changes")["changes"]
    assert {change["path"]: change["managed"] for change in changes} == {"bin/stray": None, "bin/tool": str(file)}


def test_an_answer_that_is_not_complete_is_no_clean_bill(
    applied: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovlay.changes.change import Changes

    missed = Changes("/usr", (), complete=False, errors={"x": "Permission denied"})
    monkeypatch.setattr("ovlay.changes.find.find_changes", lambda _: missed)
    said = applied("drift", str(file))
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines()[-2:] == [
        "ovlay: the answer is not complete: not everything could be looked at",
        "  /usr/x: Permission denied",
    ]
    assert "everything is as declared" not in said.err
    document = applied("drift", "--json", str(file)).document("drift")
    assert (document["clean"], document["complete"], document["errors"]) == (True, False, {"x": "Permission denied"})
