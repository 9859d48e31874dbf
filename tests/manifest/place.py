"""A simulated host with an overlay on it, and a directory for the manifests that are captured."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import ovlay
from ovlay.manifest.load import load_manifest
from ovlay.simulated import SimulatedHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.manifest.document import Entry


class Place:
    """An overlay on a simulated host, and a directory for manifests."""

    def __init__(self, overlay: ovlay.Overlay, folder: Path) -> None:
        self.overlay = overlay
        self.usr = Path(overlay.host.path("/usr"))
        self.folder = folder
        self.file = folder / "hot.toml"

    def capture(self, *paths: str, ignore: tuple[str, ...] = ()) -> ovlay.Outcome:
        return self.overlay.capture(paths, to=self.file, ignore=ignore)

    def entries(self) -> dict[str, Entry]:
        return {entry.path: entry for entry in load_manifest(self.file).entries}

    def kept(self) -> dict[str, str]:
        """What is kept beside the manifest, by name."""
        top = self.folder / "hot.files"
        return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


@contextmanager
def place_in(tmp_path: Path) -> Iterator[Place]:
    """The place below a directory."""
    usr = tmp_path / "host/usr"
    (usr / "bin").mkdir(parents=True)
    (usr / "lib/deep").mkdir(parents=True)
    (usr / "bin/old").write_text("old\n")
    (usr / "bin/gone").write_text("gone\n")
    (usr / "lib/deep/file").write_text("deep\n")
    (usr / "lib/link").symlink_to("deep")
    (tmp_path / "manifests").mkdir()
    with SimulatedHost(str(tmp_path / "host")) as host:
        overlay = ovlay.open("fake", host=host)
        overlay.enable()
        yield Place(overlay, tmp_path / "manifests")


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
