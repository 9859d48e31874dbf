"""Copy development binaries into the overlay, which must be on."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from ovlay.bkt.placing import Placing
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal

EXAMPLES = """\
examples:
  ovlay-bkt admin usroverlay apply-dev                  ~/.cargo/bin/bkt becomes /usr/bin/bkt
  ovlay-bkt admin usroverlay apply-dev --with-scripts   and the repository's bootc-apply and bootc-bootstrap
  ovlay-bkt admin usroverlay apply-dev --binary ./rg /usr/bin/rg   another binary, such as fetchbin's, instead
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is copied."""
    parser.add_argument("--with-scripts", action="store_true", help="copy the repository's boot scripts too")
    parser.add_argument(
        "--binary",
        nargs=2,
        action="append",
        metavar=("PATH", "DEST"),
        help="copy this file there instead of bkt; may be given several times",
    )


def run(options: Options, terminal: Terminal) -> int:
    """Copy what differs."""
    from ovlay.bkt.doing import HOW_TO_ENABLE, do, tell, until_when
    from ovlay.bkt.placing import placing, written
    from ovlay.cli.opening import open_chosen
    from ovlay.errors import NotActive

    overlay = open_chosen(options)
    status = overlay.status()
    if not status.active:
        raise NotActive(f"there is no overlay on {overlay.target}", remedy=HOW_TO_ENABLE)
    files = wanted(options)
    outcome = do(placing(overlay, files), overlay, options, terminal)
    if outcome is not None:
        copied = [f"Copying {file.shown} -> {file.destination}" for file in written(overlay, outcome, files)]
        applied = f"✓ Development binaries applied ({until_when(status)})"
        tell("install", outcome, overlay, terminal, *copied, applied)
    return 0


def wanted(options: Options) -> list[Placing]:
    """The files that the words mean; raises `InvalidInput` where one of them is missing."""
    from ovlay.bkt.caller import find_caller
    from ovlay.bkt.placing import Placing
    from ovlay.bkt.repository import find_repository, scripts_of
    from ovlay.errors import InvalidInput

    files = [Placing(path, place, path) for path, place in getattr(options, "binary", ())]
    if not files:
        bkt = f"{find_caller().home}/.cargo/bin/bkt"
        if not os.path.exists(bkt):
            raise InvalidInput(
                f"{bkt}: there is no such file",
                remedy="make it with `cargo install --path bkt`, or build and install with `bkt dev install-local`",
            )
        files.append(Placing(bkt, "/usr/bin/bkt", "~/.cargo/bin/bkt"))
    if getattr(options, "with_scripts", False):
        repository = find_repository()
        for place, path in scripts_of(repository).items():
            files.append(Placing(path, place, os.path.relpath(path, repository)))
    return files
