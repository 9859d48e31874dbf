"""``ovlay holders``: who uses the overlay, who a file that changed, and what the answer leaves out."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from ovlay.cli.holders import missing, report
from ovlay.errors import NotPermitted
from ovlay.holders import Holders, Process
from ovlay.kernel.holders import FileUse, Users
from ovlay.simulated import SimulatedKernel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Cli


@contextmanager
def running(program: Path) -> Iterator[int]:
    """A real process that runs a program of the simulated host."""
    process = subprocess.Popen([program, "60"])
    try:
        until = time.monotonic() + 10
        while os.readlink(f"/proc/{process.pid}/exe") != str(program):
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(0.05)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def _all_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that runs the tests has processes of its own, which nobody may look at."""
    see = SimulatedKernel.users
    monkeypatch.setattr(SimulatedKernel, "users", lambda *words: see(*words)._replace(unseen=0, hidden=False))


def install(cli: Cli, name: str) -> Path:
    sleep = shutil.which("sleep")
    assert sleep is not None
    assert cli("install", "--yes", sleep, f"/usr/bin/{name}").status == 0
    return Path(os.path.realpath(cli.host.root)) / "usr/bin" / name


def test_nobody(cli: Cli) -> None:
    assert cli("holders") == (0, "nobody: no overlay is on /usr\n", "")
    cli("enable", "--yes")
    assert cli("holders") == (0, "nobody uses the overlay on /usr\n", "")
    document = cli("holders", "--json").document("holders")
    assert (document["active"], document["complete"]) == (True, True)
    assert document["holders"] == document["changed"] == document["left_behind"] == []


def test_who_uses_the_overlay(cli: Cli) -> None:
    cli("enable", "--yes")
    with cli.host.kernel.hold("/usr/bin", command="editor"):
        said = cli("holders")
        assert said.status == 0
        assert said.out.startswith(f"1 process uses the overlay on /usr:\n  {os.getpid()}  editor  ")
        assert said.out.endswith("  cwd\n")


def test_who_uses_a_file_that_changed(cli: Cli) -> None:
    cli("enable", "--yes")
    daemon = install(cli, "daemon")
    time.sleep(0.05)
    with running(daemon) as pid:
        fresh = cli("holders", "--json").document("holders")
        assert [process["pid"] for process in fresh["changed"]] == [pid]
        assert fresh["changed"][0]["files"] == [
            {"path": "/usr/bin/daemon", "use": "exe", "outdated": False},
            {"path": "/usr/bin/daemon", "use": "mapped file", "outdated": False},
        ]
        assert "to use the files that are there now" not in cli("holders").out
        shutil.copy(daemon, daemon.with_name("next"))
        daemon.with_name("next").rename(daemon)
        said = cli("holders")
        assert said.out.startswith(f"1 process uses files that changed on /usr:\n  {pid}  daemon  ")
        assert "/usr/bin/daemon (exe, mapped file; outdated)\n" in said.out
        assert "  to use the files that are there now:\n" in said.out
        assert cli("holders", "--json").document("holders")["changed"][0]["outdated"] is True


def test_who_uses_a_path(cli: Cli) -> None:
    cli("enable", "--yes")
    one, _ = install(cli, "one"), install(cli, "other")
    with running(one) as pid:
        assert [p["pid"] for p in cli("holders", "--json", "bin/one").document("holders")["holders"]] == [pid]
        assert [p["pid"] for p in cli("holders", "--json", "/usr/bin").document("holders")["holders"]] == [pid]
        assert cli("holders", "/usr/bin/other").out == "nobody uses a file that was asked for\n"
        assert "1 process uses a file that was asked for:\n" in cli("holders", "/usr/bin/one").out
    assert cli("holders", "/etc/passwd").status == 2


def test_who_uses_the_view_of_before_a_lazy_unmount(cli: Cli) -> None:
    cli("enable", "--yes")
    with cli.host.kernel.hold("/usr/bin", command="editor"):
        cli("unmount", "--yes", "--lazy")
        said = cli("holders")
        assert said.out.startswith("1 process still uses a view of /usr that was unmounted lazily:\n")
        assert "  to let go of it:\n" in said.out
        document = cli("holders", "--json").document("holders")
        assert (document["active"], [p["command"] for p in document["left_behind"]]) == (False, ["editor"])
    assert cli("holders").out == "nobody: no overlay is on /usr\n"


def test_one_who_may_not_see_the_changes_gets_the_rest(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise NotPermitted("only root can look beneath the overlay on /usr")

    cli("enable", "--yes")
    monkeypatch.setattr("ovlay.changes.find.find_changes", refuse)
    said = cli("holders", "--json")
    document = said.document("holders")
    assert (document["changed"], document["complete"]) == (None, False)
    assert "who uses a changed file is not known: only root can look beneath" in said.err
    assert said.status == 0


def test_a_list_that_is_not_complete_says_so(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli("enable", "--yes")
    monkeypatch.setattr(SimulatedKernel, "users", lambda *_: Users((), 3, hidden=True))
    assert cli("holders").out == "nobody who could be looked at uses the overlay on /usr\n"
    said = cli("holders", "--json")
    assert "ovlay: the list is not complete: 3 processes could not be looked at" in said.err
    assert "/proc hides the processes of other users (hidepid)" in said.err
    assert said.document("holders")["complete"] is False


# --- the words -------------------------------------------------------------------------------------------------------


def process(pid: int, unit: str | None = None, *files: FileUse) -> Process:
    restart = f"systemctl restart {unit}" if unit else None
    return Process(pid, f"c{pid}", unit, restart, ("exe",), files, any(file.outdated for file in files))


def holders(**found: object) -> Holders:
    nobody: dict[str, object] = dict.fromkeys(("holders", "changed", "left_behind"), ())
    return Holders(target="/usr", active=True, **{**nobody, "unseen": 0, "hidden": False, **found})  # type: ignore[arg-type]


def test_the_units_to_restart_are_named_once() -> None:
    old = FileUse("/usr/lib/libx.so", "mapped file", outdated=True)
    new = old._replace(outdated=False)
    listed = (
        process(1, "a.service", old),
        process(2, "a.service", old),
        process(3, "b.service", new),
        process(40, None, old),
    )
    assert list(report(holders(changed=listed), asked=False, most=10)) == [
        "4 processes use files that changed on /usr:",
        "   1  c1   a.service",
        "        /usr/lib/libx.so (mapped file; outdated)",
        "   2  c2   a.service",
        "        /usr/lib/libx.so (mapped file; outdated)",
        "   3  c3   b.service",
        "        /usr/lib/libx.so (mapped file)",
        "  40  c40  -",
        "        /usr/lib/libx.so (mapped file; outdated)",
        "  to use the files that are there now:",
        "    systemctl restart a.service",
        "    end and start again: c40 (pid 40)",
    ]


def test_only_the_first_ones_unless_all_are_asked_for() -> None:
    many = tuple(process(number) for number in range(100, 130))
    lines = list(report(holders(holders=many), asked=False, most=10))
    assert len(lines) == 12
    assert lines[-1] == "  and 20 more: -v lists them all"
    assert len(list(report(holders(holders=many), asked=False, most=None))) == 31
    files = [FileUse(f"/usr/{number}", "mapped file", outdated=False) for number in range(5)]
    lines = list(report(holders(changed=(process(1, None, *files),)), asked=False, most=10))
    assert lines[-1].strip() == "and 2 more"


def test_nothing_is_missing() -> None:
    assert list(missing(holders())) == []
