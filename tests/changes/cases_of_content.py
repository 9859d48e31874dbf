"""Cases in which content, names or types differ, or nothing does."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from typing import TYPE_CHECKING

from tests.changes.case import case, move, put

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    Answer = dict[str, str] | None
    Case = Callable[[Path], Generator[None, None, Answer]]

MODIFIED, METADATA, ADDED, DELETED, TYPE = "modified", "metadata", "added", "deleted", "type-changed"

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
