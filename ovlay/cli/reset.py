"""Make the whole target as in the base again, or take a new and empty overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

EXAMPLES = """\
examples:
  ovlay reset                  undo every change in place; the overlay stays
  ovlay reset --fresh          an empty overlay takes its place; who uses the old one keeps it
  ovlay reset --dry-run        say what would be done
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how it is done."""
    parser.add_argument("--fresh", action="store_true", help="unmount lazily and enable an empty overlay instead")


def run(options: Options, terminal: Terminal) -> int:
    """Reset, or say that nothing differs."""
    from ovlay.cli.changing import Request, change
    from ovlay.cli.opening import open_chosen
    from ovlay.elevate.calls import Call

    overlay = open_chosen(options)
    fresh = getattr(options, "fresh", False)
    request = Request(
        plan=lambda: overlay.backend.plan_reset(fresh=fresh),
        carry_out=lambda confirm: overlay.reset(fresh=fresh, confirm=confirm),
        done=f"a fresh overlay is on {overlay.target}" if fresh else f"{overlay.target} is as in the base again",
        call=Call("reset", {"fresh": fresh}),
    )
    return change(request, overlay, options, terminal)
