"""Say whether an overlay is active, and which files in it differ from the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

EXAMPLES = """\
examples:
  ovlay-bkt admin usroverlay status            for a person
  ovlay-bkt admin usroverlay status --json     what `ovlay status --json --changes` prints
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing is taken beyond what every command takes."""


def run(options: Options, terminal: Terminal) -> int:
    """Say it. An inactive overlay is an answer and no failure."""
    from ovlay.bkt.doing import HOW_TO_ENABLE, fate
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.status import Seen, changed_files, look

    overlay = open_chosen(options)
    status = overlay.status()
    seen = look(overlay, status, terminal) if status.active else Seen(None, None)
    terminal.print(f"Overlay: {'active' if status.active else 'inactive'}")
    for line in (fate(status), *changed_files(seen, most=None)) if status.active else (HOW_TO_ENABLE,):
        terminal.print(line)
    changes = None if seen.changes is None else seen.changes.to_json()
    terminal.document({**status.to_json(), "changes": changes, "changes_size": seen.size})
    return 0
