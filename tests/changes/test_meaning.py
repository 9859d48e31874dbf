"""Paths mean the same to every verb: links on the way are followed, and what is on neither side is refused."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import InvalidInput, NotActive, StateForbids
from tests.manifest.place import Place, place_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An overlay with a changed file in a directory to which a link of the base leads."""
    with place_in(tmp_path) as made:
        (made.usr / "lib/deep/file").write_text("changed\n")
        yield made


@contextmanager
def used(path: Path) -> Iterator[int]:
    """A process that has a file open."""
    with path.open() as file, subprocess.Popen(["sleep", "60"], stdin=file) as process:
        try:
            yield process.pid
        finally:
            process.kill()


VERBS: dict[str, Callable[[Place, str], object]] = {
    "changes": lambda place, path: place.overlay.changes([path]),
    "capture": lambda place, path: place.capture(path),
    "revert": lambda place, path: place.overlay.revert([path]),
    "holders": lambda place, path: place.overlay.holders([path]),
}


@pytest.mark.parametrize("path", ["/usr/lib/link/file", "lib/link/file", "//usr/lib/link/file", "lib/deep/file"])
def test_a_link_on_the_way_is_followed(place: Place, path: str) -> None:
    (change,) = place.overlay.changes([path]).changes
    assert change.path == "lib/deep/file"
    assert place.capture(path).changed
    assert set(place.entries()) == {"/usr/lib/deep/file"}
    assert place.overlay.revert([path]).changed
    assert place.overlay.changes().changes == ()


def test_who_uses_a_file_is_found_through_a_link(place: Place) -> None:
    with used(place.usr / "lib/deep/file") as pid:
        assert [found.pid for found in place.overlay.holders(["lib/link/file"]).holders] == [pid]


def test_the_link_itself_is_meant_where_it_is_named(place: Place) -> None:
    (place.usr / "lib/link").unlink()
    (place.usr / "lib/link").symlink_to("elsewhere")
    assert [change.path for change in place.overlay.changes(["lib/link"]).changes] == ["lib/link"]


def test_what_the_base_has_is_meant_where_a_link_took_its_directory(place: Place) -> None:
    (place.usr / "lib/deep").rename(place.usr / "lib/deeper")
    (place.usr / "lib/deep").symlink_to("deeper")
    assert [str(change.kind) for change in place.overlay.changes(["lib/deep/file"]).changes] == ["deleted"]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("path", ["/usr/bin/odl", "lib/link/never", "bin/" + "n" * 300])
def test_a_path_on_neither_side_is_refused(place: Place, verb: str, path: str) -> None:
    with pytest.raises(InvalidInput, match="there is no such path, neither now nor in the base") as caught:
        VERBS[verb](place, path)
    assert str(caught.value).startswith(path)


@pytest.mark.parametrize("verb", VERBS)
def test_a_path_in_a_file_is_refused(place: Place, verb: str) -> None:
    with pytest.raises(InvalidInput, match="/usr/bin/old is not a directory"):
        VERBS[verb](place, "bin/old/inner")


@pytest.mark.parametrize("verb", VERBS)
def test_a_path_that_a_link_leads_out_of_the_target_is_refused(place: Place, verb: str) -> None:
    (place.usr / "lib/out").symlink_to("/etc")
    with pytest.raises(StateForbids, match="/usr/lib/out leads to /etc"):
        VERBS[verb](place, "lib/out/passwd")


@pytest.mark.parametrize("verb", ["changes", "capture"])
def test_one_path_on_neither_side_refuses_all_of_them(place: Place, verb: str) -> None:
    both = ["lib/deep/file", "bin/odl"]
    with pytest.raises(InvalidInput, match="bin/odl: there is no such path"):
        place.overlay.changes(both) if verb == "changes" else place.capture(*both)


def test_a_deleted_path_is_one_of_the_base(place: Place) -> None:
    (place.usr / "bin/gone").unlink()
    assert [change.path for change in place.overlay.changes(["bin/gone"]).changes] == ["bin/gone"]
    assert place.overlay.holders(["bin/gone"]).holders == ()


def test_a_file_that_is_gone_is_found_by_who_uses_it(place: Place) -> None:
    (place.usr / "bin/new").write_text("new\n")
    with used(place.usr / "bin/new") as pid:
        (place.usr / "bin/new").unlink()
        assert [found.pid for found in place.overlay.holders(["bin/new"]).holders] == [pid]
    with pytest.raises(InvalidInput, match="there is no such path"):
        place.overlay.holders(["bin/new"])


def test_a_path_out_of_the_target_is_refused_before_anything_else(place: Place) -> None:
    place.overlay.unmount()
    with pytest.raises(InvalidInput, match="/etc/passwd is not in /usr"):
        place.overlay.changes(["/etc/passwd"])
    with pytest.raises(NotActive):
        place.overlay.changes(["bin/odl"])
    with pytest.raises(InvalidInput, match="there is no such path"):
        place.overlay.holders(["bin/odl"])
