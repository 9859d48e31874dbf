"""Root believes a manifest that it finds, and the sources in it, only where nobody else can write them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ovlay.manifest.document import InvalidManifest, Manifest
from ovlay.manifest.load import load_manifest

if TYPE_CHECKING:
    from pathlib import Path

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
