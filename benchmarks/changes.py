"""Measure `Overlay.changes` against its peers on one tree, in one run: python benchmarks/changes.py --write FILE.

Needs root. The tree is made anew, and the same each time (a random generator with a fixed seed): directories up to
thirteen deep, files of 100 bytes to 20 KB. Of the changed files four tenths are edited in place, two are appended to,
and one each is chmodded, deleted, added and touched. All runs are warm, and the programs take turns, so that a busy
machine is busy for each of them; the best of the runs is the one that was disturbed least, and of these are the
ratios. The peers do less: none sees attributes or ACLs, and rsync no edit that keeps size and time.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

LEAK = (
    "overlayfs-tools 2025.01 leaves two descriptors open for each file that differs in its bytes alone: with 50,000 "
    "changes it comes to its end only in a build that closes them (logic.c, regular_file_identical), as it did here."
)
SIZES = (100, 800, 3000, 8000, 8000, 20000)
DEEPEST = 13


class Sizes(NamedTuple):
    """How large the tree is, and with how many changes it is measured."""

    directories: int = 22_000
    files: int = 200_000
    changes: tuple[int, ...] = (10, 1_000, 50_000)


QUICK = Sizes(1_100, 10_000, (10, 1_000))


class Peer(NamedTuple):
    """A program that is measured: how it is called, its version, and how to run it once."""

    name: str
    version: str
    run: Callable[[], object]


def main() -> None:
    """Make the tree, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tree of a twentieth of the size")
    parser.add_argument("--rounds", type=int, default=7, help="how often each program runs (default: %(default)s)")
    parser.add_argument("--overlayfs-tools", metavar="PROGRAM", help="the program `overlay` of overlayfs-tools")
    parser.add_argument(
        "--directory", default=tempfile.gettempdir(), help="where the tree is made (default: %(default)s)"
    )
    parser.add_argument("--write", metavar="FILE", help="write the table there, as Markdown")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("only root can mount an overlay and look beneath it")
    if "OVLAY_BENCHMARK_ALONE" not in os.environ:
        # In a mount namespace of its own, so that nothing stays mounted whatever happens.
        os.environ["OVLAY_BENCHMARK_ALONE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])  # noqa: S606
    sizes = QUICK if options.quick else Sizes()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="ovlay-benchmark-") as place:
        table = measure(Path(place), sizes, options.rounds, options.overlayfs_tools)
    print(table)  # noqa: T201
    if options.write:
        Path(options.write).write_text(table)


# --- the tree --------------------------------------------------------------------------------------------------------


def make_tree(top: Path, sizes: Sizes) -> None:
    """Fill a directory."""
    chance = random.Random(1)  # noqa: S311 (the same tree each time)
    directories = [str(top)]
    depth = {str(top): 0}
    for number in range(sizes.directories):
        near = directories[-3000:] if chance.random() < 0.7 else directories
        parent = chance.choice(near)
        if depth[parent] >= DEEPEST:
            parent = str(top)
        path = f"{parent}/d{number}"
        os.mkdir(path)
        depth[path] = depth[parent] + 1
        directories.append(path)
    content = chance.randbytes(1 << 20)
    for number in range(sizes.files):
        size, start = chance.choice(SIZES), chance.randrange(1 << 19)
        Path(f"{chance.choice(directories)}/f{number}").write_bytes(content[start : start + size])


def change_tree(top: Path, count: int) -> None:
    """Make that many changes through the merged view."""
    files = sorted(Path(folder) / name for folder, _, names in os.walk(top) for name in names)
    random.Random(count).shuffle(files)  # noqa: S311
    for number, path in enumerate(files[:count]):
        what = number % 10
        if what < 4:
            with path.open("r+b") as stream:
                first = stream.read(1)
                stream.seek(0)
                stream.write(bytes([first[0] ^ 1]))
        elif what < 6:
            with path.open("ab") as stream:
                stream.write(b"x")
        elif what == 6:
            path.chmod(0o600)
        elif what == 7:
            path.unlink()
        elif what == 8:
            (path.parent / f"new{number}").write_bytes(b"x" * 500)
        else:
            os.utime(path)


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(place: Path, sizes: Sizes, rounds: int, overlayfs_tools: str | None) -> str:
    """The table, as Markdown."""
    base, beneath = place / "base", place / "beneath"
    for directory in (base, beneath):
        directory.mkdir()
    make_tree(base, sizes)
    run("mount", "--bind", base, beneath)
    try:
        return measured(place, base, beneath, sizes, rounds, overlayfs_tools)
    finally:
        run("umount", beneath)


