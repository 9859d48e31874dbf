"""Signals that end a program, made into what Ctrl-C is: an exception, so that what was begun is taken back."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def terminating() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise ``SystemExit`` inside the block, with the status that a shell would show."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    # Only the main thread of a program may say what signals do (Python's module signal).
    in_main = threading.current_thread() is threading.main_thread()
    signals = (signal.SIGTERM, signal.SIGHUP) if in_main else ()
    before = [signal.signal(number, end) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
