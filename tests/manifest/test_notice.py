"""A user who may not read receipts is told by a notice that nothing is to be done; by one that is true, or by none."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from ovlay.files.label import ATTRIBUTE
from ovlay.manifest.declaring import declare
from ovlay.manifest.notice import is_in_sight, is_noticed
from ovlay.receipts import withdraw_verdicts
from ovlay.recording import Journal
from ovlay.simulated import SimulatedHost
from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FOLDER = "/run/ovlay-public"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only what is root's is believed, and a simulated host says that it is root"
)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    monkeypatch.setattr(SimulatedHost, "public_dir", FOLDER)
    case = Case(tmp_path)
    case.put("tool", "secret content\n", 0o755)
    case.put("tree/one", "1")
    case.says(
        f'file path = "/usr/bin/tool"; source = "{case.source}/tool"',
        f'tree path = "/usr/share/tree"; source = "{case.source}/tree"',
        'symlink path = "/usr/bin/alias"; to = "tool"',
        'directory path = "/usr/lib/state"; mode = "0700"',
        'absent path = "/usr/lib/deep"',
    )
    time.sleep(0.05)  # sources that are just being written are not believed
    with case.host:
        case.overlay.apply([case.manifest], enable=True)
        yield case


def noticed(case: Case) -> bool:
    backend = case.overlay.backend
    declared = declare(backend, [case.manifest])
    return is_noticed(case.host, backend.status(), declared)


def test_what_was_just_made_so_is_known_to_be_so(case: Case) -> None:
    assert noticed(case)
    case.overlay.apply([case.manifest])
    assert noticed(case)


def test_a_notice_names_nothing(case: Case) -> None:
    with open(case.host.path(f"{FOLDER}/usr.json"), encoding="utf-8") as stream:
        document = json.load(stream)
    ((digest, others),) = document.pop("notices")
    assert document == {"schema": "ovlay.notice/1"}
    assert len(digest) == 64
    assert others == []
    assert os.stat(case.host.path(FOLDER)).st_mode & 0o777 == 0o755
    assert os.stat(case.host.path(f"{FOLDER}/usr.json")).st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    "change",
    [
        lambda case: case.put("tool", "another content\n", 0o755),
        lambda case: case.put("tree/two", "2"),
        lambda case: os.chmod(case.host.path("/usr/bin/tool"), 0o700),
        lambda case: os.unlink(case.host.path("/usr/bin/alias")),
        lambda case: os.chmod(case.host.path("/usr/lib/state"), 0o755),
        lambda case: os.mkdir(case.host.path("/usr/lib/deep")),
        lambda case: case.says('symlink path = "/usr/bin/alias"; to = "tool"'),
        lambda case: case.overlay.unmount(),
    ],
    ids=["source", "source-added", "mode", "removed", "directory", "absent", "declared", "unmounted"],
)
def test_whatever_changes_it_is_not_known_any_more(case: Case, change: Callable[[Case], object]) -> None:
    assert noticed(case)
    change(case)
    assert not noticed(case)


def test_a_directory_that_was_given_another_label(case: Case) -> None:
    label = b"system_u:object_r:%s_t:s0\0"
    case.says('directory path = "/usr/lib/state"; mode = "0700"; label = "system_u:object_r:bin_t:s0"')
    try:
        os.setxattr(case.host.path("/usr/lib/state"), ATTRIBUTE, label % b"bin")
    except OSError:
        pytest.skip("this filesystem has no labels")
    case.overlay.apply([case.manifest])
    assert noticed(case)
    os.setxattr(case.host.path("/usr/lib/state"), ATTRIBUTE, label % b"usr")
    assert not noticed(case)


def test_content_that_is_changed_with_all_its_times_put_back(case: Case) -> None:
    place = case.host.path("/usr/share/tree/one")
    before = os.stat(place)
    with open(place, "w", encoding="utf-8") as stream:
        stream.write("2")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not noticed(case)


def test_it_is_withdrawn_before_receipts_change(case: Case) -> None:
    status = case.overlay.status()
    assert status.overlay is not None
    Journal(case.host, "/usr", durable=False, identity=status.overlay.device).begin()
    assert not case.host.exists(f"{FOLDER}/usr.json")
    assert not noticed(case)
    withdraw_verdicts(case.host, "/usr", durable=False)  # there is nothing to withdraw
    case.put("tool", "another content\n", 0o755)
    time.sleep(0.05)
    case.overlay.apply([case.manifest])
    assert noticed(case)


def test_what_is_left_over_of_an_entry_is_not_hidden_by_an_older_notice(case: Case) -> None:
    less = case.manifest.read_text(encoding="utf-8")
    case.manifest.write_text(less + '[[file]]\npath = "/usr/bin/more"\ntext = "more"\n', encoding="utf-8")
    case.overlay.apply([case.manifest])
    assert noticed(case)
    case.manifest.write_text(less, encoding="utf-8")
    assert not noticed(case)
    assert case.overlay.apply([case.manifest]).changed
    assert noticed(case)


def test_what_a_manifest_declared_that_is_gone_is_taken_back_and_forgotten(case: Case, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('schema = 1\n[[file]]\npath = "/usr/bin/other"\ntext = "x"\n', encoding="utf-8")
    case.overlay.apply([other])
    other.unlink()
    assert case.overlay.apply([case.manifest]).changed
    assert noticed(case)
    assert not case.overlay.apply([case.manifest]).changed


def test_conflicts_are_no_reason_for_one(case: Case) -> None:
    os.chmod(case.host.path("/usr/bin/tool"), 0o700)
    assert case.overlay.apply([case.manifest]).conflicts
    assert not noticed(case)
    case.overlay.apply([case.manifest], force=True)
    assert noticed(case)


@pytest.mark.parametrize("where", [FOLDER, f"{FOLDER}/usr.json"])
def test_one_that_others_can_write_is_not_believed(case: Case, where: str) -> None:
    os.chmod(case.host.path(where), 0o777)
    assert not noticed(case)


def test_one_that_is_none_is_not_believed(case: Case) -> None:
    place = case.host.path(f"{FOLDER}/usr.json")
    for text in (
        "",
        "[]",
        '{"schema": "ovlay.notice/1", "notices": [1]}',
        '{"schema": "x", "notices": []}',
        "[" * 9999,
    ):
        with open(place, "w", encoding="utf-8") as stream:
            stream.write(text)
        assert not noticed(case), text


def test_a_place_that_is_not_ours_gets_none(case: Case) -> None:
    withdraw_verdicts(case.host, "/usr", durable=False)
    os.chmod(case.host.path(FOLDER), 0o777)
    case.put("tool", "another content\n", 0o755)
    assert case.overlay.apply([case.manifest]).changed
    assert os.listdir(case.host.path(FOLDER)) == []


def test_another_manifest_that_not_everybody_can_see(case: Case, tmp_path: Path) -> None:
    """Where it is gone by the time, what it placed is taken back: that can be known by who can see it alone."""
    other = tmp_path / "other.toml"
    other.write_text('schema = 1\n[[file]]\npath = "/usr/bin/other"\ntext = "x"\n', encoding="utf-8")
    tmp_path.chmod(0o700)
    case.overlay.apply([other])
    case.overlay.apply([case.manifest])
    assert not noticed(case)
    assert not is_in_sight(str(other))


def test_what_everybody_can_see() -> None:
    assert is_in_sight("/etc/passwd")
    assert is_in_sight("/etc/missing/at all") is False
    assert is_in_sight("/etc/missing") is False


def test_a_manifest_that_declares_nothing_any_more_is_asked_about_too(case: Case, tmp_path: Path) -> None:
    """What was placed for it is left over, though all that is declared is as it was found to be without it."""
    other = tmp_path / "other.toml"
    other.write_text('schema = 1\n[[file]]\npath = "/usr/bin/other"\ntext = "x"\n', encoding="utf-8")
    case.overlay.apply([other])
    case.overlay.apply([case.manifest])
    other.write_text("schema = 1\n", encoding="utf-8")
    backend = case.overlay.backend
    assert not is_noticed(case.host, backend.status(), declare(backend, [other, case.manifest]))
