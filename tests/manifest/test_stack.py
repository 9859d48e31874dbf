"""Manifests lie over each other: the later one wins, masks hide, contradictions and every mistake are told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ovlay.errors import NotPermitted
from ovlay.host import Host
from ovlay.manifest.conditions import Facts
from ovlay.manifest.document import Declared, InvalidManifest, Manifest, Retired
from ovlay.manifest.load import load_manifest, parse_manifest
from ovlay.manifest.search import find_manifests
from ovlay.manifest.stack import load_stack, resolve
from ovlay.model import Access, Mode, Persistence

FACTS = Facts({"ID": "fedora", "VERSION_ID": "43"}, None, lambda path: path == "/usr/bin/there")


def write(root: Path, path: str, text: str = "schema = 1\n") -> str:
    file = root / path
    for folder in reversed(file.parents[: len(Path(path).parents)]):
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
    file.write_text(text)
    file.chmod(0o644)
    return str(file)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with no manifest, and a user with none."""
    (tmp_path / "host").mkdir(mode=0o755)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Host(str(tmp_path / "host"))


def found(host: Host, **more: Any) -> list[str]:
    parent = os.path.dirname(host.root)
    return [os.path.relpath(path, parent) for path in find_manifests(host, **more)]


# --- where they are ------------------------------------------------------------------------------------------------


def test_none_is_found_where_there_is_none(host: Host) -> None:
    assert find_manifests(host) == ()
    assert load_stack(host) == ()
    assert resolve((), FACTS) == Declared("/usr", ())


def test_they_are_found_lowest_first(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    root, user = Path(host.root), Path(host.root).parent
    for path in (
        "usr/lib/ovlay/manifest.toml",
        "usr/lib/ovlay/manifest.d/20-b.toml",
        "usr/lib/ovlay/manifest.d/10-a.toml",
        "etc/ovlay/manifest.toml",
        "etc/ovlay/manifest.d/05-c.toml",
    ):
        write(root, path)
    write(root, "etc/ovlay/manifest.d/README")
    write(root, "etc/ovlay/manifest.d/.hidden.toml")
    write(user, "config/ovlay/manifest.toml")
    write(user, "config/ovlay/manifest.d/x.toml")
    system = [
        "host/usr/lib/ovlay/manifest.toml",
        "host/usr/lib/ovlay/manifest.d/10-a.toml",
        "host/usr/lib/ovlay/manifest.d/20-b.toml",
        "host/etc/ovlay/manifest.toml",
        "host/etc/ovlay/manifest.d/05-c.toml",
    ]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert found(host) == [*system, "config/ovlay/manifest.toml", "config/ovlay/manifest.d/x.toml"]
    assert found(host, user=False) == system
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert found(host) == system


def test_a_fragment_takes_the_place_of_a_lower_one_of_its_name(host: Host) -> None:
    write(Path(host.root), "usr/lib/ovlay/manifest.d/a.toml")
    write(Path(host.root), "usr/lib/ovlay/manifest.d/b.toml")
    write(Path(host.root), "etc/ovlay/manifest.d/a.toml")
    assert found(host) == ["host/usr/lib/ovlay/manifest.d/b.toml", "host/etc/ovlay/manifest.d/a.toml"]


@pytest.mark.parametrize("name", ["manifest.toml", "manifest.d/a.toml"])
@pytest.mark.parametrize("how", ["empty", "link"])
def test_a_file_that_says_nothing_masks_the_lower_ones(host: Host, name: str, how: str) -> None:
    write(Path(host.root), f"usr/lib/ovlay/{name}")
    write(Path(host.root), "usr/lib/ovlay/manifest.d/z.toml")
    mask = Path(write(Path(host.root), f"etc/ovlay/{name}", ""))
    if how == "link":
        mask.unlink()
        mask.symlink_to("/dev/null")
    assert found(host) == ["host/usr/lib/ovlay/manifest.d/z.toml"]


def test_a_dangling_link_is_a_mistake_and_no_mask(host: Host) -> None:
    write(Path(host.root), "etc/ovlay/manifest.d/a.toml")
    (Path(host.root) / "etc/ovlay/manifest.d/b.toml").symlink_to("nowhere")
    with pytest.raises(InvalidManifest, match=r"b\.toml: there is no such file"):
        load_stack(host)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("closed", ["etc/ovlay", "etc/ovlay/manifest.d"])
def test_a_directory_that_may_not_be_read_is_told(host: Host, closed: str) -> None:
    write(Path(host.root), "etc/ovlay/manifest.d/a.toml")
    (Path(host.root) / closed).chmod(0)
    try:
        with pytest.raises(NotPermitted, match="may not be read"):
            find_manifests(host)
    finally:
        (Path(host.root) / closed).chmod(0o755)


# --- reading -------------------------------------------------------------------------------------------------------


def test_those_that_are_named_are_read_and_no_other(host: Host, tmp_path: Path) -> None:
    write(Path(host.root), "etc/ovlay/manifest.toml")
    one, two = write(tmp_path, "one.toml"), write(tmp_path, "two.toml")
    assert [manifest.file for manifest in load_stack(host, [two, Path(one)])] == [two, one]
    assert all(manifest.named for manifest in load_stack(host, [one]))
    (other,) = load_stack(host)
    assert other.file == f"{host.root}/etc/ovlay/manifest.toml"
    assert not other.named


def test_a_directory_stands_for_what_is_in_it(host: Host, tmp_path: Path) -> None:
    main, part = write(tmp_path, "fix/manifest.toml"), write(tmp_path, "fix/manifest.d/a.toml")
    assert [manifest.file for manifest in load_stack(host, [tmp_path / "fix"])] == [main, part]
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidManifest, match=r"none/manifest\.toml: there is no such file"):
        load_stack(host, [tmp_path / "none"])


