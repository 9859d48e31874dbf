"""Declare what is in the overlay in a manifest, with the contents beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ovlay.carrying import Outcome
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.plan.plan import Plan

EXAMPLES = """\
examples:
  ovlay capture                             all that was changed by hand, to the system's captured.toml
  ovlay capture --to hotfix.toml            to a manifest here, with the files in hotfix.files
  ovlay capture /usr/bin/tool /usr/lib/tool only these, with all that is below them
  ovlay capture --ignore '*.pyc' --dry-run  say what would be written
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is captured, and where to."""
    parser.usage = "ovlay capture [OPTION]... [PATH]..."
    parser.add_argument("paths", nargs="*", metavar="PATH", help="only this file, or what is in this directory")
    parser.add_argument("--to", metavar="FILE", help="the manifest, which is made or added to")
    parser.add_argument("--all", action="store_true", help="capture what another manifest declares already, too")
    parser.add_argument(
        "--ignore", action="append", metavar="GLOB", help="leave out what fits, as in gitignore(5); may be repeated"
    )


def run(options: Options, terminal: Terminal) -> int:
    """Capture, or say that there is nothing to capture; what a manifest cannot say is named in either case."""
    from ovlay.cli.changing import Request, change
    from ovlay.cli.opening import open_chosen
    from ovlay.config import load_config
    from ovlay.elevate.calls import Call, reason_to_refuse
    from ovlay.manifest.capture import default_manifest, plan_capture
    from ovlay.paths import anywhere

    overlay = open_chosen(options)
    paths: list[str] = getattr(options, "paths", [])
    file: str = anywhere(getattr(options, "to", default_manifest(overlay.host)))
    everything: bool = getattr(options, "all", False)
    ignore = (*load_config().ignore, *getattr(options, "ignore", ()))

    def plan() -> Plan:
        return _with_notes(
            plan_capture(overlay.backend, paths, to=file, ignore=ignore, everything=everything), terminal
        )

    def carry_out(confirm: Callable[[Plan], bool] | None) -> Outcome:
        outcome = overlay.capture(paths, to=file, ignore=ignore, everything=everything, confirm=confirm)
        return outcome._replace(plan=_with_notes(outcome.plan, terminal))

    asked = {"to": file, "paths": paths, "ignore": list(ignore), "everything": everything}
    roots = overlay.host.is_hidden(file) or reason_to_refuse(file) is None  # root looks again
    call = Call("capture", asked) if roots else None
    request = Request(plan=plan, carry_out=carry_out, done=f"captured in {file}", call=call)
    return change(request, overlay, options, terminal)


def _with_notes(plan: Plan, terminal: Terminal) -> Plan:
    """The plan, after what a manifest cannot say was named: where nothing else is to be done, nobody else says it."""
    if not plan:
        for line in plan.warnings:
            terminal.note(line)
    return plan
