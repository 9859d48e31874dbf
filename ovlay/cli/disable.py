"""Say what a reboot does to the overlay, and offer to unmount it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.cli.fate import comes_back, enabling
from ovlay.model import Persistence

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Status

EXAMPLES = """\
examples:
  ovlay disable                  say what a reboot does, then ask whether to unmount now
  ovlay disable --yes            unmount now
  ovlay disable < /dev/null      only say it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what an unmount takes."""
    parser.add_argument("--lazy", action="store_true", help="where it is unmounted: do not wait for those who use it")


def run(options: Options, terminal: Terminal) -> int:
    """Say it, and unmount where that is wanted. Where nobody can be asked nothing is changed."""
    from ovlay.carrying import Outcome
    from ovlay.cli.changing import change, outcome_document
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.unmount import unmounting

    overlay = open_chosen(options)
    status = overlay.status()
    terminal.print(fate(status))
    request = unmounting(overlay, options, question="Unmount it now?")
    wanted = options.yes or options.dry_run
    if status.active and (wanted or terminal.can_ask):
        return change(request, overlay, options, terminal, declined_is_fine=True)
    if status.active:
        terminal.say(f"to take it away now: {command('ovlay unmount', status.target)}")
    plan = request.plan()
    document = plan.to_json() if options.dry_run else outcome_document("disable", Outcome(plan, changed=False), overlay)
    terminal.document(document)
    return 0


def fate(status: Status) -> str:
    """What a reboot does to what is on the target now."""
    if not status.active or status.mode is None:
        return f"no overlay is on {status.target}: there is nothing to disable"
    if comes_back(status):
        return f"the overlay on {status.target} is persistent: it is there again after a reboot, with what is in it"
    if status.mode.persistence is Persistence.PERSISTENT:
        again = enabling(status.target, status.mode)
        return (
            f"the overlay on {status.target} is persistent: a reboot takes it away and keeps what is in it; "
            f"{again} puts it there again"
        )
    return f"a reboot takes the overlay off {status.target}, and what is in it is lost"
