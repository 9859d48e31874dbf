"""Cases of attributes, odd names, hard links, renames and flags."""

from __future__ import annotations

import os
import struct
import subprocess
from typing import TYPE_CHECKING

from tests.changes.case import case, move, put

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    Answer = dict[str, str] | None
    Case = Callable[[Path], Generator[None, None, Answer]]

MODIFIED, METADATA, ADDED, DELETED, TYPE = "modified", "metadata", "added", "deleted", "type-changed"

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


def access_list() -> bytes:
    """What `setfacl -m u:0:r` makes of mode 0644: acl(5), include/uapi/linux/posix_acl_xattr.h."""
    owner, user, group, mask, other, nobody = 0x01, 0x02, 0x04, 0x10, 0x20, 0xFFFFFFFF
    entries = ((owner, 6, nobody), (user, 4, 0), (group, 4, nobody), (mask, 4, nobody), (other, 4, nobody))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@case("acl")
def access_lists(d: Path) -> Generator[None, None, Answer]:
    put(d / "file").chmod(0o644)
    put(d / "folder/file")
    yield
    os.setxattr(d / "file", "system.posix_acl_access", access_list())
    os.setxattr(d / "folder", "system.posix_acl_default", access_list())
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
