"""Put an overlay on the target, so that it can be written to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

EXAMPLES = """\
examples:
  ovlay enable                   ask first, then make /usr writable until the next boot
  ovlay enable --dry-run         say what would be done; needs no privilege
  ovlay enable --read-only -y    /usr stays read-only for everybody; only `ovlay install` writes into it
  ovlay enable --persistent      keep the changes over reboots, where the driver can
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the mode's two axes."""
    parser.add_argument("--read-only", action="store_true", help="mount it read-only for everybody else")
    parser.add_argument("--persistent", action="store_true", help="keep the changes over reboots")


def run(options: Options, terminal: Terminal) -> int:
    """Enable, or say that it is so already."""
    from ovlay.cli.changing import Request, change
    from ovlay.cli.opening import open_chosen
    from ovlay.elevate.calls import Call
    from ovlay.model import Access, Mode, Persistence

    mode = Mode(
        Access.READ_ONLY if getattr(options, "read_only", False) else Access.READ_WRITE,
        Persistence.PERSISTENT if getattr(options, "persistent", False) else Persistence.TRANSIENT,
    )
    overlay = open_chosen(options)
    request = Request(
        plan=lambda: overlay.backend.plan_enable(mode),
        carry_out=lambda confirm: overlay.enable(mode, confirm=confirm),
        done=f"a {mode} overlay is on {overlay.target} now, made by {overlay.backend.name}",
        call=Call("enable", {"access": mode.access, "persistence": mode.persistence}),
    )
    return change(request, overlay, options, terminal)
