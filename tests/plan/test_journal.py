"""What a killed ovlay leaves, and what the next one makes of it: the journal, its own files, and what was placed."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.lock import TOOL, is_locked
from ovlay.model import AnomalyKind
from ovlay.plan.journal import Record, journalled
from ovlay.plan.recovery import recover
from ovlay.plan.sharing import TEMPORARY
from ovlay.simulated import SimulatedHost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovlay.host import Host
    from ovlay.plan.plan import Plan


@pytest.fixture
def sealed(tmp_path: Path) -> Iterator[ovlay.Overlay]:
    """A simulated host with no overlay."""
    with SimulatedHost(str(tmp_path / "host")) as host:
        yield ovlay.open("fake", host=host)


@pytest.fixture
def overlay(sealed: ovlay.Overlay) -> ovlay.Overlay:
    """A simulated host with an overlay."""
    sealed.enable()
    os.makedirs(sealed.host.path("/usr/bin"), exist_ok=True)
    return sealed


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file to be placed."""
    path = tmp_path / "source"
    path.write_text("new\n")
    return path


def begin(host: Host, plan: Plan, steps: int) -> None:
    """Leave a journal as a process that was killed after so many steps had begun leaves it."""
    with journalled(host, plan, ()) as began:
        for step in plan.steps[:steps]:
            began(step)
        text = host.read(host.journal_path)
    assert text is not None
    host.write(host.journal_path, text)


def kinds(overlay: ovlay.Overlay) -> set[AnomalyKind]:
    return {anomaly.kind for anomaly in overlay.status().anomalies}


def test_a_journal_is_there_for_as_long_as_a_plan_runs(overlay: ovlay.Overlay) -> None:
    host, plan = overlay.host, overlay.backend.plan_unmount(lazy=False)
    with journalled(host, plan, ()) as began:
        began(plan.steps[0])
        record = Record.parse(host.read(host.journal_path) or "")
        assert record is not None
        assert (record.steps, record.begun, record.first) == (plan.steps, 1, plan.steps[0].describe())
    assert not host.exists(host.journal_path)


@pytest.mark.parametrize("text", ["", "{", '{"plan": 1}\n', "[]\n", "null\n", '{"plan": {}, "litter": 3}\n'])
def test_a_journal_that_was_not_written_to_its_end_says_nothing(overlay: ovlay.Overlay, text: str) -> None:
    overlay.host.write(overlay.host.journal_path, text)
    assert Record.parse(text) is None
    assert AnomalyKind.INTERRUPTED in kinds(overlay)
    with overlay.host.lock():
        assert recover(overlay.host) == ()
    assert not overlay.host.exists(overlay.host.journal_path)


def test_a_receipt_that_could_not_be_settled_is_left_to_the_next_call(
    overlay: ovlay.Overlay, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ovlay.receipts import read_book
    from ovlay.recording import Journal

    def full(_: Journal) -> tuple[str, ...]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Journal, "settle", full)
        with pytest.raises(ovlay.NoSpace, match="write down what was placed"):
            overlay.install_file(source, "/usr/bin/new")
    assert AnomalyKind.INTERRUPTED in kinds(overlay)
    overlay.enable()
    assert AnomalyKind.INTERRUPTED not in kinds(overlay)
    book = read_book(overlay.host, overlay.status())
    assert (book.unfinished, book.receipts["bin/new"].pending) == (False, False)


