"""The plan: a tuple of steps in their order, with what is to be said of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ovlay.plan.step import Step


SCHEMA = "ovlay.plan/1"


class Plan(NamedTuple):
    """What a driver would do: the steps in their order, and what the user is to know before saying yes.

    A plan with no steps is false: there is nothing to do, and ``reason`` says why.
    """

    steps: tuple[Step, ...] = ()
    reason: str = ""
    warnings: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    def describe(self) -> tuple[str, ...]:
        """A line for each step."""
        return tuple(step.describe() for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values (schema ``ovlay.plan/1``)."""
        return {
            "schema": SCHEMA,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "steps": [{"describe": step.describe(), **step.to_json()} for step in self.steps],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` made; raises `InvalidInput` where it is not one, or has a step not known here."""
        from ovlay.notation import is_writable, shown
        from ovlay.plan.steps import known_steps

        known = known_steps()
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise InvalidInput(f"not a plan of schema {SCHEMA}")
        listed, warnings, reason = document.get("steps"), document.get("warnings"), document.get("reason")
        if not isinstance(listed, list) or not isinstance(warnings, list) or not isinstance(reason, str):
            raise InvalidInput("a plan has a reason, a list of warnings and a list of steps")
        if not all(isinstance(text, str) and is_writable(text) for text in (reason, *warnings)):
            raise InvalidInput("the reason and the warnings of a plan are texts, with no half of a character in them")
        steps = []
        for item in listed:
            kind = item.get("step") if isinstance(item, dict) else None
            if not isinstance(kind, str) or kind not in known:
                raise InvalidInput(f"not a step that is known here: {shown(item if kind is None else kind)}")
            fields_only = {key: value for key, value in item.items() if key != "describe"}
            steps.append(known[kind].from_json(fields_only))
        return cls(tuple(steps), reason, tuple(warnings))

    @classmethod
    def from_text(cls, text: str) -> Plan:
        """The plan in a JSON text; raises `InvalidInput` where it is none, or has a name twice in one object."""
        from ovlay.notation import parse_json

        document: Any = parse_json(text)
        return cls.from_json(document)
