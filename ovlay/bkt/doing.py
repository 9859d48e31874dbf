"""How bkt's commands change a host: the command is the user's say, so that nobody is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.model import Access, Mode, Persistence

if TYPE_CHECKING:
    from ovlay.carrying import Outcome
    from ovlay.cli.changing import Request
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Status
    from ovlay.overlay import Overlay

HOW_TO_ENABLE = "Run 'bkt admin usroverlay enable' to enable."


def do(request: Request, overlay: Overlay, options: Options, terminal: Terminal) -> Outcome | None:
    """Carry a request out, as root after one prompt where that is needed; with --dry-run show its plan, return None."""
    from ovlay.cli.changing import show_plan

    if options.dry_run:
        show_plan(request.plan(), terminal)
        return None
    return carry_out(request, overlay, options, terminal)


def carry_out(request: Request, overlay: Overlay, options: Options, terminal: Terminal) -> Outcome:
    """Carry a request out."""
    from ovlay.cli import elevation
    from ovlay.cli.changing import demand_real_root
    from ovlay.cli.signals import terminating

    demand_real_root(overlay)
    options.yes = True
    with terminating():
        return elevation.carry_out(request, overlay, options, terminal, lambda _plan: True)


def enabling(overlay: Overlay, mode: Mode) -> Request:
    """The request for an overlay to write into."""
    from ovlay.cli.changing import Request
    from ovlay.elevate.calls import Call

    return Request(
        plan=lambda: overlay.backend.plan_enable(mode),
        carry_out=lambda confirm: overlay.enable(mode, confirm=confirm),
        done="",
        call=Call("enable", {"access": mode.access, "persistence": mode.persistence}),
    )


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
