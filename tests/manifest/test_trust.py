"""Root believes a manifest that it finds, and the sources in it, only where nobody else can write them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.manifest.document import InvalidManifest, Manifest
from ovlay.manifest.load import load_manifest
from ovlay.simulated import SimulatedHost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovlay.overlay import Overlay

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def owned(tmp_path: Path) -> Path:
    """A root directory with a manifest that root believes, and its source."""
    write(tmp_path / "etc/ovlay/m.toml", "schema = 1\n[[file]]\npath = '/usr/a'\nsource = 'files/a'\n").chmod(0o644)
    write(tmp_path / "etc/ovlay/files/a", "a").chmod(0o644)
    for folder in ("", "etc", "etc/ovlay", "etc/ovlay/files"):
        (tmp_path / folder).chmod(0o755)
    return tmp_path


def load_found(root: Path) -> Manifest:
    return load_manifest(root / "etc/ovlay/m.toml", trusted=False, root=str(root))


@root_only
def test_root_believes_what_only_root_can_write(owned: Path) -> None:
    assert load_found(owned).entries[0].source == str(owned / "etc/ovlay/files/a")
    assert not load_found(owned).named


@root_only
@pytest.mark.parametrize("place", ["etc", "etc/ovlay", "etc/ovlay/m.toml"])
@pytest.mark.parametrize("how", ["group", "others", "owner"])
def test_root_does_not_believe_what_others_can_write(owned: Path, place: str, how: str) -> None:
    path = owned / place
    os.chown(path, 65534, -1) if how == "owner" else path.chmod(0o775 if how == "group" else 0o1777)
    with pytest.raises(InvalidManifest, match=r"is not trusted: .*others than root|belongs to user 65534"):
        load_found(owned)
    assert load_manifest(owned / "etc/ovlay/m.toml").entries


@root_only
@pytest.mark.parametrize("place", ["files", "files/a"])
def test_root_does_not_install_what_others_can_write(owned: Path, place: str) -> None:
    (owned / "etc/ovlay" / place).chmod(0o777)
    with pytest.raises(InvalidManifest) as caught:
        load_found(owned)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (4, "file[0].source")
    assert "can be written by others than root (mode 0777)" in problem.message


@root_only
def test_root_does_not_believe_what_a_link_of_others_leads_to(owned: Path) -> None:
    (owned / "mine").mkdir(mode=0o755)
    (owned / "etc/ovlay/m.toml").rename(owned / "mine/m.toml")
    (owned / "theirs").mkdir(mode=0o755)
    (owned / "theirs/m.toml").symlink_to("../mine/m.toml")
    (owned / "etc/ovlay/m.toml").symlink_to("../../theirs/m.toml")
    assert load_found(owned).entries
    (owned / "theirs").chmod(0o777)
    with pytest.raises(InvalidManifest, match="theirs can be written by others"):
        load_found(owned)


TREE = "schema = 1\n[[tree]]\npath = '/usr/share/t'\nsource = 'files'\nexclude = ['*.bak']\n"


@pytest.fixture
def overlay(owned: Path) -> Iterator[Overlay]:
    """An overlay on a host whose administrator has declared a tree, of which all is root's."""
    write(owned / "etc/ovlay/m.toml", TREE).rename(owned / "etc/ovlay/manifest.toml")
    write(owned / "etc/ovlay/files/sub/prog", "prog").chmod(0o755)
    (owned / "etc/ovlay/files/link").symlink_to("sub/prog")
    for folder in ("etc/ovlay/files/sub", "usr", "usr/share"):
        (owned / folder).mkdir(exist_ok=True)
        (owned / folder).chmod(0o755)
    with SimulatedHost(str(owned)) as host:
        overlay = ovlay.open("fake", host=host)
        overlay.enable()
        yield overlay


@root_only
def test_root_installs_a_tree_that_only_root_can_write(overlay: Overlay, owned: Path) -> None:
    assert overlay.apply(user=False).changed
    assert (owned / "usr/share/t/link").readlink().name == "prog"


@root_only
@pytest.mark.parametrize("place", ["sub", "sub/prog", "a", "link"])
@pytest.mark.parametrize("how", ["group", "others", "owner"])
def test_root_installs_no_tree_with_something_of_others_in_it(
    overlay: Overlay, owned: Path, place: str, how: str
) -> None:
    path = owned / "etc/ovlay/files" / place
    if place == "link" or how == "owner":
        os.chown(path, 65534, 65534, follow_symlinks=False)
    else:
        path.chmod(0o4775 if how == "group" else 0o4757)
    with pytest.raises(InvalidManifest) as caught:
        overlay.apply(user=False)
    (problem,) = caught.value.problems
    assert (problem.line, problem.key) == (2, "source")
    assert f"files is not trusted: {path} " in problem.message
    assert not (owned / "usr/share/t").exists()
    assert overlay.apply(owned / "etc/ovlay/manifest.toml").changed  # at the word of who names it


@root_only
def test_of_many_things_of_others_in_a_tree_one_is_named(overlay: Overlay, owned: Path) -> None:
    for name in ("sub", "sub/prog", "a"):
        os.chown(owned / "etc/ovlay/files" / name, 65534, 65534)
    with pytest.raises(InvalidManifest, match="files/a belongs to user 65534, not to root; nor are 2 more in it"):
        overlay.apply(user=False)


@root_only
def test_what_is_left_out_of_a_tree_may_be_anybodys(overlay: Overlay, owned: Path) -> None:
    os.chown(write(owned / "etc/ovlay/files/old.bak", "old"), 65534, 65534)
    assert overlay.apply(user=False).changed
    assert not (owned / "usr/share/t/old.bak").exists()
