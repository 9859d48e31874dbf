"""A manifest is read whole or refused with every mistake: file, line, key, and what was probably meant."""

from __future__ import annotations

import hashlib
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ovlay.errors import NotPermitted
from ovlay.manifest import load
from ovlay.manifest.document import InvalidManifest, Manifest, Origin, When
from ovlay.manifest.load import load_manifest, parse_manifest
from ovlay.model import Access, Mode, Persistence

if TYPE_CHECKING:
    from pathlib import Path

ALL = """\
schema = 1
name = "bkt hotfix"
target = "/usr/"
[overlay]
access = "read-only"
[when]
image = "quay.example/org/os:*"
checksum = ["abc*", "def*"]
os-release = { ID = "fedora", VERSION_ID = ">=43,<44" }
missing = "/usr/bin/newtool"
[[absent]]
path = "/usr/lib//old.conf"

[[file]]
path = "/usr/bin/bkt"
source = "target/release/bkt"
sha256 = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
mode = 0o4755
owner = "root"
group = 0
label = "system_u:object_r:bin_t:s0"
replaces = "nothing"
when.present = "/usr/bin/bkt"
[[tree]]
path = "/usr/share/app/"
source = "../app"
file-mode = "0644"
directory-mode = "755"
exclude = ["*.pyc"]
[[symlink]]
path = "/usr/bin/b"
to = "bkt"
[[directory]]
path = "/usr/share/empty"
mode = "0700"
[[file]]
path = "/usr/share/motd"
text = "[[file]]\\n"
"""


def parse(text: str, **more: Any) -> Manifest:
    return parse_manifest(text, file="/srv/hotfix/m.toml", folder="/srv/hotfix", **more)


def told(text: str, **more: Any) -> list[tuple[int, str, str, str]]:
    """Every problem of a text: line, key, message, hint."""
    with pytest.raises(InvalidManifest) as caught:
        parse(text, **more)
    return [(problem.line, problem.key, problem.message, problem.hint) for problem in caught.value.problems]


def test_everything_that_can_be_said() -> None:
    found = parse(ALL)
    assert (found.file, found.name, found.target) == ("/srv/hotfix/m.toml", "bkt hotfix", "/usr")
    assert found.mode == Mode(Access.READ_ONLY, Persistence.TRANSIENT)
    release = {"ID": "fedora", "VERSION_ID": ">=43,<44"}
    assert found.when == When(("quay.example/org/os:*",), ("abc*", "def*"), release, ("/usr/bin/newtool",))
    absent, bkt, tree, link, directory, motd = found.entries
    assert [entry.kind for entry in found.entries] == ["absent", "file", "tree", "symlink", "directory", "file"]
    assert [entry.origin.line for entry in found.entries] == [11, 14, 24, 30, 33, 36]
    assert bkt.origin == Origin("/srv/hotfix/m.toml", "bkt hotfix", 14)
    assert absent.path == "/usr/lib/old.conf"
    assert (bkt.path, bkt.source, bkt.sha256) == ("/usr/bin/bkt", "/srv/hotfix/target/release/bkt", "a" * 64)
    assert (bkt.mode, bkt.owner, bkt.group, bkt.label) == (0o4755, "root", 0, "system_u:object_r:bin_t:s0")
    assert (bkt.replaces, bkt.when) == ("nothing", When(present=("/usr/bin/bkt",)))
    assert (tree.path, tree.source, tree.exclude) == ("/usr/share/app", "/srv/app", ("*.pyc",))
    assert (tree.mode, tree.file_mode, tree.directory_mode) == (None, 0o644, 0o755)
    assert (link.path, link.to) == ("/usr/bin/b", "bkt")
    assert (directory.mode, motd.text, motd.source, motd.mode) == (0o700, "[[file]]\n", None, None)


def test_the_least_that_can_be_said() -> None:
    found = parse("schema = 1")
    assert (found.name, found.target, found.entries, found.mode, found.when) == ("m", "/usr", (), None, When())


