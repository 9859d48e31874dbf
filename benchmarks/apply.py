"""Measure `ovlay apply` against its peers on one tree, in one run: python benchmarks/apply.py --write FILE.

Needs root. A tree of 10,000 files and 50 MB is declared by one entry of a manifest. The first apply into an empty
overlay is measured against `cp -a` into an overlay of the same kind, and one that has nothing to do against `rsync -a
-n`, which compares sizes and times too and changes nothing. All are whole processes, all runs are warm, and the
programs take turns, so that a busy machine is busy for each of them; the best run of each counts. Python's byte code
is there before, as it is where ovlay was installed. With strace(1) it is counted that no source is
opened more often than it has to be.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import ovlay as ovlay_package

DIRECTORIES, FILES, SIZE = 100, 100, 5_000  # in each directory; bytes


class Row(NamedTuple):
    """One line of the table: what was measured, the best runs in seconds, and the ratio that is promised."""

    what: str
    ours: float
    peer: float
    most: float


def main() -> None:
    """Make the tree, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each program runs (default: %(default)s)")
    parser.add_argument(
        "--directory", default=tempfile.gettempdir(), help="where the source is made (default: %(default)s)"
    )
    parser.add_argument("--write", metavar="FILE", help="write the table there, as Markdown")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can mount an overlay")
    if "OVLAY_BENCHMARK_ALONE" not in os.environ:
        # In a mount namespace of its own, so that nothing stays mounted whatever happens.
        os.environ["OVLAY_BENCHMARK_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])  # noqa: S606
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="ovlay-benchmark-") as place:
        table = measure(Path(place), options.rounds)
    print(table)  # noqa: T201
    if options.write:
        Path(options.write).write_text(table)


def make_tree(top: Path) -> None:
    """The source, the same each time; its times are an hour ago, as those of no file are that is just being made."""
    chance = random.Random(1)  # noqa: S311 (the same tree each time)
    for number in range(DIRECTORIES):
        directory = top / f"d{number:03}"
        directory.mkdir(parents=True)
        for file in range(FILES):
            (directory / f"f{file:03}").write_bytes(chance.randbytes(SIZE))


def measure(place: Path, rounds: int) -> str:
    """The table, as Markdown."""
    source, target = place / "source", place / "usr"
    make_tree(source)
    (target / "share").mkdir(parents=True)
    run("mount", "--make-rprivate", "/")
    for kept in ("/run", "/var/lib"):  # where ovlay keeps its upper and its receipts, and what it saw of the base
        run("mount", "-t", "tmpfs", "tmpfs", kept)
    manifest = place / "manifest.toml"
    manifest.write_text(
        f'schema = 1\ntarget = "{target}"\n[[tree]]\npath = "{target}/share/tree"\nsource = "{source}"\n'
    )
    script = Path(sys.executable).with_name("ovlay")
    ovlay = [str(script), "--backend", "overlayfs", "--target", str(target)]
    run(sys.executable, "-m", "compileall", "-q", Path(ovlay_package.__file__).parent)
    apply = [*ovlay, "apply", "--yes", "--quiet", str(manifest)]
    time.sleep(0.1)

    def fresh() -> None:
        if subprocess.run([*ovlay, "unmount", "--yes", "--quiet"], check=False, capture_output=True).returncode:
            run("umount", "-l", target)
        shutil.rmtree("/var/lib/ovlay", ignore_errors=True)
        run(*ovlay, "enable", "--yes", "--quiet")

    first: dict[str, list[float]] = collections.defaultdict(list)
    for _ in range(rounds):
        for name, command in (("ovlay", apply), ("cp", ["cp", "-a", str(source), f"{target}/share/tree"])):
            fresh()
            first[name].append(timed(command))
    fresh()
    opened = opens(apply, source)
    idle = opens(apply, source)
    again: dict[str, list[float]] = collections.defaultdict(list)
    rsync = ["rsync", "-a", "-n", f"{source}/", f"{target}/share/tree/"]
    for _ in range(2 * rounds):
        for name, command in (("ovlay", apply), ("rsync", rsync)):
            again[name].append(timed(command))
    run("umount", "-l", target)
    rows = (
        Row("first `ovlay apply`, against `cp -a`", min(first["ovlay"]), min(first["cp"]), 2),
        Row("the second one, with nothing to do, against `rsync -a -n`", min(again["ovlay"]), min(again["rsync"]), 1.5),
    )
    return report(rows, opened, idle)


def report(rows: tuple[Row, ...], opened: str, idle: str) -> str:
    """The measurements as Markdown."""
    version = subprocess.run(["rsync", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    lines = [
        "# Applying a manifest: how long it takes",
        "",
        "Written by `python benchmarks/apply.py --write docs/benchmarks-apply.md`.",
        "",
        f"{DIRECTORIES * FILES:,} files, {DIRECTORIES * FILES * SIZE // 1_000_000} MB, one `[[tree]]`; "
        f"Python {sys.version.split()[0]}, Linux {os.uname().release}, rsync {version}; "
        "the best of several interleaved runs, each a whole process",
        "",
        "| what | measured | at most | |",
        "|---|---|---|---|",
    ]
    for row in rows:
        ratio = row.ours / row.peer
        kept = "kept" if ratio <= row.most else "**missed**"
        took = f"{row.ours * 1000:.0f} ms / {row.peer * 1000:.0f} ms"
        lines.append(f"| {row.what} | {ratio:.2f} x ({took}) | {row.most:g} x | {kept} |")
    lines.append(f"| how often a source is opened, by strace(1): first time | {opened} | 1 | |")
    lines.append(f"| and with nothing to do | {idle} | 0 | |")
    return "\n".join(lines) + "\n"


def opens(command: list[str], source: Path) -> str:
    """The most that one file of the source was opened by a command; "not counted" without strace(1)."""
    if shutil.which("strace") is None:
        subprocess.run(command, check=True, capture_output=True)
        return "not counted"
    with tempfile.NamedTemporaryFile("r") as trace:
        run("strace", "-f", "-qq", "-e", "trace=open,openat,openat2", "-o", trace.name, *command)
        found = collections.Counter(re.findall(rf'"({re.escape(str(source))}/d[0-9]+/f[0-9]+)"', trace.read()))
    return str(max(found.values(), default=0))


def timed(command: list[str]) -> float:
    """The seconds that a command takes."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def run(*words: object) -> None:
    """Run a command that must succeed."""
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
