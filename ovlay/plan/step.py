"""The step: one small change to a host, which describes itself, runs, checks, and turns into JSON and back."""

from __future__ import annotations

import abc
import functools
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ovlay.errors import InvalidInput
from ovlay.model import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ovlay.host import Host

_MOST_NAMED = 20


class Step(abc.ABC):
    """One change. Subclasses are frozen dataclasses of str, int, bool, None, enumerations, and tuples of str.

    ``kind`` names the step in JSON; ``privileged`` is whether it needs root on a real host. ``keeps`` is whether what
    it did stays when a later step fails, with all that came before it; ``shares`` whether it leaves mounts alone and
    works through `ovlay.plan.sharing`; ``resumes`` whether a run that was killed is ended by running it once more
    (see `ovlay.plan.recovery`); ``brief`` whether an interruption waits until it is done (see `ovlay.plan.shielding`).
    """

    __slots__ = ()

    kind: ClassVar[str]
    privileged: ClassVar[bool] = True
    keeps: ClassVar[bool] = False
    shares: ClassVar[bool] = False
    resumes: ClassVar[bool] = False
    brief: ClassVar[bool] = False

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

    def stands(self, host: Host) -> bool | None:
        """Of a step that puts an overlay up: whether it is there. None for every other step."""
        return None

    def litter(self) -> Iterable[tuple[str, str]]:
        """Where a run that is killed may leave an unfinished file: a target, and a directory relative to it."""
        return ()

    def unflags(self) -> Iterable[tuple[str, str]]:
        """Directories of which a run takes the immutable flag until it ends: a target, and a path relative to it."""
        return ()

    def to_json(self) -> dict[str, Any]:
        """The step as plain JSON values."""
        return {"step": self.kind, **as_json(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The step that `to_json` made; raises `InvalidInput` for anything else."""
        known = _hints(cls)
        given = {key: value for key, value in document.items() if key != "step"}
        if given.keys() != known.keys():
            wrong = sorted(str(name)[:80] for name in given.keys() ^ known.keys())[:_MOST_NAMED]
            raise InvalidInput(f"step {cls.kind!r}: unknown or missing fields: {', '.join(wrong)}")
        return cls(**{name: _decode(cls.kind, name, hint, given[name]) for name, hint in known.items()})

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The step in a JSON text, such as a record of one; raises `InvalidInput` for anything else."""
        from ovlay.notation import parse_json, shown

        document = parse_json(text)
        if not isinstance(document, dict):
            raise InvalidInput(f"not a step: {shown(document)}")
        return cls.from_json(document)


@functools.cache
def _hints(cls: type[Step]) -> dict[str, Any]:
    """The fields of a step and what each may be."""
    from dataclasses import fields
    from typing import get_type_hints

    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}  # type: ignore[arg-type]


def _decode(kind: str, name: str, hint: Any, value: Any) -> Any:
    from enum import StrEnum
    from types import NoneType, UnionType
    from typing import get_args, get_origin

    from ovlay.notation import is_writable, shown

    choices = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    for choice in choices:
        if choice is NoneType and value is None:
            return None
        if choice in (str, int, bool) and type(value) is choice:
            if choice is str and not is_writable(value):
                raise InvalidInput(f"step {kind!r}: field {name!r} has half a character in it")
            return value
        if isinstance(choice, type) and issubclass(choice, StrEnum) and isinstance(value, str):
            try:
                return choice(value)
            except ValueError:
                continue
        if get_origin(choice) is tuple and isinstance(value, list):
            return tuple(_decode(kind, name, get_args(choice)[0], item) for item in value)
    raise InvalidInput(f"step {kind!r}: field {name!r} cannot be {shown(value)}")
