"""What is left out of a list of changes, and what is not."""

from __future__ import annotations

import pytest

from ovlay.changes.change import Attributes, Change, ChangeKind, Changes
from ovlay.changes.ignore import leave_out
from ovlay.errors import InvalidInput

FILE = Attributes("file", 1, 0o644, 0, 0)
FOLDER = Attributes("directory", 0, 0o755, 0, 0)
NAMES = (
    "bin/a.pyc",
    "lib/a\nb.pyc",
    "lib/x\ny/deep",
    "lib/\udcff.pyc",
    "share/man/man1/ls.1",
    "share/man",
    "opt/share/man/x",
)


def changes(**errors: str) -> Changes:
    found = [Change(name, ChangeKind.ADDED, None, FOLDER if name == "share/man" else FILE) for name in NAMES]
    gone = Change("old/cache", ChangeKind.DELETED, FOLDER, None)
    return Changes("/usr", (*found, gone), complete=not errors, errors=errors)


@pytest.mark.parametrize(
    ("patterns", "left_out"),
    [
        ((), set()),
        (("*.pyc",), {"bin/a.pyc", "lib/a\nb.pyc", "lib/\udcff.pyc"}),
        (("lib/",), {"lib/a\nb.pyc", "lib/x\ny/deep", "lib/\udcff.pyc"}),
        (("x?y",), {"lib/x\ny/deep"}),
        (("share/man/",), {"share/man/man1/ls.1", "share/man"}),
        (("/usr/share/man/",), {"share/man/man1/ls.1", "share/man"}),
        (("/share/man",), {"share/man/man1/ls.1", "share/man"}),
        (("**/man/",), {"share/man/man1/ls.1", "share/man", "opt/share/man/x"}),
        (("share/**/ls.1",), {"share/man/man1/ls.1"}),
        (("cache/",), {"old/cache"}),
        (("*", "!deep"), {*NAMES, "old/cache"} - {"lib/x\ny/deep"}),
        (("/usr/lib/", "!/usr/lib/x*"), {"lib/a\nb.pyc", "lib/\udcff.pyc"}),
        (("# a remark", "", "\\#"), set()),
        (("/usrlocal/", "usr/"), set()),
    ],
)
def test_patterns(patterns: tuple[str, ...], left_out: set[str]) -> None:
    kept = {change.path for change in leave_out(changes(), patterns).changes}
    assert {*NAMES, "old/cache"} - kept == left_out


def test_what_could_not_be_looked_at_is_left_out_too() -> None:
    found = leave_out(changes(**{"secret/x": "Permission denied"}), ["secret/"])
    assert (found.complete, found.errors) == (True, {})
    found = leave_out(changes(**{"secret/x": "Permission denied", "y": "gone"}), ["secret/"])
    assert (found.complete, found.errors) == (False, {"y": "gone"})


@pytest.mark.parametrize("pattern", ["!", "\\", "[z-a]"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput, match="not a pattern"):
        leave_out(changes(), [pattern])