def test_the_mistakes_of_all_are_told_at_once(host: Host, tmp_path: Path) -> None:
    one = write(tmp_path, "one.toml", "schema = 1\nfoo = 1\n[[file]]\n")
    two = write(tmp_path, "two.toml", "schema =\n")
    with pytest.raises(InvalidManifest) as caught:
        load_stack(host, [one, write(tmp_path, "good.toml"), two, str(tmp_path / "none.toml")])
    assert str(caught.value).splitlines()[0] == "5 mistakes in 3 manifests"
    told = [(os.path.basename(problem.file), problem.line) for problem in caught.value.problems]
    assert told == [("one.toml", 2), ("one.toml", 3), ("one.toml", 3), ("two.toml", 1), ("none.toml", 0)]


def test_what_may_not_be_read_is_told_with_the_mistakes(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidding(path: str, **more: Any) -> Manifest:
        if "closed" in path:
            raise NotPermitted(f"{path}: may not be read", remedy="run it as root")
        return load_manifest(path, **more)

    monkeypatch.setattr("ovlay.manifest.stack.load_manifest", forbidding)
    bad = write(tmp_path, "bad.toml", "")
    with pytest.raises(NotPermitted, match="/closed: may not be read; /closed2: may not be read"):
        load_stack(host, ["/closed", write(tmp_path, "good.toml"), "/closed2"])
    with pytest.raises(InvalidManifest) as caught:
        load_stack(host, ["/closed", bad])
    assert [str(problem) for problem in caught.value.problems] == [
        "/closed: may not be read",
        f"{bad}: schema: is missing (write: schema = 1)",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root distrusts")
def test_root_trusts_what_is_named_and_not_what_is_found(host: Host, tmp_path: Path) -> None:
    file = write(Path(host.root), "etc/ovlay/manifest.toml")
    Path(file).chmod(0o666)
    with pytest.raises(InvalidManifest, match="is not trusted"):
        load_stack(host)
    assert load_stack(host, [file])


# --- what they say together ----------------------------------------------------------------------------------------


def manifest(text: str, name: str = "m") -> Manifest:
    return parse_manifest("schema = 1\n" + text, file=f"/{name}.toml", folder="/")


def absent(path: str, when: str = "") -> str:
    return f"[[absent]]\npath = '{path}'\n" + (f"when = {{ {when} }}\n" if when else "")


def text(path: str, content: str = "", when: str = "") -> str:
    return f"[[file]]\npath = '{path}'\ntext = '{content}'\n" + (f"when = {{ {when} }}\n" if when else "")


def test_the_later_one_wins_path_by_path() -> None:
    low = manifest(text("/usr/a", "low") + text("/usr/b", "low"), "low")
    high = manifest(text("/usr/a", "high") + absent("/usr/c"), "high")
    declared = resolve((low, high), FACTS)
    assert [(entry.path, entry.text) for entry in declared.entries] == [
        ("/usr/b", "low"),
        ("/usr/a", "high"),
        ("/usr/c", None),
    ]
    assert declared.manifests == ("/low.toml", "/high.toml")
    assert declared.target == "/usr"
    assert declared.mode is None


def test_the_mode_is_that_of_the_last_that_names_one() -> None:
    first = manifest("[overlay]\naccess = 'read-only'\n")
    second = manifest("[overlay]\npersistence = 'persistent'\n")
    retired = manifest("[overlay]\n[when]\nimage = '*'\n")
    declared = resolve((first, second, manifest(""), retired), FACTS)
    assert declared.mode == Mode(Access.READ_WRITE, Persistence.PERSISTENT)
    assert resolve((second, first), FACTS).mode == Mode(Access.READ_ONLY, Persistence.TRANSIENT)


def test_what_does_not_hold_is_retired_and_what_is_below_it_counts() -> None:
    low = manifest(text("/usr/a", "low"), "low")
    high = manifest(text("/usr/a", "high", "missing = '/usr/bin/there'"), "high")
    whole = manifest("[when]\nos-release = { ID = 'debian' }\n" + text("/usr/b"), "whole")
    declared = resolve((low, high, whole), FACTS)
    assert [entry.text for entry in declared.entries] == ["low"]
    assert declared.retired == (
        Retired(high.entries[0].origin, "/usr/a", "the base has /usr/bin/there"),
        Retired(whole.origin, None, "ID is fedora, not debian"),
    )
    assert str(declared.retired[0].origin) == "/high.toml:2"
    assert str(declared.retired[1].origin) == "/whole.toml"


def refused(*manifests: Manifest) -> list[str]:
    with pytest.raises(InvalidManifest) as caught:
        resolve(manifests, FACTS)
    return [str(problem) for problem in caught.value.problems]


def test_two_that_hold_for_one_path_contradict_each_other() -> None:
    both = text("/usr/a", "1", "os-release = { ID = 'fedora' }") + text("/usr/a", "2", "os-release = { ID = 'f*' }")
    assert refused(manifest(both)) == ["/m.toml:6: file: /usr/a is declared on line 2 too"]
    one = text("/usr/a", "1", "os-release = { ID = 'fedora' }") + text("/usr/a", "2", "os-release = { ID = 'd*' }")
    assert [entry.text for entry in resolve((manifest(one),), FACTS).entries] == ["1"]


def test_two_targets_contradict_each_other() -> None:
    opt, usr = manifest("target = '/opt'", "opt"), manifest("", "usr")
    (said,) = refused(opt, usr)
    assert said.startswith("/usr.toml: target: is /usr, and that of /opt.toml is /opt")
    retired = manifest("target = '/opt'\n[when]\nimage = 'x'\n", "opt")
    assert resolve((retired, usr), FACTS).target == "/usr"
    assert resolve((retired,), FACTS).target == "/opt"


@pytest.mark.parametrize(
    ("around", "kind"),
    [
        (text("/usr/a"), "a file"),
        (absent("/usr/a"), "absent"),
        ("[[symlink]]\npath = '/usr/a'\nto = 'b'\n", "a symlink"),
    ],
)
def test_nothing_is_in_what_is_no_directory(around: str, kind: str) -> None:
    inner = manifest(text("/usr/a/b/c"), "inner")
    expected = [f"/inner.toml:2: file: /usr/a/b/c is in /usr/a, which is to be {kind} (/m.toml:2)"]
    assert refused(manifest(around), inner) == expected
    assert refused(inner, manifest(around)) == expected


def test_what_is_beside_or_in_a_directory_is_no_contradiction() -> None:
    tree = "[[tree]]\npath = '/usr/a'\nsource = 'x'\n[[directory]]\npath = '/usr/d'\n"
    found = resolve((manifest(tree + text("/usr/a/b") + text("/usr/d/e") + text("/usr/ab")),), FACTS)
    assert len(found.entries) == 5


def test_all_contradictions_are_told_at_once() -> None:
    assert len(refused(manifest(absent("/usr/a") + text("/usr/a/b")), manifest("target = '/opt'", "opt"))) == 2
