"""Every kind of conflict: what it is told for, that it is kept, and that force takes it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from ovlay.manifest.compare import compare
from ovlay.manifest.declaring import declare
from ovlay.manifest.finding import ConflictKind, State

if TYPE_CHECKING:
    from tests.manifest.case import Case

TOOL = 'file path = "/usr/bin/tool"; text = "tool"'
OLD = 'file path = "/usr/bin/old"; text = "new"'


def kept(case: Case, kind: ConflictKind, path: str, text: str | None) -> None:
    """It is a conflict of this kind; apply keeps what is there; with force it is as declared."""
    found = case.conflict()
    assert (found.conflict, found.path) == (kind, path)
    outcome = case.apply()
    assert [finding.path for finding in outcome.conflicts] == [path]
    assert (case.at(path).read_text() if case.at(path).exists() else None) == text
    assert case.apply(force=True).conflicts == ()
    assert case.states() == {}


@pytest.mark.parametrize("text", ["somebody's", "t00l", None])
def test_somebody_changed_what_was_placed(case: Case, text: str | None) -> None:
    case.says(TOOL)
    case.apply()
    case.at("bin/tool").unlink() if text is None else case.at("bin/tool").write_text(text)
    if text is None:  # then it is as in the base, which never had it
        assert case.states() == {"bin/tool": "missing"}
        assert case.apply().conflicts == ()
    else:
        kept(case, ConflictKind.CHANGED_SINCE, "bin/tool", text)


def test_somebody_removed_what_was_placed_over_the_base(case: Case) -> None:
    case.says(OLD)
    case.apply()
    case.at("bin/old").unlink()
    kept(case, ConflictKind.CHANGED_SINCE, "bin/old", None)


def test_somebody_changed_its_mode(case: Case) -> None:
    case.says(TOOL)
    case.apply()
    case.at("bin/tool").chmod(0o777)
    kept(case, ConflictKind.CHANGED_SINCE, "bin/tool", "tool")


def test_what_was_reverted_is_placed_again(case: Case) -> None:
    case.says(OLD)
    case.apply()
    case.overlay.revert(["/usr/bin/old"])
    assert case.apply().conflicts == ()
    assert case.at("bin/old").read_text() == "new"


@pytest.mark.parametrize("path", ["bin/tool", "bin/old"])
def test_somebody_s_change_is_in_the_way(case: Case, path: str) -> None:
    case.at(path).write_text("mine")
    case.says(TOOL if path == "bin/tool" else OLD)
    kept(case, ConflictKind.IN_THE_WAY, path, "mine")


def test_a_directory_is_in_the_way_of_a_file(case: Case) -> None:
    case.says('file path = "/usr/lib/deep"; text = "x"')
    assert case.conflict().conflict is ConflictKind.IN_THE_WAY
    case.apply(force=True)
    assert case.at("lib/deep").read_text() == "x"


def test_an_entry_that_replaces_a_directory(case: Case) -> None:
    """It needs no force, unless the base has no directory there, or somebody changed what is in it."""
    case.says('file path = "/usr/bin/old"; text = "x"; replaces = "directory"')
    assert case.conflict().conflict is ConflictKind.BASE_CHANGED
    case.says('symlink path = "/usr/lib/deep"; to = "x"; replaces = "directory"')
    case.at("lib/deep/mine").write_text("mine")
    (found,) = case.apply().conflicts
    assert (found.path, found.conflict) == ("lib/deep", ConflictKind.IN_THE_WAY)
    assert case.at("lib/deep/mine").read_text() == "mine"
    case.at("lib/deep/mine").unlink()
    assert not case.apply().conflicts
    assert str(case.at("lib/deep").readlink()) == "x"
    case.says()
    case.apply()
    assert case.at("lib/deep/file").read_text() == "deep\n"


def test_a_file_on_the_way(case: Case) -> None:
    case.says('file path = "/usr/bin/old/x"; text = "x"')
    assert case.conflict().conflict is ConflictKind.IN_THE_WAY
    case.apply(force=True)
    assert case.at("bin/old").read_text() == "old\n", "no force takes a file for a directory"


@pytest.mark.parametrize("entry", ['tree path = "/usr/way"; source = "source/way"', 'directory path = "/usr/way"'])
def test_a_file_in_the_place_of_a_directory_that_is_declared(case: Case, entry: str) -> None:
    """It is kept, and all that is to be in it waits; by force it goes, and all of it comes."""
    case.put("way/in/file", "x")
    case.says(entry, *([] if entry.startswith("tree") else ['file path = "/usr/way/in/file"; text = "x"']))
    case.overlay.enable()
    case.at("way").write_text("mine")
    outcome = case.apply()
    kinds = {found.path: found.conflict for found in outcome.conflicts}
    assert kinds["way"] is kinds["way/in/file"] is ConflictKind.IN_THE_WAY
    assert case.at("way").read_text() == "mine"
    assert not case.apply(force=True).conflicts
    assert case.at("way/in/file").read_text() == "x"
    assert case.states() == {}


def test_somebody_s_change_in_a_directory_that_is_to_go(case: Case) -> None:
    case.at("lib/deep/mine").write_text("mine")
    case.says('absent path = "/usr/lib/deep"')
    assert case.conflict().conflict is ConflictKind.IN_THE_WAY
    case.apply()
    assert case.at("lib/deep/mine").exists()
    case.apply(force=True)
    assert not case.at("lib/deep").exists()


def test_the_base_is_not_what_the_entry_replaces(case: Case) -> None:
    right = hashlib.sha256(b"old\n").hexdigest()
    case.says(f'{OLD}; replaces = "{right}"')
    assert case.states() == {"bin/old": "differs"}
    case.says(f'{OLD}; replaces = "{"0" * 64}"')
    kept(case, ConflictKind.BASE_CHANGED, "bin/old", "old\n")


def test_the_base_has_what_was_to_be_new(case: Case) -> None:
    case.says(f'{OLD}; replaces = "nothing"')
    kept(case, ConflictKind.BASE_CHANGED, "bin/old", "old\n")


def test_the_base_changed_since_the_first_time(case: Case) -> None:
    case.says(OLD, TOOL)
    case.apply()
    case.overlay.unmount()
    with case.host.kernel.unsealed("/usr"):
        case.at("bin/old").write_text("of a newer image\n")
    case.overlay.enable()
    assert case.at("bin/old").read_text() == "of a newer image\n"
    found = case.conflict()
    assert (found.conflict, found.path) == (ConflictKind.BASE_CHANGED, "bin/old")
    case.says('file path = "/usr/bin/old"; text = "newer"', TOOL)
    assert case.states() == {"bin/old": "differs", "bin/tool": "missing"}, "an entry that changed was made for it"


def test_after_an_unmount_all_comes_back(case: Case) -> None:
    case.says(OLD, TOOL)
    case.apply()
    tree = case.tree()
    case.overlay.unmount()
    case.apply()
    assert case.tree() == tree


@pytest.mark.parametrize("change", ["edit", "others"])
def test_what_is_left_over_and_was_changed_is_kept(case: Case, change: str) -> None:
    case.says('file path = "/usr/lib/x/y"; text = "y"')
    case.apply()
    case.at("lib/x/y" if change == "edit" else "lib/x/mine").write_text("mine")
    case.says()
    assert {finding.conflict for finding in case.compared().conflicts} == {ConflictKind.CHANGED_SINCE}
    case.apply()
    assert case.at("lib/x").exists()
    case.apply(force=True)
    assert not case.at("lib/x").exists()


def test_what_graduated_and_what_is_unmanaged(case: Case) -> None:
    case.at("bin/mine").write_text("mine")
    case.says('file path = "/usr/bin/old"; text = """old\n"""; mode = "0644"', TOOL)
    case.at("bin/old").chmod(0o644)
    found = compare(case.overlay.backend, declare(case.overlay.backend, [case.manifest]), base=True)
    states = {finding.path: finding.state for finding in found.findings}
    assert states == {"bin/old": State.GRADUATED, "bin/mine": State.UNMANAGED, "bin/tool": State.MISSING}


def test_what_comes_back_with_its_directory_is_what_an_entry_replaces(case: Case) -> None:
    """One apply gives a directory of the base back and puts a file into it: the base was not without it."""
    case.says('file path = "/usr/lib/deep"; text = "mine"; replaces = "directory"')
    case.apply()
    case.says('file path = "/usr/lib/deep/file"; text = "mine"')
    (finding,) = case.compared().of(State.DIFFERS)
    assert finding.base == hashlib.sha256(b"deep\n").hexdigest()
    assert not case.apply().conflicts
    assert case.at("lib/deep/file").read_text() == "mine"
    case.overlay.unmount()
    assert not case.apply().conflicts
    assert case.at("lib/deep/file").read_text() == "mine"


@pytest.mark.parametrize("kind", ["directory", "symlink"])
def test_of_another_kind_than_what_comes_back_with_its_directory(case: Case, kind: str) -> None:
    case.says('absent path = "/usr/lib/deep"')
    case.apply(force=True)
    case.says(f'{kind} path = "/usr/lib/deep/file"' + ('; to = "old"' if kind == "symlink" else ""))
    assert not case.apply().conflicts
    assert case.states() == {}
