"""Carry a request out as the one who asks, or where only root can, through a helper after one prompt."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ovlay.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.carrying import Outcome
    from ovlay.cli.changing import Request
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.elevate.questions import Questions
    from ovlay.elevate.tools import Elevator
    from ovlay.overlay import Overlay
    from ovlay.plan.plan import Plan


_NOT_THERE = "choose a place that is root's own, such as one below /etc/ovlay: root writes nowhere else for a user"


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
    if os.geteuid() == 0 or not _needs_root(overlay):
        return request.carry_out(confirm)
    if request.call is None:
        try:
            return request.carry_out(confirm)
        except NotPermitted as error:
            raise NotPermitted(str(error), remedy=_NOT_THERE) from error
    from ovlay.carrying import Outcome
    from ovlay.elevate.client import carry_out_as_root

    unseen: NotPermitted | None = None
    plan: Plan | None = None
    try:
        plan = request.plan()
    except NotPermitted as error:
        unseen = error
    if plan is not None and not plan:
        return Outcome(plan, changed=False)
    elevator = _way_to_root(overlay, options, unseen)
    if plan is None and confirm is not None:
        terminal.demand_answer()
    if plan is not None and confirm is not None and not confirm(plan):
        return Outcome(plan, changed=False)
    return carry_out_as_root(request.for_root, overlay, elevator, expected=plan, confirm=confirm)


@contextmanager
def questions(overlay: Overlay, options: Options) -> Iterator[Questions]:
    """Who answers questions about an overlay: this process, and what it may not see root, where --elevate is said.

    No question asks for a password by itself, since scripts ask them.
    """
    from ovlay.elevate.questions import Questions

    if os.geteuid() == 0 or options.elevate in (None, "none") or not _needs_root(overlay):
        yield Questions(overlay)
        return
    from ovlay.cli.progress import silence
    from ovlay.elevate.client import Asking

    def found_elevator() -> Elevator:
        silence()
        return _way_to_root(overlay, options, None)

    asking = Asking(overlay, found_elevator)
    try:
        yield Questions(overlay, asking.ask)
    finally:
        asking.close()


def demand_way_to_root(overlay: Overlay, options: Options) -> None:
    """Raise `NotPermitted` where this process is not root, and has nothing to become root by."""
    if os.geteuid() != 0 and _needs_root(overlay):
        _way_to_root(overlay, options, None)


def way_to_root(overlay: Overlay, options: Options, program: str, *, usual: str) -> Elevator | None:
    """What lets root run another program for a user; None for root, and where a host is played.

    Where nobody said by what, it is ``usual`` if that is there. Raises `NotPermitted` where there is no way.
    """
    from ovlay.elevate.tools import choose_elevator

    if os.geteuid() == 0 or not _needs_root(overlay):
        return None
    if _wanted(options) is None and overlay.host.find_tool(usual) is not None:
        with suppress(NotPermitted):
            return choose_elevator(overlay.host, usual, terminal=_has_terminal())
    refused = NotPermitted(f"only root can run {program}", remedy="run it as root, for instance with sudo")
    return _way_to_root(overlay, options, refused)


def _needs_root(overlay: Overlay) -> bool:
    from ovlay.host import Host

    return type(overlay.host) is Host  # not where a host is played


def _way_to_root(overlay: Overlay, options: Options, unseen: NotPermitted | None) -> Elevator:
    """The program that asks for the password; raises ``unseen``, or `NotPermitted`, where none is to be asked."""
    from ovlay.elevate.tools import choose_elevator

    found = choose_elevator(overlay.host, _wanted(options), terminal=_has_terminal())
    if found is None:
        raise unseen or NotPermitted(
            "only root can change what is mounted, or write into an overlay",
            remedy="run it as root, for instance with sudo",
        )
    return found


def _wanted(options: Options) -> str | None:
    """The program that is to be asked with, as the user says."""
    from ovlay.config import load_config

    return options.elevate or os.environ.get("OVLAY_ELEVATE") or load_config().elevate


def _has_terminal() -> bool:
    """Whether a password can be asked for: sudo and doas open tty(4) themselves, whatever is redirected."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
