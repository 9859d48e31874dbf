"""Find drivers and choose one. This is the only file that knows stevedore.

Drivers are entry points in the group ``ovlay.backends``. stevedore keeps a cache of entry points below the user's
cache directory, and reads it without looking at who owns it; and it compares time stamps, which ostree sets to 0. So
the list comes from `importlib.metadata` itself each time, and the cache is neither read nor written.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from stevedore.extension import ExtensionManager

from ovlay.errors import NoDriver
from ovlay.model import Probe

if TYPE_CHECKING:
    from stevedore.extension import Extension

    from ovlay.backend import Backend
    from ovlay.host import Host

GROUP = "ovlay.backends"


class _Manager(ExtensionManager):  # type: ignore[type-arg, unused-ignore]
    """stevedore's manager without its cache."""

    def __init__(self, name: str | None) -> None:
        self._wanted = name
        self.failures: list[tuple[str, BaseException]] = []
        super().__init__(GROUP, invoke_on_load=False, on_load_failure_callback=self._failed)

    def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
        found = importlib.metadata.entry_points(group=GROUP)
        return [point for point in found if self._wanted is None or point.name == self._wanted]

    def _failed(self, manager: Any, entry_point: importlib.metadata.EntryPoint, error: BaseException) -> None:
        self.failures.append((entry_point.name, error))


def driver_names() -> tuple[str, ...]:
    """The names of all installed drivers, sorted; none is loaded."""
    return tuple(sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)}))


def load_driver(name: str) -> type[Backend]:
    """The driver with this name; raises `NoDriver` where none has it, or where it cannot be imported."""
    manager = _Manager(name)
    loaded = [extension.plugin for extension in manager]
    if loaded:
        driver: type[Backend] = loaded[0]
        return driver
    if manager.failures:
        raise NoDriver(f"the driver {name!r} cannot be loaded: {manager.failures[0][1]}") from manager.failures[0][1]
    import difflib

    close = difflib.get_close_matches(name, driver_names(), 1)
    raise NoDriver(
        f"there is no driver {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
        remedy=f"installed are: {', '.join(driver_names()) or 'none'}",
    )


def load_drivers() -> tuple[tuple[type[Backend], ...], tuple[tuple[str, str], ...]]:
    """All drivers that can be loaded, sorted by name, and the name and reason of those that cannot."""
    manager = _Manager(None)
    extensions: list[Extension[Any]] = sorted(manager, key=lambda extension: extension.name)
    return tuple(extension.plugin for extension in extensions), tuple((n, str(e)) for n, e in manager.failures)


def probe_all(host: Host, target: str) -> tuple[tuple[str, Probe], ...]:
    """What every driver says of this host, best score first."""
    drivers, failures = load_drivers()
    probed = [(driver.name, driver(host, target).probe()) for driver in drivers]
    probed += [(name, Probe(0, f"cannot be loaded: {reason}")) for name, reason in failures]
    return tuple(sorted(probed, key=lambda pair: (-pair[1].score, pair[0])))


def choose_driver(host: Host, target: str) -> type[Backend]:
    """The driver that fits this host best; raises `NoDriver` with every driver's reason where none does."""
    drivers, _ = load_drivers()
    probed = [(driver, driver(host, target).probe()) for driver in drivers]
    fitting = [(probe.score, driver.name, driver) for driver, probe in probed if probe.fits]
    if fitting:
        return max(fitting, key=lambda item: (item[0], item[1]))[2]
    if host.container is not None:
        raise NoDriver(
            f"this is inside a container ({host.container}), whose {target} is not the host's",
            remedy="run ovlay on the host itself",
        )
    reasons = "; ".join(f"{driver.name}: {probe.reason}" for driver, probe in probed)
    raise NoDriver(
        f"no driver fits {target} on this host. {reasons}",
        remedy="`ovlay backends` says why of each; --backend NAME takes one all the same",
    )
