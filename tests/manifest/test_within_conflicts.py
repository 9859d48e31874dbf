"""What is declared within what is in conflict: it is kept with it, and one `--force` takes all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.manifest.case import Case

# The first is where the base has a directory with a file in it, the second where it has nothing.
FIRST = {
    "lib/deep": 'file path = "/usr/lib/deep"; text = "mine"; replaces = "directory"',
    "lib/new": 'file path = "/usr/lib/new"; text = "mine"',
}
THEN = (
    ('directory path = "/usr/{}"', 'file path = "/usr/{}/x"; text = "x"'),
    ('directory path = "/usr/{}"; mode = "0700"', 'absent path = "/usr/{}/file"'),
    ('file path = "/usr/{}/x"; text = "x"',),
    ('file path = "/usr/{}/file"; text = "x"',),
    ('absent path = "/usr/{}/file"',),
    ('symlink path = "/usr/{}/file"; to = "x"',),
    ('directory path = "/usr/{}/file"',),
)


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("path", FIRST)
@pytest.mark.parametrize("hand", ["edited", "removed"])
def test_force_takes_it_at_once(case: Case, path: str, then: tuple[str, ...], hand: str) -> None:
    case.says(FIRST[path])
    case.apply()
    there = case.at(path)
    if hand == "edited":
        there.write_text("by hand")
    else:
        there.unlink()
    case.says(*(entry.format(path) for entry in then))
    case.apply()
    if hand == "edited":
        assert there.read_text() == "by hand"
    case.apply(force=True)
    assert case.states() == {}
    if hand == "edited":  # what somebody removed of the base is nobody's to remove again
        tree = case.tree()
        case.overlay.unmount()
        case.apply()
        assert case.states() == {}
        assert case.tree() == tree
