"""Say what is on the target: the overlay, where its changes go, and what is odd about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.cli.opening import open_chosen
from ovlay.model import Owner, Persistence

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.model import Backing, Layer, Status

EXAMPLES = """\
examples:
  ovlay status                   for a person
  ovlay status -v                and every mount on the target, and what the host's own tool says
  ovlay status --json            for a program: schema ovlay.status/1
"""

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the flags of every verb are enough."""


def run(options: Options, terminal: Terminal) -> int:
    """Say it. An inactive overlay is an answer and no failure."""
    overlay = open_chosen(options)
    status = overlay.status()
    if options.json:
        terminal.document(status.to_json())
        return 0
    terminal.print(terminal.strong(headline(status)))
    for line in details(status):
        terminal.print(line)
    if options.verbose:
        for line in (*stack_table(status), *tool_words(overlay.backend.name, overlay.backend.ask_tool())):
            terminal.print(line)
    return 0


def headline(status: Status) -> str:
    """The one line that matters."""
    if status.mode is None or status.overlay is None:
        return f"{status.target}: {'writable, but by no overlay' if status.writable else 'no overlay'}"
    by = {Owner.TOOL: f"by {status.backend}", Owner.OVLAY: "by ovlay itself"}.get(status.overlay.owner, "")
    return f"{status.target}: {status.mode.access}, {status.mode.persistence} overlay ({by})"


def details(status: Status) -> Iterator[str]:
    """What else is known, a line each, and every anomaly with its remedy."""
    if status.active:
        yield _row("changes", status.upper_path or "no path leads to them")
        if status.backing is not None:
            yield _row("space", _space(status.backing))
        if status.mode is not None and status.mode.persistence is Persistence.TRANSIENT:
            yield _row("reboot", "takes it away, and what is in it")
        else:
            yield _row("reboot", "keeps it")
    yield _row("driver", status.backend + (f", whose own word for the state is {status.flag!r}" if status.flag else ""))
    if status.base is not None:
        yield _row("base", " ".join(_base(status)))
    if status.depth > 1:
        yield _row("stack", f"{status.depth} filesystems deep, {len(status.stack)} mounts on {status.target}")
    for submount in status.submounts:
        yield _row("mount", submount)
    for anomaly in status.anomalies:
        yield f"  {anomaly.kind}: {anomaly.detail}"
        yield f"    next: {anomaly.remedy}"
    if not status.active:
        words = "ovlay enable" if status.target == "/usr" else f"ovlay enable --target {status.target}"
        yield _row("enable", f"`{words}` makes it writable")


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


def _space(backing: Backing) -> str:
    where = f"{backing.fstype}, in memory" if backing.in_memory else backing.fstype
    return f"{size(backing.used)} used, {size(backing.free)} free ({where})"


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