def test_an_empty_overlay_table_asks_for_the_default() -> None:
    assert parse("schema = 1\n[overlay]").mode == Mode()


def test_entries_may_be_written_in_one_line() -> None:
    found = parse('schema = 1\nfile = [\n{ path = "/usr/a", text = "" },\n{ path = "/usr/b", text = "" },\n]')
    assert [(entry.path, entry.origin.line) for entry in found.entries] == [("/usr/a", 3), ("/usr/b", 4)]


SHA_OF_TEXT = hashlib.sha256(b"hi").hexdigest()


@pytest.mark.parametrize(
    ("text", "line", "key", "message", "hint"),
    [
        ("", 0, "schema", "is missing", "write: schema = 1"),
        ("schema = 2\nfoo = 1", 1, "schema", "version 2, made for a newer ovlay; this one knows 1", "update ovlay"),
        ("schema = 0", 1, "schema", "must be 1, not 0", ""),
        ('schema = "1"', 1, "schema", "must be 1, not '1'", ""),
        ("schema = true", 1, "schema", "must be 1, not true", ""),
        ("schema = 1\n\nnmae = 'x'", 3, "nmae", "there is no such key", "did you mean 'name'?"),
        ("schema = 1\n[[files]]", 2, "files", "there is no such key", "did you mean 'file'?"),
        ("schema = 1\nzzz = 1", 2, "zzz", "there is no such key", "known are: schema, name, target, overlay, when"),
        ("schema = 1\n[file]\npath = 1", 2, "file", "must be a list of tables", "write [[file]] and not [file]"),
        ("schema = 1\ntree = 3", 2, "tree", "must be a list of tables", "write [[tree]]"),
        ("schema = 1\nfile = [\n3]", 3, "file[0]", "must be a table, not 3", ""),
        ("schema = 1\nname = ''", 2, "name", "must not be empty", ""),
        ('schema = 1\nname = "a\\nb"', 2, "name", "one line", ""),
        ("schema = 1\ntarget = 'usr'", 2, "target", "'usr' is not an absolute path", ""),
        ("schema = 1\ntarget = '//'", 2, "target", "cannot be the root directory", "/usr"),
        ("schema = 1\noverlay = 1", 2, "overlay", "must be a table, not 1", ""),
        ("schema = 1\n[overlay]\naccess = 'read-wirte'", 3, "overlay.access", "or", "did you mean 'read-write'?"),
        ("schema = 1\n[overlay]\nmode = 1", 3, "overlay.mode", "there is no such key", "access, persistence"),
        ("schema = 1\n[when]\nimage = []", 3, "when.image", "must not be an empty list", "leave it out"),
        ("schema = 1\n[when]\nimage = [\n'a',\n1]", 5, "when.image[1]", "must be a text, not 1", 'write "1"'),
        ("schema = 1\n[when]\nmissing = '/etc/x'", 3, "when.missing", "/etc/x is not below /usr", ""),
        ("schema = 1\n[when]\nos_release = {}", 3, "when.os_release", "no such key", "did you mean 'os-release'?"),
        ("schema = 1\n[when]\nos-release = 3", 3, "when.os-release", "must be a table", "VERSION_ID"),
        ("schema = 1\n[when.os-release]\nid = 'x'", 3, "when.os-release.id", "os-release(5)", "did you mean 'ID'?"),
        ("schema = 1\n[when.os-release]\nA = '=4'", 3, "when.os-release.A", "'=4' is no set of version", '"=="'),
        ("schema = 1\n[when.os-release]\nA = 43", 3, "when.os-release.A", "must be a text, not 43", 'write "43"'),
    ],
)
def test_mistakes_at_the_top(text: str, line: int, key: str, message: str, hint: str) -> None:
    found = told(text)
    assert len(found) == 1
    assert found[0][:2] == (line, key)
    assert message in found[0][2]
    assert hint in found[0][3]


