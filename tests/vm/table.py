"""The table of the runs: one row for each check on each host, when it was made, and how long it took.

A run replaces the rows of its own checks, so that a part of the checks can be made again by itself.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

PLACE = Path(__file__).parents[2] / "docs" / "vm.md"

_HEAD = """# Real boots

Written by `tox -e vm -- --full --write`. Each row is a test in `tests/vm/`: a Debian on ostree that boots under QEMU
with its own kernel, initramfs and systemd; a reboot is one from within, a power cut is QEMU killed. See
[testing](testing.md#real-boots).
"""
_HOSTS = "| Host | What it is |"
_CHECKS = "| Check | Host | Result | Seconds | Date | Seen |"


@dataclass(frozen=True, slots=True)
class Row:
    """How one check ended on one host."""

    check: str
    host: str
    outcome: str
    seconds: float
    notes: tuple[str, ...] = ()

    def cells(self) -> list[str]:
        """The row as it is written."""
        seen = "; ".join(self.notes)
        return [self.check, self.host, self.outcome, f"{self.seconds:.0f}", time.strftime("%F"), seen]


@dataclass(slots=True)
class Table:
    """The rows of a run, and the versions of what was booted."""

    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def text(self, earlier: str = "") -> str:
        """The page, with the rows of an earlier one that are not made again."""
        versions = {cells[0]: cells[1] for cells in _cells(earlier, _HOSTS)} | self.versions
        rows = {(cells[0], cells[1]): cells for cells in _cells(earlier, _CHECKS)}
        rows |= {(row.check, row.host): row.cells() for row in self.rows}
        qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
        lines = [_HEAD, qemu.splitlines()[0] + ".", "", _HOSTS, "|---|---|"]
        lines += [f"| {name} | {text} |" for name, text in sorted(versions.items())]
        lines += ["", _CHECKS, "|---|---|---|---|---|---|"]
        lines += ["| " + " | ".join(cells) + " |" for _, cells in sorted(rows.items())]
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        """Write the page to docs/vm.md."""
        PLACE.write_text(self.text(PLACE.read_text() if PLACE.exists() else ""))


def _cells(page: str, head: str) -> list[list[str]]:
    """The rows of the table below a head."""
    lines = page.partition(head + "\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines]
