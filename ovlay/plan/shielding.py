"""Ctrl-C, SIGTERM and SIGHUP held back while a step makes a few system calls that belong together.

A mount that was just made and is not yet known to be would lose its upper directory, which is taken back as the step
before it; what was taken off to be put back would be lost.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def shielded() -> Iterator[None]:
    """Let what they do come at the end of the block.

    That is for what has a handler in Python, which runs in the main thread alone (Python's signal): another thread is
    not interrupted anyway.
    """
    caught: list[int] = []
    in_main = threading.current_thread() is threading.main_thread()
    before = {n: handler for n in _ENDINGS if in_main and callable(handler := signal.getsignal(n))}
    for number in before:
        signal.signal(number, lambda n, _frame: caught.append(n))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for first in caught[:1]:
            before[signal.Signals(first)](first, None)
