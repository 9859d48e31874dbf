"""The units that apply the manifests after a boot, and say at a login what is missing: written, found, and removed.

The unit of the system runs as early as it safely can: see docs/verbs/service.md for what comes before and after it.
"""

from __future__ import annotations

import os
import posixpath
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import OvlayError
from ovlay.host import DATA_DIR
from ovlay.model import as_json
from ovlay.plan.services import SettleUnit, SettleUserUnit, unit_text
from ovlay.services.triggers import SYSTEMD_RUNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ovlay.host import Host
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step

SYSTEM_UNITS = "/etc/systemd/system"
"""Where the administrator's units are: systemd.unit(5)."""

APPLY = "ovlay-apply.service"
UNMASK = "ovlay-unmask.service"
DRIFT = "ovlay-drift.service"
GUARD = "50-ovlay-guard.conf"

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

_UNIT_DIRECTORIES = (SYSTEM_UNITS, "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
_MANIFESTS = ("/etc/ovlay", "/usr/lib/ovlay")

MASKED = DATA_DIR + "/masked"
"""Where the marks of masked units are."""


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
    unit = _found(host, APPLY, "sysinit.target", Scope.SYSTEM, ask=False)
    return unit.installed and unit.enabled


def guarded_services(host: Host) -> tuple[str, ...]:
    """The update services that have the drop-in of the guard."""
    folders = (name for name in host.entries(SYSTEM_UNITS) if name.endswith(".service.d"))
    return tuple(name.removesuffix(".d") for name in folders if host.exists(f"{SYSTEM_UNITS}/{name}/{GUARD}"))


def is_unit(host: Host, name: str) -> bool:
    """Whether a unit file of that name is on the host: systemd.unit(5)."""
    return any(host.exists(f"{folder}/{name}") for folder in _UNIT_DIRECTORIES)


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
    return Unit(name, scope, f"{folder}/{name}", text is not None, enabled, _program_of(text), state, result)


def _asked(host: Host, name: str, scope: Scope) -> tuple[str | None, str | None]:
    """ActiveState and Result of a unit: systemctl(1), show."""
    tool = host.find_tool("systemctl")
    if tool is None or scope is not Scope.SYSTEM or not host.exists(SYSTEMD_RUNS):
        return None, None
    try:
        done = host.run((tool, "show", "--property=ActiveState,Result,ConditionResult", name), timeout=10)
    except OvlayError:
        return None, None
    said = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return said.get("ActiveState"), said.get("Result")


def _program_of(text: str | None) -> str | None:
    lines = (text or "").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("ConditionFileIsExecutable=")), None)


# --- what is written -----------------------------------------------------------------------------------------------


def apply_unit(program: Sequence[str]) -> str:
    """The unit that applies the manifests of the system at a boot.

    After local-fs.target, as systemd-sysext.service of systemd itself: what is placed, and where the overlay keeps it,
    may be on /var. Not before udevd, which those file systems may need, nor before systemd-sysusers.service, which
    comes before them: the triggers make good for both. sysinit.target only wants it, so that its failure stops
    nothing (bootup(7)).
    """
    conditions = [
        line
        for folder in _MANIFESTS
        for line in (f"ConditionPathExists=|{folder}/manifest.toml", f"ConditionDirectoryNotEmpty=|{folder}/manifest.d")
    ]
    return _unit(
        "Apply what the manifests of ovlay declare",
        [
            "DefaultDependencies=no",
            f"RequiresMountsFor={DATA_DIR}",
            "After=local-fs.target systemd-udevd.service",
            "Before=sysinit.target systemd-tmpfiles-setup.service shutdown.target",
            "Conflicts=shutdown.target",
            "ConditionKernelCommandLine=!ovlay.apply=no",
            f"ConditionFileIsExecutable={_escaped(program[0])}",
            *conditions,
        ],
        exec_line((*program, "apply", "--system", "--enable", "--yes", "--triggers")),
        ["TimeoutStartSec=180", "TimeoutStopSec=15"],
        "sysinit.target",
    )


def unmask_unit(program: Sequence[str]) -> str:
    """The unit that takes masks back which were meant for another image: see `ovlay.services.masks`."""
    return _unit(
        "Take back the masks of ovlay that were for another image",
        [
            "DefaultDependencies=no",
            f"RequiresMountsFor={MASKED}",
            "After=local-fs.target",
            "Before=sysinit.target shutdown.target",
            "Conflicts=shutdown.target",
            f"ConditionDirectoryNotEmpty={MASKED}",
            f"ConditionFileIsExecutable={_escaped(program[0])}",
        ],
        exec_line((*program, "service", "mask-until-image", "--undo", "--outdated", "--yes")),
        ["TimeoutStartSec=60", "TimeoutStopSec=15"],
        "sysinit.target",
    )


def drift_unit(program: Sequence[str]) -> str:
    """The user's unit: a user cannot mount, and nobody is there at a login to give a password. So it only tells."""
    return _unit(
        "Say what differs from the manifests of ovlay",
        [f"ConditionFileIsExecutable={_escaped(program[0])}"],
        exec_line((*program, "drift")),
        ["SuccessExitStatus=1", "TimeoutStartSec=60"],  # 1 is "it differs", which is what it is there to say
        "default.target",
    )


def guard_drop_in(program: Sequence[str], *, block: bool) -> str:
    """The drop-in for an update service. With "-" the update goes on whatever is said (systemd.service(5))."""
    prefix = "" if block else "-"
    return (
        "# Written by `ovlay service install --guard`; `ovlay service remove` takes it away.\n"
        "[Service]\n"
        f"ExecStartPre={prefix}{exec_line((*program, 'guard', 'upgrade'))}\n"
    )


def exec_line(argv: Iterable[str]) -> str:
    """A command as systemd.service(5) reads it: nothing in it is a specifier, a variable or a quote."""
    return " ".join(_quoted(word) for word in argv)


def _quoted(word: str) -> str:
    text = _escaped(word).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{text}"' if not word or set(text) & set(" \t\"';\\") else text


def _escaped(path: str) -> str:
    return path.replace("%", "%%")


def _unit(description: str, lines: list[str], command: str, service: list[str], target: str) -> str:
    return "\n".join(
        (
            "# Written by `ovlay service install`; `ovlay service remove` takes it away.",
            "[Unit]",
            f"Description={description}",
            *lines,
            "",
            "[Service]",
            "Type=oneshot",
            "RemainAfterExit=yes",
            # No compiled files beside the modules, and no packages of whoever's home directory it is.
            "Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1",
            f"ExecStart={command}",
            *service,
            "",
            "[Install]",
            f"WantedBy={target}",
            "",
        )
    )


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
