"""Random edits, captured and applied again over a fresh overlay: what there must be is what the edits left.

The witness is the comparison of whole trees, which trusts neither the changes nor the manifest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from ovlay.changes.compare import Aspect, compare, scan_tree
from tests.changes.fuzz import CONTENTS, Edit, carry_out

if TYPE_CHECKING:
    from pathlib import Path

    import ovlay

# Few names, so that edits meet; some that TOML, gitignore(5) and a shell would take for something else.
NAMES = st.sampled_from(["a", "b", "ab", "d", "d.x", 'q" #', "é\n", "*.[x]"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o4755])
PLANTS = st.one_of(
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("mkdir"), PATHS, st.none()),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(["a", "b", "nowhere", "d/../é\n"])),
    st.tuples(st.just("chmod"), PATHS, MODES),
)
EDITS = st.one_of(
    PLANTS,
    st.tuples(st.just("remove"), PATHS, st.none()),
    st.tuples(st.just("move"), PATHS, PATHS),
    st.tuples(st.just("exchange"), PATHS, PATHS),
    st.tuples(st.just("touch"), PATHS, st.none()),
    st.tuples(st.just("append"), PATHS, CONTENTS),
)
IGNORED = (Aspect.MTIME, Aspect.HARD_LINKS)  # what a manifest does not say


def edit_all(usr: Path, edits: list[Edit]) -> None:
    for verb, name, more in edits:
        if verb != "chmod" or not (usr / name).is_symlink():  # a link has no mode that could be changed
            carry_out(usr, (verb, name, more))


def check(overlay: ovlay.Overlay, usr: Path, file: Path, edits: list[Edit], more: list[Edit]) -> None:
    """Edit what an overlay shows at ``usr``, capture it, take the overlay away, and apply over a fresh one."""
    overlay.enable()
    edit_all(usr, edits)
    overlay.capture(to=file)
    edit_all(usr, more)  # the second capture finds a manifest to be changed
    warnings = overlay.capture(to=file).plan.warnings
    if any(line.endswith("; what is declared stays") for line in warnings):
        file.unlink()  # a second capture takes no entry away; a new manifest has what is there, and no more
        warnings = overlay.capture(to=file).plan.warnings
    assert [line for line in warnings if "is no longer declared in" not in line] == []
    permissions = overlay.host.permissions
    wanted = scan_tree(usr, permissions=permissions)
    overlay.unmount()
    overlay.enable()
    declared = [file] if file.exists() else []
    assert overlay.apply(declared).conflicts == ()
    assert compare(wanted, scan_tree(usr, permissions=permissions), ignore=IGNORED) == ()
    assert not overlay.apply(declared).changed
    assert overlay.drift(declared).clean
    assert not overlay.capture(to=file).changed
