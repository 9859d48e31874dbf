"""Units that are kept from starting: a drop-in with a condition on a marker, and both taken back again.

It is what bkt does by hand to try out a service before the image has it: a drop-in of one condition, and a file that
makes it false. A mask "until the image" remembers in the file which image it was made on.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import InvalidInput, Unsupported
from ovlay.host import DATA_DIR
from ovlay.model import as_json
from ovlay.services.unit_texts import MASKED
from ovlay.services.units import SYSTEM_UNITS, is_unit, reload_units, settled, unmasks_at_boot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.host import Host
    from ovlay.model import Base
    from ovlay.plan.plan import Plan
    from ovlay.plan.services import SettleUnit

MASK = "50-ovlay-mask.conf"
OVERRIDE = "50-ovlay-override.conf"

_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(?:service|socket|timer|path|mount|automount|swap|target|slice)")
_CONDITION = re.compile(r"(?:Condition|Assert)[A-Za-z0-9]+=(?:[^\n\r\0]*[^\n\r\0\\])?")
"""A carriage return ends a line too, and a backslash at the end joins the next one to it: systemd.syntax(7)."""


class Mask(NamedTuple):
    """A unit that does not start for as long as the image is the one that it was masked on.

    ``image`` names that image, and ``outdated`` is whether another one runs now.
    """

    unit: str
    image: str
    drop_in: str
    marker: str
    outdated: bool

    def to_json(self) -> dict[str, Any]:
        """The mask as plain JSON values."""
        value: dict[str, Any] = as_json(self)
        return value


class Override(NamedTuple):
    """A drop-in with conditions for a unit, and where it is."""

    unit: str
    conditions: tuple[str, ...]
    drop_in: str


def image_name(base: Base | None) -> str:
    """What tells this image from every other: its checksum, else its name and version; "" where nothing does."""
    if base is None:
        return ""
    if base.checksum:
        return base.checksum
    return " ".join(filter(None, (base.image, base.os_id, base.os_version))) if base.os_version else ""


def find_masks(host: Host, base: Base | None) -> tuple[Mask, ...]:
    """The masks that are there; ``base`` is the image that runs now."""
    return tuple(_mask(host, name, base) for name in host.entries(MASKED) if _UNIT.fullmatch(name))


def find_overrides(host: Host) -> tuple[Override, ...]:
    """The overrides that are there."""
    found = []
    for folder in host.entries(SYSTEM_UNITS):
        path = f"{SYSTEM_UNITS}/{folder}/{OVERRIDE}"
        text = host.read(path) if folder.endswith(".d") else None
        if text is not None:
            lines = tuple(line for line in text.split("\n") if _CONDITION.fullmatch(line))
            found.append(Override(folder.removesuffix(".d"), lines, path))
    return tuple(found)


def plan_mask(host: Host, units: Sequence[str], base: Base | None) -> Plan:
    """Keep these units from starting until another image runs; a unit that runs already is not stopped.

    Raises `InvalidInput` for what is no name of a unit, and `Unsupported` where this image cannot be told from others.
    """
    image = image_name(base)
    if not image:
        raise Unsupported(
            "this image has neither a checksum nor a version, so that another one could not be told from it",
            remedy="`systemctl mask UNIT` masks it for good",
        )

    from ovlay.plan.directories import MakePrivateDirectory

    steps: list[SettleUnit | None] = []
    warnings = []
    for unit in map(unit_name, units):
        if not is_unit(host, unit):
            warnings.append(f"there is no unit {unit} on this host now")
        marker = f"{MASKED}/{unit}"
        mark = json.dumps({"unit": unit, "image": image}) + "\n"
        known = _mask(host, unit, base)
        steps.append(settled(host, marker, mark) if known.image != image else None)
        steps.append(settled(host, known.drop_in, _drop_in([f"ConditionPathExists=!{marker}"], "mask-until-image")))
    plan = _plan(host, steps, f"{', '.join(units)}: masked already", warnings)
    if not plan or host.is_directory(MASKED):
        return plan
    private = (MakePrivateDirectory(DATA_DIR), MakePrivateDirectory(MASKED))
    return plan._replace(steps=(*private, *plan.steps))


def plan_mask_until_image(host: Host, units: Sequence[str], base: Base | None) -> Plan:
    """As `plan_mask`, with a word to who has nothing that takes the masks back at a boot of another image."""
    made = plan_mask(host, units, base)
    if unmasks_at_boot(host):
        return made
    hint = "another image brings the unit back only with `ovlay service install`, or with --undo"
    return made._replace(warnings=(*made.warnings, hint))


def plan_unmask(host: Host, units: Sequence[str] = (), *, base: Base | None = None) -> Plan:
    """Take masks back; without ``units`` all that were made for another image than ``base``.

    Raises `InvalidInput` where a unit has no mask of ovlay's.
    """
    known = find_masks(host, base)
    names = {mask.unit for mask in known}
    wanted = [unit_name(unit) for unit in units]
    if strange := sorted(set(wanted) - names):
        raise InvalidInput(
            f"{', '.join(strange)}: not masked by ovlay", remedy="`ovlay service status` lists what is masked"
        )
    chosen = [mask for mask in known if mask.unit in wanted or (not wanted and mask.outdated)]
    steps: list[SettleUnit | None] = []
    for mask in chosen:
        # The marker first: without it the unit starts, whatever systemd has read.
        steps.append(settled(host, mask.marker, None))
        steps.append(settled(host, mask.drop_in, None))
    return _plan(host, steps, "nothing is masked for another image")


def plan_override(host: Host, unit: str, conditions: Sequence[str]) -> Plan:
    """Let a unit start only where all these conditions hold, such as ``ConditionPathExists=!/path``.

    They are added to the unit's own; the paths in them are made and removed by whom they belong to. Raises
    `InvalidInput` for what is no unit, or no condition of systemd.unit(5).
    """
    name = unit_name(unit)
    for condition in conditions:
        if not _CONDITION.fullmatch(condition):
            raise InvalidInput(
                f"{condition!r} is not a condition of a unit", remedy="write it like ConditionPathExists=!/some/path"
            )
    if not conditions:
        raise InvalidInput(f"no condition is given for {name}", remedy="say --condition ConditionPathExists=!/path")
    warnings = () if is_unit(host, name) else (f"there is no unit {name} on this host now",)
    step = settled(host, _place(name, OVERRIDE), _drop_in(conditions, "override"))
    return _plan(host, [step], f"{name} has this override already", warnings)


def plan_drop_override(host: Host, unit: str) -> Plan:
    """Take the override of a unit back; nothing where there is none."""
    name = unit_name(unit)
    return _plan(host, [settled(host, _place(name, OVERRIDE), None)], f"{name} has no override of ovlay's")


def unit_name(text: str) -> str:
    """The name of a unit, as systemctl(1) completes it: ``sshd`` is ``sshd.service``."""
    name = text if _UNIT.fullmatch(text) else f"{text}.service"
    if not _UNIT.fullmatch(name) or name.startswith("."):
        raise InvalidInput(f"{text!r} is not the name of a unit", remedy="name it like sshd.service")
    return name


def _mask(host: Host, unit: str, base: Base | None) -> Mask:
    marker = f"{MASKED}/{unit}"
    image = ""
    try:
        record = json.loads(host.read(marker) or "{}")
        image = str(record.get("image", "")) if isinstance(record, dict) else ""
    except ValueError:
        pass  # half a mark is none: it is outdated, and goes
    now = image_name(base)
    return Mask(unit, image, _place(unit, MASK), marker, bool(now) and image != now)


def _place(unit: str, name: str) -> str:
    return posixpath.join(SYSTEM_UNITS, f"{unit}.d", name)


def _drop_in(conditions: Sequence[str], verb: str) -> str:
    return f"# Written by ovlay ({verb}), which takes it back.\n[Unit]\n" + "".join(f"{line}\n" for line in conditions)


def _plan(host: Host, steps: Sequence[SettleUnit | None], reason: str, warnings: Sequence[str] = ()) -> Plan:
    from ovlay.plan.plan import Plan

    needed = tuple(step for step in steps if step is not None)
    if not needed:
        return Plan((), reason, tuple(warnings))
    return Plan((*needed, *reload_units(host, len(needed))), warnings=tuple(warnings))
