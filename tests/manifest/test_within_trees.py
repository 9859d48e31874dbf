"""What a tree has, and what else is declared: where both cannot be, nothing is written, and both places are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.manifest.document import InvalidManifest, Problem

if TYPE_CHECKING:
    from tests.manifest.case import Case

TREE = 'tree path = "/usr/share/app"; source = "source/app"'
INNER = 'tree path = "/usr/share/app/conf"; source = "source/inner"'


def problem(case: Case, *entries: str) -> Problem:
    """The one problem, with nothing done."""
    case.says(*entries)
    before = case.tree()
    with pytest.raises(InvalidManifest) as caught:
        case.apply()
    assert case.tree() == before
    assert case.receipts() == {}
    (found,) = caught.value.problems
    return found


@pytest.mark.parametrize(
    "entry",
    [
        'file path = "/usr/share/app/conf/extra"; text = "x"',
        'file path = "/usr/share/app/conf/far/extra"; text = "x"',
        'symlink path = "/usr/share/app/conf/extra"; to = "x"',
        'directory path = "/usr/share/app/conf/extra"',
        'absent path = "/usr/share/app/conf/extra"',
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_entry_in_a_file_of_a_tree(case: Case, entry: str, *, first: bool) -> None:
    case.put("app/conf", "file")
    case.put("app/conf-x", "beside it")
    found = problem(case, *((entry, TREE) if first else (TREE, entry)))
    line = next(n for n, text in enumerate(case.manifest.read_text().splitlines(), 1) if "[[tree]]" in text)
    assert f"/usr/share/app/conf, which is to be a file ({case.manifest}:{line})" in found.message
    assert case.manifest.read_text().splitlines()[found.line - 1].startswith(f"[[{entry.split(maxsplit=1)[0]}")
    assert (found.key, found.hint) == ("path", "exclude one of them from its tree")


def test_an_entry_in_a_link_of_a_tree(case: Case) -> None:
    case.put("app/conf2/z", "z")
    (case.source / "app/conf").symlink_to("conf2")
    found = problem(case, TREE, 'file path = "/usr/share/app/conf/extra"; text = "x"')
    assert "/usr/share/app/conf/extra is in /usr/share/app/conf, which is to be a symlink" in found.message


@pytest.mark.parametrize("entries", [(INNER, TREE), (TREE, INNER)], ids=["inner first", "outer first"])
def test_a_tree_in_a_file_of_another(case: Case, entries: tuple[str, str]) -> None:
    case.put("app/conf", "file")
    for name in ("a", "b", "sub/c"):
        case.put(f"inner/{name}", name)
    found = problem(case, *entries)
    assert "/usr/share/app/conf" in found.message
    assert "is to be a file" in found.message


def test_of_two_manifests_the_tree_of_the_later_one_wins(case: Case) -> None:
    case.put("app/conf", "file")
    case.put("inner/a", "a")
    case.says(TREE)
    later = case.scratch / "later.toml"
    later.write_text("schema = 1\n[[tree]]\n" + INNER.removeprefix("tree ").replace("; ", "\n") + "\n")
    case.overlay.apply([case.manifest, later])
    assert case.at("share/app/conf/a").read_text() == "a"
    assert not case.overlay.apply([case.manifest, later]).changed


def test_what_an_entry_says_itself_wins_over_a_tree_as_before(case: Case) -> None:
    case.put("app/conf", "file")
    case.put("app/sub/a", "a")
    case.says(
        TREE,
        'directory path = "/usr/share/app/conf"',
        'file path = "/usr/share/app/conf/extra"; text = "x"',
        'file path = "/usr/share/app/sub"; text = "no directory"',
    )
    case.apply()
    assert case.states() == {}
    assert case.at("share/app/conf/extra").read_text() == "x"
    assert case.at("share/app/sub").read_text() == "no directory"


def test_what_is_left_out_of_a_tree_is_in_nobodys_way(case: Case) -> None:
    case.put("app/conf", "file")
    case.says(TREE + '; exclude = ["/conf"]', 'file path = "/usr/share/app/conf/extra"; text = "x"')
    case.apply()
    assert case.states() == {}


def test_a_link_of_the_base_is_followed_as_ever(case: Case) -> None:
    case.put("app/f", "f")
    case.says('tree path = "/usr/lib/link"; source = "source/app"')
    case.apply()
    assert case.at("lib/deep/f").read_text() == "f"


@pytest.mark.parametrize(
    ("kind", "leaf"),
    [
        ("a file", 'file path = "/usr/lib/deep"; text = "x"; replaces = "directory"'),
        ("absent", 'absent path = "/usr/lib/deep"'),
    ],
)
def test_a_link_of_the_base_into_what_is_to_be_no_directory(case: Case, kind: str, leaf: str) -> None:
    found = problem(case, leaf, 'file path = "/usr/lib/link/file"; text = "x"')
    assert found.message.startswith(f"is /usr/lib/deep/file, in /usr/lib/deep, which is to be {kind} (")
