"""List the drivers: which one fits this host, and why the others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.model import Mode, as_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from ovlay.backend import Backend
    from ovlay.cli.opening import Choice
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.host import Host

SCHEMA = "ovlay.backends/1"

EXAMPLES = """\
examples:
  ovlay backends                 a table; the driver that is taken has a star
  ovlay backends -v              and the modes that each can make
  ovlay backends --target /opt   for another directory than /usr
"""


class Entry(NamedTuple):
    """One driver: what it says of this host, and what it can make here."""

    name: str
    fits: bool
    score: int
    reason: str
    modes: tuple[Mode, ...]
    loaded: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the flags of every verb are enough."""


def run(options: Options, terminal: Terminal) -> int:
    """List them. That none fits is an answer and no failure."""
    from ovlay.cli.opening import chosen

    choice = chosen(options)
    entries = list_drivers(options.root, choice.target)
    taken = choice.name or next((entry.name for entry in entries if entry.fits), None)
    for line in table(entries, taken, verbose=bool(options.verbose)):
        terminal.print(line)
    terminal.say(_conclusion(choice, taken))
    terminal.document(document(entries, choice, taken))
    return 0


def list_drivers(root: str, target: str) -> tuple[Entry, ...]:
    """All installed drivers, the one that fits best first."""
    from ovlay.drivers import load_drivers, probe_of
    from ovlay.host import Host
    from ovlay.target import target_on

    host = Host(root)
    target = target_on(host, target)
    drivers, failures = load_drivers()
    entries = [Entry(name, False, 0, f"cannot be loaded: {reason}", (), loaded=False) for name, reason in failures]
    for driver in drivers:
        probe = probe_of(driver, host, target)
        modes = _modes(driver, host, target)
        entries.append(Entry(driver.name, probe.fits, probe.score, probe.reason, modes, loaded=True))
    # The order of choose_driver(): the best score, and of equal ones the last name.
    return tuple(sorted(entries, key=lambda entry: (entry.score, entry.name), reverse=True))


def _modes(driver: type[Backend], host: Host, target: str) -> tuple[Mode, ...]:
    """What a driver can make here; () for one that fails at the question."""
    try:
        return tuple(sorted(driver(host, target).modes))
    except Exception:  # of any kind: it is somebody else's code, and what is asked for here is a list of all
        return ()


def table(entries: Sequence[Entry], taken: str | None, *, verbose: bool) -> Iterator[str]:
    """A line for each driver."""
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        mark = "*" if entry.name == taken else " "
        fits = f"fits {entry.score:3}" if entry.fits else "no      "
        yield f"{mark} {entry.name:{width}}  {fits}  {entry.reason}"
        if verbose and entry.modes:
            yield f"  {'':{width}}            can make: {'; '.join(map(str, entry.modes))}"


def document(entries: Sequence[Entry], choice: Choice, taken: str | None) -> dict[str, Any]:
    """The list as a document of schema ``ovlay.backends/1``."""
    return {
        "schema": SCHEMA,
        "target": choice.target,
        "chosen": taken,
        "chosen_by": choice.by,
        "backends": as_json(list(entries)),
    }


def _conclusion(choice: Choice, taken: str | None) -> str:
    if taken is None:
        return f"none fits {choice.target} here; `ovlay demo` works everywhere, --backend NAME takes one all the same"
    why = {
        "option": "named by --backend",
        "environment": "named by OVLAY_BACKEND",
        "configuration": "named in the configuration",
    }.get(choice.by, f"fits {choice.target} best")
    return f"* {taken} is taken: {why}"