FILE = "[[file]]\npath = '/usr/bin/x'\ntext = 'hi'\n"


@pytest.mark.parametrize(
    ("entry", "line", "key", "message", "hint"),
    [
        ("[[file]]\ntext = ''", 2, "file[0].path", "is missing", ""),
        ("[[file]]\npath = '/usr/x'", 2, "file[0]", "has neither source nor text", "exactly one"),
        (FILE + "source = 'x'", 2, "file[0]", "has both source and text", "exactly one"),
        (FILE + "mdoe = 1", 5, "file[0].mdoe", "there is no such key", "did you mean 'mode'?"),
        (FILE + "mode = 755", 5, "file[0].mode", "755 is a decimal number", 'write it as "0755" or 0o755'),
        (FILE + "mode = 0o10000", 5, "file[0].mode", "must be a mode, not 4096", ""),
        (FILE + "mode = -1", 5, "file[0].mode", "must be a mode, not -1", ""),
        (FILE + "mode = '0855'", 5, "file[0].mode", "must be a mode, not '0855'", '"0755" or 0o755'),
        (FILE + "mode = true", 5, "file[0].mode", "must be a mode, not true", ""),
        (FILE + "mode = 1979-05-27", 5, "file[0].mode", "must be a mode, not datetime.date", ""),
        (FILE + "owner = ''", 5, "file[0].owner", "must be a name or a number, not ''", ""),
        (FILE + "owner = 'a:b'", 5, "file[0].owner", "must be a name or a number", ""),
        (FILE + "group = -1", 5, "file[0].group", "must be a name or a number", ""),
        (FILE + "group = '4294967295'", 5, "file[0].group", "must be at most 4294967294", ""),
        (FILE + "label = 'bin_t'", 5, "file[0].label", "must be an SELinux label, not 'bin_t'", "system_u:"),
        (FILE + "sha256 = 'abc'", 5, "file[0].sha256", "must be 64 hexadecimal digits, not 'abc'", "sha256sum"),
        (FILE + f"sha256 = '{'0' * 64}'", 5, "file[0].sha256", "is not that of the text", ""),
        (FILE + "replaces = 'nothin'", 5, "file[0].replaces", "digits, 'nothing' or 'directory', not 'nothin'", ""),
        (FILE + "when = 1", 5, "file[0].when", "must be a table, not 1", ""),
        (FILE + "[file.when]\nchecksum = 1", 6, "file[0].when.checksum", "must be a text, not 1", ""),
        (FILE + "[file.when]\npresent = '/usr'", 6, "file[0].when.present", "is not below /usr", ""),
        (FILE + FILE, 5, "file", "/usr/bin/x is declared on line 2 already", "a condition (when)"),
        (FILE + "[[absent]]\npath = '/usr//bin/x'", 5, "absent", "/usr/bin/x is declared on line 2 already", ""),
        ("[[symlink]]\npath = '/usr/x'", 2, "symlink[0].to", "is missing", ""),
        ("[[symlink]]\npath = '/usr/x'\nto = ''", 4, "symlink[0].to", "must not be empty", ""),
        ('[[symlink]]\npath = "/usr/x"\nto = "a\\u0000"', 4, "symlink[0].to", "a null character", ""),
        (
            "[[symlink]]\npath = '/usr/x'\nto = 'a'\nmode = 1",
            5,
            "symlink[0].mode",
            "no such key",
            "known are: path, to",
        ),
        ("[[tree]]\npath = '/usr/x'", 2, "tree[0].source", "is missing", ""),
        ("[[tree]]\npath = '/usr/x'\nsource = 'x'\nmode = '0755'", 5, "tree[0].mode", "no such key", "-mode"),
        ("[[tree]]\npath = '/usr/x'\nsource = 'x'\nexclude = ['a','!']", 5, "tree[0].exclude[1]", "not a pattern", ""),
        (
            "[[absent]]\npath = '/usr/x'\nmode = '1'",
            4,
            "absent[0].mode",
            "no such key",
            "known are: path, replaces, when",
        ),
        ("[[absent]]\npath = ['/usr/x']", 3, "absent[0].path", "must be a text, not a list", ""),
        ("[[absent]]\npath = 'usr/x'", 3, "absent[0].path", "'usr/x' is not an absolute path", "begin with /"),
        ("[[absent]]\npath = '/usr/../x'", 3, "absent[0].path", "'/usr/../x' contains '..'", ""),
        ("[[absent]]\npath = '/etc/x'", 3, "absent[0].path", "/etc/x is not below /usr", "/etc and /var"),
        ("[[absent]]\npath = '/usr/.'", 3, "absent[0].path", "/usr/. is not below /usr", ""),
        ("[[absent]]\npath = '/usrx'", 3, "absent[0].path", "/usrx is not below /usr", ""),
        ('[[absent]]\npath = "/usr/\\u0000"', 3, "absent[0].path", "null character", ""),
        (f"[[absent]]\npath = '/usr/{'é' * 128}'", 3, "absent[0].path", "a name of more than 255 bytes", ""),
        (f"[[absent]]\npath = '/usr/{'a/' * 2048}'", 3, "absent[0].path", "longer than 4095 bytes", ""),
        ("[[file]]\npath = '/usr/bin/'\ntext = ''", 3, "file[0].path", "'/usr/bin/' ends with '/'", "name the file"),
        ('[[absent]]\npath = "/usr/x"\n"a b" = 1', 4, "absent[0].'a b'", "there is no such key", ""),
    ],
)
def test_mistakes_in_an_entry(entry: str, line: int, key: str, message: str, hint: str) -> None:
    found = told("schema = 1\n" + entry)
    assert len(found) == 1, found
    assert found[0][:2] == (line, key)
    assert message in found[0][2]
    assert hint in found[0][3]


