"""Apply after capture on the kernel's overlayfs, to be run in a user namespace: see test_identity.py."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ovlay
from ovlay.host import Host
from ovlay.kernel import libc
from tests.manifest.identity import EDITS, PLANTS, check, edit_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.changes.fuzz import Edit


def test_apply_after_capture(tmp_path: Path) -> None:
    numbers = itertools.count()

    @settings(max_examples=20, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(plants=st.lists(PLANTS, max_size=12), edits=st.lists(EDITS, max_size=12), more=st.lists(EDITS, max_size=4))
    def each(plants: list[Edit], edits: list[Edit], more: list[Edit]) -> None:
        place = tmp_path / str(next(numbers))
        usr = place / "usr"
        place.mkdir()
        libc.make_private()
        context = libc.fsopen("tmpfs")
        libc.fsconfig_create(context)
        libc.move_mount(libc.fsmount(context), str(place))
        try:
            usr.mkdir()
            edit_all(usr, plants)
            sealed = libc.open_tree(str(usr))
            libc.mount_set_read_only(sealed, read_only=True)
            libc.move_mount(sealed, str(usr))
            overlay = ovlay.open("overlayfs", target=usr, host=Host(scratch=str(place / "scratch")))
            check(overlay, usr, place / "hot.toml", edits, more)
        finally:
            libc.umount(str(place), lazy=True)

    each()
