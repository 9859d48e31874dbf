"""The programs of `tests.faults`, carried into a host of the lab and run there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.tracer import SUPPORTED
from tests.lacking import lacking

if TYPE_CHECKING:
    from tests.lab.host import LabHost

PLACE = "/run/ovlay-lab/faults"


def carry(host: LabHost) -> None:
    """Put the programs into the host."""
    if not SUPPORTED:
        lacking("the tracer knows the system calls of x86-64 alone")
    host.sh(f"mkdir -p {PLACE}")
    for path in (Path(__file__).parents[1] / "faults").glob("*.py"):
        host.run("sh", "-c", f"cat >{PLACE}/{path.name}", stdin=path.read_text())


def run_inside(host: LabHost, program: str, *words: str) -> list[Any]:
    """Run one of them, and return the documents that it printed, a line each."""
    carry(host)
    said = host.run("/usr/bin/python3", "-I", f"{PLACE}/{program}.py", *words)
    return [json.loads(line) for line in said.stdout.splitlines()]
