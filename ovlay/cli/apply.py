"""Make everything as the manifests say: only what differs is written, and twice is the same as once."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.cli.plan import CONFLICTS, add_manifests, reasons, retired_lines, tell_of_misnamed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from ovlay.carrying import Outcome
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.elevate.calls import Call
    from ovlay.elevate.questions import Ask
    from ovlay.manifest.document import Retired
    from ovlay.manifest.finding import Finding
    from ovlay.plan.plan import Plan

EXAMPLES = """\
examples:
  ovlay apply                          all manifests of this system
  ovlay apply hotfix.toml              this one alone
  ovlay apply --enable hotfix.toml     in a new overlay, where there is none
  ovlay apply --dry-run                what would be done, step by step
  ovlay apply --triggers --yes         and run what must know of it, such as ldconfig
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which manifests count, and what may be done for them."""
    parser.usage = "ovlay apply [OPTION]... [MANIFEST]..."
    add_manifests(parser)
    parser.add_argument("--enable", action="store_true", help="put an overlay on the target where there is none")
    parser.add_argument("--force", action="store_true", help="take what is in conflict, too")
    parser.add_argument("--triggers", action="store_true", help="run the tools that must know of the change")


def run(options: Options, terminal: Terminal) -> int:
    """Apply, or say that all is as declared: exit status 5 where something is in conflict, and kept."""
    from ovlay.cli.changing import Request, change
    from ovlay.cli.opening import open_chosen
    from ovlay.cli.progress import shown_progress
    from ovlay.cli.sight import UNSEEN, declared_as_it_is, demand_sight, sees

    overlay = open_chosen(options)
    manifests: Sequence[str] = getattr(options, "manifests", ())
    enable, force, triggers, system = (
        bool(getattr(options, name, False)) for name in ("enable", "force", "triggers", "system")
    )
    conflicts: list[Finding] = []
    retired: list[Retired] = []

    def plan() -> Plan:
        with shown_progress(f"comparing {overlay.target} with what is declared", terminal):
            found = overlay.plan_apply(manifests, enable=enable, force=force, triggers=triggers, user=not system)
        conflicts[:] = () if force else found.conflicts
        retired[:] = found.retired
        return found.plan

    def planned() -> Plan:
        if sees(overlay):
            return plan()
        from ovlay.manifest.apply import nothing_to_do
        from ovlay.plan.plan import Plan

        if (known := declared_as_it_is(overlay, manifests, user=not system)) is not None:
            retired[:] = known.retired
            return Plan(reason=nothing_to_do(known))
        if not options.dry_run:
            demand_sight(overlay)
        terminal.note(UNSEEN)
        return plan()

    def call(ask: Ask) -> Call:
        from ovlay.elevate.calls import Call
        from ovlay.elevate.questions import base_has
        from ovlay.manifest.declaring import declare
        from ovlay.manifest.sending import declared_document

        declared = declare(overlay.backend, manifests, user=not system, base_has=base_has(ask))
        retired[:] = declared.retired
        sent = declared_document(overlay.host, declared)
        return Call("apply", {"declared": sent, "enable": enable, "force": force, "triggers": triggers})

    def carry_out(confirm: Callable[[Plan], bool] | None) -> Outcome:
        demand_sight(overlay)
        with ExitStack() as progress:
            progress.enter_context(shown_progress(f"comparing {overlay.target} with what is declared", terminal))

            def asked(plan: Plan) -> bool:
                assert confirm is not None
                progress.close()
                answer = confirm(plan)
                progress.enter_context(shown_progress(f"applying to {overlay.target}", terminal))
                return answer

            return overlay.apply(
                manifests,
                enable=enable,
                force=force,
                triggers=triggers,
                user=not system,
                confirm=None if confirm is None else asked,
            )

    def after(outcome: Outcome) -> None:
        conflicts[:] = outcome.conflicts or conflicts
        retired[:] = outcome.retired or retired
        for needed in outcome.needed:
            terminal.note(f"needed now: {needed} (`--triggers` does it)")

    request = Request(planned, carry_out, f"applied to {overlay.target}", call=call, after=after)
    status = change(request, overlay, options, terminal)
    for line in retired_lines(retired):
        terminal.note(line)
    tell_of_misnamed(overlay, manifests, terminal, user=not system)
    for finding in conflicts:
        terminal.complain(f"kept: {overlay.target}/{finding.path}  ({'; '.join(reasons(finding))})")
    if conflicts:
        capture = command("ovlay capture", overlay.target)
        terminal.complain(f"  next: look at them; then say --force, or declare what is there with {capture}")
        return CONFLICTS
    return status
