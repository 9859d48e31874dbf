"""Say what differs from the base: what was added, modified, deleted, and how."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.changes.change import ChangeKind
from ovlay.cli.main import DIFFERS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from ovlay.changes.change import Attributes, Change, Changes
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.elevate.questions import Questions

EXAMPLES = """\
examples:
  ovlay diff                             every change below the target
  ovlay diff /usr/lib/systemd            only what is there
  ovlay diff --stat                      with sizes as bars
  ovlay diff --patch > changes.patch     text as a patch, for `patch -p1 -d TREE`
  ovlay diff --ignore '*.pyc' --ignore share/man/
  ovlay diff --name-only -0 | xargs -0 ls -ld
"""


_MOST_ERRORS = 10
_HASH = 12  # hexadecimal digits that are shown to a person


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is looked at, and how it is shown."""
    parser.usage = "ovlay diff [OPTION]... [PATH]..."
    parser.add_argument("paths", nargs="*", metavar="PATH", help="only this file, or what is in this directory")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--stat", action="store_true", help="show sizes as bars")
    shape.add_argument("-p", "--patch", action="store_true", help="show text files as unified diffs")
    shape.add_argument("--name-only", action="store_true", help="print paths and nothing else")
    parser.add_argument("-0", "--null", action="store_true", help="end paths with a NUL, unescaped; with --name-only")
    parser.add_argument("--all", action="store_true", help="list what was touched and is the same, too")
    parser.add_argument("--hashes", action="store_true", help="compute the SHA-256 of regular files")
    parser.add_argument(
        "--ignore", action="append", metavar="GLOB", help="leave out what fits, as in gitignore(5); may be repeated"
    )


def run(options: Options, terminal: Terminal) -> int:
    """List the changes. The exit status is that of diff(1): 1 where something differs."""
    from ovlay.cli.elevation import questions
    from ovlay.cli.opening import open_chosen
    from ovlay.errors import InvalidInput

    null, names = getattr(options, "null", False), getattr(options, "name_only", False)
    if null and not names:
        raise InvalidInput("-0 is for paths alone", remedy="add --name-only")
    overlay = open_chosen(options)
    with questions(overlay, options) as asked:
        found = find(asked, overlay.target, options, terminal)
        if options.json:
            terminal.document(found.to_json())
        elif names:
            print_names(found, terminal, null=null)
        elif getattr(options, "stat", False):
            for line in statistics(found, _columns()):
                terminal.print(line)
        elif getattr(options, "patch", False):
            found = print_patch(asked, found, terminal)
        else:
            for line in listing(found):
                terminal.print(line)
    tell_what_is_missing(found, terminal)
    if not found.changes and found.complete:
        terminal.note(f"nothing differs from the base of {found.target}")
    differs = any(change.kind is not ChangeKind.TOUCHED for change in found.changes)
    return DIFFERS if differs or not found.complete else 0


def find(asked: Questions, target: str, options: Options, terminal: Terminal) -> Changes:
    """The changes that the words mean, without what is to be ignored."""
    from ovlay.changes.ignore import leave_out
    from ovlay.cli.progress import shown_progress
    from ovlay.config import load_config

    patterns = (*load_config().ignore, *getattr(options, "ignore", ()))
    with shown_progress(f"looking for changes in {target}", terminal):
        found = asked.changes(
            getattr(options, "paths", ()),
            hashes=getattr(options, "hashes", False),
            everything=getattr(options, "all", False),
        )
        kept = leave_out(found, patterns)
    if missing := len(found.changes) - len(kept.changes):
        terminal.note(f"ignored: {missing} {'change' if missing == 1 else 'changes'}")
    return kept


def place(target: str, path: str) -> str:
    """A path of a change as the host sees it."""
    return target if path == "." else f"{target}/{path}"


# --- for a person ----------------------------------------------------------------------------------------------------


def listing(found: Changes) -> Iterator[str]:
    """A line for each change: its kind, its path, and what there is to know about it.

    Where some of them were placed for manifests, the others are marked.
    """
    managed = any(change.managed is not None for change in found.changes)
    for change in found.changes:
        known = [*details(change, found.target), *(["unmanaged"] if managed and change.managed is None else [])]
        more = "; ".join(known)
        yield f"{change.kind:12}  {place(found.target, change.path)}" + (f"  ({more})" if more else "")


