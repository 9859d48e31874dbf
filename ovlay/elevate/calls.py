"""The verbs that the helper knows: from the words of a request to the facade, each word checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import InvalidInput, NotPermitted, OvlayError
from ovlay.model import Access, Mode, Persistence
from ovlay.notation import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ovlay.backend import Backend
    from ovlay.carrying import Outcome
    from ovlay.overlay import Overlay
    from ovlay.plan.plan import Plan
    from ovlay.requests import InstallFile

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
        """A text that can be a path, or a word for the system."""
        value = self._values.get(name)
        if not isinstance(value, str) or not is_plain(value):
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
        if not isinstance(value, list) or not all(isinstance(item, str) and is_plain(item) for item in value):
            raise self._wrong(name)
        return tuple(value)

    def table(self, name: str) -> Mapping[str, Any]:
        """An object."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise self._wrong(name)
        return value

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
        "install-anew": _install_anew,
        "revert": _revert,
        "reset": _reset,
        "apply": _apply,
        "capture": _capture,
        "salvage": _salvage,
        "service-install": _service_install,
        "service-remove": _service_remove,
        "service-mask": _service_mask,
        "service-unmask": _service_unmask,
        "service-override": _service_override,
        "service-restore": _service_restore,
    }
    if verb not in known:
        raise InvalidInput(f"{verb!r} cannot be done for a user", remedy="run it as root")
    return known[verb](Overlay(backend), Words(verb, arguments), confirm)


def install_anew(overlay: Overlay, mode: Mode, files: Sequence[InstallFile], confirm: Confirm) -> Outcome:
    """Enable an overlay and place files in it; where they cannot be placed it is taken away again."""
    from ovlay.carrying import Outcome
    from ovlay.plan.plan import Plan

    enabled = overlay.enable(mode, confirm=confirm)
    try:
        placed = overlay.install_files(files, confirm=confirm)
    except BaseException as error:
        if enabled.changed:
            _take_away(overlay, error)
        raise
    plan = Plan((*enabled.plan.steps, *placed.plan.steps), placed.plan.reason, enabled.plan.warnings)
    return Outcome(plan, enabled.changed or placed.changed, (*enabled.told, *placed.told))


def _take_away(overlay: Overlay, error: BaseException) -> None:
    try:
        overlay.unmount(lazy=True)
    except OvlayError as second:
        error.add_note(f"and the overlay that was enabled for it is still there: {second}")


def _enable(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.enable(_mode(words), confirm=confirm)


def _mode(words: Words) -> Mode:
    access, persistence = words.text("access"), words.text("persistence")
    try:
        return Mode(Access(access), Persistence(persistence))
    except ValueError as error:
        raise InvalidInput(f"enable: {error}") from error


def _unmount(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.unmount(lazy=words.flag("lazy"), confirm=confirm)


def _install(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.install_files(_files(words), confirm=confirm)


def _install_anew(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return install_anew(overlay, _mode(words), _files(words), confirm)


def sent_files(files: Sequence[InstallFile]) -> list[dict[str, Any]]:
    """Files to be installed as they go into a request; the directory in which their sources are is not the helper's."""
    import os

    return [file._replace(source=os.path.abspath(file.source))._asdict() for file in files]


def _files(words: Words) -> list[InstallFile]:
    from ovlay.requests import InstallFile

    return [
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


def _revert(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.revert(words.texts("paths"), confirm=confirm)


def _reset(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    return overlay.reset(fresh=words.flag("fresh"), confirm=confirm)


def _apply(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    from ovlay.manifest.sending import parse_declared

    declared = parse_declared(words.table("declared"))
    if declared.target != overlay.target:
        raise InvalidInput(f"apply: what is declared is for {declared.target}, and not for {overlay.target}")
    enable, force, triggers = (words.flag(name) for name in ("enable", "force", "triggers"))
    return overlay.apply(enable=enable, force=force, triggers=triggers, declared=declared, confirm=confirm)


# --- what is written elsewhere than into the overlay ------------------------------------------------------------------


def _capture(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    place = _roots_own(words.text("to"))
    paths, ignore, everything = words.texts("paths"), words.texts("ignore"), words.flag("everything")
    return overlay.capture(paths, to=place, ignore=ignore, everything=everything, confirm=confirm)


def _salvage(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    place, upper = _roots_own(words.text("to")), words.text("upper") or None
    return overlay.salvage(place, words.texts("paths"), upper=upper, confirm=confirm)


def _roots_own(path: str) -> str:
    """A place that nobody but root can write; root writes nowhere else for a user, who could put links there."""
    if (why := reason_to_refuse(path)) is not None:
        raise NotPermitted(f"root does not write there for a user: {why}", remedy="choose a place that is root's own")
    return path


def reason_to_refuse(path: str) -> str | None:
    """Why root does not write at a path for a user; None where all on the way is root's own."""
    from ovlay.manifest.trust import reason_to_distrust

    if not path.startswith("/") or ".." in path.split("/"):
        return f"{path!r:.100} is not a plain absolute path"
    return reason_to_distrust(path)


# --- units ------------------------------------------------------------------------------------------------------------


def _service_install(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    """The program is looked at again, by what it is now and as root sees it."""
    from ovlay.services.programs import Program, demand_lasting, demand_trusted, named_program
    from ovlay.services.units import plan_installed

    host, argv = overlay.host, words.texts("argv")
    if not argv or not argv[0].startswith("/"):
        raise InvalidInput("service-install: no program is named")
    own = (*words.texts("own"), *named_program(host, argv[0]).files)
    program = Program(argv, (*words.texts("files"), *own), own)
    demand_trusted(host, program)
    demand_lasting(overlay, program)
    guard, block = words.flag("guard"), words.flag("block")
    return overlay.carry_out(lambda: plan_installed(host, argv, guard=guard, block=block), confirm=confirm)


def _service_remove(overlay: Overlay, _: Words, confirm: Confirm) -> Outcome:
    from ovlay.services.units import plan_remove

    return overlay.carry_out(lambda: plan_remove(overlay.host), confirm=confirm)


def _service_mask(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    from ovlay.services.masks import plan_mask_until_image

    units, base = words.texts("units"), overlay.backend.base()
    return overlay.carry_out(lambda: plan_mask_until_image(overlay.host, units, base), confirm=confirm)


def _service_unmask(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    from ovlay.services.masks import plan_unmask

    units, base = words.texts("units"), overlay.backend.base()
    return overlay.carry_out(lambda: plan_unmask(overlay.host, units, base=base), confirm=confirm)


def _service_override(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    from ovlay.services.masks import plan_override

    unit, conditions = words.text("unit"), words.texts("conditions")
    return overlay.carry_out(lambda: plan_override(overlay.host, unit, conditions), confirm=confirm)


def _service_restore(overlay: Overlay, words: Words, confirm: Confirm) -> Outcome:
    from ovlay.services.masks import plan_drop_override

    unit = words.text("unit")
    return overlay.carry_out(lambda: plan_drop_override(overlay.host, unit), confirm=confirm)
