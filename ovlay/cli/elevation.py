"""Carry a request out as the one who asks, or where only root can, through a helper after one prompt."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ovlay.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovlay.cli.changing import Request
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.elevate.tools import Elevator
    from ovlay.overlay import Outcome, Overlay
    from ovlay.plan.plan import Plan


def carry_out(
    request: Request,
    overlay: Overlay,
    options: Options,
    terminal: Terminal,
    confirm: Callable[[Plan], bool] | None,
) -> Outcome:
    """Plan, confirm, and execute a request.

    A user plans without root, and is asked for a password only after saying yes to the plan. What a user may not even
    look at is planned by root: then the password comes before the plan.
    """
    elevator = _elevator(request, overlay, options)
    if elevator is None:
        return request.carry_out(confirm)
    from ovlay.elevate.client import carry_out_as_root
    from ovlay.overlay import Outcome

    assert request.call is not None
    overlay.host.plans_for_root = True
    try:
        plan = request.plan()
    except NotPermitted:
        plan = None
        if confirm is not None:
            terminal.demand_answer()
    if plan is not None and (not plan or (confirm is not None and not confirm(plan))):
        return Outcome(plan, changed=False)
    return carry_out_as_root(request.call, overlay, elevator, expected=plan, confirm=confirm)


def _elevator(request: Request, overlay: Overlay, options: Options) -> Elevator | None:
    """The program that asks for the password; None where this process is root, or nothing there could help."""
    from ovlay.host import Host

    if os.geteuid() == 0 or request.call is None or type(overlay.host) is not Host:
        return None
    from ovlay.config import load_config
    from ovlay.elevate.tools import choose_elevator

    wanted = options.elevate or os.environ.get("OVLAY_ELEVATE") or load_config().elevate
    return choose_elevator(overlay.host, wanted, terminal=_has_terminal())


def _has_terminal() -> bool:
    """Whether a password can be asked for: sudo and doas open tty(4) themselves, whatever is redirected."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
