"""polkit's own agent for a terminal, for as long as pkexec may ask: pkttyagent(1).

pkexec brings one of its own, but up to polkit 123 the answers that it takes are for root and are lost ("No session for
cookie"). It is started for our process alone, and not in a graphical session, whose own agent asks better.
"""

from __future__ import annotations

import os
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.elevate.tools import Elevator

_PATIENCE = 5  # seconds for it to come up: without it pkexec still has its own


@contextmanager
def text_agent(elevator: Elevator) -> Iterator[None]:
    """Have an agent on the terminal while pkexec is asked; nothing for the other programs, which need none."""
    graphical = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if elevator.agent is None or not elevator.can_ask or graphical:
        yield
        return
    import subprocess

    ours, theirs = os.pipe()
    try:
        agent = subprocess.Popen(
            [elevator.agent, "--process", str(os.getpid()), "--notify-fd", str(theirs)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs,),
        )
    finally:
        os.close(theirs)
    try:
        select.select([ours], [], [], _PATIENCE)  # it closes its end when it is registered
        os.close(ours)
        yield
    finally:
        agent.terminate()
        agent.wait()
