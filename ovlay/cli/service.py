"""Apply the manifests at every boot, and keep units from starting until the image changes."""

from __future__ import annotations

import contextlib
from argparse import SUPPRESS
from typing import TYPE_CHECKING, Any

from ovlay.errors import InvalidInput, NotPermitted

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ovlay.carrying import Outcome
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.elevate.calls import Call
    from ovlay.overlay import Overlay
    from ovlay.plan.plan import Plan
    from ovlay.services.masks import Mask
    from ovlay.services.programs import Program
    from ovlay.services.units import Unit

SCHEMA = "ovlay.service/1"

EXAMPLES = """\
examples:
  ovlay service status                                    what is installed, and how it ended the last time
  ovlay service install                                   apply the system's manifests at every boot
  ovlay service install --guard                           and let updates say what they lose
  ovlay service install --user                            say at a login what is missing
  ovlay service remove                                    take the units away again
  ovlay service mask-until-image bootc-apply.service      do not start it on this image
  ovlay service mask-until-image --undo bootc-apply.service
"""

ACTIONS = ("install", "status", "remove", "mask-until-image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is to be done, and to which units."""
    parser.usage = f"ovlay service [OPTION]... {{{','.join(ACTIONS)}}} [UNIT]..."
    parser.add_argument("action", choices=ACTIONS, metavar="ACTION", help=", ".join(ACTIONS))
    # argparse takes what may be left away for required, unless it has a default.
    parser.add_argument(
        "units", nargs="*", metavar="UNIT", default=SUPPRESS, help="what is masked, such as sshd.service"
    )
    parser.add_argument("--user", action="store_true", help="the unit of this user's own, which only tells")
    parser.add_argument(
        "--guard", action="store_true", help="with install: let update services run `ovlay guard` first"
    )
    parser.add_argument("--block", action="store_true", help="with --guard: no update where something would be lost")
    parser.add_argument("--program", metavar="FILE", help="with install: the ovlay that is run, instead of this one")
    parser.add_argument("--undo", action="store_true", help="with mask-until-image: take the mask back")
    parser.add_argument(
        "--outdated", action="store_true", help="with --undo: all masks that another image was meant by"
    )


def run(options: Options, terminal: Terminal) -> int:
    """Do it, or say how it is."""
    from ovlay.cli.opening import open_chosen

    _check(options)
    overlay = open_chosen(options)
    if options.action == "status":
        return _status(overlay, options, terminal)
    if options.action == "mask-until-image":
        return _mask(overlay, options, terminal)
    if getattr(options, "user", False):
        return _user(overlay, options, terminal)
    return _install(overlay, options, terminal) if options.action == "install" else _remove(overlay, options, terminal)


def _check(options: Options) -> None:
    """Raise `InvalidInput` for flags that mean nothing together."""
    action, units = options.action, getattr(options, "units", [])
    undo, outdated = getattr(options, "undo", False), getattr(options, "outdated", False)
    guard, block = getattr(options, "guard", False), getattr(options, "block", False)
    masking, user = action == "mask-until-image", getattr(options, "user", False)
    for wrong, message in (
        (units and not masking, f"`ovlay service {action}` takes no unit"),
        (masking and not units and not outdated, "no unit is named"),
        (masking and units and outdated, "--outdated and the name of a unit exclude each other"),
        ((undo or outdated) and not masking, "--undo and --outdated go with mask-until-image"),
        (outdated and not undo, "--outdated goes with --undo"),
        (guard and (action != "install" or user), "--guard goes with install, and not with --user"),
        (block and not guard, "--block goes with --guard"),
        (hasattr(options, "program") and action != "install", "--program goes with install"),
        (user and masking, "--user does not go with mask-until-image: a user's unit cannot be masked"),
    ):
        if wrong:
            raise InvalidInput(message, remedy="`ovlay service --help` says how it is meant")


# --- install and remove --------------------------------------------------------------------------------------------


def _install(overlay: Overlay, options: Options, terminal: Terminal) -> int:
    from ovlay.elevate.calls import Call
    from ovlay.services.units import plan_installed

    program = _program(overlay, options, trusted=True)
    guard, block = getattr(options, "guard", False), getattr(options, "block", False)
    call = Call("service-install", {**program._asdict(), "guard": guard, "block": block})

    def plan() -> Plan:
        return plan_installed(overlay.host, program.argv, guard=guard, block=block)

    return _change(plan, "installed: the manifests are applied at every boot", overlay, options, terminal, call=call)


def _remove(overlay: Overlay, options: Options, terminal: Terminal) -> int:
    from ovlay.elevate.calls import Call
    from ovlay.services.units import plan_remove

    call = Call("service-remove", {})
    return _change(lambda: plan_remove(overlay.host), "removed", overlay, options, terminal, call=call)


def _user(overlay: Overlay, options: Options, terminal: Terminal) -> int:
    from ovlay.services.units import plan_install_user, plan_remove_user

    if options.action == "remove":
        return _change(lambda: plan_remove_user(overlay.host), "removed", overlay, options, terminal, alone=True)
    program = _program(overlay, options, trusted=False)
    done = "installed: what differs from the manifests is said at every login"
    return _change(lambda: plan_install_user(overlay.host, program.argv), done, overlay, options, terminal, alone=True)


def _program(overlay: Overlay, options: Options, *, trusted: bool) -> Program:
    """The ovlay that the unit runs; raises `InvalidInput` where root must not, or cannot at the next boot."""
    from ovlay.services.programs import demand_lasting, demand_trusted, named_program, running_program

    named: str | None = getattr(options, "program", None)
    host = overlay.host
    program = running_program(own=not trusted) if named is None else named_program(host, named)
    elsewhere = named is None and host.root != "/"  # this program is not on that host, so nothing is known of it there
    if trusted and not elsewhere:
        demand_trusted(host, program)
        with contextlib.suppress(NotPermitted):  # who may not look beneath the overlay leaves that to the helper
            demand_lasting(overlay, program)
    return program


# --- masks ---------------------------------------------------------------------------------------------------------


def _mask(overlay: Overlay, options: Options, terminal: Terminal) -> int:
    from ovlay.elevate.calls import Call
    from ovlay.services.masks import plan_mask_until_image, plan_unmask

    base = overlay.backend.base()
    units: list[str] = getattr(options, "units", [])
    if getattr(options, "undo", False):

        def unmask() -> Plan:
            _demand_sight(overlay)
            return plan_unmask(overlay.host, units, base=base)

        call = Call("service-unmask", {"units": units})
        return _change(unmask, "the mask is taken back", overlay, options, terminal, call=call)

    def mask() -> Plan:
        _demand_sight(overlay)
        return plan_mask_until_image(overlay.host, units, base)

    done = f"{', '.join(units)}: does not start until the image changes; what runs already is not stopped"
    return _change(mask, done, overlay, options, terminal, call=Call("service-mask", {"units": units}))


def _demand_sight(overlay: Overlay) -> None:
    """Raise `NotPermitted` where there may be masks that this process may not see."""
    from ovlay.services.unit_texts import MASKED

    if overlay.host.is_hidden(MASKED):
        raise NotPermitted("only root can see what is masked", remedy="run it as root, for instance with sudo")


def _change(
    make: Callable[[], Plan],
    done: str,
    overlay: Overlay,
    options: Options,
    terminal: Terminal,
    *,
    alone: bool = False,
    call: Call | None = None,
) -> int:
    """Show, confirm, carry out. ``alone`` is for what is the user's own, and needs neither root nor root's lock."""
    from ovlay.carrying import Outcome
    from ovlay.cli.changing import Request, change

    def by_itself(confirm: Callable[[Plan], bool] | None) -> Outcome:
        from ovlay.plan.execute import execute

        plan = make()
        if not plan or (confirm is not None and not confirm(plan)):
            return Outcome(plan, changed=False)
        return Outcome(plan, changed=True, told=execute(plan, overlay.host).told)

    def carried_out(confirm: Callable[[Plan], bool] | None) -> Outcome:
        return by_itself(confirm) if alone else overlay.carry_out(make, confirm=confirm)

    return change(Request(plan=make, carry_out=carried_out, done=done, call=call), overlay, options, terminal)


# --- status --------------------------------------------------------------------------------------------------------


def _status(overlay: Overlay, options: Options, terminal: Terminal) -> int:
    from ovlay.cli.elevation import questions
    from ovlay.cli.failure import as_root
    from ovlay.services.masks import find_overrides
    from ovlay.services.units import UPDATERS, find_units, guarded_services, is_unit

    host = overlay.host
    units = find_units(host)
    with questions(overlay, options) as asked:
        masks = asked.masks()
    overrides = find_overrides(host)
    guarded = guarded_services(host)
    updaters = tuple(name for name in UPDATERS if is_unit(host, name))
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "units": [unit.to_json() for unit in units],
        "complete": masks is not None,
        "masks": [mask.to_json() for mask in masks or ()],
        "overrides": [
            {"unit": each.unit, "conditions": list(each.conditions), "drop_in": each.drop_in} for each in overrides
        ],
        "guarded": list(guarded),
        "updaters": list(updaters),
    }
    for unit in units:
        terminal.print(unit_line(unit))
    for mask in masks or ():
        terminal.print(mask_line(mask))
    if masks is None:
        terminal.note(f"only root can see what is masked; to see it: {as_root(options.said)}")
    for each in overrides:
        terminal.print(f"override {each.unit}: {', '.join(each.conditions)}")
    for line in _guard_lines(guarded, updaters):
        terminal.print(line)
    terminal.document(document)
    return 0


def unit_line(unit: Unit) -> str:
    """A unit in one line."""
    if not unit.installed:
        return f"{unit.scope:<8} {unit.name}: not installed"
    enabled = "enabled" if unit.enabled else "not enabled"
    if unit.state is None:
        last = ""
    elif unit.state == "failed":
        last = f", failed at the last boot ({unit.result}): `journalctl -b -u {unit.name}`"
    else:
        last = f", {unit.state}"
    return f"{unit.scope:<8} {unit.name}: installed, {enabled}{last}"


def mask_line(mask: Mask) -> str:
    """A mask in one line."""
    if mask.outdated:
        undo = f"`ovlay service mask-until-image --undo {mask.unit}`"
        return f"masked   {mask.unit}: the image has changed since, the mask can go: {undo}"
    return f"masked   {mask.unit}: until the image changes"


def _guard_lines(guarded: tuple[str, ...], updaters: tuple[str, ...]) -> Iterator[str]:
    for name in guarded:
        yield f"guarded  {name}"
    if missing := [name for name in updaters if name not in guarded]:
        yield f"not guarded: {', '.join(missing)} (`ovlay service install --guard`)"
