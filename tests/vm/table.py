"""The table of the runs: one row for each check on each host, when it was made, and how long it took.

A run replaces the rows of its own checks, so that a part of the checks can be made again by itself.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

PLACE = Path(__file__).parents[2] / "docs" / "vm.md"

_HEAD = """# Real boots

Written by `tox -e vm -- --full --write`. Each row is a test in `tests/vm/`: a Debian on ostree that boots under QEMU
with its own kernel, initramfs and systemd; a reboot is one from within, a power cut is QEMU killed. See
[testing](testing.md#real-boots).
"""
_HOSTS = "| Host | What it is |"
_CHECKS = "| Check | Host | Result | Seconds | Date | Seen |"


ROW = "vm-row"
"""The property of a report that has the row: it comes along from a process that xdist has started."""


@dataclass(frozen=True, slots=True)
class Row:
    """How one check ended on one host, and what was booted there."""

    check: str
    host: str
    outcome: str
    seconds: float
    notes: tuple[str, ...] = ()
    versions: str = ""

    def to_json(self) -> str:
        """The row as the property of a report."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> Row:
        """The row that a property has."""
        found = json.loads(text)
        return Row(**{**found, "notes": tuple(found["notes"])})

    def cells(self) -> list[str]:
        """The row as it is written."""
        seen = "; ".join(self.notes)
        return [self.check, self.host, self.outcome, f"{self.seconds:.0f}", time.strftime("%F"), seen]


@dataclass(slots=True, eq=False)
class Table:
    """The rows of a run; a plugin of pytest that takes them out of the reports, where they were made."""

    rows: list[Row] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the row of a test that has ended."""
        self.rows += [Row.from_json(str(value)) for name, value in report.user_properties if name == ROW]

    def text(self, earlier: str = "") -> str:
        """The page, with the rows of an earlier one that are not made again."""
        versions = {cells[0]: cells[1] for cells in _cells(earlier, _HOSTS)}
        versions |= {row.host: row.versions for row in self.rows if row.versions}
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
