"""The mount table as text: escapes, odd lines, mounts on mounts."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovlay.kernel.mountinfo import parse_mountinfo, split_lowerdir, unescape

ROOT = "1 0 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"


def escaped(text: str, more: str = "") -> str:
    """What seq_escape() in the kernel's fs/seq_file.c makes of a text."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" + more else c for c in text)


def line(number: int, parent: int, point: str, *, fstype: str = "tmpfs", source: str = "t", options: str = "rw") -> str:
    return f"{number} {parent} 0:{number} / {escaped(point)} rw,relatime - {fstype} {escaped(source)} {options}"


def test_all_fields() -> None:
    text = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:2 - ext3 /dev/root ro,errors=continue\n"
    (mount,) = parse_mountinfo(text)
    assert (mount.mount_id, mount.parent_id, mount.device, mount.root) == (36, 35, "98:0", "/mnt1")
    assert (mount.mount_point, mount.options, mount.propagation) == ("/mnt2", "rw,noatime", "master:1 propagate_from:2")
    assert (mount.fstype, mount.source, mount.super_options) == ("ext3", "/dev/root", "ro,errors=continue")
    assert (mount.read_only, mount.superblock_read_only, mount.is_overlay) == (False, True, False)


@pytest.mark.parametrize(
    "text", ["", "\n", "nonsense", "1 2 3 - x", "a b 0:1 / / rw - t s o", "1 0 8:1 / / rw ext4 s o"]
)
def test_what_is_no_line_is_left_out(text: str) -> None:
    table = parse_mountinfo(text)
    assert len(table) == 0
    assert table.covering("/usr") is None
    assert table.stack("/") == ()


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_mount_point_survives(name: str) -> None:
    point = "/" + name.replace("/", "_")
    (mount,) = parse_mountinfo(line(2, 1, point))
    assert mount.mount_point == point


@given(st.text("ab ,:=\\\n\t0154ü", min_size=1))
def test_an_overlay_from_fsconfig_keeps_its_paths(name: str) -> None:
    """Upper and work go in with backslashes doubled, and come out of the table as they went in; a comma is a comma."""
    upper, work, lower = f"/{name}/u", f"/{name}/w", f"/{name}/l"
    shown = [("lowerdir+", lower), ("upperdir", upper.replace("\\", "\\\\")), ("workdir", work.replace("\\", "\\\\"))]
    options = ",".join(["ro", *(f"{key}={escaped(value, ',')}" for key, value in shown), "uuid=on"])
    (mount,) = parse_mountinfo(line(2, 1, "/usr", fstype="overlay", options=options))
    assert (mount.upper, mount.work) == (upper, work)
    assert mount.superblock_read_only
    if "\\," not in lower:  # which cannot be told from an escaped comma
        assert mount.lower == (lower,)


@given(st.lists(st.text("ab ,:=\\\n0154", min_size=1), min_size=1))
def test_an_overlay_from_mount_keeps_its_paths(names: list[str]) -> None:
    """The caller of mount(2) puts a backslash before a comma, a colon and a backslash, and the table shows them."""
    layers = [f"/{name}/l" for name in names]

    def given_as(path: str) -> str:
        return "".join("\\" + c if c in "\\,:" else c for c in path)

    value = escaped(":".join(map(given_as, layers)), ",")
    options = f"rw,lowerdir={value},upperdir={escaped(given_as(layers[0]), ',')},workdir=/w"
    (mount,) = parse_mountinfo(line(2, 1, "/usr", fstype="overlay", options=options))
    assert mount.lower == tuple(layers)
    assert (mount.upper, mount.work) == (layers[0], "/w")


@pytest.mark.parametrize(
    ("value", "layers"),
    [
        ("/a:/b", ("/a", "/b")),
        ("/a\\:b:/c", ("/a:b", "/c")),
        ("/a\\\\:/b", ("/a\\", "/b")),
        ("/a::/data", ("/a", "/data")),
        ("usr", ("usr",)),
        ("", ()),
    ],
)
def test_layers_of_lowerdir(value: str, layers: tuple[str, ...]) -> None:
    assert split_lowerdir(value) == layers


def test_a_path_that_looks_like_a_flag_is_none() -> None:
    options = "rw,lowerdir+=/l,upperdir=/a\\054ro,workdir=/w"
    (mount,) = parse_mountinfo(line(2, 1, "/usr", fstype="overlay", options=options))
    assert mount.upper == "/a,ro"
    assert not mount.superblock_read_only


@given(st.text("\\0123456789 ab"))
def test_only_octal_escapes_are_undone(text: str) -> None:
    assert unescape(escaped(text)) == text


def test_mounts_on_one_place_are_a_stack() -> None:
    table = parse_mountinfo("\n".join([ROOT, line(2, 1, "/usr"), line(3, 2, "/usr"), line(4, 3, "/usr")]))
    assert [mount.mount_id for mount in table.stack("/usr")] == [2, 3, 4]
    assert table.covering("/usr/bin") is table.by_id(4)
    assert table.stack("/usr/bin") == ()


def test_what_lies_under_a_mount_on_a_parent_is_hidden() -> None:
    table = parse_mountinfo("\n".join([ROOT, line(2, 1, "/usr/lib"), line(3, 1, "/usr")]))
    assert table.stack("/usr/lib") == ()
    assert table.covering("/usr/lib") is table.by_id(3)
    assert table.below("/usr") == ()


def test_names_that_begin_alike_are_not_below() -> None:
    table = parse_mountinfo("\n".join([ROOT, line(2, 1, "/usr2"), line(3, 1, "/usr/lib")]))
    assert [mount.mount_id for mount in table.below("/usr")] == [3]
    assert table.covering("/usr") is table.by_id(1)


def test_a_name_may_have_any_other_line_end() -> None:
    """seq_path() escapes the newline alone."""
    table = parse_mountinfo("\n".join([ROOT, line(2, 1, "/a\rb\x0bc\x85d\u2028e"), line(3, 1, "/usr")]))
    assert [mount.mount_point for mount in table] == ["/", "/a\rb\x0bc\x85d\u2028e", "/usr"]


@pytest.mark.parametrize("number", ["9" * 5000, "\u0663", "\xb2", "-1", "1.0", ""])
def test_what_is_no_id_is_no_line(number: str) -> None:
    assert len(parse_mountinfo(f"{number} 0 8:1 / / rw - ext4 s o\n1 {number} 8:1 / / rw - ext4 s o")) == 0


def test_mounts_that_lie_on_each_other_end_the_walk() -> None:
    """No kernel shows it; a table that was tampered with must not be waited for."""
    table = parse_mountinfo("\n".join([ROOT, line(2, 1, "/a"), line(3, 2, "/a"), line(2, 3, "/a")]))
    assert table.covering("/a/b") is not None


def test_a_root_that_is_its_own_parent_ends_the_walk() -> None:
    table = parse_mountinfo("1 1 0:1 / / rw - rootfs rootfs rw")
    assert [mount.mount_id for mount in table.stack("/")] == [1]


def test_ten_thousand_mounts_take_no_time() -> None:
    """As on a host of many containers: a status must not be slow there."""
    text = "\n".join([ROOT, *(line(n, 1, f"/var/lib/containers/storage/overlay/{n}/merged") for n in range(2, 10_000))])
    start = time.perf_counter()
    table = parse_mountinfo(text)
    assert len(table.below("/var")) == 9998
    assert table.stack("/usr") == ()
    assert time.perf_counter() - start < 5
