"""What an apply of many files promises: none is read twice, and two processes do what one would."""

from __future__ import annotations

import collections
import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator

TREE = 'tree path = "/usr/share/tree"; source = "source/tree"'
FILES = 8


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    for folder in ("a", "b", "c", "d"):
        for number in range(FILES):
            made.put(f"tree/{folder}/f{number}", f"{folder}{number}")
    time.sleep(0.05)
    made.says(TREE)
    with made.host:
        made.overlay.enable()
        yield made


def test_no_file_is_read_twice(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: collections.Counter[str] = collections.Counter()
    source = case.host.opened_source

    @contextlib.contextmanager
    def counted(path: str) -> Iterator[int]:
        opened[path] += 1
        with source(path) as descriptor:
            yield descriptor

    def fail(*_: object) -> int:
        raise AssertionError("a placed file was read")

    monkeypatch.setattr(case.host, "opened_source", counted)
    monkeypatch.setattr("ovlay.manifest.sides.Side.opened", fail)
    monkeypatch.setattr("ovlay.manifest.sides.Side.digest", fail)
    case.apply()
    assert len(opened) == 4 * FILES
    assert set(opened.values()) == {1}


def test_two_processes_do_what_one_would(tmp_path: Path) -> None:
    """The workers of pytest-xdist have threads, and a process with threads is never copied."""
    checks = Path(__file__).with_name("halves.py")
    alone = ("-p", "no:xdist", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'alone'}")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *alone, str(checks)],
        capture_output=True,
        check=False,
        text=True,
        cwd=checks.parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed" in done.stdout
