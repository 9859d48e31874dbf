"""What `apply` makes of every kind of entry, what it leaves alone, and that twice is the same as once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from ovlay.errors import Conflict, InvalidInput, NoSpace, NotActive
from ovlay.host import Host
from ovlay.manifest import apply
from ovlay.manifest.document import InvalidManifest
from ovlay.plan.placing import PlaceFile
from ovlay.recording import Journal
from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ovlay.plan import Plan

ALL = (
    'file path = "/usr/bin/tool"; source = "source/tool"',
    'file path = "/usr/bin/old"; text = "new"',
    'file path = "/usr/lib/a/b/conf"; text = "x = 1"; mode = "0600"',
    'tree path = "/usr/share/tree"; source = "source/tree"; exclude = ["*.pyc"]',
    'symlink path = "/usr/bin/alias"; to = "tool"',
    'directory path = "/usr/lib/state"; mode = "0700"',
    'absent path = "/usr/lib/deep"',
)


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    case.put("tool", "#!/bin/sh\n", 0o755)
    case.put("tree/one", "1")
    case.put("tree/sub/two", "2", 0o640)
    case.put("tree/sub/three.pyc", "3")
    (case.source / "tree/link").symlink_to("one")
    with case.host:
        yield case


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that are opened from now on."""
    opened: list[str] = []
    original = Host.opened_source

    def open_it(host: Host, path: str) -> AbstractContextManager[int]:
        opened.append(path)
        return original(host, path)

    monkeypatch.setattr(Host, "opened_source", open_it)
    return opened


def test_every_kind_of_entry(case: Case) -> None:
    before = set(case.tree())
    case.says(*ALL)
    assert case.apply().changed
    assert (case.at("bin/tool").read_text(), case.at("bin/tool").stat().st_mode & 0o7777) == ("#!/bin/sh\n", 0o755)
    assert case.at("bin/old").read_text() == "new"
    assert case.at("lib/a/b/conf").stat().st_mode & 0o7777 == 0o600
    assert case.at("bin/alias").readlink().name == "tool"
    assert case.at("lib/state").stat().st_mode & 0o7777 == 0o700
    assert not case.at("lib/deep").exists()
    assert case.at("share/tree/sub/two").stat().st_mode & 0o7777 == 0o640
    assert case.at("share/tree/link").readlink().name == "one"
    assert not case.at("share/tree/sub/three.pyc").exists()
    added = {
        *("bin/tool", "bin/alias", "lib/a", "lib/a/b", "lib/a/b/conf", "lib/state", "share/tree"),
        *("share/tree/one", "share/tree/link", "share/tree/sub", "share/tree/sub/two"),
    }
    assert set(case.tree()) ^ before == added | {"lib/deep", "lib/deep/file"}


def test_twice_is_the_same_as_once_and_reads_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.says(*ALL)
    case.apply()
    case.apply()
    for path in case.source.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.touch()  # so young a stamp is not believed, and the next run takes new ones
    opened = watched(monkeypatch)
    tree = case.tree()
    outcome = case.apply()
    assert (outcome.changed, outcome.plan.steps, outcome.conflicts) == (False, (), ())
    assert sorted(opened) == sorted(set(opened)), "read twice"
    assert case.tree() == tree
    assert case.states() == {}


def test_a_first_run_opens_each_source_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = watched(monkeypatch)
    case.says(*ALL)
    case.apply()
    assert len(opened) == len(set(opened)) == 3


def test_the_plan_says_what_apply_does_and_a_confirmed_one_reads_nothing_twice(case: Case) -> None:
    case.says(*ALL)
    asked: list[Plan] = []

    def yes(plan: Plan) -> bool:
        asked.append(plan)
        return True

    outcome = case.overlay.apply([case.manifest], enable=True, confirm=yes)
    assert outcome.changed
    assert asked == [outcome.plan]


def test_an_entry_that_goes_is_taken_back(case: Case) -> None:
    case.overlay.enable()  # a user's simulated host seals by taking write permission away
    before = case.tree()
    case.says(*ALL)
    case.apply()
    case.says(*ALL[:1])
    assert case.apply().conflicts == ()
    assert set(case.tree()) ^ set(before) == {"bin/tool"}
    assert case.at("bin/old").read_text() == "old\n"
    case.says()
    case.apply()
    assert case.tree() == before
    assert case.receipts() == {}
    assert case.overlay.changes().changes == ()


def test_a_manifest_that_is_gone_takes_its_files_with_it(case: Case) -> None:
    case.says(ALL[0])
    case.apply()
    other = case.scratch / "other.toml"
    other.write_text('schema = 1\n[[file]]\npath = "/usr/bin/b"\ntext = "b"\n')
    case.overlay.apply([other])
    assert case.at("bin/tool").exists(), "another manifest decides about its own only"
    case.manifest.unlink()
    case.overlay.apply([other])
    assert not case.at("bin/tool").exists()
    assert case.at("bin/b").exists()


