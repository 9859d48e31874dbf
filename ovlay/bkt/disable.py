"""Say what a reboot does to the overlay; with --now take it away."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Status

EXAMPLES = """\
examples:
  ovlay-bkt admin usroverlay disable               change nothing, say what a reboot does
  ovlay-bkt admin usroverlay disable --now         unmount it; refused where something uses it
  ovlay-bkt admin usroverlay disable --now --lazy  and what uses it keeps its view until it ends
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add when, and what to do about those who use it."""
    parser.add_argument("--now", action="store_true", help="unmount the overlay, with no reboot")
    parser.add_argument("--lazy", action="store_true", help="with --now: do not wait for those who use the overlay")


def run(options: Options, terminal: Terminal) -> int:
    """Say it, and with --now do it."""
    from ovlay.bkt.doing import do, tell
    from ovlay.carrying import Outcome
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.unmount import unmounting
    from ovlay.errors import InvalidInput
    from ovlay.plan.plan import Plan

    overlay = open_chosen(options)
    status = overlay.status()
    now = getattr(options, "now", False)
    if getattr(options, "lazy", False) and not now:
        raise InvalidInput("--lazy is for an overlay that is taken away now", remedy="add --now")
    if now:
        outcome = do(unmounting(overlay, options), overlay, options, terminal)
        if outcome is not None:
            gone = f"Overlay disabled. The original {overlay.target} is back."
            tell("unmount", outcome, overlay, terminal, gone if outcome.changed else "Overlay: inactive")
        return 0
    nothing = Outcome(Plan(reason="without --now nothing is changed"), changed=False)
    if options.dry_run and terminal.json:
        terminal.document(nothing.plan.to_json())
        return 0
    tell("disable", nothing, overlay, terminal, *_fate(status))
    return 0


def _fate(status: Status) -> tuple[str, ...]:
    """What a reboot does, and how the image is back."""
    from ovlay.bkt.doing import stays
    from ovlay.cli.fate import comes_back, enabling

    if not status.active:
        return ("Overlay: inactive",)
    if stays(status):
        now = f"Run 'bkt admin usroverlay disable --now' to restore original {status.target}."
        fate = "it is there again after a reboot."
        if not comes_back(status):
            fate = f"its changes are kept over a reboot, and {enabling(status.target, status.mode)} brings them back."
        return (f"Note: The overlay is persistent: {fate}", now)
    reboot = f"Run 'systemctl reboot' to restore original {status.target}."
    return ("Note: Overlay changes persist until reboot.", reboot)
