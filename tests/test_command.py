"""Host tools as child processes: what they say is limited, and so is their time; and nothing of them is left behind."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ovlay.command import OUTPUT_LIMIT, Finished, run_command
from ovlay.errors import ToolFailed
from ovlay.host import Host
from ovlay.lock import TOOL

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def run(script: str, *, timeout: float = 20) -> Finished:
    return run_command(("/bin/sh", "-c", script), environment=ENVIRONMENT, timeout=timeout)


def test_what_it_says_and_how_it_ends() -> None:
    assert run("echo out; echo err >&2; exit 3") == Finished(3, "out\n", "err\n")
    assert run("kill -9 $$").status == -9
    assert run("printf 'caf\\351'").stdout == "caf\\xe9"
    assert run("cat").stdout == ""  # there is nobody to type


def test_one_that_does_not_end_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(ToolFailed, match=r"/bin/sh did not end within 0\.5 seconds and was killed"):
        run(f"sleep 300 & echo $! >{tmp_path}/pid; sleep 300", timeout=0.5)
    assert time.monotonic() - begun < 10
    assert not _runs(int((tmp_path / "pid").read_text()))


def _runs(pid: int) -> bool:
    """Whether it is more than what nobody has waited for yet."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as stream:
                if stream.read().rpartition(")")[2].split()[0] == "Z":
                    return False
        except OSError:
            return False
        time.sleep(0.02)
    return True


def test_one_that_closes_its_output_and_goes_on_is_waited_for() -> None:
    assert run("exec >&- 2>&-; sleep 0.3; exit 4") == Finished(4, "", "")
    with pytest.raises(ToolFailed, match="did not end"):
        run("exec >&- 2>&-; sleep 300", timeout=0.3)


def test_a_child_in_the_background_is_not_waited_for(tmp_path: Path) -> None:
    begun = time.monotonic()
    said = run(f"sleep 300 & echo $! >{tmp_path}/pid; echo done")
    assert (said, time.monotonic() - begun < 10) == (Finished(0, "done\n", ""), True)
    with suppress(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 9)


def test_no_more_is_kept_than_anybody_can_want() -> None:
    said = run(f"head -c {OUTPUT_LIMIT + (4 << 20)} /dev/zero; echo end >&2")
    assert (len(said.stdout), said.stderr, said.status) == (OUTPUT_LIMIT, "end\n", 0)


def test_one_that_cannot_be_run() -> None:
    with pytest.raises(ToolFailed, match="cannot run /nonexistent/tool: No such file"):
        run_command(("/nonexistent/tool",), environment=ENVIRONMENT, timeout=1)


def test_a_tool_is_known_to_run_for_as_long_as_it_does(tmp_path: Path) -> None:
    host = Host(scratch=str(tmp_path))
    with host.lock():
        seen = host.run(("/bin/sh", "-c", f"ls {tmp_path}/state")).stdout.split()
        assert TOOL in seen
        assert host.entries(host.state_dir) == ("lock",)
    assert TOOL not in host.run(("/bin/sh", "-c", f"ls {tmp_path}/state")).stdout.split()
