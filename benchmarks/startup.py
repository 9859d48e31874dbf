"""What ovlay costs to start, as ratios to what the same interpreter must do in any case.

Each pair runs interleaved, and ratios are taken pair by pair: what else the machine does slows both down. A real
interpreter is measured (``sys.executable -I``), never a version manager's shim. ``--write`` puts the table into
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

EMPTY = ("-c", "pass")
IMPORT = ("-c", "import ovlay")
# What it needs in any case: the loader of drivers, the options, the output.
LEAST = ("-c", "import stevedore.driver, argparse, json")
# The command as it is installed beside the interpreter.
DETECTED = (str(Path(sys.executable).with_name("ovlay")), "status", "--json", "--target", "/srv")
NAMED = (*DETECTED, "--backend", "overlayfs")


class Comparison(NamedTuple):
    """What two runs of the interpreter are given, and how many times the time of the second the first may take."""

    name: str
    measured: tuple[str, ...]
    yardstick: tuple[str, ...]
    limit: float


COMPARISONS = (
    Comparison("`import ovlay`, against an empty program", IMPORT, EMPTY, 3.0),
    Comparison(
        "`ovlay status --json`, every driver probed, against importing what it needs in any case", DETECTED, LEAST, 1.25
    ),
    Comparison("`ovlay status --json --backend NAME`, against the same", NAMED, LEAST, 1.25),
)


class Result(NamedTuple):
    """A line of the table."""

    name: str
    value: str
    limit: str
    kept: bool


def seconds(program: tuple[str, ...]) -> float:
    """The wall-clock time of one run of a program in an interpreter of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-I", *program], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def compared(comparison: Comparison, runs: int) -> Result:
    """Run both programs in turn: the median of the ratios pair by pair, and the medians of their times."""
    pairs = [(seconds(comparison.measured), seconds(comparison.yardstick)) for _ in range(runs + 1)][1:]
    measured, yardstick = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / its for mine, its in pairs)
    value = f"{ratio:.2f} x ({measured * 1e3:.1f} ms / {yardstick * 1e3:.1f} ms)"
    return Result(comparison.name, value, f"{comparison.limit:g} x", ratio <= comparison.limit)


def status_in_process(runs: int) -> Result:
    """`Overlay.status()` where nothing is enabled, on the kernel under this machine."""
    import ovlay

    with tempfile.TemporaryDirectory() as directory:
        overlay = ovlay.open("overlayfs", target=directory)
        overlay.status()
        taken = []
        for _ in range(runs * 20):
            start = time.perf_counter()
            overlay.status()
            taken.append(time.perf_counter() - start)
    median = statistics.median(taken)
    return Result("`Overlay.status()` in a process, nothing enabled", f"{median * 1e3:.3f} ms", "1 ms", median < 1e-3)


def table(results: list[Result]) -> str:
    """The results as a table in Markdown."""
    lines = ["| what | measured | at most | |", "|---|---|---|---|"]
    lines += [f"| {r.name} | {r.value} | {r.limit} | {'kept' if r.kept else 'EXCEEDED'} |" for r in results]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=21, help="how often each program is run (21)")
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.name} too")
    parser.add_argument("--strict", action="store_true", help="fail where a limit is exceeded; wants a quiet machine")
    options = parser.parse_args()
    results = [*(compared(comparison, options.runs) for comparison in COMPARISONS), status_in_process(options.runs)]
    text = table(results)
    sys.stdout.write(text)
    if options.write:
        python = f"Python {platform.python_version()}, Linux {platform.release()}, {platform.machine()}"
        head = "# Benchmarks\n\nWritten by `python benchmarks/startup.py --write`; medians of interleaved runs.\n\n"
        PAGE.write_text(f"{head}{python}\n\n{text}")
    return 1 if options.strict and not all(result.kept for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
