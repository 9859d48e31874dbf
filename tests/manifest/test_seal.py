"""What was as declared is not compared again: while all that decides it is the same, and not for longer."""

from __future__ import annotations

import os
import pwd
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from ovlay.errors import InvalidInput
from ovlay.files.label import ATTRIBUTE
from ovlay.manifest import compare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.manifest.case import Case

SETTLED = 0.05
"""Seconds after which what was written cannot change again without another stamp."""


def manifest(case: Case, name: str, *paths: str) -> Path:
    """A manifest of its own that declares these files."""
    file = case.scratch / name
    file.write_text("schema = 1\n" + "".join(f'[[file]]\npath = "{path}"\ntext = "{path}"\n' for path in paths))
    time.sleep(SETTLED)
    return file


def relabel(place: Path, label: str) -> None:
    try:
        os.setxattr(place, ATTRIBUTE, label.encode() + b"\0")
    except OSError:
        pytest.skip("this filesystem, or this user, has no labels")


def demand_sealed(case: Case, *manifests: Path) -> None:
    """That it is known by now, with no comparison, that these are as declared."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it was compared")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "compare", fail)
        assert not case.overlay.apply(manifests).changed


def test_a_manifest_that_was_emptied_takes_back_what_was_placed_for_it(case: Case) -> None:
    """Although what is left to be declared was found to be so, by a manifest that was applied alone."""
    first, second = manifest(case, "a.toml", "/usr/bin/p"), manifest(case, "b.toml", "/usr/bin/q")
    case.overlay.apply([first, second])
    case.overlay.apply([second])
    demand_sealed(case, second)
    manifest(case, "a.toml")
    assert case.overlay.apply([first, second]).changed
    assert not case.at("bin/p").exists()
    assert case.at("bin/q").exists()
    demand_sealed(case, first, second)


def test_what_was_placed_since_is_taken_back_when_its_manifest_is_gone(case: Case) -> None:
    """A manifest with a conflict is not sealed, and what it placed all the same is unknown to the seal before it."""
    first, second = manifest(case, "a.toml", "/usr/bin/p"), manifest(case, "b.toml", "/usr/bin/q", "/usr/bin/mine")
    case.at("bin/mine").write_text("somebody's")
    case.overlay.apply([first])
    demand_sealed(case, first)
    assert case.overlay.apply([second]).conflicts
    second.unlink()
    assert case.overlay.apply([first]).changed
    assert not case.at("bin/q").exists()
    demand_sealed(case, first)


LABEL, ANOTHER = "system_u:object_r:bin_t:s0", "system_u:object_r:usr_t:s0"


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        (f'directory path = "/usr/lib/state"; label = "{LABEL}"', "lib/state"),
        (f'tree path = "/usr/share/tree"; source = "source/tree"; label = "{LABEL}"', "share/tree/sub"),
    ],
    ids=["directory", "tree"],
)
def test_a_directory_that_was_given_another_label(case: Case, entry: str, path: str) -> None:
    """Its ctime says nothing of that: it changes with every name in it too."""
    case.put("tree/sub/file", "x")
    relabel(case.source, LABEL)
    case.says(entry)
    time.sleep(SETTLED)
    case.apply()
    demand_sealed(case, case.manifest)
    relabel(case.at(path), ANOTHER)
    assert [found.path for found in case.apply().conflicts] == [path]
    assert [(drift.path, str(drift.state)) for drift in case.overlay.drift([case.manifest]).deviations] == [
        (path, "conflict")
    ]
    case.apply(force=True)
    demand_sealed(case, case.manifest)


@pytest.fixture
def users(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The numbers of users by name, and nobody else is known."""
    numbers: dict[str, int] = {}

    def user(name: str) -> pwd.struct_passwd:
        return pwd.struct_passwd((name, "x", numbers[name], 0, "", "/", "/bin/false"))

    monkeypatch.setattr(pwd, "getpwnam", user)
    return numbers


