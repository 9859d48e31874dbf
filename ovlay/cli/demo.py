"""Show all of it on a throw-away directory, with no root.

The kernel's own overlayfs is used where it can be had in a namespace of the demo's own; else the driver `fake`, which
plays it. Either way nothing on this host is changed but a temporary directory, which is removed at the end.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.cli.story import Change, Scene
from ovlay.errors import InvalidInput, ToolFailed
from ovlay.model import as_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Iterator

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

SCHEMA = "ovlay.demo/1"

EXAMPLES = """\
examples:
  ovlay demo                     the story, with the kernel's overlayfs where that works
  ovlay demo --backend fake      with no help from the kernel at all
  ovlay demo --keep              leave the directory there, to look around in
"""


class Unavailable(Exception):
    """The kernel's overlayfs cannot be had here; the message says why."""


class Cast(NamedTuple):
    """Which driver plays, and why."""

    backend: str
    why: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what happens to the directory."""
    parser.add_argument("--keep", action="store_true", help="do not remove the temporary directory")


def run(options: Options, terminal: Terminal) -> int:
    """Play the story, print it scene by scene, and clean up after it."""
    from ovlay.cli.changing import show_plan
    from ovlay.cli.signals import terminating
    from ovlay.plan.plan import Plan

    if options.backend not in (None, "fake", "overlayfs"):
        raise InvalidInput(f"the demo has no {options.backend!r}", remedy="--backend fake, or --backend overlayfs")
    if options.dry_run:
        show_plan(Plan(reason="the demo changes nothing but a temporary directory"), terminal)
        return 0
    keep = getattr(options, "keep", False)
    with terminating(), temporary_directory(keep=keep) as directory:
        document = _play(options, terminal, directory)
    terminal.print()
    terminal.print(f"{directory} is kept." if keep else f"Nothing is left: {directory} is removed.")
    terminal.print("On an image-based host the same begins with `ovlay status` and `sudo ovlay enable`.")
    terminal.document({**document, "kept": keep})
    return 0


def _play(options: Options, terminal: Terminal, directory: str) -> dict[str, Any]:
    """Play with the kernel's overlayfs, or else with the fake driver, and return what is to be told as JSON."""
    if options.backend != "fake":
        cast = Cast("overlayfs", "the kernel's overlayfs can be had in a namespace of the demo's own")
        try:
            return _show(cast, _on_the_kernel(os.path.join(directory, "kernel")), terminal, directory)
        except Unavailable as error:
            if options.backend == "overlayfs":
                raise ToolFailed(
                    f"the kernel's overlayfs cannot be had here: {error}", remedy="`ovlay demo --backend fake`"
                ) from error
            cast = Cast("fake", f"the kernel's overlayfs cannot be had here: {error}")
    else:
        cast = Cast("fake", "named by --backend")
    return _show(cast, _on_the_fake(os.path.join(directory, "fake")), terminal, directory)


def _show(cast: Cast, items: Generator[Scene | Change], terminal: Terminal, directory: str) -> dict[str, Any]:
    scenes: list[Scene] = []
    changes: list[Change] = []
    with closing(items):  # Ctrl-C: the process on the stage ends before its directory goes
        for item in items:
            if isinstance(item, Change):
                changes.append(item)
                continue
            if not scenes:
                terminal.print(f"This is a demo with the driver {cast.backend}: {cast.why}.")
                terminal.print(f"What is called /usr below is a throw-away tree in {directory}.")
            scenes.append(_in_short(item, directory))
            _print(scenes[-1], terminal)
    return {
        "schema": SCHEMA,
        "backend": cast.backend,
        "why": cast.why,
        "directory": directory,
        "steps": as_json(scenes),
        "changes": as_json(changes),
    }


def _print(scene: Scene, terminal: Terminal) -> None:
    terminal.print()
    terminal.print(terminal.strong(f"# {scene.title}"))
    terminal.print(f"$ {scene.command}")
    for line in scene.output:
        terminal.print(line)
    sys.stdout.flush()  # a reader at the other end of a pipe sees it as it happens


def _in_short(scene: Scene, directory: str) -> Scene:
    """The scene with /usr for the long name of the throw-away tree."""

    def short(text: str) -> str:
        return text.replace(f"{directory}/kernel", "").replace(f"{directory}/fake", "")

    return Scene(short(scene.title), short(scene.command), tuple(map(short, scene.output)))


def _on_the_kernel(directory: str) -> Generator[Scene | Change]:
    """The story as the process on the stage tells it; raises `Unavailable` before the first scene."""
    import json
    import subprocess

    os.mkdir(directory)
    argv = [sys.executable, "-P", "-m", "ovlay.cli.stage", directory]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as stage:
        assert stage.stdout is not None
        try:
            for line in stage.stdout:
                item = json.loads(line)
                if "unavailable" in item:
                    raise Unavailable(item["unavailable"])
                if "failed" in item:
                    raise ToolFailed(item["failed"]["message"], remedy=item["failed"]["remedy"])
                if "change" in item:
                    yield Change(item["change"]["path"], tuple(item["change"]["aspects"]))
                else:
                    yield Scene(item["scene"]["title"], item["scene"]["command"], tuple(item["scene"]["output"]))
        finally:
            if stage.poll() is None and sys.exc_info()[0] is not None:
                stage.kill()
    if stage.returncode != 0:
        raise ToolFailed(f"the demo's own process ended with status {stage.returncode}", status=stage.returncode)


def _on_the_fake(directory: str) -> Generator[Scene | Change]:
    from ovlay.cli.story import make_base, tell
    from ovlay.overlay import open_overlay
    from ovlay.simulated import SimulatedHost

    os.mkdir(directory)
    make_base(os.path.join(directory, "usr"))
    with SimulatedHost(directory) as host:
        yield from tell(open_overlay("fake", host=host), os.path.dirname(directory))


@contextmanager
def temporary_directory(*, keep: bool) -> Iterator[str]:
    """A directory that is gone afterwards, with all that a killed demo may have left in it."""
    import shutil
    import tempfile

    directory = tempfile.mkdtemp(prefix="ovlay-demo-")
    try:
        yield directory
    finally:
        if not keep:
            # overlayfs makes its work directory with mode 0, which keeps everyone but root from emptying it.
            for folder, names, _ in os.walk(directory):
                for name in names:
                    path = os.path.join(folder, name)
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
            shutil.rmtree(directory)
