"""Random manifests, edits and interruptions: apply is idempotent, touches nothing else, and gives the base back."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ovlay.changes.find import look, overlay_of
from tests.manifest.case import Case

PATHS = ("bin/old", "bin/tool", "lib/deep", "lib/deep/file", "lib/new/a", "lib/new/b", "share/x", "share/y/z")
WORDS = ("", "one", "two", "old\n")


@st.composite
def manifests(draw: st.DrawFn) -> tuple[str, ...]:
    """Entries of which none is within another that is no directory."""
    entries: list[str] = []
    leaves: set[str] = set()
    for path in draw(st.lists(st.sampled_from(PATHS), unique=True, max_size=5)):
        kind = draw(st.sampled_from(["file", "symlink", "absent", "directory"]))
        if any(path.startswith(leaf + "/") for leaf in leaves):
            continue
        if kind != "directory":
            if any(f'"/usr/{other}"' in entry for entry in entries for other in PATHS if other.startswith(path + "/")):
                continue
            leaves.add(path)
        more = {
            "file": f"; text = {draw(st.sampled_from(WORDS))!r}".replace("'", '"'),
            "symlink": '; to = "old"',
            "absent": "",
            "directory": "",
        }[kind]
        entries.append(f'{kind} path = "/usr/{path}"{more}')
    return tuple(entries)


DEEP = 'file path = "/usr/lib/deep"; text = "a file in the place of a directory"; replaces = "directory"'


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(
    st.lists(manifests(), min_size=1, max_size=3),
    st.lists(st.sampled_from(PATHS), max_size=2),
    st.sampled_from(["kept", "taken"]),
)
@example([(DEEP,), ('directory path = "/usr/lib/deep"',)], [], "taken")
@example([(DEEP,), ('absent path = "/usr/lib/deep/file"',)], [], "taken")
@example([('absent path = "/usr/lib/deep"',), ('directory path = "/usr/lib/deep"; mode = "0700"',)], [], "taken")
@example([('file path = "/usr/share/y/z"; text = "one"',), ('absent path = "/usr/share/y/z"',)], [], "taken")
@example([(DEEP,), ('directory path = "/usr/lib/deep"', 'absent path = "/usr/lib/deep/file"')], [], "taken")
@example([('file path = "/usr/lib/deep"; text = ""',), ('directory path = "/usr/lib/deep/file"',)], [], "taken")
@example(
    [('file path = "/usr/lib/deep"; text = ""',), ('file path = "/usr/lib/deep/file"; text = "old"',)], [], "taken"
)
@example([('absent path = "/usr/lib/deep"',), ('symlink path = "/usr/lib/deep/file"; to = "old"',)], [], "taken")
def test_any_sequence(said: list[tuple[str, ...]], edited: list[str], last: str) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        case = Case(Path(scratch))
        with case.host:
            case.overlay.enable()  # a user's simulated host seals by taking write permission away
            before = case.tree()
            case.at("share/untouched").write_text("mine")
            for entries in said:
                case.says(*entries)
                if last == "kept":
                    case.apply()  # keeps what was edited last, whatever the manifest says now
                case.apply(force=True)
                assert case.states() == {}
                tree = case.tree()
                assert not case.apply().changed
                assert case.tree() == tree
                assert tree["share/untouched"][2] == "mine"
                for path in edited:
                    # What nobody declared is somebody's own, and stays.
                    if path in case.receipts() and case.at(path).is_file() and not case.at(path).is_symlink():
                        case.at(path).write_text("edited")
                edits = {path: case.tree().get(path) for path in edited}
                case.apply()  # keeps what was edited
                assert {path: case.tree().get(path) for path in edited} == edits
                if last == "taken":
                    case.apply(force=True)
                    assert case.states() == {}
            case.says()
            case.apply(force=True)
            case.at("share/untouched").unlink()
            mount = overlay_of(case.overlay.backend)
            with case.host.kernel.views(mount) as views:
                assert tuple(look(case.host, mount, views).changes) == ()
            assert case.tree() == before
            assert case.receipts() == {}
