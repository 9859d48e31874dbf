"""Put a writable overlay on /usr; it is gone after a reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

EXAMPLES = """\
examples:
  ovlay-bkt admin usroverlay enable        nobody is asked: the command is the say
  ovlay-bkt admin usroverlay enable -n     say what would be done
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing is taken beyond what every command takes."""


def run(options: Options, terminal: Terminal) -> int:
    """Enable, or say that it is so already."""
    from ovlay.bkt.doing import do, enabling, stays, tell, writable_mode
    from ovlay.cli.opening import open_chosen

    overlay = open_chosen(options)
    before = overlay.status()
    mode = writable_mode(before)
    outcome = do(enabling(overlay, mode), overlay, options, terminal)
    if outcome is None:
        return 0
    if outcome.changed:
        fate = "Changes are kept over reboots." if stays(before) else "All changes will be discarded on reboot."
        enabled = f"Development mode enabled. A writable overlayfs is now mounted on {overlay.target}."
        tell("enable", outcome, overlay, terminal, enabled, fate)
    else:
        tell("enable", outcome, overlay, terminal, "Overlay already active." if before.active else outcome.plan.reason)
    return 0
