"""The table of a run: one row for each check on each host, with what was used and how long it took."""

from __future__ import annotations

import platform
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


@dataclass(frozen=True, slots=True)
class Row:
    """How one check ended on one host."""

    check: str
    host: str
    outcome: str
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Table:
    """The rows of a run, and the versions of what was booted."""

    rows: list[Row] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The page."""
        qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
        passed = sum(row.outcome == "holds" for row in self.rows)
        total = sum(row.seconds for row in self.rows)
        lines = [_HEAD, f"{passed} of {len(self.rows)} rows hold; {total / 60:.0f} minutes, on {time.strftime('%F')}."]
        lines += ["", f"{qemu.splitlines()[0]}, on {platform.machine()}.", "", "| Host | What it is |", "|---|---|"]
        lines += [f"| {name} | {text} |" for name, text in sorted(self.versions.items())]
        lines += ["", "| Check | Host | | Seconds | |", "|---|---|---|---|---|"]
        for row in self.rows:
            lines.append(f"| {row.check} | {row.host} | {row.outcome} | {row.seconds:.0f} | {'; '.join(row.notes)} |")
        return "\n".join(lines) + "\n"

    def write(self) -> None:
        """Write the page to docs/vm.md."""
        PLACE.write_text(self.text())