def test_a_fresh_start_that_was_cut_off_between_its_halves_goes_on(
    overlay: ovlay.Overlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay.enable(ovlay.Mode(ovlay.Access.READ_ONLY))

    def no_more(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ovlay.Overlay, "enable", no_more)
        with pytest.raises(KeyboardInterrupt):
            overlay.reset(fresh=True)
    assert not overlay.status().active
    overlay.reset(fresh=True)
    mode = overlay.status().mode
    assert mode is not None
    assert mode.access is ovlay.Access.READ_ONLY
    overlay.unmount()
    with pytest.raises(ovlay.NotActive):
        overlay.reset(fresh=True)


def test_status_tells_of_a_change_that_was_cut_off(overlay: ovlay.Overlay) -> None:
    begin(overlay.host, overlay.backend.plan_unmount(lazy=False), 1)
    found = next(each for each in overlay.status().anomalies if each.kind is AnomalyKind.INTERRUPTED)
    assert "in the middle of: unmount the overlay on /usr" in found.detail
    assert "next change" in found.remedy


def test_status_tells_of_another_one_at_work_and_waits_for_nobody(overlay: ovlay.Overlay, tmp_path: Path) -> None:
    begin(overlay.host, overlay.backend.plan_unmount(lazy=False), 1)
    other = ovlay.open("fake", root=tmp_path / "host")
    with other.host.lock():
        assert is_locked(overlay.host)
        assert AnomalyKind.AT_WORK in kinds(overlay)
        assert AnomalyKind.INTERRUPTED not in kinds(overlay)
        assert not {AnomalyKind.AT_WORK, AnomalyKind.INTERRUPTED} & kinds(other)  # it is that one itself
    assert not is_locked(overlay.host)


def test_what_was_being_taken_away_goes(overlay: ovlay.Overlay) -> None:
    begin(overlay.host, overlay.backend.plan_unmount(lazy=False), 1)
    told = overlay.enable().told
    assert any("ended what was begun: unmount" in line for line in told)
    assert overlay.status().active
    assert overlay.changes().changes == ()


def test_another_overlay_than_the_one_that_was_being_taken_away_stays(overlay: ovlay.Overlay) -> None:
    plan = overlay.backend.plan_unmount(lazy=False)
    begin(overlay.host, plan, 1)
    for step in plan.steps:
        step.run(overlay.host)
    for step in overlay.backend.plan_enable(ovlay.Mode()).steps:
        step.run(overlay.host)
    with overlay.host.lock():
        told = recover(overlay.host)
    assert overlay.status().active
    assert not [line for line in told if "unmount" in line]


def test_what_was_being_put_up_is_taken_back(sealed: ovlay.Overlay) -> None:
    overlay = sealed
    plan = overlay.backend.plan_enable(ovlay.Mode())
    begin(overlay.host, plan, len(plan.steps) - 1)
    for step in plan.steps[:-1]:
        step.run(overlay.host)
    with overlay.host.lock():
        told = recover(overlay.host)
    assert all("took back" in line for line in told)
    assert len(told) == len(plan.steps) - 1
    overlay.enable()
    assert overlay.status().active


def test_what_ovlay_was_writing_for_itself_is_removed(overlay: ovlay.Overlay) -> None:
    host = overlay.host
    left = [f"{host.state_dir}/journal.ovlay-12-0123abcd", f"{host.state_dir}/receipts/usr.jsonl.ovlay-1-ffffffff"]
    host.make_private_directory(f"{host.state_dir}/receipts")
    for path in left:
        host.write(path, "half")
    host.write(f"{host.state_dir}/mine.ovlay-text", "not of that kind")
    with host.lock():
        recover(host)
    assert not any(map(host.exists, left))
    assert host.exists(f"{host.state_dir}/mine.ovlay-text")


def test_a_file_that_was_being_placed_is_removed(overlay: ovlay.Overlay, source: Path) -> None:
    host = overlay.host
    plan = overlay.backend.plan_install([ovlay.InstallFile(str(source), "/usr/bin/new")])
    begin(host, plan, 1)
    stray = host.path(f"/usr/bin/{TEMPORARY}0123456789abcdef")
    other = host.path(f"/usr/bin/{TEMPORARY}of-somebody")
    for path in (stray, other):
        with open(path, "w") as stream:
            stream.write("half")
    with host.lock():
        assert recover(host) == (f"removed /usr/bin/{TEMPORARY}0123456789abcdef, which was being written",)
    assert not os.path.exists(stray)
    assert os.path.exists(other)


@pytest.mark.parametrize("there", [True, False])
def test_a_receipt_says_what_came_of_what_was_intended(overlay: ovlay.Overlay, source: Path, there: bool) -> None:  # noqa: FBT001
    from ovlay.receipts import book_path, read_book

    host = overlay.host
    overlay.install_file(source, "/usr/bin/other")
    plan = overlay.backend.plan_install([ovlay.InstallFile(str(source), "/usr/bin/new")])
    overlay.install_files([ovlay.InstallFile(str(source), "/usr/bin/new")])
    book = book_path(host, "/usr", durable=False)
    rows = (host.read(book) or "").splitlines()
    cut = [row.replace('["p", "bin/new"', '["i", "bin/new"') for row in rows]
    begun = [row for row in rows if row.startswith('["o"')]
    host.write(book, "\n".join([cut[0], json.dumps(["b", ""]), *begun, *cut[1:]]) + "\n", mode=0o600)
    if not there:
        os.unlink(host.path("/usr/bin/new"))
    assert read_book(host, overlay.status()).unfinished
    assert read_book(host, overlay.status()).receipts["bin/new"].pending
    begin(host, plan, 1)
    with host.lock():
        recover(host)
    found = read_book(host, overlay.status())
    assert not found.unfinished
    assert ("bin/new" in found.receipts) is there
    assert not any(receipt.pending for receipt in found.receipts.values())


def test_an_overlay_that_cannot_be_made_read_only_again_is_told_and_can_be_taken_away(
    overlay: ovlay.Overlay, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = overlay.host
    overlay.enable(ovlay.Mode(ovlay.Access.READ_ONLY))
    begin(host, overlay.backend.plan_install([ovlay.InstallFile(str(source), "/usr/bin/new")]), 1)
    host.kernel.set_access(host.mounts_at("/usr")[-1], ovlay.Access.READ_WRITE)

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    with monkeypatch.context() as patched:
        patched.setattr(type(host.kernel), "set_access", busy)
        with host.lock():
            assert recover(host) == ("the overlay on /usr could not be made read-only again: Device or resource busy",)
        assert AnomalyKind.INTERRUPTED in kinds(overlay)
        assert overlay.unmount().changed
    assert AnomalyKind.INTERRUPTED not in kinds(overlay)


def test_what_lies_on_a_read_only_filesystem_stays_and_stops_nothing(
    overlay: ovlay.Overlay, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = overlay.host
    host.make_private_directory(host.data_dir)
    left = f"{host.data_dir}/usr.json.ovlay-12-0123abcd"
    host.write(left, "half")
    remove = type(host).remove

    def read_only(this: Host, inside: str) -> None:
        if inside == left:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        remove(this, inside)

    monkeypatch.setattr(type(host), "remove", read_only)
    assert overlay.unmount().changed


def test_a_tool_that_outlived_its_ovlay_is_waited_for(overlay: ovlay.Overlay) -> None:
    import fcntl

    host = overlay.host
    host.patience = 0.5
    told: list[str] = []
    host.listener = told.append
    path = host.path(f"{host.state_dir}/{TOOL}")
    with open(path, "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ovlay.Busy, match="a host tool"):
            overlay.enable()
        assert told == ["waiting for a host tool that was started by an ovlay which was killed to end"]
    overlay.enable()
    assert not os.path.exists(path)
