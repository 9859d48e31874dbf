"""Take the overlay away, and the changes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.changing import Request
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.overlay import Overlay

EXAMPLES = """\
examples:
  ovlay unmount                  refuses, and names the processes, where something uses the overlay
  ovlay unmount --lazy           takes it away all the same; those processes keep their view until they end
  ovlay unmount --dry-run        say what would be done; needs no privilege
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do about those who use it."""
    parser.add_argument("--lazy", action="store_true", help="do not wait for those who use it: they keep their view")


def run(options: Options, terminal: Terminal) -> int:
    """Unmount, or say that there is nothing to unmount."""
    from ovlay.cli.changing import change
    from ovlay.cli.opening import open_chosen

    overlay = open_chosen(options)
    return change(unmounting(overlay, options), overlay, options, terminal)


def unmounting(overlay: Overlay, options: Options, question: str = "Proceed?") -> Request:
    """The request to take an overlay away."""
    from ovlay.cli.changing import Request
    from ovlay.elevate.calls import Call

    lazy = getattr(options, "lazy", False)
    return Request(
        plan=lambda: overlay.backend.plan_unmount(lazy=lazy),
        carry_out=lambda confirm: overlay.unmount(lazy=lazy, confirm=confirm),
        done=f"the overlay is gone from {overlay.target}",
        question=question,
        call=Call("unmount", {"lazy": lazy}),
    )
