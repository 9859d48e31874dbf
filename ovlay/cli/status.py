"""Say what is on the target: the overlay, where its changes go, and what is odd about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.advice import command
from ovlay.backend import NOT_TO_BE_COVERED
from ovlay.cli.fate import comes_back, enabling
from ovlay.cli.opening import open_chosen
from ovlay.counting import counted
from ovlay.model import Access, Owner, Persistence

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ovlay.changes.change import Change, Changes
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Backing, Layer, Status
    from ovlay.overlay import Overlay

EXAMPLES = """\
examples:
  ovlay status                   for a person
  ovlay status -v                and every mount on the target, and what the host's own tool says
  ovlay status --changes         and every change, not only the first ones
  ovlay status --json            for a program: schema ovlay.status/1
  ovlay status --json --changes  and in it what `ovlay diff --json` prints
"""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


_FIRST = 10  # changes that are listed where not all are asked for


class Seen(NamedTuple):
    """What is known of the changes: which they are, the bytes that they take, and why something is not known."""

    changes: Changes | None
    size: int | None
    reason: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how much is said of the changes."""
    parser.add_argument("--changes", action="store_true", help="list every change, with --json too")


def run(options: Options, terminal: Terminal) -> int:
    """Say it. An inactive overlay is an answer and no failure."""
    overlay = open_chosen(options)
    status = overlay.status()
    everything = getattr(options, "changes", False)
    if options.json:
        terminal.document({**status.to_json(), **(_document(overlay, status, terminal) if everything else {})})
        return 0
    seen = look(overlay, status, terminal) if status.active else None
    terminal.print(terminal.strong(headline(status)))
    for line in details(status, None if seen is None else seen.size):
        terminal.print(line)
    for line in changed_files(seen, most=None if everything else _FIRST) if seen is not None else ():
        terminal.print(line)
    if options.verbose:
        for line in (*stack_table(status), *tool_words(overlay.backend.name, overlay.backend.ask_tool())):
            terminal.print(line)
    return 0


def look(overlay: Overlay, status: Status, terminal: Terminal) -> Seen:
    """The changes, without what the configuration ignores. That they cannot be seen is an answer and no failure."""
    from ovlay.changes.ignore import leave_out
    from ovlay.changes.space import space_of_changes
    from ovlay.cli.progress import shown_progress
    from ovlay.config import load_config
    from ovlay.errors import NotPermitted, OvlayError

    try:
        with shown_progress(f"looking for changes in {status.target}", terminal):
            found = leave_out(overlay.changes(), load_config().ignore)
            return Seen(found, space_of_changes(overlay.backend))
    except NotPermitted:
        return Seen(None, None, "root sees them")
    except (OvlayError, OSError) as error:
        return Seen(None, None, f"they cannot be listed: {error}")


def _document(overlay: Overlay, status: Status, terminal: Terminal) -> dict[str, Any]:
    """What --changes adds to the document."""
    seen = look(overlay, status, terminal) if status.active else Seen(None, None)
    return {"changes": None if seen.changes is None else seen.changes.to_json(), "changes_size": seen.size}


def changed_files(seen: Seen, *, most: int | None) -> Iterator[str]:
    """What changed, a line each: the first ones and a count, or all."""
    if seen.changes is None:
        yield f"Modified files: {seen.reason}"
        return
    found = seen.changes
    yield "Modified files:" if found.changes else "Modified files: none"
    for change in found.changes[:most]:
        path = found.target if change.path == "." else f"{found.target}/{change.path}"
        yield f"  {path} ({_fate(change)})"
    if most is not None and len(found.changes) > most:
        listed = command("ovlay status --changes", found.target)
        yield f"  and {len(found.changes) - most} more: {listed} lists them all"
    if not found.complete:
        diff = command("ovlay diff", found.target)
        yield f"  and perhaps more: {counted(len(found.errors), 'path')} could not be looked at, see {diff}"


def _fate(change: Change) -> str:
    if change.renamed_from is not None:
        return "renamed"
    return {"modified": "replaced", "type-changed": "replaced", "metadata": "attributes"}.get(change.kind, change.kind)


