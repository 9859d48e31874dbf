"""The units that apply the manifests after a boot, and say at a login what is missing: written, found, and removed.

The unit of the system runs as early as it safely can: see docs/verbs/service.md for what comes before and after it.
"""

from __future__ import annotations

import os
import posixpath
import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import OvlayError
from ovlay.model import as_json
from ovlay.plan.services import SettleUnit, SettleUserUnit, unit_text
from ovlay.services.triggers import SYSTEMD_RUNS
from ovlay.services.unit_texts import (
    APPLY,
    DRIFT,
    GUARD,
    UNMASK,
    apply_unit,
    drift_unit,
    guard_drop_in,
    program_of,
    unmask_unit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.host import Host
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step

SYSTEM_UNITS = "/etc/systemd/system"
"""Where the administrator's units are: systemd.unit(5)."""

UPDATERS = (
    "bootc-fetch-apply-updates.service",  # bootc
    "rpm-ostreed-automatic.service",  # rpm-ostree
    "rpm-ostree-upgrade.service",
    "uupd.service",  # Universal Blue
    "ublue-update.service",
    "eos-updater.service",  # Endless OS
    "systemd-sysupdate.service",
)
"""The services that put another image in place of this one, or prepare it."""

_UNIT_DIRECTORIES = (
    SYSTEM_UNITS,
    "/run/systemd/system",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/run/systemd/generator",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
)
_INSTANCE = re.compile(r"@[^@]*(?=\.[a-z]+\Z)")


class Scope(StrEnum):
    """Whose service manager it is."""

    SYSTEM = "system"
    USER = "user"


class Unit(NamedTuple):
    """A unit of ovlay's: where it is, whether it is there and started at a boot or login, and how it last ended.

    ``state`` and ``result`` are systemd's own words (``active``, ``exit-code``), None where systemd does not tell.
    """

    name: str
    scope: Scope
    path: str
    installed: bool
    enabled: bool
    program: str | None = None
    state: str | None = None
    result: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The unit as plain JSON values."""
        value: dict[str, Any] = as_json(self)
        return value


def plan_install(host: Host, program: Sequence[str]) -> Plan:
    """Write and enable the units of the system; nothing where they are there. ``program`` starts ovlay."""
    steps = (
        *_settled(host, APPLY, apply_unit(program), "sysinit.target"),
        *_settled(host, UNMASK, unmask_unit(program), "sysinit.target"),
    )
    return _reloading(host, steps, f"{APPLY} is installed already")


def plan_remove(host: Host) -> Plan:
    """Take the units of the system away, and what they made: links and the drop-ins of the guard."""
    steps = (
        *_removed(host, APPLY, "sysinit.target"),
        *_removed(host, UNMASK, "sysinit.target"),
        *_without_guard(host),
    )
    return _reloading(host, steps, f"{APPLY} is not installed")


def plan_guard(host: Host, program: Sequence[str], *, block: bool) -> Plan:
    """A drop-in for every update service: it says what an update loses, and with ``block`` stops it."""
    text = guard_drop_in(program, block=block)
    paths = [f"{SYSTEM_UNITS}/{name}.d/{GUARD}" for name in UPDATERS if is_unit(host, name)]
    steps = tuple(step for path in paths if (step := settled(host, path, text)) is not None)
    reason = "the update services are guarded already" if paths else "this host has no update service that is known"
    return _reloading(host, steps, reason)


def plan_installed(host: Host, program: Sequence[str], *, guard: bool, block: bool) -> Plan:
    """The units of the system, and with ``guard`` its drop-ins, with one reload of the service manager at the end."""
    from ovlay.plan.plan import Plan
    from ovlay.plan.triggering import RunTrigger

    one = plan_install(host, program)
    if not guard:
        return one
    two = plan_guard(host, program, block=block)
    steps = (*one.steps, *two.steps)
    last = tuple(step for step in steps if isinstance(step, RunTrigger))[-1:]
    rest = tuple(step for step in steps if not isinstance(step, RunTrigger))
    reason = "; ".join(filter(None, (one.reason, two.reason)))
    return Plan((*rest, *last), "" if rest else reason, (*one.warnings, *two.warnings))


def plan_install_user(host: Host, program: Sequence[str]) -> Plan:
    """Write and enable the unit of the user."""
    from ovlay.plan.plan import Plan

    steps = _settled(host, DRIFT, drift_unit(program), "default.target", scope=Scope.USER)
    notes = ("it counts from the next login, or after `systemctl --user daemon-reload`",) if steps else ()
    return Plan(tuple(steps), "" if steps else f"{DRIFT} is installed already", notes)


def plan_remove_user(host: Host) -> Plan:
    """Take the unit of the user away."""
    from ovlay.plan.plan import Plan

    steps = _removed(host, DRIFT, "default.target", scope=Scope.USER)
    return Plan(tuple(steps), "" if steps else f"{DRIFT} is not installed")


# --- what is there -------------------------------------------------------------------------------------------------


def find_units(host: Host) -> tuple[Unit, ...]:
    """The units of ovlay's, there or not. Asks systemd how they ended, where it runs."""
    return (
        _found(host, APPLY, "sysinit.target", Scope.SYSTEM),
        _found(host, UNMASK, "sysinit.target", Scope.SYSTEM),
        _found(host, DRIFT, "default.target", Scope.USER),
    )


def applies_at_boot(host: Host) -> bool:
    """Whether the manifests of the system are applied at the next boot. Reads files only."""
    return _is_enabled(host, APPLY)


def unmasks_at_boot(host: Host) -> bool:
    """Whether masks that were for another image are taken back at the next boot. Reads files only."""
    return _is_enabled(host, UNMASK)


def _is_enabled(host: Host, name: str) -> bool:
    unit = _found(host, name, "sysinit.target", Scope.SYSTEM, ask=False)
    return unit.installed and unit.enabled


def guarded_services(host: Host) -> tuple[str, ...]:
    """The update services that have the drop-in of the guard."""
    folders = (name for name in host.entries(SYSTEM_UNITS) if name.endswith(".service.d"))
    return tuple(name.removesuffix(".d") for name in folders if host.exists(f"{SYSTEM_UNITS}/{name}/{GUARD}"))


def is_unit(host: Host, name: str) -> bool:
    """Whether a unit file of that name, or of its template, is on the host: systemd.unit(5)."""
    names = {name, _INSTANCE.sub("@", name)}
    return any(host.exists(f"{folder}/{each}") for folder in _UNIT_DIRECTORIES for each in names)


def user_units(host: Host) -> str:
    """Where the user's own units are: systemd.unit(5). On a host below another root, in the home of its root."""
    if host.root != "/":
        return "/root/.config/systemd/user"
    return (os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")) + "/systemd/user"


def _found(host: Host, name: str, target: str, scope: Scope, *, ask: bool = True) -> Unit:
    folder = SYSTEM_UNITS if scope is Scope.SYSTEM else user_units(host)
    text = host.read(f"{folder}/{name}")
    enabled = host.exists(f"{folder}/{target}.wants/{name}")
    state, result = _asked(host, name, scope) if ask and text is not None else (None, None)
    return Unit(
        name,
        scope,
        f"{folder}/{name}",
        text is not None,
        enabled,
        None if text is None else program_of(text),
        state,
        result,
    )


def _asked(host: Host, name: str, scope: Scope) -> tuple[str | None, str | None]:
    """ActiveState and Result of a unit: systemctl(1), show."""
    tool = host.find_tool("systemctl")
    if tool is None or scope is not Scope.SYSTEM or not host.exists(SYSTEMD_RUNS):
        return None, None
    try:
        done = host.run((tool, "show", "--property=ActiveState,Result", name), timeout=10)
    except OvlayError:
        return None, None
    said = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return said.get("ActiveState"), said.get("Result")


# --- steps ---------------------------------------------------------------------------------------------------------


def settled(
    host: Host, path: str, text: str | None, *, link: bool = False, scope: Scope = Scope.SYSTEM
) -> SettleUnit | None:
    """The step that makes a file say ``text``, or removes it where that is None; None where it is so."""
    before = unit_text(host, path, link=link)
    if before == text:
        return None
    step = SettleUnit if scope is Scope.SYSTEM else SettleUserUnit
    return step(path, before, text, link)


def _settled(
    host: Host, name: str, text: str | None, target: str, *, scope: Scope = Scope.SYSTEM
) -> tuple[SettleUnit, ...]:
    folder = SYSTEM_UNITS if scope is Scope.SYSTEM else user_units(host)
    wants = f"{folder}/{target}.wants/{name}"
    unit = settled(host, f"{folder}/{name}", text, scope=scope)
    link = settled(host, wants, None if text is None else f"../{name}", link=True, scope=scope)
    if link is not None and link.before is not None and text is not None:
        link = None  # enabled by systemctl(1), with an absolute path
    both = (unit, link) if text is not None else (link, unit)
    return tuple(step for step in both if step is not None)


def _removed(host: Host, name: str, target: str, *, scope: Scope = Scope.SYSTEM) -> tuple[SettleUnit, ...]:
    return _settled(host, name, None, target, scope=scope)


def _without_guard(host: Host) -> Iterator[SettleUnit]:
    for name in guarded_services(host):
        step = settled(host, posixpath.join(SYSTEM_UNITS, f"{name}.d", GUARD), None)
        if step is not None:
            yield step


def _reloading(host: Host, steps: Sequence[Step], reason: str, warnings: Sequence[str] = ()) -> Plan:
    """A plan of these steps with a reload of the service manager at its end, where there are any."""
    from ovlay.plan.plan import Plan

    if not steps:
        return Plan((), reason, tuple(warnings))
    return Plan((*steps, *reload_units(host, len(steps))), warnings=tuple(warnings))


def reload_units(host: Host, count: int) -> tuple[Step, ...]:
    """The step that lets systemd read its units again; () where there is no systemd."""
    from ovlay.plan.triggering import RunTrigger

    tool = host.find_tool("systemctl")
    if tool is None:
        return ()
    return (RunTrigger((tool, "daemon-reload"), "units changed", count, SYSTEMD_RUNS, (), "", ()),)
