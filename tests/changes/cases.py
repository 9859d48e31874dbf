"""What can be done to a tree, with the right answer: each case makes a directory, yields, edits it, and returns.

What is returned are the kinds by path relative to the directory, or None where the answer depends on the overlay, so
that only the full comparison can tell. A case that needs something is marked with `needs`.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    Answer = dict[str, str] | None
    Case = Callable[[Path], Generator[None, None, Answer]]

MODIFIED, METADATA, ADDED, DELETED, TYPE = "modified", "metadata", "added", "deleted", "type-changed"

CASES: dict[str, Case] = {}
NEEDS: dict[str, frozenset[str]] = {}

F = TypeVar("F", bound="Case")


def case(*needs: str) -> Callable[[F], F]:
    """``needs``: devices (mknod), attributes (trusted and security), flags (chattr), and so on."""

    def keep(function: F) -> F:
        CASES[function.__name__] = function
        NEEDS[function.__name__] = frozenset(needs)
        return function

    return keep


def move(source: Path, destination: Path) -> None:
    """As mv(1) does: without redirects overlayfs answers EXDEV for a directory of the lower."""
    shutil.move(source, destination)


def put(path: Path, content: bytes = b"content\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


# --- no change -------------------------------------------------------------------------------------------------------


@case()
def chmod_and_back(d: Path) -> Generator[None, None, Answer]:
    put(d / "file").chmod(0o644)
    yield
    (d / "file").chmod(0o600)
    (d / "file").chmod(0o644)
    return {}


@case()
def opened_for_writing_and_not_written(d: Path) -> Generator[None, None, Answer]:
    put(d / "file")
    yield
    os.close(os.open(d / "file", os.O_RDWR))
    return {}


@case()
def the_same_bytes_written(d: Path) -> Generator[None, None, Answer]:
    put(d / "file", b"x" * 100_000)
    put(d / "small")
    yield
    (d / "file").write_bytes(b"x" * 100_000)
    (d / "small").write_bytes(b"content\n")
    return {}


@case()
def replaced_by_the_same(d: Path) -> Generator[None, None, Answer]:
    put(d / "file")
    (d / "link").symlink_to("file")
    yield
    put(d / "new")
    os.rename(d / "new", d / "file")
    os.symlink("file", d / "newlink")
    os.rename(d / "newlink", d / "link")
    return {}


@case()
def touched(d: Path) -> Generator[None, None, Answer]:
    put(d / "file")
    (d / "folder").mkdir()
    yield
    os.utime(d / "file")
    os.utime(d / "folder")
    return {}


@case()
def parents_of_a_changed_child(d: Path) -> Generator[None, None, Answer]:
    put(d / "a/b/c/file")
    put(d / "a/b/beside")
    yield
    put(d / "a/b/c/file", b"other\n")
    return {"a/b/c/file": MODIFIED}


@case()
def deleted_and_made_again(d: Path) -> Generator[None, None, Answer]:
    put(d / "folder/file")
    put(d / "folder/deep/file")
    yield
    shutil.rmtree(d / "folder")
    put(d / "folder/file")
    put(d / "folder/deep/file")
    return {}


@case()
def a_new_file_that_went_again(d: Path) -> Generator[None, None, Answer]:
    put(d / "stays")
    yield
    put(d / "new").unlink()
    put(d / "folder/new")
    shutil.rmtree(d / "folder")
    return {}


@case("devices")
def a_whiteout_over_nothing(d: Path) -> Generator[None, None, Answer]:
    put(d / "file")
    yield
    put(d / "other")
    (d / "other").unlink()
    return {}


# --- content ---------------------------------------------------------------------------------------------------------


@case()
def content_of_one_size_and_time(d: Path) -> Generator[None, None, Answer]:
    before = put(d / "file", b"one").stat()
    put(d / "large", b"x" * 200_000)
    yield
    put(d / "file", b"two")
    os.utime(d / "file", ns=(before.st_atime_ns, before.st_mtime_ns))
    with open(d / "large", "r+b") as stream:
        stream.seek(199_999)
        stream.write(b"y")
    return {"file": MODIFIED, "large": MODIFIED}


@case()
def other_sizes(d: Path) -> Generator[None, None, Answer]:
    put(d / "longer")
    put(d / "empty")
    put(d / "filled", b"")
    put(d / "still-empty", b"")
    yield
    put(d / "longer", b"content\nmore\n")
    put(d / "empty", b"")
    put(d / "filled", b"x")
    put(d / "still-empty", b"")
    return {"longer": MODIFIED, "empty": MODIFIED, "filled": MODIFIED}


@case()
def sparse_files(d: Path) -> Generator[None, None, Answer]:
    for name in ("same", "end", "middle"):
        with open(d / name, "wb") as stream:
            stream.truncate(8 << 20)
            stream.seek(3 << 20)
            stream.write(b"data")
    yield
    for name, at, what in (("same", 3 << 20, b"data"), ("end", (8 << 20) - 1, b"x"), ("middle", 5 << 20, b"x")):
        with open(d / name, "r+b") as stream:
            stream.seek(at)
            stream.write(what)
    return {"end": MODIFIED, "middle": MODIFIED}


@case()
def a_hole_where_zeros_were(d: Path) -> Generator[None, None, Answer]:
    put(d / "zeros", b"\0" * (2 << 20))
    yield
    with open(d / "zeros", "wb") as stream:
        stream.truncate(2 << 20)
    return {}


@case()
def files_swapped(d: Path) -> Generator[None, None, Answer]:
    for name, content in (("one", b"1"), ("two", b"2")):
        put(d / name, content)
        os.utime(d / name, (1, 1))
    yield
    os.rename(d / "one", d / "three")
    os.rename(d / "two", d / "one")
    os.rename(d / "three", d / "two")
    return {"one": MODIFIED, "two": MODIFIED}


@case()
def directories_swapped(d: Path) -> Generator[None, None, Answer]:
    for name, content in (("one", b"1"), ("two", b"2")):
        put(d / name / "deep/file", content)
        put(d / name / "deep/deeper/file", content)
        for path in (*sorted((d / name).rglob("*"), reverse=True), d / name):
            os.utime(path, (1, 1))
    yield
    move(d / "one", d / "three")
    move(d / "two", d / "one")
    move(d / "three", d / "two")
    return {f"{name}/deep/{rest}": MODIFIED for name in ("one", "two") for rest in ("file", "deeper/file")}


@case()
def a_link_elsewhere(d: Path) -> Generator[None, None, Answer]:
    (d / "link").symlink_to("one")
    (d / "same").symlink_to("one")
    yield
    (d / "link").unlink()
    (d / "link").symlink_to("two")
    return {"link": MODIFIED}


# --- added and deleted -----------------------------------------------------------------------------------------------


@case()
def added(d: Path) -> Generator[None, None, Answer]:
    put(d / "there/file")
    yield
    put(d / "new")
    put(d / "folder/deep/file")
    (d / "folder/empty").mkdir()
    (d / "there/link").symlink_to("/nowhere")
    os.mkfifo(d / "there/fifo")
    return {
        "new": ADDED,
        "folder": ADDED,
        "folder/deep": ADDED,
        "folder/deep/file": ADDED,
        "folder/empty": ADDED,
        "there/link": ADDED,
        "there/fifo": ADDED,
    }


@case()
def deleted(d: Path) -> Generator[None, None, Answer]:
    put(d / "file")
    put(d / "folder/deep/file")
    (d / "folder/link").symlink_to("deep")
    put(d / "stays/gone")
    yield
    (d / "file").unlink()
    shutil.rmtree(d / "folder")
    (d / "stays/gone").unlink()
    gone = ("file", "folder", "folder/deep", "folder/deep/file", "folder/link", "stays/gone")
    return dict.fromkeys(gone, DELETED)


@case()
def an_opaque_directory_with_as_many_links(d: Path) -> Generator[None, None, Answer]:
    put(d / "folder/sub/file")
    put(d / "folder/gone")
    yield
    shutil.rmtree(d / "folder")
    put(d / "folder/sub/file", b"CONTENT\n")
    return {"folder/sub/file": MODIFIED, "folder/gone": DELETED}


@case()
def a_hidden_directory_that_was_emptied(d: Path) -> Generator[None, None, Answer]:
    put(d / "folder/a")
    put(d / "folder/b")
    yield
    shutil.rmtree(d / "folder")
    (d / "folder").mkdir()
    return {"folder/a": DELETED, "folder/b": DELETED}


# --- types -----------------------------------------------------------------------------------------------------------


@case()
def other_types(d: Path) -> Generator[None, None, Answer]:
    put(d / "file-link")
    put(d / "file-fifo")
    put(d / "file-folder")
    put(d / "folder-file/inner/leaf")
    put(d / "folder-link/inner")
    (d / "link-folder").symlink_to("folder-file")
    (d / "link-file").symlink_to("nowhere")
    os.mkfifo(d / "fifo-file")
    yield
    for name in ("file-link", "file-fifo", "file-folder", "link-folder", "link-file", "fifo-file"):
        (d / name).unlink()
    for name in ("folder-file", "folder-link"):
        shutil.rmtree(d / name)
    (d / "file-link").symlink_to("folder-file")
    os.mkfifo(d / "file-fifo")
    put(d / "file-folder/inner/leaf")
    put(d / "folder-file")
    (d / "folder-link").symlink_to("file-folder")
    put(d / "link-folder/inner/leaf")
    put(d / "link-file")
    put(d / "fifo-file")
    names = ("file-link", "file-fifo", "file-folder", "folder-file", "folder-link", "link-folder", "link-file")
    return {
        **dict.fromkeys((*names, "fifo-file"), TYPE),
        "file-folder/inner": ADDED,
        "file-folder/inner/leaf": ADDED,
        "link-folder/inner": ADDED,
        "link-folder/inner/leaf": ADDED,
        "folder-file/inner": DELETED,
        "folder-file/inner/leaf": DELETED,
        "folder-link/inner": DELETED,
    }


@case("devices")
def devices(d: Path) -> Generator[None, None, Answer]:
    for name in ("same", "minor", "type", "mode"):
        os.mknod(d / name, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    yield
    os.chmod(d / "mode", 0o666)
    for name in ("same", "minor", "type"):
        (d / name).unlink()
    os.mknod(d / "same", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(d / "minor", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    os.mknod(d / "type", stat.S_IFBLK | 0o600, os.makedev(1, 3))
    return {"minor": MODIFIED, "type": TYPE, "mode": METADATA}


@case("fifos")
def fifos_and_sockets(d: Path) -> Generator[None, None, Answer]:
    os.mkfifo(d / "fifo", 0o600)
    yield
    os.chmod(d / "fifo", 0o640)
    here = os.open(d, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as stream:
        stream.bind(f"/proc/self/fd/{here}/socket")  # a path of a socket has at most 107 bytes
    os.close(here)
    return {"fifo": METADATA, "socket": ADDED}


# --- metadata --------------------------------------------------------------------------------------------------------


@case()
def modes(d: Path) -> Generator[None, None, Answer]:
    put(d / "file").chmod(0o644)
    put(d / "folder/file")
    put(d / "setuid").chmod(0o755)
    yield
    (d / "file").chmod(0o600)
    (d / "folder").chmod(0o700)
    (d / "setuid").chmod(0o4755)
    return {"file": METADATA, "folder": METADATA, "setuid": METADATA}


@case("owners")
def owners(d: Path) -> Generator[None, None, Answer]:
    for name in ("file", "folder/file"):
        put(d / name)
    (d / "link").symlink_to("file")
    yield
    for name in ("file", "folder", "link"):
        os.chown(d / name, 12, 34, follow_symlinks=False)
    return {"file": METADATA, "folder": METADATA, "link": METADATA}


@case("user-attributes")
def user_attributes(d: Path) -> Generator[None, None, Answer]:
    for name in ("set", "changed", "removed", "same", "folder/file"):
        put(d / name)
    for name in ("changed", "removed", "same"):
        os.setxattr(d / name, "user.note", b"one")
    yield
    os.setxattr(d / "set", "user.note", b"one")
    os.setxattr(d / "changed", "user.note", b"two")
    os.removexattr(d / "removed", "user.note")
    os.setxattr(d / "same", "user.note", b"one")
    os.setxattr(d / "folder", "user.note", b"one")
    return dict.fromkeys(("set", "changed", "removed", "folder"), METADATA)


@case("attributes")
def root_attributes(d: Path) -> Generator[None, None, Answer]:
    for name in ("capable", "trusted", "linked"):
        put(d / name)
    (d / "link").symlink_to("linked")
    yield
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(d / "capable", "security.capability", capability)
    os.setxattr(d / "trusted", "trusted.note", b"one")
    os.setxattr(d / "link", "trusted.note", b"one", follow_symlinks=False)
    return dict.fromkeys(("capable", "trusted", "link"), METADATA)


@case("acl")
def access_lists(d: Path) -> Generator[None, None, Answer]:
    put(d / "file").chmod(0o644)
    put(d / "folder/file")
    yield
    subprocess.run(["setfacl", "-m", "u:0:r", d / "file"], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:0:r", d / "folder"], check=True)
    return {"file": METADATA, "folder": METADATA}


@case("attributes", "escapes")
def an_attribute_named_as_overlayfs_names_its_own(d: Path) -> Generator[None, None, Answer]:
    for name in ("file", "folder/file"):
        put(d / name)
    yield
    os.setxattr(d / "file", "trusted.overlay.note", b"one")
    os.setxattr(d / "folder", "trusted.overlay.note", b"one")
    return {"file": METADATA, "folder": METADATA}


@case()
def the_directory_itself(d: Path) -> Generator[None, None, Answer]:
    put(d / "file")
    d.chmod(0o755)
    yield
    d.chmod(0o750)
    return {"": METADATA}


# --- names -----------------------------------------------------------------------------------------------------------


@case()
def odd_names(d: Path) -> Generator[None, None, Answer]:
    names = [os.fsdecode(name) for name in (b"new\nline", b"\xff\xfe no utf-8", b" ", b"-n", b"a\\b", b"tab\there")]
    for name in names:
        put(d / name)
        put(d / f"{name}.gone")
    yield
    answer: dict[str, str] = {}
    for name in names:
        put(d / name, b"other\n")
        put(d / f"{name}.new")
        (d / f"{name}.gone").unlink()
        answer |= {name: MODIFIED, f"{name}.new": ADDED, f"{name}.gone": DELETED}
    return answer


@case()
def names_that_begin_alike(d: Path) -> Generator[None, None, Answer]:
    for name in ("a", "a-b", "a.b", "ab"):
        put(d / name / "file")
    yield
    for name in ("a", "a-b", "a.b", "ab"):
        put(d / name / "file", b"other\n")
    return {f"{name}/file": MODIFIED for name in ("a", "a-b", "a.b", "ab")}


# --- hard links ------------------------------------------------------------------------------------------------------


@case("links")
def one_hard_link_written(d: Path) -> Generator[None, None, Answer]:
    put(d / "one")
    (d / "folder").mkdir()
    os.link(d / "one", d / "folder/two")
    os.link(d / "one", d / "three")
    yield
    put(d / "one", b"other\n")
    return None


@case("links")
def one_hard_link_written_and_deleted(d: Path) -> Generator[None, None, Answer]:
    put(d / "one")
    (d / "folder").mkdir()
    os.link(d / "one", d / "folder/two")
    yield
    put(d / "one", b"other\n")
    (d / "one").unlink()
    return None


@case("links")
def a_hard_link_added(d: Path) -> Generator[None, None, Answer]:
    put(d / "one")
    yield
    os.link(d / "one", d / "two")
    return {"two": ADDED}


# --- renames ---------------------------------------------------------------------------------------------------------


@case()
def a_file_moved(d: Path) -> Generator[None, None, Answer]:
    put(d / "from/file")
    (d / "to").mkdir()
    yield
    os.rename(d / "from/file", d / "to/file")
    return {"from/file": DELETED, "to/file": ADDED}


@case()
def a_directory_moved(d: Path) -> Generator[None, None, Answer]:
    put(d / "old/deep/file")
    put(d / "old/edited")
    put(d / "old/deleted")
    yield
    move(d / "old", d / "new")
    put(d / "new/edited", b"other\n")
    (d / "new/deleted").unlink()
    put(d / "new/added")
    old = ("old", "old/deep", "old/deep/file", "old/edited", "old/deleted")
    new = ("new", "new/deep", "new/deep/file", "new/edited", "new/added")
    return dict.fromkeys(old, DELETED) | dict.fromkeys(new, ADDED)


@case()
def a_directory_moved_into_a_new_one(d: Path) -> Generator[None, None, Answer]:
    put(d / "old/deep/file")
    yield
    (d / "new").mkdir()
    move(d / "old", d / "new/old")
    move(d / "new/old/deep", d / "new/old/deeper")
    old = ("old", "old/deep", "old/deep/file")
    new = ("new", "new/old", "new/old/deeper", "new/old/deeper/file")
    return dict.fromkeys(old, DELETED) | dict.fromkeys(new, ADDED)


# --- flags -----------------------------------------------------------------------------------------------------------


@case("flags")
def immutable_and_append_only(d: Path) -> Generator[None, None, Answer]:
    for name in ("file", "folder/file", "again"):
        put(d / name)
    yield
    subprocess.run(["chattr", "+i", d / "file"], check=True)
    subprocess.run(["chattr", "+a", d / "folder"], check=True)
    for sign in "+-":
        subprocess.run(["chattr", f"{sign}i", d / "again"], check=True)
    return {"file": METADATA, "folder": METADATA}
