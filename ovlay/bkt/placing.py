"""bkt's files on their way into the overlay, each with a line of what is done to it."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from ovlay.paths import normal
from ovlay.requests import InstallFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.carrying import Outcome
    from ovlay.cli.changing import Request
    from ovlay.model import Mode
    from ovlay.overlay import Overlay


class Placing(NamedTuple):
    """One file: where it is, where it goes, and how its source is shown."""

    source: str
    destination: str
    shown: str

    def request(self) -> InstallFile:
        """A program of root's that everybody may run, whatever its mode in a checkout (bootc-apply has 0644)."""
        return InstallFile(self.source, self.destination, 0o755)


def placing(overlay: Overlay, files: Sequence[Placing]) -> Request:
    """The request to place these files."""
    from ovlay.cli.changing import Request
    from ovlay.elevate.calls import Call, sent_files

    wanted = [file.request() for file in files]
    return Request(
        plan=lambda: overlay.backend.plan_install(wanted),
        carry_out=lambda confirm: overlay.install_files(wanted, confirm=confirm),
        done="",
        call=Call("install", {"files": sent_files(wanted)}),
    )


def placing_anew(overlay: Overlay, mode: Mode, files: Sequence[Placing]) -> Request:
    """The request to enable an overlay and place these files in it; where that fails, it is taken away again."""
    from ovlay.cli.changing import Request
    from ovlay.elevate.calls import Call, install_anew, sent_files

    wanted = [file.request() for file in files]
    asked = {"access": mode.access, "persistence": mode.persistence, "files": sent_files(wanted)}
    return Request(
        plan=lambda: overlay.backend.plan_enable(mode),  # what is placed can be planned when there is an overlay
        carry_out=lambda confirm: install_anew(overlay, mode, wanted, confirm),
        done="",
        call=Call("install-anew", asked),
    )


def written(overlay: Overlay, outcome: Outcome, files: Sequence[Placing]) -> Iterator[Placing]:
    """Those of the files that were not there already."""
    paths = {posixpath.join(overlay.target, getattr(step, "path", "")) for step in outcome.plan.steps}
    for file in files:
        if normal(file.destination) in paths:
            yield file