def test_only_what_differs_is_written(case: Case) -> None:
    case.says(*ALL)
    case.apply()
    inode = case.at("share/tree/one").stat().st_ino
    case.put("tree/sub/two", "changed", 0o640)
    outcome = case.apply()
    assert [step.path for step in outcome.plan.steps if isinstance(step, PlaceFile)] == ["share/tree/sub/two"]
    assert case.at("share/tree/one").stat().st_ino == inode
    assert case.at("share/tree/sub/two").read_text() == "changed"


def test_a_mode_alone_is_changed_without_copying(case: Case) -> None:
    case.says('file path = "/usr/bin/tool"; source = "source/tool"; mode = "0700"')
    case.apply()
    case.says('file path = "/usr/bin/tool"; source = "source/tool"; mode = "0750"')
    outcome = case.apply()
    assert [step.kind for step in outcome.plan.steps] == ["adjust-attributes"]
    assert case.at("bin/tool").stat().st_mode & 0o7777 == 0o750
    assert case.states() == {}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('file path = "/usr/x"; text = "x"', 'symlink path = "/usr/x"; to = "bin"'),
        ('symlink path = "/usr/x"; to = "bin"', 'file path = "/usr/x"; text = "x"'),
        ('symlink path = "/usr/x"; to = "bin"', 'symlink path = "/usr/x"; to = "lib"'),
        ('file path = "/usr/x"; text = "x"', 'directory path = "/usr/x"'),
        ('file path = "/usr/x"; text = "x"', 'file path = "/usr/x/y"; text = "y"'),
        ('file path = "/usr/x/y"; text = "y"', 'absent path = "/usr/x"'),
    ],
)
def test_an_entry_of_another_kind_takes_its_place(case: Case, first: str, second: str) -> None:
    case.says(first)
    case.apply()
    case.says(second)
    case.apply()
    assert case.states() == {}
    case.says()
    case.apply()
    assert not case.at("x").exists()
    assert not case.at("x").is_symlink()


def test_links_on_the_way_are_followed_inside_the_target(case: Case) -> None:
    case.says('file path = "/usr/lib/link/new"; text = "x"')
    case.apply()
    assert case.at("lib/deep/new").read_text() == "x"
    assert list(case.receipts()) == ["lib/deep/new"]
    assert case.states() == {}


def test_missing_sources_are_all_named_at_once_and_nothing_is_placed(case: Case) -> None:
    case.says(
        ALL[0],
        'file path = "/usr/a"; source = "nowhere"',
        'tree path = "/usr/b"; source = "source/tool"',
        f'file path = "/usr/c"; source = "source/tool"; sha256 = "{"0" * 64}"',
    )
    before = case.tree()
    with pytest.raises(InvalidManifest) as raised:
        case.apply()
    assert len(raised.value.problems) == 2
    assert all(problem.line for problem in raised.value.problems)
    case.says(ALL[0], f'file path = "/usr/c"; source = "source/tool"; sha256 = "{"0" * 64}"')
    with pytest.raises(InvalidManifest, match="has the SHA-256"):
        case.apply()
    assert case.tree() == before


def test_without_an_overlay(case: Case) -> None:
    case.says(ALL[0])
    with pytest.raises(NotActive) as raised:
        case.overlay.apply([case.manifest])
    assert raised.value.remedy == "`ovlay apply --enable` puts one there"


def test_what_no_trigger_can_do_is_said(case: Case) -> None:
    case.says('file path = "/usr/lib/systemd/user/a.service"; text = "[Service]\\n"')
    (note,) = (line for line in case.apply().plan.warnings if "systemctl --user" in line)
    assert "each user who is logged in" in note
    assert case.apply().plan.warnings == ()


def test_a_manifest_for_another_target(case: Case) -> None:
    case.manifest.write_text('schema = 1\ntarget = "/opt"\n[[file]]\npath = "/opt/x"\ntext = "x"\n')
    with pytest.raises(InvalidInput, match="is for /opt"):
        case.apply()


def test_a_source_that_changes_after_the_plan_is_refused_and_the_rest_stays(case: Case) -> None:
    case.says(ALL[0], 'file path = "/usr/a"; text = "first"')

    def change(_: object) -> bool:
        case.put("tool", "something else", 0o755)
        return True

    with pytest.raises(Conflict):
        case.overlay.apply([case.manifest], enable=True, confirm=change)
    case.apply()
    assert case.at("bin/tool").read_text() == "something else"


def test_no_room_is_seen_before_the_first_file(case: Case) -> None:
    case.host.tmpfs_size = 2 << 20
    case.overlay.enable()
    with (case.source / "large").open("wb") as stream:
        stream.truncate(3 << 20)
    case.says(ALL[0], 'file path = "/usr/large"; source = "source/large"')
    with pytest.raises(NoSpace):
        case.apply()
    assert not case.at("bin/tool").exists()


