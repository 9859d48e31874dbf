"""What a campaign finds is written down once for each place, with the input and the traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.__main__ import _escaped, _found
from tests.fuzz.campaign import Crashes

if TYPE_CHECKING:
    from pathlib import Path


def caught(data: bytes) -> Exception:
    try:
        if data == b"one":
            raise ValueError(data)
        raise ValueError(data)
    except ValueError as error:
        return error


def test_each_place_is_written_down_once(tmp_path: Path) -> None:
    crashes = Crashes(tmp_path, "config")
    for data in (b"one", b"two", b"three"):
        crashes.add(data, caught(data))
    found = _found(tmp_path, "config")
    assert sorted(path.read_bytes() for path in found) == [b"one", b"two"]
    assert all("ValueError" in path.with_name(path.name + ".txt").read_text() for path in found)
    assert _found(tmp_path, "plan") == ()


def test_a_hang_is_found_too(tmp_path: Path) -> None:
    (tmp_path / "plan-timeout-0123").write_bytes(b"x")
    assert [path.name for path in _found(tmp_path, "plan")] == ["plan-timeout-0123"]


def test_words_are_written_for_the_fuzzer() -> None:
    assert _escaped('a"\\\n') == "a\\x22\\x5c\\x0a"