def details(change: Change, target: str) -> Iterator[str]:
    """What is worth knowing of one change, where it matters: sizes, modes, owners, digests."""
    from ovlay.cli.status import size

    before, after = change.before, change.after
    if change.renamed_from is not None:
        yield f"renamed from {place(target, change.renamed_from)}"
    if before is None or after is None:
        side = after or before
        if side is not None:
            yield size(side.size) if side.type == "file" else _type(side)
    elif before.type != after.type:
        yield f"{_type(before)} -> {_type(after)}"
    else:
        if change.kind is ChangeKind.MODIFIED:
            yield _sizes(before.size, after.size) if before.type == "file" else _type(before)
        if before.mode != after.mode:
            yield f"mode {before.mode:04o} -> {after.mode:04o}"
        if (before.uid, before.gid) != (after.uid, after.gid):
            yield f"owner {before.uid}:{before.gid} -> {after.uid}:{after.gid}"
        elif change.kind is ChangeKind.METADATA and before.mode == after.mode:
            yield "extended attributes or flags"
    yield from _digests(before, after)


def _sizes(old: int, new: int) -> str:
    """Two sizes, so exactly that one sees whether they differ."""
    from ovlay.cli.status import size

    if old == new:
        return size(old)
    rounded = f"{size(old)} -> {size(new)}"
    return f"{old} -> {new} bytes" if size(old) == size(new) else rounded


def _type(side: Attributes) -> str:
    return side.type.replace("-", " ")


def _digests(before: Attributes | None, after: Attributes | None) -> Iterator[str]:
    known = [side.sha256[:_HASH] for side in (before, after) if side is not None and side.sha256]
    if known:
        yield f"sha256 {' -> '.join(dict.fromkeys(known))}"


def statistics(found: Changes, width: int) -> Iterator[str]:
    """Every change with its size as a bar, and a line with the sums."""
    from ovlay.cli.bars import Bar, draw
    from ovlay.cli.status import size
    from ovlay.cli.terminal import printable

    bars, came, went = [], 0, 0
    for change in found.changes:
        old, new = (side.size if side is not None and side.type == "file" else 0 for side in change[2:4])
        text = _sizes(old, new) if old and new else size(old or new)
        if change.kind is ChangeKind.METADATA:
            text = "metadata"
        elif (side := change.after or change.before) is not None and side.type != "file" and not (old or new):
            text = _type(side)
        came, went = came + max(0, new - old), went + max(0, old - new)
        bars.append(Bar(printable(place(found.target, change.path)), old, new, text))
    yield from draw(bars, width)
    counts = [(sum(change.kind is kind for change in found.changes), kind) for kind in ChangeKind]
    kinds = ", ".join(f"{number} {kind}" for number, kind in counts if number)
    yield f"{len(bars)} in all{': ' if kinds else ''}{kinds}; {size(came)} came, {size(went)} went"


def tell_what_is_missing(found: Changes, terminal: Terminal) -> None:
    """Say on standard error what this answer leaves out, and why."""
    for point in found.submounts:
        terminal.note(f"left out: {point}, which is a mount of its own")
    if not found.complete:
        tell_of_errors(found.target, found.errors, terminal, verb="diff")


def tell_of_errors(target: str, errors: Mapping[str, str], terminal: Terminal, *, verb: str) -> None:
    """Say on standard error what could not be looked at."""
    if not errors:
        return
    terminal.complain("ovlay: the answer is not complete: not everything could be looked at")
    for path, why in list(errors.items())[:_MOST_ERRORS]:
        terminal.complain(f"  {place(target, path)}: {why}")
    if len(errors) > _MOST_ERRORS:
        all_of_them = command(f"ovlay {verb} --json", target)
        terminal.complain(f"  and {len(errors) - _MOST_ERRORS} more: {all_of_them} has all of them")


# --- for a program ---------------------------------------------------------------------------------------------------


def print_names(found: Changes, terminal: Terminal, *, null: bool) -> None:
    """Paths alone: with ``null`` just as they are, else a line each and with control characters escaped."""
    for change in found.changes:
        name = place(found.target, change.path)
        if null:
            _write(os.fsencode(name) + b"\0")
        else:
            terminal.print(name)


def print_patch(asked: Questions, found: Changes, terminal: Terminal) -> Changes:
    """The patch, byte by byte unless a person reads it; what could not be read is added to the errors."""
    errors = dict(found.errors)
    person = sys.stdout.isatty()
    for part in asked.patch(found):
        if part.failure:
            errors[part.path] = part.failure
        for line in part.lines:
            if person:
                shown = line.removesuffix(b"\n").decode("utf-8", "surrogateescape")
                terminal.print(shown.expandtabs())
            else:
                _write(line)
    return found._replace(errors=errors, complete=not errors)


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
