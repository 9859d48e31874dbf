"""The verbs that change a host: the plan is shown, confirmed, executed, and what came of it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.cli.signals import terminating
from ovlay.errors import InvalidInput
from ovlay.model import as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.carrying import Outcome
    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.elevate.calls import Call
    from ovlay.elevate.questions import Ask
    from ovlay.overlay import Overlay
    from ovlay.plan.plan import Plan

SCHEMA = "ovlay.outcome/1"


class Request(NamedTuple):
    """One change that is asked for: how it is planned, how it is carried out, and what to say when it is done.

    ``call`` is the same request for the helper that root runs, or makes it when it is needed, by asking root what it
    has to know for it; None where only root itself can ask for it. ``after`` is called with what came of it, whoever
    carried it out.
    """

    plan: Callable[[], Plan]
    carry_out: Callable[[Callable[[Plan], bool] | None], Outcome]
    done: str
    question: str = "Proceed?"
    call: Call | Callable[[Ask], Call] | None = None
    after: Callable[[Outcome], None] | None = None

    def for_root(self, ask: Ask) -> Call:
        """The request for the helper."""
        assert self.call is not None
        return self.call(ask) if callable(self.call) else self.call


def change(
    request: Request, overlay: Overlay, options: Options, terminal: Terminal, *, declined_is_fine: bool = False
) -> int:
    """Carry a request out as the flags say, and return the exit status.

    Raises `InvalidInput` where nobody can be asked, and where the answer is no, unless ``declined_is_fine``.
    """
    if options.dry_run:
        show_plan(request.plan(), terminal)
        return 0
    demand_real_root(overlay)

    def confirm(plan: Plan) -> bool:
        terminal.demand_answer()
        for line in plan_lines(plan):
            terminal.complain(line)
        answer = terminal.ask(request.question)
        if not answer and not declined_is_fine:
            raise InvalidInput("not confirmed; nothing was changed", remedy="answer yes, or say --yes")
        return answer

    from ovlay.cli.elevation import carry_out

    overlay.host.listener = terminal.note
    with terminating():
        outcome = carry_out(request, overlay, options, terminal, None if options.yes else confirm)
    if request.after is not None:
        request.after(outcome)
    tell(request, outcome, overlay, options, terminal)
    return 0


def tell(request: Request, outcome: Outcome, overlay: Overlay, options: Options, terminal: Terminal) -> None:
    """Say what came of a request, in words or as a document."""
    terminal.say(request.done if outcome.changed else outcome.plan.reason or "nothing was changed")
    for line in outcome.told:
        terminal.say(f"  {line}")
    if outcome.changed and options.yes:  # who was asked has read them above the question
        for line in outcome.plan.warnings:
            terminal.say(f"  {line}")
    if terminal.json:
        terminal.document(outcome_document(options.words[0], outcome, overlay))


def outcome_document(verb: str, outcome: Outcome, overlay: Overlay) -> dict[str, Any]:
    """The outcome of a verb as a document of schema ``ovlay.outcome/1``, with the status after it."""
    return {
        "schema": SCHEMA,
        "verb": verb,
        "changed": outcome.changed,
        "told": as_json(outcome.told),
        "plan": outcome.plan.to_json(),
        "status": overlay.status().to_json(),
        **(_applied(outcome) if verb == "apply" else {}),
    }


def _applied(outcome: Outcome) -> dict[str, Any]:
    from ovlay.cli.plan import finding_document

    conflicts = [finding_document(finding) for finding in outcome.conflicts]
    return {"conflicts": conflicts, "needed": list(outcome.needed)}


def show_plan(plan: Plan, terminal: Terminal) -> None:
    """The plan of a dry run."""
    for line in plan_lines(plan) if plan else (f"nothing to do: {plan.reason}",):
        terminal.print(line)
    if terminal.json:
        terminal.document(plan.to_json())


def plan_lines(plan: Plan) -> Iterator[str]:
    """A plan for a person: its steps by number, then what is to be known before saying yes."""
    for number, line in enumerate(plan.describe(), 1):
        yield f"{number:3}. {line}"
    for line in plan.warnings:
        yield f"note: {line}"


def demand_real_root(overlay: Overlay) -> None:
    """Mounts are made on the running system: only a driver that plays a host can work below another root."""
    from ovlay.host import Host

    if overlay.host.root != "/" and type(overlay.host) is Host:
        raise InvalidInput(
            f"the driver {overlay.backend.name} changes the running system, and nothing below {overlay.host.root}",
            remedy="leave --root away, or use it with --backend fake",
        )
