"""Build bkt from its repository and install it into the overlay, which is enabled for it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ovlay.bkt.cargo import Cargo
    from ovlay.bkt.placing import Placing
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Status
    from ovlay.overlay import Overlay
    from ovlay.plan.plan import Plan

EXAMPLES = """\
examples:
  ovlay-bkt dev install-local                  build, enable where it is not, install /usr/bin/bkt
  ovlay-bkt dev install-local --with-scripts   and /usr/bin/bootc-apply and /usr/bin/bootc-bootstrap
  ovlay-bkt dev install-local --no-build       install what was built before
  ovlay-bkt dev install-local --no-enable      refuse where no overlay is on
"""

DESTINATION = "/usr/bin/bkt"


class Source(NamedTuple):
    """Where bkt comes from: the repository, the scripts in it, and the cargo that builds; None where none is to."""

    repository: str
    scripts: list[Placing]
    cargo: Cargo | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is left out, and what comes with it."""
    parser.add_argument("--with-scripts", action="store_true", help="install the repository's boot scripts too")
    parser.add_argument("--no-build", action="store_true", help="install what was built before")
    parser.add_argument("--no-enable", action="store_true", help="refuse where no overlay is on, instead of enabling")


def run(options: Options, terminal: Terminal) -> int:
    """Build, enable, install. What can be refused is refused before the build, and a failed build changes nothing."""
    from ovlay.bkt.doing import HOW_TO_ENABLE
    from ovlay.cli.changing import demand_real_root
    from ovlay.cli.elevation import demand_way_to_root
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.signals import terminating
    from ovlay.errors import NotActive, NotPermitted
    from ovlay.model import Mode
    from ovlay.plan.plan import Plan

    overlay = open_chosen(options)
    source = _find_source(options)
    status = overlay.status()
    if not status.active and getattr(options, "no_enable", False):
        raise NotActive(
            f"there is no overlay on {overlay.target}, and --no-enable forbids to make one", remedy=HOW_TO_ENABLE
        )
    if options.dry_run:
        _show(source, Plan() if status.active else overlay.backend.plan_enable(Mode()), terminal)
        return 0
    if not status.active:
        with suppress(NotPermitted):  # what only root can plan is refused after the build
            overlay.backend.plan_enable(Mode())
    demand_real_root(overlay)
    demand_way_to_root(overlay, options)  # whoever cannot become root learns it before the build, which takes minutes
    with terminating():
        files = [_built(source, terminal), *source.scripts]
        _install(overlay, status, files, options, terminal)
    return 0


def _find_source(options: Options) -> Source:
    import os

    from ovlay.bkt.caller import find_caller
    from ovlay.bkt.cargo import demand_cargo
    from ovlay.bkt.placing import Placing
    from ovlay.bkt.repository import find_repository, scripts_of

    repository = find_repository()
    scripts = scripts_of(repository) if getattr(options, "with_scripts", False) else {}
    build = not getattr(options, "no_build", False)
    cargo = demand_cargo(repository, find_caller()) if build else None
    placings = [Placing(path, place, os.path.relpath(path, repository)) for place, path in scripts.items()]
    return Source(repository, placings, cargo)


def _built(source: Source, terminal: Terminal) -> Placing:
    """bkt's program, built now or before."""
    from ovlay.bkt.caller import find_caller
    from ovlay.bkt.cargo import find_built, find_cargo
    from ovlay.bkt.placing import Placing

    if source.cargo is not None:
        terminal.print("Building bkt in release mode...")
        sys.stdout.flush()  # cargo takes its time, and the reader may be a pipe's
        program = source.cargo.build()
    else:
        program = find_built(source.repository, find_cargo(source.repository, find_caller()))
    return Placing(program, DESTINATION, program)


def _install(overlay: Overlay, before: Status, files: list[Placing], options: Options, terminal: Terminal) -> None:
    """Enable where nothing is active, and install: one request, and so one prompt."""
    from ovlay.bkt.doing import carry_out, tell, until_when
    from ovlay.bkt.placing import placing, placing_anew, written
    from ovlay.model import Mode

    if not before.active:
        terminal.print("Enabling usroverlay...")
        sys.stdout.flush()
    request = placing(overlay, files) if before.active else placing_anew(overlay, Mode(), files)
    outcome = carry_out(request, overlay, options, terminal)
    lines = [f"Installing to {file.destination}..." for file in written(overlay, outcome, files)]
    lines.append(f"✓ Local bkt installed ({until_when(overlay.status())})")
    tell("install", outcome, overlay, terminal, *lines)


def _show(source: Source, enabling: Plan, terminal: Terminal) -> None:
    """What would be done. What would be installed is known only when it is built."""
    from ovlay.plan.plan import Plan

    terminal.document(Plan(enabling.steps, enabling.reason, (*enabling.warnings, *_around(source))).to_json())
    for line in (*enabling.describe(), *enabling.warnings, *_around(source)):
        terminal.print(line)


def _around(source: Source) -> Iterator[str]:
    import shlex

    if source.cargo is not None:
        yield f"as {source.cargo.caller.name} before: {shlex.join(source.cargo.build_words())}"
    yield f"then {DESTINATION} is installed"
    yield from (f"then {file.shown} is installed as {file.destination}" for file in source.scripts)