def test_an_owner_that_has_another_number_by_now(case: Case, users: dict[str, int]) -> None:
    users["svc"] = os.geteuid()
    case.says('file path = "/usr/bin/p"; text = "x"; owner = "svc"')
    time.sleep(SETTLED)
    case.apply()
    demand_sealed(case, case.manifest)
    users["svc"] += 1
    assert case.states() == {"bin/p": "differs"}
    assert case.overlay.plan_apply([case.manifest]).plan.steps
    if os.geteuid() == 0:
        assert case.apply().changed
        assert case.at("bin/p").stat().st_uid == users["svc"]
        demand_sealed(case, case.manifest)
    del users["svc"]
    with pytest.raises(InvalidInput, match="no user 'svc'"):
        case.apply()


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[object]:
    """What a function is called with from now on."""
    calls: list[object] = []
    function: Callable[..., object] = getattr(module, name)

    def call(first: object, *rest: object, **named: object) -> object:
        calls.append(first)
        return function(first, *rest, **named)

    monkeypatch.setattr(module, name, call)
    return calls


def test_labels_and_owners_are_asked_for_only_where_they_are_declared(
    case: Case, users: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    users["svc"] = os.geteuid()
    case.put("tree/sub/file", "x")
    plain = 'tree path = "/usr/share/tree"; source = "source/tree"', 'directory path = "/usr/lib/a"'
    owned = (f'file path = "/usr/bin/{name}"; text = "x"; owner = "svc"' for name in "pqr")
    attributes, names = counted(monkeypatch, os, "getxattr"), counted(monkeypatch, pwd, "getpwnam")
    for entries, known in ((plain, Counter()), ((*plain, *owned), Counter(["svc"]))):
        case.says(*entries)
        time.sleep(SETTLED)
        case.apply()
        attributes.clear()
        names.clear()
        demand_sealed(case, case.manifest)
        assert (attributes, Counter(names)) == ([], known)


@pytest.fixture
def coarse(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that knows whole seconds only, as ext4 with inodes of 128 bytes; one of them begins now."""
    case.says('symlink path = "/usr/bin/first"; to = "old"')
    case.apply()  # with all that is imported for the first one
    assert case.overlay.drift([case.manifest]).clean
    second = 1_000_000_000
    begun = time.time_ns() % second

    def rounded(function: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def look(*words: Any, **named: Any) -> os.stat_result:
            found = function(*words, **named)
            fields = {name: getattr(found, name) for name in dir(found) if name.startswith("st_")}
            fields |= {name: (fields[name] - begun) // second * second for name in ("st_mtime_ns", "st_ctime_ns")}
            return os.stat_result(tuple(found), fields)

        return look

    for name in ("stat", "lstat", "fstat"):
        monkeypatch.setattr(os, name, rounded(getattr(os, name)))


@pytest.mark.usefixtures("coarse")
def test_a_source_that_was_edited_in_the_second_of_an_apply(case: Case) -> None:
    """No stamp tells of it, and none of that second is believed."""
    case.put("tool", "one")
    case.says('file path = "/usr/bin/tool"; source = "source/tool"')
    case.apply()
    case.put("tool", "two")
    assert case.states() == {"bin/tool": "differs"}
    assert case.apply().changed
    assert case.at("bin/tool").read_text() == "two"


@pytest.mark.usefixtures("coarse")
def test_a_placed_file_that_was_edited_in_the_second_of_an_apply(case: Case) -> None:
    case.says('file path = "/usr/bin/text"; text = "one"')
    case.apply()
    case.at("bin/text").write_text("two")
    assert [str(drift.state) for drift in case.overlay.drift([case.manifest]).deviations] == ["conflict"]
    assert case.apply().conflicts


@pytest.mark.usefixtures("coarse")
def test_a_manifest_that_was_edited_in_the_second_of_an_apply(case: Case) -> None:
    case.says('symlink path = "/usr/bin/link"; to = "one"')
    case.apply()
    case.says('symlink path = "/usr/bin/link"; to = "two"')
    case.apply()
    assert os.readlink(case.at("bin/link")) == "two"


@pytest.mark.usefixtures("coarse")
def test_what_is_two_seconds_old_is_sealed_on_any_file_system(case: Case) -> None:
    case.put("tool", "one")
    case.says('file path = "/usr/bin/tool"; source = "source/tool"')
    case.apply()
    time.sleep(3 + SETTLED)
    case.apply()
    demand_sealed(case, case.manifest)
