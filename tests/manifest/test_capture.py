"""What was changed by hand is in the manifest afterwards, with its contents beside it, and what cannot be is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.manifest.capture import SYSTEM_MANIFEST, default_manifest
from ovlay.manifest.document import Kind
from tests.manifest.place import Place, digest, place_in

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_UTF8 = os.fsdecode(b"no-\xff-utf8")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_in(tmp_path) as made:
        yield made


def test_a_file_that_was_added_and_one_that_was_changed(place: Place) -> None:
    (place.usr / "bin/new").write_text("new\n")
    (place.usr / "bin/new").chmod(0o4755)
    (place.usr / "bin/old").write_text("changed\n")
    assert place.capture().changed
    new, old = place.entries()["/usr/bin/new"], place.entries()["/usr/bin/old"]
    assert (new.kind, new.sha256, new.mode, new.replaces) == (Kind.FILE, digest("new\n"), 0o4755, "nothing")
    assert (old.kind, old.sha256, old.replaces) == (Kind.FILE, digest("changed\n"), digest("old\n"))
    assert place.kept() == {"usr/bin/new": "new\n", "usr/bin/old": "changed\n"}
    assert new.source == str(place.folder / "hot.files/usr/bin/new")


def test_a_copy_gives_nobody_more_than_the_file_did(place: Place) -> None:
    for name, mode in (("a", 0o4755), ("b", 0o640), ("c", 0o666), ("d", 0o400)):
        (place.usr / "bin" / name).write_text("x")
        (place.usr / "bin" / name).chmod(mode)
    place.capture()
    modes = {path.name: path.stat().st_mode & 0o7777 for path in (place.folder / "hot.files/usr/bin").iterdir()}
    assert modes == {"a": 0o755, "b": 0o640, "c": 0o644, "d": 0o600}
    assert {path: entry.mode for path, entry in place.entries().items()}["/usr/bin/c"] == 0o666


def test_links_directories_and_deletions(place: Place) -> None:
    (place.usr / "lib/link").unlink()
    (place.usr / "lib/link").symlink_to("else where")
    (place.usr / "lib/new").mkdir(mode=0o750)
    (place.usr / "bin").chmod(0o700)
    (place.usr / "bin/gone").unlink()
    shutil.rmtree(place.usr / "lib/deep")
    place.capture()
    found = place.entries()
    assert (found["/usr/lib/link"].kind, found["/usr/lib/link"].to) == (Kind.SYMLINK, "else where")
    assert (found["/usr/lib/new"].kind, found["/usr/lib/new"].mode) == (Kind.DIRECTORY, 0o750)
    assert (found["/usr/bin"].kind, found["/usr/bin"].mode) == (Kind.DIRECTORY, 0o700)
    assert (found["/usr/bin/gone"].kind, found["/usr/bin/gone"].replaces) == (Kind.ABSENT, digest("gone\n"))
    assert (found["/usr/lib/deep"].kind, found["/usr/lib/deep"].replaces) == (Kind.ABSENT, "directory")
    assert "/usr/lib/deep/file" not in found


def test_a_directory_that_became_a_file_and_the_other_way_round(place: Place) -> None:
    shutil.rmtree(place.usr / "lib/deep")
    (place.usr / "lib/deep").write_text("a file now\n")
    (place.usr / "lib/deep.d").write_text("sorted between\n")
    (place.usr / "bin/old").unlink()
    (place.usr / "bin/old").mkdir()
    (place.usr / "bin/old/inner").write_text("inner\n")
    place.capture()
    kinds = {path: entry.kind for path, entry in place.entries().items()}
    assert kinds == {
        "/usr/bin/old": Kind.DIRECTORY,
        "/usr/bin/old/inner": Kind.FILE,
        "/usr/lib/deep": Kind.FILE,
        "/usr/lib/deep.d": Kind.FILE,
    }
    assert place.entries()["/usr/lib/deep"].replaces == "directory"


def test_only_what_is_asked_for_with_the_new_directories_above_it(place: Place) -> None:
    (place.usr / "lib/one/two").mkdir(parents=True)
    (place.usr / "lib/one/two/file").write_text("x")
    (place.usr / "lib/one/other").write_text("y")
    (place.usr / "bin/old").unlink()
    outcome = place.capture("/usr/lib/one/two/file", "bin/gone")
    assert set(place.entries()) == {"/usr/lib/one", "/usr/lib/one/two", "/usr/lib/one/two/file"}
    assert outcome.plan.warnings == ("nothing differs from the base at /usr/bin/gone",)


@pytest.mark.parametrize("more", [(), ("bin/old",)], ids=["alone", "with another"])
def test_the_target_itself_is_all_that_is_in_it(place: Place, more: tuple[str, ...]) -> None:
    (place.usr / "bin/new").write_text("x")
    assert place.capture("/usr", *more).plan.warnings == ()
    assert set(place.entries()) == {"/usr/bin/new"}


def test_what_is_ignored_is_left_out(place: Place) -> None:
    (place.usr / "bin/a.pyc").write_text("x")
    (place.usr / "bin/a.py").write_text("x")
    place.capture(ignore=("*.pyc",))
    assert set(place.entries()) == {"/usr/bin/a.py"}


def test_what_a_manifest_cannot_say_is_named(place: Place) -> None:
    os.mkfifo(place.usr / "bin/fifo")
    (place.usr / "bin" / NO_UTF8).write_text("x")
    (place.usr / "bin/link").symlink_to(NO_UTF8)
    (place.usr / "bin/one").write_text("x")
    os.link(place.usr / "bin/one", place.usr / "bin/two")
    outcome = place.capture()
    assert set(place.entries()) == {"/usr/bin/one", "/usr/bin/two"}
    assert outcome.plan.warnings == (
        "/usr/bin/fifo: a manifest cannot declare a fifo",
        "/usr/bin/link: what the link says is no UTF-8, and a manifest is",
        f"/usr/bin/{NO_UTF8}: its name is no UTF-8, and a manifest is",
        "/usr/bin/one, /usr/bin/two: captured as files of their own, though they are names of one file",
    )


def test_attributes_that_a_manifest_cannot_say(place: Place) -> None:
    (place.usr / "bin/new").write_text("x")
    try:
        os.setxattr(place.usr / "bin/new", "user.note", b"x")
        os.setxattr(place.usr / "bin/old", "user.note", b"x")
    except OSError:
        pytest.skip("this filesystem has no attributes of users")
    outcome = place.capture()
    assert set(place.entries()) == {"/usr/bin/new"}
    assert outcome.plan.warnings == (
        "/usr/bin/new: captured without the attribute user.note, which a manifest cannot declare",
        "/usr/bin/old: a manifest cannot declare the attribute user.note",
    )


def test_the_mode_of_the_target_itself(place: Place) -> None:
    place.usr.chmod(0o700)
    assert place.capture().plan.warnings == ("/usr: a manifest cannot say how the target itself is to be",)
    assert not place.file.exists()


def test_nothing_is_captured_twice(place: Place) -> None:
    (place.usr / "bin/new").write_text("new\n")
    place.capture()
    text = place.file.read_text()
    again = place.capture()
    assert (again.changed, again.plan.reason) == (False, f"{place.file} declares all of it already")
    assert place.file.read_text() == text
    (place.folder / "hot.files/usr/bin/new").unlink()
    assert place.capture().changed
    assert place.kept() == {"usr/bin/new": "new\n"}
    assert place.file.read_text() == text


def test_nothing_to_capture(place: Place) -> None:
    outcome = place.capture()
    assert (outcome.changed, outcome.plan.reason) == (False, "there is nothing to capture on /usr")
    place.overlay.unmount()
    with pytest.raises(ovlay.NotActive):
        place.capture()


def test_a_later_capture_changes_its_entries_and_nothing_else(place: Place) -> None:
    (place.usr / "bin/new").write_text("one\n")
    (place.usr / "bin/other").write_text("other\n")
    place.capture()
    place.file.write_text("# mine\n" + place.file.read_text().replace('\nmode = "0644"', '  # mine too\nmode = "0644"'))
    before = place.file.read_text().splitlines()
    (place.usr / "bin/new").write_text("two\n")
    place.capture()
    after = place.file.read_text().splitlines()
    # The content has a name of its own until the old manifest is gone, and the old content then is gone too.
    assert place.kept() == {"usr/bin/new." + digest("two\n")[:12]: "two\n", "usr/bin/other": "other\n"}
    assert after[0] == "# mine"
    assert before[before.index('path = "/usr/bin/other"') :] == after[after.index('path = "/usr/bin/other"') :]
    (place.usr / "bin/new").write_text("three\n")
    place.capture()
    assert place.kept() == {"usr/bin/new": "three\n", "usr/bin/other": "other\n"}


def test_entries_that_contradict_what_is_captured_are_taken_out(place: Place) -> None:
    (place.usr / "lib/one").mkdir()
    (place.usr / "lib/one/file").write_text("x")
    shutil.rmtree(place.usr / "lib/deep")
    place.capture()
    shutil.rmtree(place.usr / "lib/one")
    (place.usr / "lib/one").write_text("a file now\n")
    (place.usr / "lib/deep").mkdir()
    (place.usr / "lib/deep/other").write_text("y")
    outcome = place.capture()
    assert {path: entry.kind for path, entry in place.entries().items()} == {
        "/usr/lib/one": Kind.FILE,
        "/usr/lib/deep/file": Kind.ABSENT,
        "/usr/lib/deep/other": Kind.FILE,
    }
    name = "usr/lib/one." + digest("a file now\n")[:12]
    assert place.kept() == {name: "a file now\n", "usr/lib/deep/other": "y"}
    assert sorted(outcome.plan.warnings) == [
        f"{path} is no longer declared in {place.file}: what is captured leaves no room for it"
        for path in ("/usr/lib/deep", "/usr/lib/one/file")
    ]


def test_an_entry_of_what_is_as_in_the_base_stays_and_is_named(place: Place) -> None:
    for name in ("a", "b", "c"):
        (place.usr / "bin" / name).write_text(name)
    place.capture()
    place.overlay.unmount()
    place.overlay.enable()
    (place.usr / "bin/c").write_text("c")
    assert place.capture().plan.warnings == (
        f"/usr/bin/a and 1 more: declared in {place.file}, and as in the base now; what is declared stays",
    )
    assert place.capture("bin/c").plan.warnings == ()
    assert set(place.entries()) == {"/usr/bin/a", "/usr/bin/b", "/usr/bin/c"}


def test_a_content_that_the_manifest_has_already_is_not_kept_again(place: Place) -> None:
    (place.folder / "built").write_text("new\n")
    same = digest("new\n")
    place.file.write_text(f'schema = 1\n[[file]]\npath = "/usr/bin/new"\nsource = "built"\nsha256 = "{same}"\n')
    (place.usr / "bin/new").write_text("new\n")
    place.capture()
    assert not (place.folder / "hot.files").exists()
    assert place.entries()["/usr/bin/new"].source == str(place.folder / "built")


def test_a_source_of_somebody_else_is_not_removed(place: Place) -> None:
    (place.folder / "built").write_text("old\n")
    place.file.write_text('schema = 1\n[[file]]\npath = "/usr/bin/new"\nsource = "built"\n')
    (place.usr / "bin/new").write_text("new\n")
    place.capture()
    assert place.entries()["/usr/bin/new"].source == str(place.folder / "hot.files/usr/bin/new")
    assert (place.folder / "built").read_text() == "old\n"


def test_a_manifest_that_cannot_be_added_to(place: Place) -> None:
    (place.usr / "bin/new").write_text("x")
    for text, message in (
        ("schema = 1\ntarget = '/opt'\n", "is for /opt, not /usr"),
        ("schema = 7\n", "schema"),
        ("schema = 1\nfile = [{ path = '/usr/a', text = '' }]\n", "not written under"),
    ):
        place.file.write_text(text)
        with pytest.raises(ovlay.InvalidInput, match=message):
            place.capture()
        assert place.file.read_text() == text
    place.file.unlink()
    with pytest.raises(ovlay.InvalidInput, match="is in /usr itself"):
        place.overlay.capture(to=place.usr / "lib/hot.toml")
    with pytest.raises(ovlay.InvalidInput, match="is not in /usr"):
        place.capture("/etc/passwd")


def test_a_tree_says_itself_how_its_directory_is_to_be(place: Place) -> None:
    (place.folder / "tree").mkdir()
    place.file.write_text('schema = 1\n[[tree]]\npath = "/usr/share/t"\nsource = "tree"\n')
    (place.usr / "share/t").mkdir(parents=True)
    (place.usr / "share/t/file").write_text("x")
    outcome = place.capture()
    assert {path: entry.kind for path, entry in place.entries().items()} == {
        "/usr/share": Kind.DIRECTORY,
        "/usr/share/t": Kind.TREE,
        "/usr/share/t/file": Kind.FILE,
    }
    assert "has a tree of that name" in outcome.plan.warnings[0]


def test_a_link_to_a_manifest_stays_one(place: Place) -> None:
    real = place.folder / "elsewhere"
    real.mkdir()
    place.file.symlink_to("elsewhere/real.toml")
    (real / "real.toml").write_text("schema = 1\n")
    (place.usr / "bin/new").write_text("new\n")
    place.capture()
    assert place.file.is_symlink()
    assert place.entries()["/usr/bin/new"].source == str(real / "real.files/usr/bin/new")
    assert (real / "real.files/usr/bin/new").read_text() == "new\n"


def test_the_manifest_keeps_its_mode(place: Place) -> None:
    place.file.write_text("schema = 1\n")
    place.file.chmod(0o600)
    (place.usr / "bin/new").write_text("new\n")
    place.capture()
    assert place.file.stat().st_mode & 0o7777 == 0o600


def test_where_captures_go(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert default_manifest(place.overlay.host) == place.overlay.host.path(SYSTEM_MANIFEST)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    place.overlay.host.__dict__["in_user_namespace"] = True
    assert default_manifest(place.overlay.host) == str(tmp_path / "config/ovlay/manifest.d/captured.toml")


def test_what_another_manifest_declares_is_left_out(place: Place) -> None:
    system = Path(place.overlay.host.path("/etc/ovlay/manifest.toml"))
    system.parent.mkdir(parents=True)
    system.write_text(
        'schema = 1\n[[file]]\npath = "/usr/bin/one"\ntext = "1"\n[[file]]\npath = "/usr/bin/two"\ntext = "2"\n'
        '[[absent]]\npath = "/usr/lib/deep"\n'
    )
    place.overlay.apply(user=False)
    (place.usr / "bin/two").write_text("edited")
    (place.usr / "bin/new").write_text("new")
    outcome = place.capture()
    assert set(place.entries()) == {"/usr/bin/two", "/usr/bin/new"}
    assert outcome.plan.warnings == (
        f"left out, being as declared already: 3 paths, by {system} (--all captures them too)",
    )
    assert place.capture().plan.reason == f"{place.file} declares all of it already"
    place.overlay.capture(to=place.file, everything=True)
    assert set(place.entries()) == {"/usr/bin/one", "/usr/bin/two", "/usr/bin/new", "/usr/lib/deep"}


def test_a_manifest_that_wins_over_the_one_that_is_captured_to_is_named(place: Place) -> None:
    """Else it would be declared in vain: the last one for a path counts."""
    folder = Path(place.overlay.host.path("/etc/ovlay/manifest.d"))
    folder.mkdir(parents=True)
    for name in ("before", "hotfix"):
        text = f'schema = 1\n[[file]]\npath = "/usr/bin/{name}"\ntext = "declared"\n'
        (folder / f"{name}.toml").write_text(text)
    place.overlay.apply(user=False)
    (place.usr / "bin/before").write_text("edited")
    (place.usr / "bin/hotfix").write_text("edited")
    file = folder / "captured.toml"
    (warning,) = place.overlay.capture(to=file).plan.warnings
    assert warning == (
        f"/usr/bin/hotfix: declared otherwise in {folder}/hotfix.toml, which wins over {file}: "
        f"`ovlay capture --to {folder}/hotfix.toml` changes it there"
    )
    assert [found.path for found in place.overlay.drift(user=False).deviations] == ["bin/hotfix"]
    assert place.overlay.capture(to=folder / "hotfix.toml", ignore=["before"]).plan.warnings == ()
    assert place.overlay.drift(user=False).clean


@pytest.mark.parametrize("written", ["//usr/bin/new", "///usr//bin/./new", "/./usr/bin/new"])
def test_a_path_that_is_written_in_an_odd_way_is_the_same_path(place: Place, written: str) -> None:
    place.file.write_text(f'schema = 1\n[[file]]\npath = "{written}"\ntext = "mine"\n')
    assert place.overlay.apply(place.file).changed
    (place.usr / "bin/new").write_text("edited\n")
    place.capture()
    assert set(place.entries()) == {"/usr/bin/new"}
    assert place.file.read_text().count("[[file]]") == 1
    assert not place.overlay.apply(place.file).conflicts


LINKED = """schema = 1