def headline(status: Status) -> str:
    """The one line that matters."""
    if status.mode is None or status.overlay is None:
        foreign = next((layer for layer in reversed(status.stack) if layer.owner is Owner.FOREIGN), None)
        if foreign is not None:
            return f"{status.target}: {_access(foreign)} overlay of somebody else (source {foreign.source})"
        return f"{status.target}: {'writable, but by no overlay' if status.writable else 'no overlay'}"
    by = {Owner.TOOL: f"by {status.backend}", Owner.OVLAY: "by ovlay itself"}.get(status.overlay.owner, "")
    return f"{status.target}: {status.mode.access}, {status.mode.persistence} overlay ({by})"


def _access(layer: Layer) -> Access:
    """What can be done with an overlay, where the driver knows no more of it than the mount table."""
    sealed = layer.upper is None or Access.READ_ONLY in (layer.access, layer.superblock)
    return Access.READ_ONLY if sealed else Access.READ_WRITE


def details(status: Status, taken: int | None = None) -> Iterator[str]:
    """What else is known, a line each, and every anomaly with its remedy. ``taken`` are the bytes of the changes."""
    if status.active:
        yield _row("changes", status.upper_path or "no path leads to them")
        if status.backing is not None:
            yield _row("space", _space(status.backing, taken))
        yield _row("reboot", _reboot(status))
    yield _row("driver", status.backend + (f", whose own word for the state is {status.flag!r}" if status.flag else ""))
    if status.base is not None:
        yield _row("base", " ".join(_base(status)))
    if status.depth > 1:
        yield _row(
            "stack", f"{status.depth} filesystems deep, {counted(len(status.stack), 'mount')} on {status.target}"
        )
    for submount in status.submounts:
        yield _row("mount", submount)
    for anomaly in status.anomalies:
        yield f"  {anomaly.kind}: {anomaly.detail}"
        yield f"    next: {anomaly.remedy}"
    if not status.active and not any(map(status.has, NOT_TO_BE_COVERED)):
        fate = "puts an overlay over it, which can be taken away" if status.writable else "makes it writable"
        yield _row("enable", f"{command('ovlay enable', status.target)} {fate}")


def stack_table(status: Status) -> Iterator[str]:
    """Every mount on the target, lowest first."""
    yield "mounts, lowest first:" if status.stack else f"nothing is mounted on {status.target}"
    for layer in status.stack:
        yield f"  {layer.mount_id:>6} {layer.device:>7} {layer.fstype:9} {layer.access:10} by {_by(layer, status)}"
        for name, value in (("lower", ":".join(layer.lower)), ("upper", layer.upper), ("work", layer.work)):
            if value:
                yield f"         {name:5} {value}"


def tool_words(name: str, words: str | None) -> Iterator[str]:
    """What the host's own tool says of the state."""
    if words:
        yield f"what {name} says itself:"
        yield from (f"  {line}" for line in words.splitlines())


def size(number: int) -> str:
    """A number of bytes for a person: ``1536`` is ``1.5 KiB``."""
    value, unit = float(number), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 10 else f"{value:.1f} {_UNITS[unit]}"


def _row(name: str, text: str) -> str:
    return f"  {name:<9} {text}"


def _space(backing: Backing, taken: int | None) -> str:
    changes = "" if taken is None else f"{size(taken)} in changes; "
    where = f"{backing.fstype}, in memory" if backing.in_memory else backing.fstype
    return f"{changes}{size(backing.used)} used, {size(backing.free)} free ({where})"


def _reboot(status: Status) -> str:
    if status.mode is not None and status.mode.persistence is Persistence.TRANSIENT:
        return "takes it away, and what is in it"
    if comes_back(status):
        return "keeps it"
    return f"keeps the changes; {enabling(status.target, status.mode)} puts it there again"


def _base(status: Status) -> Iterator[str]:
    base = status.base
    assert base is not None
    yield base.kind
    if base.checksum:
        yield base.checksum[:12]
    if base.image:
        yield base.image
    if base.os_id:
        yield f"({' '.join(filter(None, (base.os_id, base.os_version)))})"


def _by(layer: Layer, status: Status) -> str:
    owner = status.backend if layer.owner is Owner.TOOL else str(layer.owner)
    return f"{owner} (source {layer.source})"
