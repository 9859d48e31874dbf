"""Warn where an overlay is active, then run `bootc upgrade` with the arguments given, as root."""

from __future__ import annotations

import signal
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.elevate.tools import Elevator
    from ovlay.overlay import Overlay

EXAMPLES = """\
examples:
  ovlay-bkt admin bootc upgrade                 warn, then `bootc upgrade`
  ovlay-bkt admin bootc upgrade --check         all arguments are bootc's
  ovlay-bkt --elevate sudo admin bootc upgrade  let root run it by sudo, not by pkexec
"""

_BKTS_OWN = frozenset({"--confirm", "--yes", "-y"})
"""The user's say, which bkt's command takes and bootc's does not know (bkt/src/commands/admin/bootc.rs)."""

_USUAL = "pkexec"
"""What bkt's own command lets root run bootc by (exec_bootc() there)."""

_SHOWN = 10  # changes of each kind that are named

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What stands after the command is bootc's, but for bkt's own --confirm and --yes."""
    parser.usage = "ovlay-bkt [OPTION]... admin bootc upgrade [ARGUMENT OF BOOTC]..."


def run(options: Options, terminal: Terminal) -> int:
    """Warn, and become bootc. Its standard output is its own: what is said here goes to standard error."""
    from ovlay.cli.elevation import way_to_root
    from ovlay.cli.opening import open_chosen
    from ovlay.errors import ToolFailed

    overlay = open_chosen(options)
    for line in warnings(overlay):
        terminal.complain(line)
    words = ["upgrade", *(word for word in getattr(options, "arguments", ()) if word not in _BKTS_OWN)]
    tool = overlay.host.find_tool("bootc")
    if tool is None:
        raise ToolFailed("bootc is not installed on this host", remedy="upgrade with the host's own tool")
    way = way_to_root(overlay, options, "bootc", usual=_USUAL)
    first, *more = (tool, *words) if way is None else way.argv((tool, *words))
    if options.dry_run:
        terminal.print(" ".join((first, *more)))
        return 0
    with nullcontext() if way is None else _asking(way):
        return passed_on((overlay.host.path(first), *more))


def _asking(way: Elevator) -> AbstractContextManager[None]:
    from ovlay.elevate.agent import text_agent

    return text_agent(way)


def warnings(overlay: Overlay) -> Iterator[str]:
    """What the user of an active overlay must know before an upgrade; nothing where none is active."""
    from ovlay.bkt.doing import stays
    from ovlay.cli.guard import report
    from ovlay.config import load_config
    from ovlay.errors import OvlayError
    from ovlay.services.guard import forecast_upgrade

    status = overlay.status()
    if not status.active:
        return
    yield f"⚠ usroverlay active (changes {'persistent' if stays(status) else 'ephemeral'})"
    try:
        found = forecast_upgrade(overlay.backend, ignore=load_config().ignore)
    except (OvlayError, OSError):  # who may not look into it is warned, and upgrades all the same
        yield f"    the overlay on {status.target} is not there when another image is booted, and its changes are lost"
        return
    for line in report(found, most=_SHOWN):
        yield f"    {line}"


def passed_on(argv: Sequence[str]) -> int:
    """Run a program with our streams to its end, and return its status as a shell says it."""
    import os
    import subprocess
    import sys

    from ovlay.errors import ToolFailed
    from ovlay.host import TOOL_PATH

    sys.stdout.flush()
    environment = {**os.environ, "PATH": ":".join(TOOL_PATH)}
    try:
        process = subprocess.Popen(argv, env=environment)
    except OSError as error:
        raise ToolFailed(f"cannot run {argv[0]}: {error.strerror}", argv=argv) from error
    with process, _signals_for(process.send_signal):
        status = process.wait()
    return 128 - status if status < 0 else status


@contextmanager
def _signals_for(send: Callable[[int], None]) -> Iterator[None]:
    """Leave Ctrl-C to the program, which the terminal sends it to as well, and pass on what ends us alone.

    A handler and not SIG_IGN, which a program started meanwhile would inherit: signal(7).
    """
    import threading

    if threading.current_thread() is not threading.main_thread():  # only there may it be said (Python's signal)
        yield
        return

    def pass_on(number: int, _frame: object) -> None:
        with suppress(PermissionError):  # sudo, or what it runs, is root's by then: it is waited for
            send(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
