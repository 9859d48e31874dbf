"""Say who uses the overlay, and who of them a file that changed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ovlay.counting import counted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.holders import Holders, Process
    from ovlay.kernel.holders import FileUse

EXAMPLES = """\
examples:
  ovlay holders                          who uses it, and what should be restarted
  ovlay holders -v                       and all processes, however many there are
  ovlay holders /usr/lib/libfoo.so.1     who uses this file
  ovlay holders --json                   for a program: schema ovlay.holders/1
"""

_MOST = 10  # processes that are listed without -v
_MOST_FILES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to look for."""
    parser.usage = "ovlay holders [OPTION]... [PATH]..."
    parser.add_argument("paths", nargs="*", metavar="PATH", help="only who uses this file, or one in this directory")


def run(options: Options, terminal: Terminal) -> int:
    """Say it. That there is nobody, or no overlay, is an answer and no failure."""
    from ovlay.cli.elevation import questions
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.progress import shown_progress

    overlay = open_chosen(options)
    paths = getattr(options, "paths", ())
    with shown_progress(f"looking for those who use {overlay.target}", terminal), questions(overlay, options) as asked:
        found = asked.holders(paths)
    terminal.document(found.to_json())
    for line in report(found, asked=bool(paths), most=None if options.verbose else _MOST):
        terminal.print(line)
    for line in missing(found):
        terminal.complain(line)
    return 0


def report(found: Holders, *, asked: bool, most: int | None) -> Iterator[str]:
    """What was found, for a person: who should be restarted first, then who uses the overlay, then the old views."""
    listed = found.changed or ()
    if listed:
        yield f"{_processes(listed)} {_verb(listed)} files that changed on {found.target}:"
        yield from table(listed, most, files=True)
        yield from _restarts([one for one in listed if one.outdated], "to use the files that are there now:")
    using = "a file that was asked for" if asked else f"the overlay on {found.target}"
    if found.holders:
        yield f"{_processes(found.holders)} {_verb(found.holders)} {using}:"
        yield from table(found.holders, most, files=asked)
    if found.left_behind:
        who = f"{_processes(found.left_behind)} still {_verb(found.left_behind)}"
        yield f"{who} a view of {found.target} that was unmounted lazily:"
        yield from table(found.left_behind, most)
        yield from _restarts(found.left_behind, "to let go of it:")
    if not (listed or found.holders or found.left_behind):
        nobody = "nobody who could be looked at" if found.unseen or found.hidden else "nobody"
        yield f"{nobody} uses {using}" if found.active or asked else f"nobody: no overlay is on {found.target}"


def table(listed: Sequence[Process], most: int | None, *, files: bool = False) -> Iterator[str]:
    """A line for each process: how it uses the overlay, or with ``files`` which of its files, a line each."""
    shown = listed if most is None or len(listed) <= most else listed[:most]
    pids = max(len(str(one.pid)) for one in shown)
    commands = max(len(one.command) for one in shown)
    units = max(len(one.unit or "") for one in shown)
    for one in shown:
        uses = "" if files else ", ".join(one.uses)
        yield f"  {one.pid:>{pids}}  {one.command:{commands}}  {one.unit or '-':{units}}  {uses}".rstrip()
        used = _by_path(one.files) if files else []
        for path, how in used if most is None else used[:_MOST_FILES]:
            yield f"  {'':{pids}}    {path} ({how})"
        if most is not None and len(used) > _MOST_FILES:
            yield f"  {'':{pids}}    and {len(used) - _MOST_FILES} more"
    if len(shown) < len(listed):
        yield f"  and {len(listed) - len(shown)} more: -v lists them all"


def _by_path(files: Sequence[FileUse]) -> list[tuple[str, str]]:
    """Each file once, with all the ways in which it is used."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(file.path, []).append(file.use)
    outdated = {file.path for file in files if file.outdated}
    return [(path, ", ".join(uses) + ("; outdated" if path in outdated else "")) for path, uses in found.items()]


def missing(found: Holders) -> Iterator[str]:
    """What the answer leaves out."""
    if found.reason:
        yield f"ovlay: who uses a changed file is not known: {found.reason}"
    if found.hidden:
        yield "ovlay: the list is not complete: /proc hides the processes of other users (hidepid); root sees them"
    if found.unseen:
        count = counted(found.unseen, "process", "processes")
        root = "" if os.geteuid() == 0 else "; root may look at all of them"
        yield f"ovlay: the list is not complete: {count} could not be looked at{root}"


def _restarts(listed: Sequence[Process], why: str) -> Iterator[str]:
    commands = dict.fromkeys(one.restart for one in listed if one.restart)
    alone = [one for one in listed if not one.restart]
    if listed:
        yield f"  {why}"
        yield from (f"    {command}" for command in commands if command)
    if alone:
        named = ", ".join(f"{one.command} (pid {one.pid})" for one in alone[:_MOST])
        more = f" and {len(alone) - _MOST} more" if len(alone) > _MOST else ""
        yield f"    end and start again: {named}{more}"


def _processes(listed: Sequence[Process]) -> str:
    return counted(len(listed), "process", "processes")


def _verb(listed: Sequence[Process]) -> str:
    return "uses" if len(listed) == 1 else "use"
