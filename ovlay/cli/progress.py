"""A line on the terminal for what takes over a second: what is being done, and for how long."""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.cli.terminal import Terminal

_FIRST, _THEN = 1.0, 0.5  # seconds


def silence() -> None:
    """Show nothing more, since somebody else is about to write to the terminal."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
        sys.stderr.flush()


@contextmanager
def shown_progress(doing: str, terminal: Terminal) -> Iterator[None]:
    """Show ``doing`` on standard error from the second second of the block on, where that is a terminal.

    A timer of the kernel's wakes us and not a thread, beside which nothing could be forked (`ovlay.changes.workers`).
    """
    in_main = threading.current_thread() is threading.main_thread()
    if terminal.quiet or not in_main or not sys.stderr.isatty():
        yield
        return
    begun = time.monotonic()
    shown = False

    def show(_number: int, _frame: object) -> None:
        nonlocal shown
        shown = True
        with suppress(OSError, RuntimeError):  # a terminal that is gone, or that was being written to just now
            sys.stderr.write(f"\r{doing}: {time.monotonic() - begun:.0f} s ")
            sys.stderr.flush()

    before = signal.signal(signal.SIGALRM, show)
    signal.setitimer(signal.ITIMER_REAL, _FIRST, _THEN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if shown:
            with suppress(OSError):
                sys.stderr.write("\r\033[K")
                sys.stderr.flush()
