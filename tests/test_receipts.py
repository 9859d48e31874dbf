"""Receipts: what is read is what was written, whatever stopped the writer, and nobody else can read it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.bases import Seen, bases_path, file_name, read_bases, record_bases
from ovlay.receipts import (
    NOTHING,
    Receipt,
    book_path,
    drop_receipts,
    has_settled,
    parse_book,
    settled_from,
    stamp_of,
)
from ovlay.recording import Journal
from ovlay.simulated import SimulatedHost

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = 1_700_000_000_000_000_000


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHost]:
    with SimulatedHost(str(tmp_path)) as host:
        yield host


def journal(host: SimulatedHost, identity: str = "0:50", *, durable: bool = False) -> Journal:
    return Journal(host, "/usr", durable=durable, identity=identity)


def placed(path: str, **more: object) -> Receipt:
    fields: dict[str, object] = {"sha256": "ab" * 32, "placed": (1, 2, 3, OLD, OLD), "manifest": "/m.toml", **more}
    return Receipt(path, "file", **fields)  # type: ignore[arg-type]


def read(host: SimulatedHost, identity: str = "0:50", *, durable: bool = False) -> dict[str, Receipt]:
    text = host.read(book_path(host, "/usr", durable=durable)) or ""
    return parse_book(text, "" if durable else identity).receipts


def test_what_was_placed_is_known(host: SimulatedHost, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("abc")
    os.utime(tmp_path / "x")
    time.sleep(0.05)
    now = (tmp_path / "x").stat()
    book = journal(host)
    book.intend([placed("bin/x")])
    book.placed("bin/x", stamp_of(now))
    book.settle()
    (receipt,) = read(host).values()
    assert (receipt.placed, receipt.pending, receipt.by) == (stamp_of(now), False, book.by)
    assert receipt.when == book.when


def test_an_intent_is_known_at_once_with_what_was_before(host: SimulatedHost, tmp_path: Path) -> None:
    first = journal(host)
    first.settled([placed("bin/x")])
    first.settle()
    second = journal(host)
    second.intend([placed("bin/x", sha256="cd" * 32)])
    receipt = read(host)["bin/x"]
    assert (receipt.pending, receipt.sha256) == (True, "cd" * 32)
    assert receipt.before is not None
    assert (receipt.before.pending, receipt.before.sha256) == (False, "ab" * 32)


def test_a_stamp_that_is_too_young_is_not_kept(host: SimulatedHost, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("abc")
    now = (tmp_path / "x").stat()
    young = (1, 2, 3, OLD, time.time_ns() + 1_000_000_000)
    book = journal(host)
    book.settled(
        [placed("bin/x", placed=young, source_stamp=young), placed("bin/y", source_stamp=(*stamp_of(now)[:4], OLD))]
    )
    book.settle()
    receipts = read(host)
    assert (receipts["bin/x"].placed, receipts["bin/x"].source_stamp) == (None, None)
    assert receipts["bin/y"].placed is not None
    assert receipts["bin/y"].source_stamp is not None


def test_a_stamp_of_whole_seconds_is_too_young_for_two_of_them(host: SimulatedHost) -> None:
    """As ext4 with small inodes and FAT have them; beside one of the same second that says more."""
    second = 1_000_000_000
    now = time.time_ns() // second * second
    fine, coarse, old = (1, 2, 3, OLD, now - second + 1), (1, 2, 3, OLD, now - second), (1, 2, 3, OLD, now - 3 * second)
    book = journal(host)
    book.settled([placed("fine", placed=fine), placed("coarse", placed=coarse), placed("old", placed=old)])
    book.settled([placed("source", source_stamp=coarse)])
    book.settle()
    receipts = read(host)
    assert {path for path, receipt in receipts.items() if receipt.placed is not None} == {"fine", "old", "source"}
    assert receipts["source"].source_stamp is None


def test_what_does_not_settle_in_a_tick_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = OLD + 5_000_000
    slept: list[float] = []
    monkeypatch.setattr(time, "time_ns", lambda: now)
    monkeypatch.setattr(time, "sleep", slept.append)
    for changed, settles in ((OLD + 1, True), (OLD, False), (OLD - 1_999_999_999, True), (OLD + 10**9 + 1, False)):
        slept.clear()
        assert has_settled([None, (1, 2, 3, OLD, changed)]) is settles
        assert sum(slept) < 0.02
    assert has_settled([])
    assert settled_from([]) < OLD


def test_those_of_another_overlay_do_not_count(host: SimulatedHost) -> None:
    book = journal(host, "0:50")
    book.settled([placed("bin/x")])
    book.settle()
    assert read(host, "0:51") == {}
    other = journal(host, "0:51")
    other.intend([placed("bin/y")])
    other.settle()
    assert list(read(host, "0:51")) == ["bin/y"]


def test_a_line_that_was_cut_off_takes_no_other_with_it(host: SimulatedHost) -> None:
    book = journal(host)
    book.settled([placed("bin/x"), placed("bin/y")])
    book.settle()
    path = Path(host.path(book_path(host, "/usr", durable=False)))
    path.write_text(path.read_text() + '["i", "bin/z", "fi')
    assert list(read(host)) == ["bin/x", "bin/y"]
    again = journal(host)
    again.intend([placed("bin/w")])
    assert sorted(read(host)) == ["bin/w", "bin/x", "bin/y"]


def test_only_root_can_read_them(host: SimulatedHost) -> None:
    book = journal(host, durable=True)
    book.settled([placed("bin/x", base=NOTHING)])
    book.settle()
    for path in (book_path(host, "/usr", durable=True), f"{host.data_dir}/bases/usr.json"):
        file = Path(host.path(path))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_forgotten_and_dropped(host: SimulatedHost) -> None:
    book = journal(host)
    book.settled([placed("bin/x"), placed("bin/y")])
    book.settle()
    book.forget(["bin/x"])
    book.settle()
    assert list(read(host)) == ["bin/y"]
    drop_receipts(host, "/usr")
    assert read(host) == {}


def test_the_base_is_known_after_the_overlay(host: SimulatedHost) -> None:
    record_bases(host, "/usr", {"bin/x": placed("bin/x", base=NOTHING), "bin/y": placed("bin/y", base="cd" * 32)})
    record_bases(host, "/usr", {"bin/x": None})
    assert read_bases(host, "/usr") == {"bin/y": Seen("cd" * 32, "ab" * 32)}
    record_bases(host, "/usr", {"bin/z": placed("bin/z", base=NOTHING, manifest=None)})
    assert list(read_bases(host, "/usr")) == ["bin/y"], "what was installed by hand has no manifest to be held against"


def test_a_target_is_a_name_that_stays_as_it_is() -> None:
    """Files of before are found by it."""
    assert file_name("/usr") == "usr"
    assert file_name("/opt/my-tools") == "opt-my\\x2dtools"
    assert file_name("/" + "x" * 226) == "x" * 226


@pytest.mark.parametrize("target", ["/" + "x" * 226, "/" + "x" * 227, "/opt" + "/deep-er" * 200, "/opt/" + "ä" * 400])
def test_a_target_of_any_length_has_receipts_and_bases(host: SimulatedHost, target: str) -> None:
    """An overlay on a path of more than 240 bytes could not be taken away any more: File name too long."""
    drop_receipts(host, target)
    for path in (bases_path(host, target), book_path(host, target, durable=True)):
        host.make_private_directory(host.data_dir)
        host.make_private_directory(os.path.dirname(path))
        host.write(path, "")
        assert os.listdir(host.path(os.path.dirname(path))) == [os.path.basename(path)]


def test_long_targets_are_told_apart() -> None:
    names = {file_name(target) for target in ("/a" * 200, "/a" * 201, "/a" * 200 + "-b", "/a" * 200 + "/b")}
    assert len(names) == 4


@pytest.mark.parametrize("text", ["", "[]", "{", '{"bases": 1}', '{"bases": {"x": 1}}', "null"])
def test_what_is_no_record_of_bases_is_none(host: SimulatedHost, text: str) -> None:
    host.make_private_directory(host.data_dir)
    host.make_private_directory(host.data_dir + "/bases")
    host.write(host.data_dir + "/bases/usr.json", text)
    assert read_bases(host, "/usr") == {}
