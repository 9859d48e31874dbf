"""Apply after capture is the identity: whatever was edited is there again, over a fresh overlay, to the last attribute.

The witness is the comparison of whole trees, which trusts neither the changes nor the manifest.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import ovlay
from ovlay.changes.compare import Aspect, compare, scan_tree
from ovlay.manifest.finding import ConflictKind
from ovlay.simulated import SimulatedHost
from tests.changes.fuzz import CONTENTS, Edit, carry_out

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


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(plants=st.lists(PLANTS, max_size=12), edits=st.lists(EDITS, max_size=12), more=st.lists(EDITS, max_size=4))
@example(plants=[("write", "d/a", b"x")], edits=[("remove", "d", None), ("write", "d", b"y")], more=[])
@example(plants=[("write", "a", b"x")], edits=[("remove", "a", None), ("write", "a/b", b"y")], more=[])
@example(plants=[("write", "d/a", b"x")], edits=[("remove", "d", None)], more=[("write", "d/b", b"y")])
@example(plants=[], edits=[("write", "d/a", b"x")], more=[("remove", "d", None), ("write", "d", b"x")])
def test_apply_after_capture_is_the_identity(plants: list[Edit], edits: list[Edit], more: list[Edit]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="ovlay-identity-") as folder:
        usr, file = Path(folder, "host/usr"), Path(folder, "hot.toml")
        usr.mkdir(parents=True)
        edit_all(usr, plants)
        with SimulatedHost(f"{folder}/host") as host:
            overlay = ovlay.open("fake", host=host)
            overlay.enable()
            edit_all(usr, edits)
            overlay.capture(to=file)
            edit_all(usr, more)  # the second capture finds a manifest to be changed
            outcome = overlay.capture(to=file)
            assert outcome.plan.warnings == tuple(
                line for line in outcome.plan.warnings if "no longer declared" in line
            )
            wanted = scan_tree(usr, permissions=host.permissions)
            overlay.unmount()
            overlay.enable()
            declared = [file] if file.exists() else []
            left = overlay.apply(declared).conflicts
            # What only --force does: to put something in the place of a whole directory of the base.
            assert {conflict.conflict for conflict in left} <= {ConflictKind.IN_THE_WAY}
            overlay.apply(declared, force=True)
            found = scan_tree(usr, permissions=host.permissions)
            assert compare(wanted, found, ignore=IGNORED) == ()
            assert not overlay.apply(declared).changed
            assert overlay.drift(declared).clean
            assert overlay.capture(to=file).changed is False