def measured(  # noqa: PLR0917
    place: Path, base: Path, beneath: Path, sizes: Sizes, rounds: int, overlayfs_tools: str | None
) -> str:
    """The table, of a base that is also seen ``beneath`` the overlays that are put on it."""
    rows: list[str] = []
    versions: dict[str, str] = {}
    for count in sizes.changes:
        layers = place / str(count)
        for name in ("upper", "work"):
            (layers / name).mkdir(parents=True)
        (layers / "upper").chmod(base.stat().st_mode & 0o7777)
        shown = f"lowerdir={base},upperdir={layers}/upper,workdir={layers}/work"
        run("mount", "-t", "overlay", "ovlay", "-o", shown, base)
        change_tree(base, count)
        peers = found_peers(base, beneath, layers / "upper", overlayfs_tools)
        times = take_turns(peers, rounds)
        versions |= {peer.name: peer.version for peer in peers}
        rows += [row(count, peer.name, times) for peer in peers]
        run("umount", base)
    head = f"{sizes.files:,} files in {sizes.directories:,} directories"
    lines = [
        "# What changed: how long it takes",
        "",
        f"{head}, warm, the best and the median of {rounds} runs that took turns, on {os.cpu_count()} processors, "
        f"Linux {os.uname().release}, Python {sys.version.split()[0]}. Made by `python benchmarks/changes.py`.",
        "",
        "| changes | | best, s | median, s | best: of overlayfs-tools | median | best: of rsync | median |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        *(f"- {name}: {version}" for name, version in versions.items()),
        "",
        *((LEAK, "") if overlayfs_tools else ()),
    ]
    return "\n".join(lines)


def take_turns(peers: list[Peer], rounds: int) -> dict[str, list[float]]:
    """The seconds that each took, by name; one that fails has none."""
    times: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for turn in range(rounds + 1):
        for peer in peers:
            begin = time.perf_counter()
            try:
                peer.run()
            except (OSError, subprocess.CalledProcessError):
                continue
            if turn:  # the first one warms the caches
                times[peer.name].append(time.perf_counter() - begin)
    return times


def row(count: int, name: str, times: dict[str, list[float]]) -> str:
    """One line of the table."""
    mine = times[name]
    if not mine:
        return f"| {count:,} | {name} | failed | | | | | |"
    middle = statistics.median(mine)
    cells = [f"{min(mine):.4f}", f"{middle:.4f}"]
    for other in ("overlayfs-tools", "rsync"):
        theirs = times.get(other)
        cells += [f"{min(mine) / min(theirs):.3f}", f"{middle / statistics.median(theirs):.3f}"] if theirs else ["", ""]
    return f"| {count:,} | {name} | {' | '.join(cells)} |"


def found_peers(base: Path, beneath: Path, upper: Path, overlayfs_tools: str | None) -> list[Peer]:
    """ovlay, each way, and the peers that are installed."""
    import ovlay
    from ovlay.changes.find import look
    from ovlay.host import Host

    host = Host()
    mount = host.kernel.mounts().stack(str(base))[-1]

    def by_upper(workers: int | None) -> None:
        with host.kernel.views(mount) as views:
            assert views.upper is not None
            look(host, mount, views, workers=workers)

    def without(workers: int | None) -> None:
        with host.kernel.views(mount) as views:
            look(host, mount, views._replace(upper=None), workers=workers)

    version = ovlay.__version__
    peers = [
        Peer("ovlay, upper reached", version, lambda: by_upper(None)),
        Peer("ovlay, upper reached, one process", version, lambda: by_upper(1)),
        Peer("ovlay, no path to the upper", version, lambda: without(None)),
        Peer("ovlay, no path to the upper, one process", version, lambda: without(1)),
    ]
    if overlayfs_tools is not None:
        # It keeps two descriptors open for each file that differs in its bytes alone.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        said = subprocess.run([overlayfs_tools, "--version"], check=False, capture_output=True, text=True)
        named = (said.stdout + said.stderr).strip().split("\n")[0]
        command = [overlayfs_tools, "-l", str(beneath), "-u", str(upper), "diff"]
        peers.append(Peer("overlayfs-tools", named, lambda: run(*command)))
    if shutil.which("rsync"):
        said = subprocess.run(["rsync", "--version"], check=True, capture_output=True, text=True)
        compare = ["rsync", "-n", "-a", "--delete", "-i", f"{base}/", f"{beneath}/"]
        peers.append(Peer("rsync", said.stdout.split("\n")[0], lambda: run(*compare)))
    return peers


def run(*command: str | os.PathLike[str]) -> None:
    """Run a program to its end; its output is thrown away."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
