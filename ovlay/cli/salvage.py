"""List what an earlier overlay left on the disk, and copy files out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.counting import counted
from ovlay.errors import InvalidInput
from ovlay.salvage import SALVAGE_SCHEMA as SCHEMA

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.salvage import Leftover, Salvage

EXAMPLES = """\
examples:
  ovlay salvage                             what is left, compared with the base that is there now
  ovlay salvage --to ~/saved                copy all of it
  ovlay salvage --to ~/saved /usr/bin/tool  copy this file, to ~/saved/bin/tool
"""

__all__ = ["EXAMPLES", "SCHEMA", "add_arguments", "run"]

_MOST = 20  # changes that are listed without -v


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where it goes, and what."""
    parser.usage = "ovlay salvage [OPTION]... [--to DIR [PATH]...]"
    parser.add_argument("paths", nargs="*", metavar="PATH", help="copy this alone, with all that is in it")
    parser.add_argument("--to", metavar="DIR", help="copy to this directory, which is made where it is missing")
    parser.add_argument("--upper", metavar="DIR", help="which one is meant, where several are left")


def run(options: Options, terminal: Terminal) -> int:
    """List, or copy. That nothing is left is an answer and no failure."""
    from ovlay.cli.elevation import questions
    from ovlay.cli.opening import open_chosen

    overlay = open_chosen(options)
    place: str | None = getattr(options, "to", None)
    paths: list[str] = getattr(options, "paths", [])
    upper: str | None = getattr(options, "upper", None)
    if place is not None:
        from ovlay.cli.changing import Request, change
        from ovlay.elevate.calls import Call, reason_to_refuse
        from ovlay.paths import anywhere
        from ovlay.salvage import plan_salvage

        file = anywhere(place)
        roots = overlay.host.is_hidden(place) or reason_to_refuse(file) is None  # root looks again
        asked = {"to": file, "paths": paths, "upper": upper or ""}
        request = Request(
            plan=lambda: plan_salvage(overlay.backend, place, paths, upper=upper),
            carry_out=lambda confirm: overlay.salvage(place, paths, upper=upper, confirm=confirm),
            done=f"copied to {place}",
            call=Call("salvage", asked) if roots else None,
        )
        return change(request, overlay, options, terminal)
    if paths:
        raise InvalidInput("there is no directory to copy to", remedy="say --to DIR before the paths")
    with questions(overlay, options) as asking:
        found = asking.leftovers()
    if upper is not None:
        found = found._replace(uppers=tuple(left for left in found.uppers if left.path == upper))
    terminal.document(found.to_json())
    for line in report(found, most=None if options.verbose else _MOST):
        terminal.print(line)
    return 0


def report(found: Salvage, *, most: int | None) -> Iterator[str]:
    """All that is left, for a person."""
    for left in found.uppers:
        yield f"{left.path}: {_count(left)}"
        shown = left.changes if most is None or len(left.changes) <= most else left.changes[:most]
        for change in shown:
            side = change.after or change.before
            slash = "/" if side is not None and side.type == "directory" else ""
            came = f" (was {found.target}/{change.renamed_from})" if change.renamed_from else ""
            yield f"  {change.kind:12} {found.target}/{change.path}{slash}{came}"
        if len(shown) < len(left.changes):
            yield f"  and {len(left.changes) - len(shown)} more: -v lists them"
        for path, why in left.errors.items():
            yield f"  {found.target}/{path} could not be looked at: {why}"
    if not found.uppers:
        yield f"nothing is left of an earlier overlay on {found.target}"
    else:
        copy, enable = (command(words, found.target) for words in ("ovlay salvage --to DIR", "ovlay enable"))
        yield f"{copy} copies it; the next {enable}, or the next boot, removes it"


def _count(left: Leftover) -> str:
    return f"{counted(len(left.changes), 'change')} against the base that is there now"
