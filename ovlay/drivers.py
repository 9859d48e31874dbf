"""Find drivers and choose one. This is the only file that knows stevedore.

Drivers are entry points in the group ``ovlay.backends``. stevedore keeps a cache of entry points below the user's
cache directory, and reads it without looking at who owns it; and it compares time stamps, which ostree sets to 0. So
the list is read from where the installers wrote it each time, and the cache is neither read nor written.

As long as everything is installed in plain directories and can be imported, stevedore itself is not imported: that
takes longer than to ask all drivers. Where it is not so, it is asked, and says what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ovlay.advice import command
from ovlay.entry_points import read_points
from ovlay.errors import NoDriver
from ovlay.model import Probe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ovlay.backend import Backend
    from ovlay.entry_points import Point
    from ovlay.host import Host

GROUP = "ovlay.backends"


def driver_names() -> tuple[str, ...]:
    """The names of all installed drivers, sorted; none is loaded."""
    points = read_points(GROUP)
    if points is None:
        import importlib.metadata

        return tuple(sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)}))
    return tuple(sorted({point.name for point in points}))


def load_driver(name: str) -> type[Backend]:
    """The driver with this name; raises `NoDriver` where none has it, or where it cannot be imported."""
    loaded, failures = _loaded(name)
    if loaded:
        return loaded[0][1]
    if failures:
        raise NoDriver(f"the driver {name!r} cannot be loaded: {failures[0][1]}") from failures[0][1]
    import difflib

    close = difflib.get_close_matches(name, driver_names(), 1)
    raise NoDriver(
        f"there is no driver {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
        remedy=f"installed are: {', '.join(driver_names()) or 'none'}",
    )


def load_drivers() -> tuple[tuple[type[Backend], ...], tuple[tuple[str, str], ...]]:
    """All drivers that can be loaded, sorted by name, and the name and reason of those that cannot."""
    loaded, failures = _loaded(None)
    return tuple(driver for _, driver in sorted(loaded, key=_by_name)), tuple((n, str(e)) for n, e in failures)


def _by_name(pair: tuple[str, type[Backend]]) -> str:
    return pair[0]


def _loaded(name: str | None) -> tuple[list[tuple[str, type[Backend]]], list[tuple[str, BaseException]]]:
    """The drivers with their names, or the one of this name, and why the others cannot be loaded."""
    points = read_points(GROUP)
    wanted = [point for point in points or () if name is None or point.name == name]
    failures: list[tuple[str, BaseException]] = []
    loaded = _plainly_loaded(wanted) if wanted else None
    if loaded is None:
        loaded, failures = _loaded_by_stevedore(name)
    drivers: list[tuple[str, type[Backend]]] = []
    for called, found in loaded:
        if lack := _lack_of(found):
            failures.append((called, TypeError(lack)))
        else:
            drivers.append((called, found))
    return drivers, failures


def _lack_of(found: Any) -> str:
    """What keeps the object of an entry point from being a driver; "" where it is one."""
    from ovlay.backend import Backend

    if not isinstance(found, type) or not issubclass(found, Backend):
        return f"{found!r} is no subclass of ovlay.backend.Backend"
    missing = sorted(found.__abstractmethods__)
    if not isinstance(getattr(found, "name", None), str):
        missing.append("name")
    return f"{found!r} does not have {', '.join(missing)}" if missing else ""


def _plainly_loaded(points: Iterable[Point]) -> list[tuple[str, Any]] | None:
    try:
        return [(point.name, point.load()) for point in points]
    except Exception:  # of any kind: it is raised again where it is told
        return None


def _loaded_by_stevedore(name: str | None) -> tuple[list[tuple[str, Any]], list[tuple[str, BaseException]]]:
    import importlib.metadata

    from stevedore.extension import ExtensionManager

    failures: list[tuple[str, BaseException]] = []

    def failed(_: Any, entry_point: importlib.metadata.EntryPoint, error: BaseException) -> None:
        failures.append((entry_point.name, error))

    class Manager(ExtensionManager):  # type: ignore[type-arg, unused-ignore]
        """stevedore's manager without its cache."""

        def list_entry_points(self) -> list[importlib.metadata.EntryPoint]:
            found = importlib.metadata.entry_points(group=GROUP)
            return [point for point in found if name is None or point.name == name]

    manager = Manager(GROUP, invoke_on_load=False, on_load_failure_callback=failed)
    return [(extension.name, extension.plugin) for extension in manager], failures


def probe_of(driver: type[Backend], host: Host, target: str) -> Probe:
    """What a driver says of this host. One that fails at it does not fit, and does not keep the others from working."""
    try:
        found = driver(host, target).probe()
    except OSError as error:
        return Probe(0, f"its probe failed: {error}")
    except Exception as error:  # of any kind: it is somebody else's code
        return Probe(0, f"its probe failed: {error!r}")
    return found if isinstance(found, Probe) else Probe(0, f"its probe failed: it answered {found!r}")


def probe_all(host: Host, target: str) -> tuple[tuple[str, Probe], ...]:
    """What every driver says of this host, best score first."""
    drivers, failures = load_drivers()
    probed = [(driver.name, probe_of(driver, host, target)) for driver in drivers]
    probed += [(name, Probe(0, f"cannot be loaded: {reason}")) for name, reason in failures]
    return tuple(sorted(probed, key=lambda pair: (-pair[1].score, pair[0])))


def choose_driver(host: Host, target: str) -> type[Backend]:
    """The driver that fits this host best; raises `NoDriver` with every driver's reason where none does."""
    drivers, failures = load_drivers()
    probed = [(driver, probe_of(driver, host, target)) for driver in drivers]
    fitting = [(probe.score, driver.name, driver) for driver, probe in probed if probe.fits]
    if fitting:
        return max(fitting, key=lambda item: (item[0], item[1]))[2]
    if host.container is not None:
        raise NoDriver(
            f"this is inside a container ({host.container}), whose {target} is not the host's",
            remedy="run ovlay on the host itself: `ovlay --host` hands the command over",
        )
    reasons = [f"{driver.name}: {probe.reason}" for driver, probe in probed]
    reasons += [f"{name}: cannot be loaded: {reason}" for name, reason in failures]
    raise NoDriver(
        f"no driver fits {target} on this host. {'; '.join(reasons)}",
        remedy=f"{command('ovlay backends', target)} says why of each; --backend NAME takes one all the same",
    )