def test_all_mistakes_are_told_at_once_in_their_order() -> None:
    text = "schema = 1\nname = 3\n[[file]]\npath = 'x'\nmode = 'x'\n[[tree]]\n[[absent]]\npath = '/usr/x'\nfoo = 1\n"
    found = told(text)
    assert [(line, key) for line, key, _, _ in found] == [
        (2, "name"),
        (3, "file[0]"),
        (4, "file[0].path"),
        (5, "file[0].mode"),
        (6, "tree[0].path"),
        (6, "tree[0].source"),
        (9, "absent[0].foo"),
    ]
    with pytest.raises(InvalidManifest) as caught:
        parse(text)
    lines = str(caught.value).splitlines()
    assert lines[0] == "7 mistakes in 1 manifest"
    assert lines[2] == "/srv/hotfix/m.toml:3: file[0]: has neither source nor text (give exactly one of them)"
    assert len(lines) == 8
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_a_path_may_come_twice_with_conditions() -> None:
    new, old = "[file.when]\nimage = '*:43'\n", "[file.when]\nimage = '*:42'\n"
    assert len(parse(f"schema = 1\n{FILE}{new}{FILE}{old}").entries) == 2
    assert len(told(f"schema = 1\n{FILE}{new}{FILE}")) == 1


def test_the_hash_of_a_text_may_be_given() -> None:
    (entry,) = parse(f"schema = 1\n{FILE}sha256 = '{SHA_OF_TEXT}'").entries
    assert entry.sha256 == SHA_OF_TEXT


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("schema = 1\nname =\n", 2, "invalid value at column 7"),
        ("schema = 1\n[[file]\n", 2, "expected ']]'"),
        ("schema = 1\nname = '", 2, ""),
        ("schema = 1\nschema = 2\n", 2, "cannot overwrite a value"),
        ("schema = 1\n\na = [1,\n2\n", 4, "unclosed array"),
        ("schema = 1\na = 2020-02-31\n", 2, "invalid date"),
    ],
)
def test_what_is_no_toml_is_told_with_its_line(text: str, line: int, message: str) -> None:
    ((found, key, what, _),) = told(text)
    assert (found, key) == (line, "")
    assert what.startswith("is not TOML: ")
    assert message in what


