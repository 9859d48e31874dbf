"""A simulated host with a small base, sources beside it, and a manifest that is written anew by each test."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import ovlay
from ovlay.manifest.finding import State
from ovlay.receipts import read_receipts
from ovlay.simulated import SimulatedHost

if TYPE_CHECKING:
    from ovlay.carrying import Outcome
    from ovlay.manifest.finding import Comparison, Finding
    from ovlay.overlay import Overlay
    from ovlay.receipts import Receipt

Tree = dict[str, tuple[str, int, str]]


class Case:
    """The host below ``scratch``, the overlay on its /usr, and one manifest."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.source = scratch / "source"
        self.manifest = scratch / "m.toml"
        if not self.source.exists():
            usr = scratch / "host/usr"
            for folder in ("bin", "lib/deep", "share"):
                (usr / folder).mkdir(parents=True)
            (usr / "bin/old").write_text("old\n")
            (usr / "lib/deep/file").write_text("deep\n")
            (usr / "lib/link").symlink_to("deep")
            self.source.mkdir()
        self.host = SimulatedHost(str(scratch / "host"))
        self.overlay: Overlay = ovlay.open("fake", host=self.host)

    def put(self, name: str, text: str, mode: int = 0o644) -> None:
        """A source."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def says(self, *entries: str) -> None:
        """Write the manifest; an entry is its table with its keys, separated by semicolons."""
        lines = ["schema = 1"]
        for entry in entries:
            kind, _, keys = entry.partition(" ")
            lines += [f"[[{kind}]]", *(key.strip() for key in keys.split("; "))]
        self.manifest.write_text("\n".join(lines) + "\n")

    def apply(self, *, force: bool = False) -> Outcome:
        return self.overlay.apply([self.manifest], enable=True, force=force)

    def compared(self) -> Comparison:
        return self.overlay.plan_apply([self.manifest], enable=True).comparison

    def at(self, path: str) -> Path:
        return Path(self.host.path("/usr")) / path

    def states(self) -> dict[str, str]:
        """What is not as declared."""
        found = self.compared().findings
        return {finding.path: str(finding.state) for finding in found if finding.state is not State.AS_DECLARED}

    def conflict(self) -> Finding:
        """The one conflict."""
        (found,) = self.compared().conflicts
        return found

    def receipts(self) -> dict[str, Receipt]:
        return read_receipts(self.host, self.overlay.status())

    def tree(self) -> Tree:
        return tree_of(self.at("."))


def tree_of(top: Path) -> Tree:
    """Every path with its type, its mode, and its content."""
    found = {}
    for folder, directories, files in os.walk(top):
        for name in (*directories, *files):
            path = Path(folder, name)
            mode = path.lstat().st_mode
            content = os.readlink(path) if stat.S_ISLNK(mode) else path.read_text() if stat.S_ISREG(mode) else ""
            bits = 0 if stat.S_ISLNK(mode) else stat.S_IMODE(mode)
            found[str(path.relative_to(top))] = (str(stat.S_IFMT(mode)), bits, content)
    return found