def test_what_was_installed_by_hand_is_not_taken_back(case: Case) -> None:
    case.overlay.enable()
    case.overlay.install_file(case.source / "tool", "/usr/bin/mine")
    assert case.receipts()["bin/mine"].manifest is None
    case.says()
    assert case.apply().changed is False
    assert case.at("bin/mine").exists()


def test_the_same_file_made_by_hand_is_adopted(case: Case) -> None:
    case.overlay.enable()
    case.at("bin/tool").write_text("#!/bin/sh\n")
    case.at("bin/tool").chmod(0o755)
    case.says(ALL[0])
    assert case.apply().changed is False
    case.says()
    case.apply()
    assert not case.at("bin/tool").exists()


def test_where_nothing_changed_nothing_is_compared(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.says(*ALL)
    case.apply()
    time.sleep(0.05)
    for _ in range(2):
        case.apply()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was compared")

    with monkeypatch.context() as patch:
        patch.setattr("ovlay.manifest.compare.compare", fail)
        assert case.apply().plan.reason == "everything is as declared"
        for change in (
            lambda: case.at("share/tree/one").write_text("x"),
            lambda: case.at("share/tree/one").chmod(0o600),
            lambda: case.put("tree/one", "2"),
            lambda: case.put("tree/sub/more", "new"),
            lambda: case.at("bin/alias").unlink(),
            lambda: case.at("lib/deep").mkdir(),
            lambda: case.says(*ALL[1:]),
        ):
            change()
            with pytest.raises(AssertionError, match="it was compared"):
                case.apply()
            patch.undo()
            case.apply(force=True)
            time.sleep(0.05)
            for _ in range(2):
                case.apply()
            patch.setattr("ovlay.manifest.compare.compare", fail)
            case.apply()


def test_after_the_first_apply_nothing_is_compared(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was just placed is known by how it was left, once it cannot be changed again with the same stamp."""
    case.says(*ALL)
    time.sleep(0.05)
    case.apply()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was compared")

    monkeypatch.setattr("ovlay.manifest.compare.compare", fail)
    assert case.apply().plan.reason == "everything is as declared"
    case.at("share/tree/one").write_text("x")
    with pytest.raises(AssertionError, match="it was compared"):
        case.apply()


def test_after_something_was_taken_back_nothing_is_compared(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    other = case.scratch / "other.toml"
    other.write_text('schema = 1\n[[file]]\npath = "/usr/bin/other"\ntext = "x"\n')
    case.says(*ALL)
    case.apply()
    case.overlay.apply([other])
    other.unlink()
    time.sleep(0.05)
    case.apply()
    assert not case.at("bin/other").exists()

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was compared")

    monkeypatch.setattr("ovlay.manifest.compare.compare", fail)
    case.apply()


def test_what_changes_while_it_is_applied_is_seen_by_the_next_apply(case: Case) -> None:
    """Somebody writes into a file after it was placed, and before everything is found to be as declared."""
    case.says(*ALL)
    time.sleep(0.05)

    def meddle(journal: Journal) -> tuple[str, ...]:
        told = settle(journal)
        case.at("share/tree/one").write_text("by hand")
        case.put("tree/one", "changed meanwhile")
        return told

    settle = Journal.settle
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "settle", meddle)
        case.apply()
    outcome = case.apply()
    assert [finding.path for finding in outcome.conflicts] == ["share/tree/one"]
    assert case.at("share/tree/one").read_text() == "by hand"


def test_a_manifest_that_is_written_to_while_it_is_read_is_read_again(case: Case) -> None:
    case.says('file path = "/usr/bin/tool"; text = "first"')
    time.sleep(0.05)
    with pytest.MonkeyPatch.context() as patch:
        prepare = apply.prepare

        def late(*words: Any, **named: Any) -> Any:
            case.says('file path = "/usr/bin/tool"; text = "other"')
            time.sleep(0.05)
            return prepare(*words, **named)

        patch.setattr(apply, "prepare", late)
        case.apply()
    assert case.at("bin/tool").read_text() == "first"
    case.apply()
    assert case.at("bin/tool").read_text() == "other"


def test_what_comes_back_with_a_persistent_overlay_is_seen_first(case: Case) -> None:
    """Its earlier changes are somebody's work: nothing is planned before they are in sight."""
    entry = '[[file]]\npath = "/usr/bin/old"\ntext = "declared"\n'
    case.manifest.write_text(f'schema = 1\n[overlay]\npersistence = "persistent"\n{entry}')
    assert case.apply().changed
    case.at("bin/old").write_text("by hand")
    case.overlay.unmount()
    assert case.at("bin/old").read_text() == "old\n"
    outcome = case.apply()
    assert [finding.path for finding in outcome.conflicts] == ["bin/old"]
    assert case.at("bin/old").read_text() == "by hand"
