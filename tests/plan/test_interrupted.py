"""Interrupted, or failing, at the worst instant: an overlay never loses its upper, and nobody's mount is lost."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import ovlay
from ovlay.model import Access, Mode, Persistence
from ovlay.plan import Plan
from ovlay.plan.execute import execute
from ovlay.plan.shielding import shielded
from ovlay.plan.steps import DiscardUpper, MakeUpper
from ovlay.simulated import SimulatedHost
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MODES = [Mode(Access.READ_WRITE, each) for each in Persistence]


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[ovlay.Overlay]:
    """The driver that mounts by itself, on a simulated host with no overlay."""
    make_known_tree(tmp_path / "host/usr")
    with SimulatedHost(str(tmp_path / "host")) as host:
        yield ovlay.open("overlayfs", host=host)


def after(function: Callable[..., Any], deed: Callable[[], object]) -> Callable[..., Any]:
    """The same function, and something that happens as soon as it has done its work."""

    def changed(*given: Any, **named: Any) -> Any:
        result = function(*given, **named)
        deed()
        return result

    return changed


def interrupt() -> None:
    """What Ctrl-C does to this process."""
    os.kill(os.getpid(), signal.SIGINT)


def fails() -> None:
    raise OSError(errno.ENFILE, "Too many open files in system")


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("deed", [fails, interrupted])
def test_what_fails_after_the_mount_takes_it_back(
    overlay: ovlay.Overlay, monkeypatch: pytest.MonkeyPatch, mode: Mode, deed: Callable[[], None]
) -> None:
    kernel = overlay.host.kernel
    monkeypatch.setattr(kernel, "mount_overlay", after(kernel.mount_overlay, deed))
    with pytest.raises((ovlay.OvlayError, KeyboardInterrupt)):
        overlay.enable(mode)
    monkeypatch.undo()
    assert not overlay.status().active
    assert not overlay.host.is_unfinished
    assert overlay.enable(mode).changed
    assert overlay.status().upper_path is not None


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_an_interruption_after_the_mount_finds_it_whole(
    overlay: ovlay.Overlay, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    kernel = overlay.host.kernel
    monkeypatch.setattr(kernel, "mount_overlay", after(kernel.mount_overlay, interrupt))
    with pytest.raises(KeyboardInterrupt, match="it had been done by then"):
        overlay.enable(mode)
    status = overlay.status()
    assert (status.active, status.anomalies) == (True, ())
    assert status.upper_path is not None
    assert not overlay.host.is_unfinished


def test_an_interrupted_unmount_is_ended_by_the_next_change(
    overlay: ovlay.Overlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The overlay is gone and cannot be put back: what is left of it does not stay for good."""
    overlay.enable()
    upper = overlay.status().upper_path
    assert upper is not None
    kernel = overlay.host.kernel
    monkeypatch.setattr(kernel, "unmount", after(kernel.unmount, interrupt))
    with pytest.raises(KeyboardInterrupt, match="does not come back"):
        overlay.unmount()
    monkeypatch.undo()
    assert overlay.host.is_unfinished
    assert overlay.host.exists(upper)
    overlay.unmount()
    assert not overlay.host.exists(upper)
    assert not overlay.host.is_unfinished


def test_an_upper_is_never_taken_from_under_its_overlay(overlay: ovlay.Overlay) -> None:
    overlay.enable()
    upper = overlay.status().upper_path
    assert upper is not None
    with pytest.raises(ovlay.Conflict, match="is the upper directory of an overlay that is mounted"):
        MakeUpper(os.path.dirname(upper), "/usr").undo(overlay.host)
    assert overlay.host.exists(upper)


def test_a_fresh_upper_has_the_time_of_what_it_lies_on(overlay: ovlay.Overlay) -> None:
    """systemd takes a newer /usr for an update, and does over at the next boot what follows one: systemd.unit(5)."""
    top = overlay.host.path("/usr")
    assert isinstance(overlay.host, SimulatedHost)
    with overlay.host.kernel.unsealed("/usr"):
        os.utime(top, (1_000_000, 1_000_000))
    overlay.enable()
    assert os.stat(top).st_mtime == 1_000_000


def test_signals_come_after_what_they_must_not_cut_in_two() -> None:
    seen: list[str] = []
    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, lambda *_: seen.append("handled"))
    try:
        with shielded():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            seen.append("done")
        assert seen == ["done", "handled"]
        os.kill(os.getpid(), signal.SIGTERM)
        assert seen == ["done", "handled", "handled"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interruption_that_came_too_late_says_so(overlay: ovlay.Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay.enable()
    plan = Plan((DiscardUpper("/usr", "/run/ovlay/overlays/none", 1, "0:0"),))
    monkeypatch.setattr(DiscardUpper, "run", after(DiscardUpper.run, interrupt))
    with pytest.raises(KeyboardInterrupt, match="interrupted, but it had been done by then"):
        execute(plan, overlay.host)
