"""The step, one small change to a host, and the plan, a tuple of steps with what is to be said of them."""

from __future__ import annotations

import abc
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ovlay.errors import InvalidInput
from ovlay.model import as_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ovlay.host import Host


class Step(abc.ABC):
    """One change. Subclasses are frozen dataclasses of str, int, bool, None, enumerations, and tuples of str.

    ``kind`` names the step in JSON; ``privileged`` is whether it needs root on a real host.
    """

    __slots__ = ()

    kind: ClassVar[str]
    privileged: ClassVar[bool] = True

    @abc.abstractmethod
    def describe(self) -> str:
        """What this step does, as a line for the person who confirms it."""

    @abc.abstractmethod
    def run(self, host: Host) -> str:
        """Do it, check that it is done, and return what is worth telling ("" where nothing is).

        A step that fails takes back what it did of itself. Raises an `OvlayError`, or an ``OSError`` which the
        executor turns into one.
        """

    def undo(self, host: Host) -> None:  # noqa: B027 (most steps leave nothing behind that must go)
        """Take back what `run` did, after a later step failed."""

    def to_json(self) -> dict[str, Any]:
        """The step as plain JSON values."""
        return {"step": self.kind, **as_json(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The step that `to_json` made; raises `InvalidInput` for anything else."""
        from typing import get_type_hints

        hints = get_type_hints(cls)
        known = {field.name: hints[field.name] for field in fields(cls)}  # type: ignore[arg-type]
        given = {key: value for key, value in document.items() if key != "step"}
        if given.keys() != known.keys():
            wrong = sorted(given.keys() ^ known.keys())
            raise InvalidInput(f"step {cls.kind!r}: unknown or missing fields: {', '.join(wrong)}")
        return cls(**{name: _decode(cls.kind, name, hint, given[name]) for name, hint in known.items()})


def _decode(kind: str, name: str, hint: Any, value: Any) -> Any:
    from enum import StrEnum
    from types import NoneType, UnionType
    from typing import get_args, get_origin

    choices = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    for choice in choices:
        if choice is NoneType and value is None:
            return None
        if choice in (str, int, bool) and type(value) is choice:
            return value
        if isinstance(choice, type) and issubclass(choice, StrEnum) and isinstance(value, str):
            try:
                return choice(value)
            except ValueError:
                continue
        if get_origin(choice) is tuple and isinstance(value, list):
            return tuple(_decode(kind, name, get_args(choice)[0], item) for item in value)
    raise InvalidInput(f"step {kind!r}: field {name!r} cannot be {value!r}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a driver would do: the steps in their order, and what the user is to know before saying yes.

    A plan with no steps is false: there is nothing to do, and ``reason`` says why.
    """

    SCHEMA: ClassVar[str] = "ovlay.plan/1"

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
            "schema": self.SCHEMA,
            "reason": self.reason,
            "warnings": list(self.warnings),
            "steps": [{"describe": step.describe(), **step.to_json()} for step in self.steps],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` made; raises `InvalidInput` where it is not one, or has a step not known here."""
        from ovlay.plan.steps import known_steps

        known = known_steps()
        if not isinstance(document, dict) or document.get("schema") != cls.SCHEMA:
            raise InvalidInput(f"not a plan of schema {cls.SCHEMA}")
        listed, warnings, reason = document.get("steps"), document.get("warnings"), document.get("reason")
        if not isinstance(listed, list) or not isinstance(warnings, list) or not isinstance(reason, str):
            raise InvalidInput("a plan has a reason, a list of warnings and a list of steps")
        if not all(isinstance(warning, str) for warning in warnings):
            raise InvalidInput("the warnings of a plan are texts")
        steps = []
        for item in listed:
            if not isinstance(item, dict) or item.get("step") not in known:
                raise InvalidInput(f"not a step that is known here: {item!r:.200}")
            fields_only = {key: value for key, value in item.items() if key != "describe"}
            steps.append(known[item["step"]].from_json(fields_only))
        return cls(tuple(steps), reason, tuple(warnings))