# through a link of the base
[[file]]
path = "/usr/lib/link/file"
text = "mine"
when = { present = "/usr/lib" }
"""


def test_an_entry_through_a_link_of_the_base_is_the_entry_of_where_it_leads(place: Place) -> None:
    place.file.write_text(LINKED)
    place.overlay.apply(place.file)
    assert not place.capture("lib/deep/file").plan.warnings
    (place.usr / "lib/deep/file").write_text("edited\n")
    place.capture()
    (entry,) = place.entries().values()
    assert (entry.path, entry.sha256, entry.when.present) == ("/usr/lib/link/file", digest("edited\n"), ("/usr/lib",))
    assert "# through a link of the base\n[[file]]\n" in place.file.read_text()
    place.overlay.unmount()
    place.overlay.enable()
    assert place.overlay.apply(place.file).changed
    assert (place.usr / "lib/deep/file").read_text() == "edited\n"
    assert not place.capture().changed


def test_what_is_gone_is_declared_gone_in_the_entry_that_led_there(place: Place) -> None:
    place.file.write_text(LINKED)
    (place.usr / "lib/deep/file").unlink()
    place.capture()
    (entry,) = place.entries().values()
    assert (entry.path, entry.kind) == ("/usr/lib/link/file", Kind.ABSENT)


def test_an_entry_through_a_link_goes_with_the_directory_it_leads_to(place: Place) -> None:
    place.file.write_text(LINKED)
    shutil.rmtree(place.usr / "lib/deep")
    (place.usr / "lib/deep").write_text("no directory\n")
    assert any("/usr/lib/deep/file is no longer declared" in said for said in place.capture().plan.warnings)
    place.overlay.unmount()
    place.overlay.enable()
    assert place.overlay.apply(place.file).changed
    assert (place.usr / "lib/deep").is_file()
