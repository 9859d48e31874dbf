"""Say where manifests, overlay and base differ; `ovlay check` is the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.cli.main import DIFFERS
from ovlay.manifest.drift import DRIFT_SCHEMA as SCHEMA

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.manifest.drift import Deviation, Drift

EXAMPLES = """\
examples:
  ovlay drift                             is everything as the manifests of this system say?
  ovlay drift hotfix.toml                 as this one says?
  ovlay drift --ignore '*.pyc'            whatever Python leaves behind
  ovlay check --json                      the same for a program
"""

__all__ = ["EXAMPLES", "SCHEMA", "add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which manifests count, and what does not."""
    parser.usage = "ovlay drift [OPTION]... [MANIFEST]..."
    parser.add_argument("manifests", nargs="*", metavar="MANIFEST", help="these, and not those that are found")
    parser.add_argument("--system", action="store_true", help="leave the user's own manifests out")
    parser.add_argument(
        "--ignore",
        action="append",
        metavar="GLOB",
        help="leave out what fits and is unmanaged, as in gitignore(5); may be repeated",
    )


def run(options: Options, terminal: Terminal) -> int:
    """List the deviations. The exit status is that of diff(1): 1 where something is not as declared, or not known."""
    from ovlay.cli.diff import tell_of_errors
    from ovlay.cli.elevation import questions
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.plan import tell_of_misnamed
    from ovlay.cli.progress import shown_progress
    from ovlay.config import load_config

    overlay = open_chosen(options)
    ignore = (*load_config().ignore, *getattr(options, "ignore", ()))
    manifests, user = getattr(options, "manifests", ()), not getattr(options, "system", False)
    with (
        shown_progress(f"comparing {overlay.target} with what is declared", terminal),
        questions(overlay, options) as asked,
    ):
        found = asked.drift(manifests, user=user, ignore=ignore)
    terminal.document(found.to_json())
    for line in listing(found):
        terminal.print(line)
    for line in notes(found):
        terminal.note(line)
    tell_of_misnamed(overlay, manifests, terminal, user=user)
    tell_of_errors(found.target, found.errors, terminal, verb="drift")
    return 0 if found.clean and found.complete else DIFFERS


def listing(found: Drift) -> Iterator[str]:
    """A line for each deviation: its state, its path, why, and where it is declared."""
    for deviation in found.deviations:
        yield f"{deviation.state:10}  {found.target}/{deviation.path}  ({'; '.join(_details(deviation))})"


def _details(deviation: Deviation) -> Iterator[str]:
    if deviation.conflict is not None:
        yield str(deviation.conflict)
    if deviation.detail:
        yield deviation.detail
    where = f"{deviation.file}:{deviation.line}" if deviation.line else deviation.file
    if where is not None and where not in deviation.detail:
        yield where


def notes(found: Drift) -> Iterator[str]:
    """What is worth knowing, and is no deviation."""
    if not found.active:
        yield f"there is no overlay on {found.target}: what is declared is missing, unless the base has it"
    if not found.manifests:
        yield "no manifest was found: all that was changed is unmanaged"
    for retired in found.retired:
        what = retired.path or "the whole manifest"
        yield f"retired: {what} ({retired.origin}), since {retired.reason}"
    if found.ignored:
        yield f"ignored: {found.ignored} {'change' if found.ignored == 1 else 'changes'}"
    if found.clean and found.complete and found.manifests:
        count = found.as_declared
        yield f"everything is as declared: {count} path{'' if count == 1 else 's'}"
