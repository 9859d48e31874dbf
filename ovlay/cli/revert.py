"""Make paths as in the base again, through the overlay and with no reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

EXAMPLES = """\
examples:
  ovlay revert /usr/bin/tool          one file, whether it was changed, deleted or added
  ovlay revert /usr/lib/systemd       and all that is below a directory
  ovlay revert lib/a share/b          paths may be relative to the target
  ovlay revert --dry-run /usr/share   say what would be done
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is to be reverted."""
    parser.usage = "ovlay revert [OPTION]... PATH..."
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, or a directory with all that is in it")


def run(options: Options, terminal: Terminal) -> int:
    """Revert, or say that there is no change at these paths."""
    from ovlay.cli.changing import Request, change
    from ovlay.cli.opening import open_chosen
    from ovlay.elevate.calls import Call

    overlay = open_chosen(options)
    paths: list[str] = options.paths
    named = paths[0] if len(paths) == 1 else f"{len(paths)} paths"
    request = Request(
        plan=lambda: overlay.backend.plan_revert(paths),
        carry_out=lambda confirm: overlay.revert(paths, confirm=confirm),
        done=f"reverted {named}: as in the base again",
        call=Call("revert", {"paths": paths}),
    )
    return change(request, overlay, options, terminal)
