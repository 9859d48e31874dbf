"""What is captured counts on this host: it goes to the entry whose condition holds here, or the reason is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import ovlay
from tests.manifest.place import Place, digest, place_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HERE, ELSEWHERE = '{ os-release = { VERSION_ID = "43" } }', '{ os-release = { VERSION_ID = "44" } }'
SAID = "VERSION_ID is 43, not 44"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path) as made:
        made.overlay.host.__dict__["os_release"] = {"ID": "fedora", "VERSION_ID": "43"}
        yield made


def file_entry(path: str, source: str, when: str) -> str:
    return f'[[file]]\npath = "{path}"\nsource = "{source}"\nwhen = {when}\n'


def after_a_reboot(place: Place) -> None:
    place.overlay.unmount()
    place.overlay.enable()
    place.overlay.apply([place.file])


@pytest.mark.parametrize("order", [(HERE, ELSEWHERE), (ELSEWHERE, HERE)], ids=["first", "last"])
def test_of_two_entries_the_one_that_holds_here_is_replaced(place: Place, order: tuple[str, str]) -> None:
    names = {HERE: "b43", ELSEWHERE: "b44"}
    entries = [file_entry("/usr/bin/tool", f"hot.files/{names[when]}", when) for when in order]
    place.file.write_text("schema = 1\n" + "\n".join(entries))
    (place.folder / "hot.files").mkdir()
    for name in names.values():
        (place.folder / "hot.files" / name).write_text(name)
    place.overlay.apply([place.file])
    (place.usr / "bin/tool").write_text("by hand\n")
    assert place.capture().plan.warnings == ()
    after_a_reboot(place)
    assert (place.usr / "bin/tool").read_text() == "by hand\n"
    assert entries[order.index(ELSEWHERE)] in place.file.read_text()
    assert place.kept() == {"usr/bin/tool": "by hand\n", "b44": "b44"}


def test_a_content_that_an_entry_for_elsewhere_has_too_is_kept(place: Place) -> None:
    source = "hot.files/usr/bin/tool"
    place.file.write_text(
        "schema = 1\n"
        + file_entry("/usr/bin/tool", source, HERE)
        + file_entry("/usr/bin/other", f"./{source}", ELSEWHERE)
    )
    (place.folder / "hot.files/usr/bin").mkdir(parents=True)
    (place.folder / source).write_text("both\n")
    place.overlay.apply([place.file])
    (place.usr / "bin/tool").write_text("by hand\n")
    place.capture()
    assert place.kept() == {"usr/bin/tool": "both\n", "usr/bin/tool." + digest("by hand\n")[:12]: "by hand\n"}


@pytest.mark.parametrize("other", [ELSEWHERE, '{ missing = "/usr/bin/old" }'], ids=["release", "base"])
def test_where_none_holds_here_nothing_is_captured_in_vain(place: Place, other: str) -> None:
    text = "schema = 1\n\n" + file_entry("/usr/bin/tool", "b44", other)
    place.file.write_text(text)
    (place.usr / "bin/tool").write_text("by hand\n")
    (place.usr / "bin/new").write_text("new\n")
    said = "the base has /usr/bin/old" if "missing" in other else SAID
    with pytest.raises(ovlay.InvalidInput, match=f"{place.file}:3: the entry of /usr/bin/tool has .* \\({said}\\)"):
        place.capture()
    assert (place.file.read_text(), (place.folder / "hot.files").exists()) == (text, False)
    assert place.capture(ignore=("tool",)).changed
    after_a_reboot(place)
    assert (place.usr / "bin/new").read_text() == "new\n"


def test_what_says_the_same_for_elsewhere_does_not_declare_it_here(place: Place) -> None:
    place.file.write_text("schema = 1\n")
    (place.usr / "bin/tool").write_text("by hand\n")
    place.capture()
    place.file.write_text(place.file.read_text() + f"when = {ELSEWHERE}\n")
    with pytest.raises(ovlay.InvalidInput, match="does not hold here"):
        place.capture()


def test_a_manifest_for_elsewhere(place: Place) -> None:
    text = f"schema = 1\nwhen = {ELSEWHERE}\n"
    place.file.write_text(text)
    (place.usr / "bin/tool").write_text("by hand\n")
    with pytest.raises(ovlay.InvalidInput, match=f"{place.file} has a condition that does not hold here"):
        place.capture()
    assert place.file.read_text() == text


def test_entries_for_elsewhere_contradict_nothing_and_are_not_missed(place: Place) -> None:
    """What is a directory here may be a file there."""
    text = file_entry("/usr/lib/one", "b44", ELSEWHERE)
    place.file.write_text("schema = 1\n" + text)
    (place.usr / "lib/one").mkdir()
    (place.usr / "lib/one/file").write_text("x")
    with pytest.raises(ovlay.InvalidInput, match="the entry of /usr/lib/one has"):
        place.capture()
    place.file.write_text("schema = 1\n" + file_entry("/usr/lib/one/other/file", "b44", ELSEWHERE))
    (place.usr / "lib/one/other").write_text("a file here")
    assert place.capture().plan.warnings == ()
    assert len(place.entries()) == 4
    after_a_reboot(place)
    assert (place.usr / "lib/one/other").read_text() == "a file here"
