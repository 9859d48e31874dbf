"""Report what the overlay changes: whether it is active, and the files that differ from the image."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ovlay.counting import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.changes.change import Changes
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Status
    from ovlay.overlay import Overlay

EXAMPLES = """\
examples:
  ovlay-bkt drift check                  the report; exit status 1 where a file differs
  ovlay-bkt drift check --format json    for a program: schema ovlay.bkt-drift/1
"""

SCHEMA = "ovlay.bkt-drift/1"

_WIDTH = 59  # of the text in the box, where no line is longer


class _Format(argparse.Action):
    """--format json is what --json is everywhere else."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        namespace.json = values == "json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the form of the report, and what bkt's own command has besides."""
    parser.add_argument("-f", "--format", action=_Format, choices=("human", "json"), help="how it is told (human)")
    parser.add_argument("--no-host", action="store_true", help=argparse.SUPPRESS)  # never leaves a container anyway


def run(options: Options, terminal: Terminal) -> int:
    """Report. The status is 1 where a file differs, or where it cannot be known that none does."""
    from ovlay.bkt.doing import stays
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.progress import shown_progress
    from ovlay.config import load_config

    overlay = open_chosen(options)
    status = overlay.status()
    found: Changes | None = None
    if status.active:
        from ovlay.changes.ignore import leave_out

        with shown_progress(f"looking for changes in {status.target}", terminal):
            found = leave_out(overlay.changes(), load_config().ignore)
    for line in boxed(["Drift Report"], list(_lines(status, found))):
        terminal.print(line)
    drift = found is not None and (len(found.changes) > 0 or not found.complete)
    terminal.document(
        {
            "schema": SCHEMA,
            "target": status.target,
            "drift": drift,
            "complete": found is None or found.complete,
            "overlay": {"active": status.active, "ephemeral": status.active and not stays(status)},
            "files": list(_files(overlay, status, found)),
            "errors": {} if found is None else dict(found.errors),
        }
    )
    return 1 if drift else 0


def boxed(*parts: Sequence[str]) -> Iterator[str]:
    """Lines in a box of bkt's, a rule between the parts; as wide as bkt's own, or as the longest line."""
    width = max(_WIDTH, *(len(line) for part in parts for line in part))
    rule = f"+{'-' * (width + 2)}+"
    yield rule
    for part in parts:
        yield from (f"| {line:{width}} |" for line in part)
        yield rule


def _lines(status: Status, found: Changes | None) -> Iterator[str]:
    from ovlay.bkt.doing import stays
    from ovlay.cli.terminal import printable

    yield "System State:"
    if found is None:
        yield "  ✓ usroverlay inactive"
        return
    yield f"  ⚠ usroverlay active (changes {'persistent' if stays(status) else 'ephemeral'})"
    for change in found.changes:
        yield f"    {printable(_full(status.target, change.path))} ({_fate(change.kind)})"
    if not found.changes:
        yield "    no file differs from the image"
    if not found.complete:
        yield f"    {counted(len(found.errors), 'path')} could not be looked at"


def _files(overlay: Overlay, status: Status, found: Changes | None) -> Iterator[dict[str, Any]]:
    from ovlay.receipts import read_receipts

    receipts = read_receipts(overlay.host, status) if found is not None else {}
    for change in found.changes if found is not None else ():
        receipt = receipts.get(change.path)
        placed = None
        if receipt is not None:
            placed = {key: getattr(receipt, key) for key in ("source", "sha256", "manifest", "when", "by")}
        yield {"path": _full(status.target, change.path), "change": change.kind.value, "placed": placed}


def _fate(kind: str) -> str:
    return {"type-changed": "modified", "metadata": "attributes"}.get(kind, kind)


def _full(target: str, path: str) -> str:
    return target if path == "." else f"{target}/{path}"
