"""bkt's files on their way into the overlay, each with a line of what is done to it."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from ovlay.requests import InstallFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.cli.terminal import Terminal
    from ovlay.overlay import Outcome, Overlay
    from ovlay.plan.plan import Plan


class Placing(NamedTuple):
    """One file: where it is, where it goes, and how its source is shown."""

    source: str
    destination: str
    shown: str

    def request(self) -> InstallFile:
        """A program that everybody may run, whatever its mode in a checkout is (scripts/bootc-apply is not 0755)."""
        return InstallFile(self.source, self.destination, 0o755)


def place(overlay: Overlay, files: Sequence[Placing], terminal: Terminal, *, line: str) -> Outcome:
    """Place the files, and say ``line`` for each that differs from what is there."""

    def tell_before(plan: Plan) -> bool:
        written = {posixpath.join(overlay.target, getattr(step, "path", "")) for step in plan.steps}
        for file in files:
            if posixpath.normpath(file.destination) in written:
                terminal.print(line.format(shown=file.shown, destination=file.destination))
        return True

    return overlay.install_files([file.request() for file in files], confirm=tell_before)
