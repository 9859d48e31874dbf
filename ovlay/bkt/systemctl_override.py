"""Let a unit start only on a condition, by a drop-in of its own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.plan.plan import Plan

EXAMPLES = """\
examples:
  ovlay-bkt admin systemctl override bootc-apply.service \\
      --condition 'ConditionPathExists=!/var/lib/bkt/disable-bootc-apply'
  ovlay-bkt admin systemctl override bootc-apply.service --remove
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the unit, and what is asked of it."""
    parser.usage = "ovlay-bkt admin systemctl override [OPTION]... UNIT"
    parser.add_argument("unit", metavar="UNIT", help="the unit; .service may be left away")
    parser.add_argument(
        "--condition",
        action="append",
        metavar="CONDITION=VALUE",
        help="as in systemd.unit(5); may be given several times, and all must hold",
    )
    parser.add_argument("--remove", action="store_true", help="take the override back")
    parser.add_argument("--confirm", action="store_true", help=argparse.SUPPRESS)  # as bkt's other systemctl commands


def run(options: Options, terminal: Terminal) -> int:
    """Write the drop-in, or take it back."""
    from ovlay.bkt.doing import do, tell
    from ovlay.cli.changing import Request
    from ovlay.cli.opening import open_chosen
    from ovlay.elevate.calls import Call
    from ovlay.errors import InvalidInput
    from ovlay.services.masks import plan_drop_override, plan_override, unit_name

    conditions: list[str] = getattr(options, "condition", [])
    remove: bool = getattr(options, "remove", False)
    if remove and conditions:
        raise InvalidInput("--remove takes no --condition", remedy="leave one of them away")
    overlay = open_chosen(options)
    unit = unit_name(options.unit)

    def plan() -> Plan:
        return plan_drop_override(overlay.host, unit) if remove else plan_override(overlay.host, unit, conditions)

    asked = Call("service-restore", {"unit": unit})
    if not remove:
        asked = Call("service-override", {"unit": unit, "conditions": conditions})
    request = Request(plan, lambda confirm: overlay.carry_out(plan, confirm=confirm), "", call=asked)
    outcome = do(request, overlay, options, terminal)
    if outcome is not None:
        done = f"✓ {unit}: override removed" if remove else f"✓ {unit} starts only where {' and '.join(conditions)}"
        for line in outcome.plan.warnings:
            terminal.note(f"⚠ {line}")
        tell("service", outcome, overlay, terminal, done if outcome.changed else outcome.plan.reason)
    return 0
