"""Fuzz ovlay's parsers, guided by coverage: pip install 'ovlay[fuzz]'; python -m tests.fuzz PARSER [--seconds N]

Exit status 1 where an input was found that breaks a promise, hangs, or takes too much memory.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.fuzz.campaign import campaign
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

CORPUS = Path(__file__).parent / "corpus"

_ROUND = 300  # seconds; after each one the processor time is looked at
_HANGS = 60  # seconds for one input, which has at most 16 kB: others may want the processors too
_MEMORY = 2048  # MB
_LONGEST = 16_384


class Result(NamedTuple):
    """What a campaign did. ``crashes`` are the files with what it found."""

    executions: int
    seconds: float
    processor: float
    corpus: int
    crashes: tuple[Path, ...]

    def __str__(self) -> str:
        rate = self.executions / max(self.processor, 0.001)
        return (
            f"{self.executions} executions, {rate:.0f} a second of processor time, {self.processor:.0f} s of it in "
            f"{self.seconds:.0f} s, {self.corpus} inputs in the corpus, {len(self.crashes)} crashes"
        )


def fuzz(name: str, folder: Path, *, seconds: float, processor: float | None = None) -> Iterator[Result]:
    """Fuzz for so many seconds, or for so many of processor time, and tell after each round what was done until then.

    The corpus and the crashes stay in ``folder``.
    """
    corpus, crashes = folder / "corpus" / name, folder / "crashes"
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    words = folder / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in TARGETS[name].words))
    start, executions = time.monotonic(), 0
    used = _processor_time()
    while (left := _left(start, used, seconds, processor)) >= 1:
        before = _found(crashes, name)
        executions += _round(name, crashes, words, corpus, min(left, _ROUND))
        used_up = _processor_time() - used
        found = _found(crashes, name)
        yield Result(executions, time.monotonic() - start, used_up, len(list(corpus.iterdir())), found)
        if any(not path.name.startswith("crash-") for path in set(found) - set(before)):
            break  # a hang, or out of memory: the next round would find the same


def _left(start: float, used: float, seconds: float, processor: float | None) -> float:
    if processor is not None:
        return processor - (_processor_time() - used)
    return seconds - (time.monotonic() - start)


def _round(name: str, crashes: Path, words: Path, corpus: Path, seconds: float) -> int:
    """One process; returns the executions."""
    options = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-timeout={_HANGS}",
        f"-report_slow_units={_HANGS}",  # below that the machine was slow, by the clock, and not the parser
        f"-rss_limit_mb={_MEMORY}",
        f"-max_len={_LONGEST}",
        f"-artifact_prefix={crashes}/{name}-",
        f"-dict={words}",
        "-print_final_stats=1",
    ]
    seeds = [str(path) for path in (CORPUS / name,) if path.is_dir()]
    command = [*campaign(name, crashes), *options, str(corpus), *seeds]
    done = subprocess.run(command, capture_output=True, check=False, errors="replace")
    said = done.stderr
    counts = re.findall(r"^stat::number_of_executed_units:\s*(\d+)", said, re.MULTILINE)
    if not counts:
        counts = re.findall(r"^#(\d+)\s", said, re.MULTILINE)
    if done.returncode != 0:
        sys.stderr.write(said[-4000:])
    if not counts:
        raise SystemExit(f"{name}: the fuzzer did not run, exit status {done.returncode}")
    return int(counts[-1])


def _found(crashes: Path, name: str) -> tuple[Path, ...]:
    mine = (f"crash-{name}-", f"{name}-")
    return tuple(sorted(p for p in crashes.iterdir() if p.name.startswith(mine) and p.suffix != ".txt"))


def _escaped(word: str) -> str:
    """A word for libFuzzer's dictionary."""
    return "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else f"\\x{ord(c):02x}" for c in word)


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def minimise(name: str, folder: Path, *, largest: int, most: int) -> None:
    """Make the committed corpus anew: inputs that together reach all that it and ``folder`` reach, the small ones."""
    seeds = CORPUS / name
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch) / "kept"
        kept.mkdir()
        small = Path(scratch) / "small"
        small.mkdir()
        for path in sorted((folder / "corpus" / name).iterdir(), key=lambda path: path.stat().st_size):
            if path.stat().st_size <= largest:
                shutil.copy(path, small)
        options = ["-merge=1", f"-max_len={_LONGEST}", str(kept), str(seeds), str(small)]
        command = [*campaign(name, scratch), *options]
        done = subprocess.run(command, capture_output=True, check=True, errors="replace")
        if not any(kept.iterdir()):
            raise SystemExit(f"{name}: the inputs could not be merged:\n{done.stderr[-4000:]}")
        for path in sorted(kept.iterdir(), key=lambda path: path.stat().st_size)[:most]:
            if not any(path.read_bytes() == seed.read_bytes() for seed in seeds.iterdir()):
                shutil.copy(path, seeds / path.name[:12])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("parser", choices=[*TARGETS, "all"], nargs="+", metavar="PARSER", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="for each parser (default: 60)")
    parser.add_argument("--processor-seconds", type=float, metavar="N", help="of processor time instead")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="keeps the corpus and what was found")
    parser.add_argument("--minimise", action="store_true", help="add what DIR's corpus reaches to the committed one")
    given = parser.parse_args()
    names = list(TARGETS) if "all" in given.parser else given.parser
    folder = given.directory or Path(tempfile.mkdtemp(prefix="ovlay-fuzz-"))
    os.makedirs(folder, exist_ok=True)
    found = 0
    for name in names:
        if given.minimise:
            minimise(name, folder, largest=2000, most=150)
            continue
        crashes: tuple[Path, ...] = ()
        for result in fuzz(name, folder, seconds=given.seconds, processor=given.processor_seconds):
            sys.stdout.write(f"{name}: {result}\n")
            sys.stdout.flush()
            crashes = result.crashes
        sys.stdout.write("".join(f"  {path}\n" for path in crashes))
        found += len(crashes)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
