"""Say what `ovlay apply` would do, and why; change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovlay.advice import command
from ovlay.cli.main import DIFFERS
from ovlay.manifest.finding import State

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.manifest.apply import Application
    from ovlay.manifest.document import Retired
    from ovlay.manifest.finding import Finding
    from ovlay.overlay import Overlay

EXAMPLES = """\
examples:
  ovlay plan                     what do the manifests of this system still need?
  ovlay plan hotfix.toml         and this one?
  ovlay plan --json hotfix.toml  the same for a program
"""

SCHEMA = "ovlay.comparison/1"

CONFLICTS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which manifests count."""
    parser.usage = "ovlay plan [OPTION]... [MANIFEST]..."
    add_manifests(parser)
    parser.add_argument("--force", action="store_true", help="as if what is in conflict were to be taken")


def add_manifests(parser: argparse.ArgumentParser) -> None:
    """Add what says which manifests count."""
    parser.add_argument("manifests", nargs="*", metavar="MANIFEST", help="these, and not those that are found")
    parser.add_argument("--system", action="store_true", help="leave the user's own manifests out")


def run(options: Options, terminal: Terminal) -> int:
    """List what would be done: exit status 1 where there is something, or it is not known; 5 for conflicts, else 0."""
    from ovlay.cli.elevation import questions
    from ovlay.cli.failure import as_root
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.progress import shown_progress
    from ovlay.cli.sight import UNSEEN

    overlay = open_chosen(options)
    force: bool = getattr(options, "force", False)
    manifests, user = getattr(options, "manifests", ()), not getattr(options, "system", False)
    with (
        shown_progress(f"comparing {overlay.target} with what is declared", terminal),
        questions(overlay, options) as asked,
    ):
        found, complete = asked.plan(manifests, user=user, force=force)
    for line in listing(found, force=force):
        terminal.print(line)
    if not complete:
        terminal.note(f"{UNSEEN}; to see it: {as_root(options.said)}")
    elif not found.plan and not found.conflicts:
        terminal.say(found.plan.reason)
    if found.declared is not None and found.declared.found_nothing not in ("", found.plan.reason):
        terminal.note(found.declared.found_nothing)
    tell_of_misnamed(overlay, manifests, terminal, user=user)
    for step in found.triggers:
        terminal.note(f"afterwards {step.describe()} ({command('ovlay apply --triggers', overlay.target)} does)")
    if not overlay.status().active:
        enable = command("ovlay apply --enable", overlay.target)
        terminal.note(f"there is no overlay on {overlay.target}: {enable} puts one there")
    if terminal.json:
        terminal.document(document(found, complete=complete))
    if found.conflicts and not force:
        return CONFLICTS
    return DIFFERS if found.plan or not complete else 0


def listing(found: Application, *, force: bool = False) -> Iterator[str]:
    """The paths by what would happen to them, each with its reason; then what does not count here."""
    target = found.comparison.target
    groups: dict[str, list[str]] = {word: [] for word in _WORDS}
    for finding in found.comparison.findings:
        word = _word(finding, force=force)
        if word is not None:
            groups[word].append(f"  {target}/{finding.path}  ({'; '.join(reasons(finding))})")
    for word, lines in groups.items():
        if lines:
            yield f"{word}:"
            yield from lines
    yield from retired_lines(found.retired)


_WORDS = ("take back", "remove", "place", "change", "conflict, and kept")


def _word(finding: Finding, *, force: bool) -> str | None:
    state = finding.forced if force and finding.forced is not None else finding.state
    if state is State.CONFLICT:
        return "conflict, and kept"
    if state is State.LEFTOVER:
        return "take back"
    if state is State.MISSING:
        return "place"
    if state is State.DIFFERS:
        return "remove" if finding.item is not None and finding.item.kind == "absent" else "change"
    return None


def reasons(finding: Finding) -> Iterator[str]:
    """Why something would be done to a path, or not, and where it is declared."""
    if finding.conflict is not None:
        yield str(finding.conflict)
    if finding.detail:
        yield finding.detail
    if finding.item is not None:
        yield str(finding.item.origin)
    elif finding.receipt is not None and finding.receipt.manifest is not None:
        yield finding.receipt.manifest


def tell_of_misnamed(overlay: Overlay, manifests: Sequence[str], terminal: Terminal, *, user: bool) -> None:
    """Name what looks like a manifest and is not read, where those that are found count."""
    if manifests:
        return
    from ovlay.manifest.misnamed import misnamed_manifests

    for path in misnamed_manifests(overlay.host, user=user):
        terminal.note(f"not read: {path}, since its name does not end in .toml")


def retired_lines(retired: Iterable[Retired]) -> Iterator[str]:
    """What does not count here, and why."""
    lines = [f"  {entry.path or 'all of it'}  ({entry.reason}; {entry.origin})" for entry in retired]
    if lines:
        yield "retired:"
        yield from lines


def document(found: Application, *, complete: bool) -> dict[str, Any]:
    """The comparison and the plan as a document of schema ``ovlay.comparison/1``."""
    comparison = found.comparison
    return {
        "schema": SCHEMA,
        "target": comparison.target,
        "complete": complete,
        "as_declared": len(comparison.of(State.AS_DECLARED, State.GRADUATED)),
        "findings": [
            finding_document(finding) for finding in comparison.findings if finding.state is not State.AS_DECLARED
        ],
        "retired": [
            {"path": entry.path, "file": entry.origin.file, "line": entry.origin.line, "reason": entry.reason}
            for entry in found.retired
        ],
        "needed": [step.describe() for step in found.triggers],
        "plan": found.plan.to_json(),
    }


def finding_document(finding: Finding) -> dict[str, Any]:
    """One path and how it stands, as plain JSON values."""
    item, receipt = finding.item, finding.receipt
    return {
        "path": finding.path,
        "state": str(finding.state),
        "conflict": None if finding.conflict is None else str(finding.conflict),
        "detail": finding.detail,
        "file": item.origin.file if item is not None else receipt.manifest if receipt is not None else None,
        "line": item.origin.line if item is not None else None,
    }
