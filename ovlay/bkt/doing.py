"""How bkt's commands change a host: the command is the user's say, so that nobody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.model import Access, Mode, Persistence

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Status
    from ovlay.overlay import Outcome, Overlay
    from ovlay.plan.plan import Plan

HOW_TO_ENABLE = "Run 'bkt admin usroverlay enable' to enable."


def do(
    overlay: Overlay,
    plan: Callable[[], Plan],
    carry_out: Callable[[], Outcome],
    options: Options,
    terminal: Terminal,
) -> Outcome | None:
    """Carry it out, or with --dry-run show its plan and return None."""
    from ovlay.cli.changing import demand_real_root, show_plan
    from ovlay.cli.signals import terminating

    if options.dry_run:
        show_plan(plan(), terminal)
        return None
    demand_real_root(overlay)
    with terminating():
        return carry_out()


def tell(verb: str, outcome: Outcome, overlay: Overlay, terminal: Terminal, *lines: str) -> None:
    """Say what came of it, in bkt's words or as the document that ``ovlay VERB --json`` prints."""
    from ovlay.cli.changing import outcome_document

    for line in lines:
        terminal.print(line)
    for line in outcome.told:
        terminal.note(line)
    if terminal.json:
        terminal.document(outcome_document(verb, outcome, overlay))


def writable_mode(status: Status) -> Mode:
    """The mode of an overlay to write into: transient, unless one that stays is there already."""
    return Mode(Access.READ_WRITE, status.mode.persistence if status.mode is not None else Persistence.TRANSIENT)


def stays(status: Status) -> bool:
    """Whether what is in the overlay is there after a reboot, unlike what bkt's own overlays hold."""
    return status.mode is not None and status.mode.persistence is Persistence.PERSISTENT


def until_when(status: Status) -> str:
    """How long what was placed is there, as bkt says it."""
    return "persistent: it stays after a reboot" if stays(status) else "ephemeral until reboot"


def fate(status: Status) -> str:
    """What a reboot does to the changes, as bkt says it."""
    return "Changes are kept over reboots." if stays(status) else "Changes will be discarded on reboot."
