"""Where /var is full, read-only or not ours: what was placed counts, and nothing keeps the overlay from going."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.bases import read_bases
from ovlay.host import Host
from ovlay.model import AnomalyKind, Mode, Persistence
from ovlay.receipts import read_book
from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    case.says('file path = "/usr/bin/old"; text = "new"', 'file path = "/usr/bin/tool"; text = "tool"')
    with case.host:
        yield case


@pytest.fixture(params=[errno.ENOSPC, errno.EROFS, None], ids=["full", "read-only", "wrong-mode"])
def data(case: Case, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The data directory, which cannot be written to; the reason."""
    place = case.host.data_dir
    if request.param is None:
        case.host.make_private_directory(place)
        os.chmod(case.host.path(place), 0o777)
        return "only we can write"
    fails_below(place, request.param, monkeypatch)
    return os.strerror(request.param)


def fails_below(place: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be written below a directory from now on."""

    def fail(path: str) -> None:
        if path == place or path.startswith(place + "/"):
            raise OSError(number, os.strerror(number), path)

    write, private, remove = Host.write, Host.make_private_directory, Host.remove

    def failing_write(
        host: Host, inside: str, content: str | bytes, *, mode: int = 0o644, durable: bool = False
    ) -> None:
        fail(inside)
        write(host, inside, content, mode=mode, durable=durable)

    def failing_directory(host: Host, inside: str) -> None:
        if not host.is_directory(inside):
            fail(inside)
        private(host, inside)

    def failing_remove(host: Host, inside: str) -> None:
        if number == errno.EROFS:
            fail(inside)
        remove(host, inside)

    monkeypatch.setattr(Host, "write", failing_write)
    monkeypatch.setattr(Host, "make_private_directory", failing_directory)
    monkeypatch.setattr(Host, "remove", failing_remove)


def odd(case: Case) -> set[AnomalyKind]:
    return {anomaly.kind for anomaly in case.overlay.status().anomalies}


def test_what_cannot_be_known_of_the_base_is_told_and_all_else_is_done(case: Case, data: str) -> None:
    outcome = case.apply()
    (line,) = [line for line in outcome.told if "could not be written down" in line]
    assert data in line
    assert "/bases/usr.json" in line
    assert case.at("bin/old").read_text() == "new"
    assert {path: receipt.pending for path, receipt in case.receipts().items()} == {
        "bin/old": False,
        "bin/tool": False,
    }
    assert read_bases(case.host, "/usr") == {}
    assert AnomalyKind.INTERRUPTED not in odd(case)
    assert not case.apply().changed
    assert case.overlay.drift([case.manifest]).clean


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("lazy", [False, True])
def test_the_overlay_goes_all_the_same(case: Case, *, lazy: bool) -> None:
    case.apply()
    assert case.overlay.unmount(lazy=lazy).changed
    assert not case.overlay.status().active


@pytest.mark.usefixtures("data")
def test_a_fresh_overlay_takes_its_place(case: Case) -> None:
    case.apply()
    case.overlay.reset(fresh=True)
    assert case.at("bin/old").read_text() == "old\n"
    assert case.apply().changed


def test_in_a_persistent_overlay_what_could_not_be_written_down_keeps_nobody_from_unmounting(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.overlay.enable(Mode(persistence=Persistence.PERSISTENT))
    case.apply()
    case.says('file path = "/usr/bin/old"; text = "newer"')
    with monkeypatch.context() as patched:
        fails_below(case.host.data_dir, errno.ENOSPC, patched)
        with pytest.raises(ovlay.NoSpace, match="write down what was placed"):
            case.apply()
        assert AnomalyKind.INTERRUPTED in odd(case)
        told = case.overlay.enable(case.overlay.status().mode).told
        assert told == ("what was placed in /usr could not be written down: No space left on device",)
        assert AnomalyKind.INTERRUPTED in odd(case)  # the next call tries it again
        assert case.overlay.unmount().changed
    case.overlay.enable(Mode(persistence=Persistence.PERSISTENT))
    assert case.at("bin/old").read_text() == "newer"
    case.apply()
    book = read_book(case.host, case.overlay.status())
    assert not book.unfinished
    assert not any(receipt.pending for receipt in book.receipts.values())
    assert case.overlay.drift([case.manifest]).clean


def test_with_room_again_what_was_placed_is_written_down(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.overlay.enable(Mode(persistence=Persistence.PERSISTENT))
    with monkeypatch.context() as patched:
        fails_below(case.host.data_dir, errno.ENOSPC, patched)
        with pytest.raises(ovlay.NoSpace):
            case.apply()
        case.overlay.enable(case.overlay.status().mode)
    assert case.overlay.enable(case.overlay.status().mode).told == ()
    assert AnomalyKind.INTERRUPTED not in odd(case)
    assert not read_book(case.host, case.overlay.status()).unfinished


def test_a_seal_that_cannot_be_written_is_no_failure(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Host.write

    def full(host: Host, inside: str, content: str | bytes, *, mode: int = 0o644, durable: bool = False) -> None:
        if inside.endswith(".seal"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(host, inside, content, mode=mode, durable=durable)

    monkeypatch.setattr(Host, "write", full)
    assert case.apply().changed
    assert not case.apply().changed
