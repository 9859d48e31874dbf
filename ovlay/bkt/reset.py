"""Make /usr as in the image again, through the overlay and with no reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

EXAMPLES = """\
examples:
  ovlay-bkt admin usroverlay reset         undo every change; the overlay stays
  ovlay-bkt admin usroverlay reset -n      say what would be done
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing is taken beyond what every command takes."""


def run(options: Options, terminal: Terminal) -> int:
    """Reset, or say that nothing differs."""
    from ovlay.bkt.doing import do, tell
    from ovlay.cli.changing import Request
    from ovlay.cli.opening import open_chosen
    from ovlay.elevate.calls import Call

    overlay = open_chosen(options)
    request = Request(
        plan=overlay.backend.plan_reset,
        carry_out=lambda confirm: overlay.reset(confirm=confirm),
        done="",
        call=Call("reset", {"fresh": False}),
    )
    outcome = do(request, overlay, options, terminal)
    if outcome is not None:
        done = f"✓ Original {overlay.target} restored (the overlay stays active)"
        same = f"Nothing to reset: {overlay.target} is as in the image."
        tell("reset", outcome, overlay, terminal, done if outcome.changed else same)
    return 0
