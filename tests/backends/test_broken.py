"""A driver that is broken is named with the reason, and keeps no other one from working."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pytest

import ovlay
from ovlay import drivers
from ovlay.backend import Backend
from ovlay.cli.backends import list_drivers
from ovlay.entry_points import Point, read_points
from ovlay.host import Host
from tests.backends.made_up import READ_ONLY_LINUX, made_up_host

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.model import Mode, Probe
    from ovlay.plan.plan import Plan


class Raising(Backend):
    """Its probe raises."""

    name = "broken"

    @property
    def modes(self) -> frozenset[Mode]:
        raise RuntimeError("no modes")

    def probe(self) -> Probe:
        raise ZeroDivisionError("by zero")

    def plan_enable(self, mode: Mode) -> Plan:
        raise NotImplementedError

    def plan_unmount(self, *, lazy: bool) -> Plan:
        raise NotImplementedError


class Answering(Raising):
    """Its probe answers something else."""

    def probe(self) -> Any:
        return True


class Incomplete(Backend):
    """It says hardly anything."""

    name = "broken"


class Nameless(Raising):
    """It has no name."""

    name: ClassVar[Any] = None


def function() -> None:
    """No driver."""


def install(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Install it as the driver ``broken``."""
    points = (*(read_points(drivers.GROUP) or ()), Point("broken", f"{__name__}:{what}"))
    monkeypatch.setattr(drivers, "read_points", lambda _: points)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("Raising", "its probe failed: ZeroDivisionError('by zero')"),
        ("Answering", "its probe failed: it answered True"),
        ("function", "cannot be loaded: <function function at 0x"),
        ("Incomplete", "does not have modes, plan_enable, plan_unmount, probe"),
        ("Nameless", "does not have name"),
    ],
)
def test_it_is_listed_and_the_others_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, reason: str
) -> None:
    install(monkeypatch, what)
    entry = next(entry for entry in list_drivers(str(tmp_path), "/usr") if entry.name == "broken")
    assert reason in entry.reason
    assert (entry.fits, entry.score, entry.modes) == (False, 0, ())
    host = made_up_host(tmp_path, READ_ONLY_LINUX)
    assert reason in dict(drivers.probe_all(host, "/usr"))["broken"].reason
    assert ovlay.detect(host=host).backend.name == "overlayfs"
    assert ovlay.detect(host=host).status().backend == "overlayfs"


@pytest.mark.parametrize("what", ["function", "Incomplete", "Nameless"])
def test_one_that_is_none_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    install(monkeypatch, what)
    with pytest.raises(ovlay.NoDriver, match="the driver 'broken' cannot be loaded"):
        ovlay.open("broken")


@pytest.mark.parametrize("what", ["Raising", "function"])
def test_where_none_fits_it_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    install(monkeypatch, what)
    with pytest.raises(ovlay.NoDriver, match=r"broken: (its probe failed|cannot be loaded)"):
        drivers.choose_driver(Host(str(tmp_path)), "/nothing/there")