def test_a_byte_order_mark_is_named() -> None:
    """It was "invalid statement at column 1", of a line in which nothing wrong can be seen."""
    mark = (1, "", "begins with a byte order mark", "save it as UTF-8 without one")
    assert told("\ufeffschema = 1\n") == [mark]


def test_what_would_take_long_does_not_reach_the_parser() -> None:
    assert told("schema = 1\n" + "a." * 1_000_000 + "a = 1") == [(2, "", "a key of more than 16 parts is too much", "")]


# --- files ---------------------------------------------------------------------------------------------------------


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: str | Path, **more: Any) -> tuple[int, str]:
    with pytest.raises(InvalidManifest) as caught:
        load_manifest(path, **more)
    (problem,) = caught.value.problems
    assert problem.file == os.path.abspath(path)
    return problem.line, problem.message


def test_a_source_is_relative_to_where_the_manifest_really_is(tmp_path: Path) -> None:
    write(tmp_path / "repo/hotfix.toml", "schema = 1\n[[file]]\npath = '/usr/a'\nsource = '../b/c'\n")
    (tmp_path / "link.toml").symlink_to("repo/hotfix.toml")
    found = load_manifest(tmp_path / "link.toml")
    assert found.file == str(tmp_path / "link.toml")
    assert found.name == "link"
    assert found.entries[0].source == os.path.realpath(tmp_path / "b/c")


def test_a_name_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "hotfix.toml", "schema = 1\n")
    monkeypatch.chdir(tmp_path)
    assert load_manifest("hotfix.toml").file == str(tmp_path / "hotfix.toml")


def test_an_absolute_source_of_a_found_manifest_is_one_of_its_host(tmp_path: Path) -> None:
    text = "schema = 1\n[[file]]\npath = '/usr/a'\nsource = '/opt/a'\n"
    assert parse(text, root=str(tmp_path)).entries[0].source == "/opt/a"
    assert parse(text, root=str(tmp_path), trusted=False).entries[0].source == f"{tmp_path}/opt/a"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.toml") == (0, "there is no such file")
    assert refusal(tmp_path) == (0, "is a directory")
    assert refusal(tmp_path / "a\0b") == (0, "there can be no file of that name")
    assert refusal(tmp_path / ("a" * 300)) == (0, "File name too long")
    assert refusal(write(tmp_path / "x.toml", b"schema = 1\n\nname = '\xff'"))[0] == 3
    assert refusal("/dev/null") == (0, "is not a regular file")
    (tmp_path / "loop").symlink_to("loop")
    assert "symbolic links" in refusal(tmp_path / "loop")[1]
    (tmp_path / "dangling").symlink_to("nowhere")
    assert refusal(tmp_path / "dangling") == (0, "there is no such file")


def test_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refusal(tmp_path / "fifo") == (0, "is not a regular file")
    (tmp_path / "link.toml").symlink_to("fifo")
    assert refusal(tmp_path / "link.toml") == (0, "is not a regular file")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
        assert refusal(tmp_path / "socket")[1]


def test_a_manifest_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "LIMIT", 1 << 20)
    head = b"schema = 1\n#"
    load_manifest(write(tmp_path / "fits.toml", head.ljust(1 << 20, b"#")))
    found = refusal(write(tmp_path / "large.toml", head.ljust((1 << 20) + 1, b"#")))
    assert found == (0, "is larger than 1 MiB, which is more than a manifest may be")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_not_permitted(tmp_path: Path) -> None:
    write(tmp_path / "m.toml", "schema = 1\n").chmod(0)
    with pytest.raises(NotPermitted, match=r"m\.toml: may not be read"):
        load_manifest(tmp_path / "m.toml")
