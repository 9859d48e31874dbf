"""Say what an upgrade does to the overlay: what is lost, and what the manifests bring back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.counting import counted
from ovlay.services.guard import GUARD_SCHEMA as SCHEMA

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.services.guard import Forecast, Loss

EXAMPLES = """\
examples:
  ovlay guard upgrade                                 what would be lost?
  ovlay guard upgrade --json                          for a program: schema ovlay.guard/1
  ovlay guard upgrade && bootc upgrade                upgrade only where nothing is lost
  ovlay guard upgrade --ignore 'lib/python3*/**/*.pyc'
"""

__all__ = ["EXAMPLES", "SCHEMA", "add_arguments", "run"]

LOST = 1
_MOST = 20  # paths of each kind that are named without -v


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is going to happen, and what nobody misses."""
    parser.usage = "ovlay guard [OPTION]... upgrade"
    parser.add_argument("event", choices=("upgrade",), metavar="upgrade", help="another image is going to be booted")
    parser.add_argument(
        "--ignore", action="append", metavar="GLOB", help="nobody misses what fits, as in gitignore(5); may be repeated"
    )


def run(options: Options, terminal: Terminal) -> int:
    """Say it. The exit status is 1 where something would be lost that no manifest brings back."""
    from ovlay.cli.elevation import questions
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.progress import shown_progress
    from ovlay.config import load_config

    overlay = open_chosen(options)
    ignore = (*load_config().ignore, *getattr(options, "ignore", ()))
    with shown_progress(f"looking for changes in {overlay.target}", terminal), questions(overlay, options) as asked:
        found = asked.forecast(ignore)
    terminal.document(found.to_json())
    for line in report(found, most=None if options.verbose else _MOST):
        terminal.print(line)
    return 0 if found.safe else LOST


def report(found: Forecast, *, most: int | None) -> Iterator[str]:
    """The forecast for a person."""
    from ovlay.services.guard import Fate

    lost, conflicts, returning = found.of(Fate.LOST), found.of(Fate.CONFLICT), found.of(Fate.RETURNS)
    if not found.active:
        yield f"no overlay is on {found.target}: an upgrade takes nothing away"
    elif not found.changes:
        yield f"the {found.mode} overlay on {found.target} is empty: an upgrade takes nothing away"
    else:
        yield f"the {found.mode} overlay on {found.target} is not there when another image is booted"
    undeclared = tuple(loss for loss in lost if loss.vanishing is None)
    vanishing = tuple(loss for loss in lost if loss.vanishing is not None)
    for losses, why in (
        (undeclared, "which no manifest of the system declares"),
        (vanishing, "whose manifest or source is not there after a boot"),
        (conflicts, "of which a manifest says something else"),
    ):
        if losses:
            yield f"lost for good: {counted(len(losses), 'path')}, {why}"
            yield from _listed(found, losses, most)
    if returning:
        apply = command("sudo ovlay apply --enable", found.target)
        when = "at the next boot" if found.applied_at_boot else f"with {apply} after the boot"
        yield f"brought back {when}: {counted(len(returning), 'path')} of {counted(len(found.manifests), 'manifest')}"
    for problem in found.problems:
        yield f"a manifest cannot be used, and brings nothing back: {problem}"
    if not found.complete:
        yield f"and perhaps more: something could not be looked at, see {command('ovlay diff', found.target)}"
    if vanishing:
        capture = command("sudo ovlay capture --all", found.target)
        yield f"to keep what is declared: put what it comes from below /etc/ovlay; or {capture} takes it there"
    if undeclared or conflicts:
        yield f"to keep it: {command('sudo ovlay capture', found.target)} declares it in a manifest"
    if (returning or found.manifests) and not found.applied_at_boot:
        yield "to have manifests applied at every boot: `sudo ovlay service install`"


def _listed(found: Forecast, losses: tuple[Loss, ...], most: int | None) -> Iterator[str]:
    for loss in losses[:most]:
        detail = f": {loss.detail}" if loss.detail else ""
        yield f"  {found.target}/{loss.path} ({loss.kind}){detail}"
    if most is not None and len(losses) > most:
        yield f"  and {len(losses) - most} more: -v lists them"
