"""A host with ten thousand mounts: a status reads its table once or twice, and answers as if there were ten."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ovlay.kernel.mountinfo import parse_mountinfo
from ovlay_backends.ostree import OstreeBackend
from tests.states.host import DATA, RecordedKernel, recorded_host, recorded_writable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovlay.kernel import MountTable
    from ovlay.model import Status

HOST, STATE = "forky-cfs", "06-unlocked"
RECORDED = (DATA / HOST / STATE / "mountinfo").read_text()
(TOP,) = (mount for mount in parse_mountinfo(RECORDED).stack("/usr")[-1:])
ROOT = TOP.parent_id


def others(count: int, line: Callable[[int], str]) -> str:
    return RECORDED + "".join(line(number) for number in range(10_000, 10_000 + count))


TABLES: dict[str, Callable[[int], str]] = {
    "containers": lambda n: f"{n} {ROOT} 0:{n} / /var/lib/c/{n}/merged rw - overlay o rw,lowerdir=/l/{n},upperdir=/u\n",
    "below the target": lambda n: f"{n} {TOP.mount_id} 0:{n} / /usr/lib/{n} rw - tmpfs t rw\n",
    "hidden below the target": lambda n: f"{n} {ROOT} 0:{n} / /usr/lib/{n} rw - tmpfs t rw\n",
    "of the overlay": lambda n: f"{n} {TOP.mount_id} {TOP.device} / /usr/lib/{n} rw - overlay o rw\n",
    "on each other": lambda n: f"{n} {n - 1 if n > 10_000 else TOP.mount_id} 0:{n} / /usr rw - tmpfs t rw\n",
}


class CountingKernel(RecordedKernel):
    """One that reads the table anew each time, as the real one does."""

    text: str
    readings = 0

    def mounts(self) -> MountTable:
        self.readings += 1
        return parse_mountinfo(self.text)


def status(scratch: Path, text: str) -> tuple[Status, float, int]:
    """The status, the processor time that it took, and how often the table was read."""
    host = recorded_host(scratch, HOST, STATE)
    kernel = CountingKernel(scratch / "root", text, writable=recorded_writable(HOST, STATE))
    kernel.text = text
    host._kernel = kernel
    start = time.process_time()
    found = OstreeBackend(host, "/usr").status()
    return found, time.process_time() - start, kernel.readings


@pytest.mark.parametrize("kind", TABLES)
def test_a_status_takes_time_in_the_length_of_the_table(tmp_path: Path, kind: str) -> None:
    ratios = []
    for attempt in range(3):
        _, small, _ = status(tmp_path / f"small-{attempt}", others(1_250, TABLES[kind]))
        _, large, readings = status(tmp_path / f"large-{attempt}", others(10_000, TABLES[kind]))
        assert readings < 12
        ratios.append(large / small)
        if min(ratios) < 20:  # eight times as many; a quadratic one takes sixty-four times as long
            return
    pytest.fail(f"took {min(ratios):.1f} times as long for 8 times the mounts")


@pytest.mark.parametrize("kind", ["containers", "of the overlay"])
def test_what_is_elsewhere_changes_nothing(tmp_path: Path, kind: str) -> None:
    few, _, _ = status(tmp_path / "few", RECORDED)
    many, _, _ = status(tmp_path / "many", others(10_000, TABLES[kind]))
    assert many == few


def test_all_mounts_below_the_target_are_told(tmp_path: Path) -> None:
    found, _, _ = status(tmp_path, others(10_000, TABLES["below the target"]))
    assert len(found.submounts) == 10_000
