"""The verbs that the helper knows: from the words of a request to the facade, each word checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import InvalidInput
from ovlay.model import Access, Mode, Persistence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ovlay.backend import Backend
    from ovlay.overlay import Outcome, Overlay
    from ovlay.plan.plan import Plan

    Confirm = Callable[[Plan], bool] | None


class Call(NamedTuple):
    """A request as it goes to the helper: the verb, and its arguments as plain JSON values."""

    verb: str
    arguments: Mapping[str, Any]


class Words:
    """The arguments of a request; what is not there, or of another type, raises `InvalidInput`."""

    def __init__(self, verb: str, values: Mapping[str, Any]) -> None:
        self._verb = verb
        self._values = values

    def text(self, name: str) -> str:
        """A text with no null character."""
        value = self._values.get(name)
        if not isinstance(value, str) or "\0" in value:
            raise self._wrong(name)
        return value

    def flag(self, name: str) -> bool:
        """Yes or no."""
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
            raise self._wrong(name)
        return tuple(value)

    def rows(self, name: str) -> tuple[Words, ...]:
        """A list of objects."""
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(name)
        return tuple(Words(f"{self._verb}, {name}", item) for item in value)

    def number(self, name: str) -> int:
        """A whole number."""
        value = self._values.get(name)
        if type(value) is not int:
            raise self._wrong(name)
        return value

    def identity(self, name: str) -> str | int | None:
        """A user or a group: a name, a number, or nobody in particular."""
        value = self._values.get(name)
        if value is None or isinstance(value, str) or type(value) is int:
            return value
        raise self._wrong(name)

    def _wrong(self, name: str) -> InvalidInput:
        return InvalidInput(f"{self._verb}: {name} cannot be {self._values.get(name)!r:.100}")


def perform(verb: str, arguments: Mapping[str, Any], backend: Backend, confirm: Confirm) -> Outcome:
    """Carry a request out; raises `InvalidInput` for a verb that is not known here, or arguments that cannot be."""
    from ovlay.overlay import Overlay

    known: dict[str, Callable[[Overlay, Words, Confirm], Outcome]] = {
        "enable": _enable,
        "unmount": _unmount,
        "install": _install,
        "revert": _revert,
        "reset": _reset,
    }
    if verb not in known:
        raise InvalidInput(f"{verb!r} cannot be done for a user", remedy="run it as root")
    return known[verb](Overlay(backend), Words(verb, arguments), confirm)


def _enable(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    try:
        mode = Mode(Access(words.text("access")), Persistence(words.text("persistence")))
    except ValueError as error:
        raise InvalidInput(f"enable: {error}") from error
    return overlay.enable(mode, confirm=confirm)


def _unmount(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.unmount(lazy=words.flag("lazy"), confirm=confirm)


def _install(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    from ovlay.requests import InstallFile

    files = [
        InstallFile(
            row.text("source"),
            row.text("destination"),
            row.number("mode"),
            row.identity("owner"),
            row.identity("group"),
            row.flag("make_parents"),
        )
        for row in words.rows("files")
    ]
    return overlay.install_files(files, confirm=confirm)


def _revert(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.revert(words.texts("paths"), confirm=confirm)


def _reset(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.reset(fresh=words.flag("fresh"), confirm=confirm)
