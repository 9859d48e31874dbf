"""The door to the system: it reads what is there, finds tools in fixed places only, and writes files whole."""

from __future__ import annotations

import os
import stat
import threading
import time
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import Conflict, ToolFailed
from ovlay.host import Host

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(str(tmp_path), scratch="/scratch")


def test_paths_are_below_the_root_and_stay_there(host: Host, tmp_path: Path) -> None:
    assert host.path("/usr/bin") == f"{tmp_path}/usr/bin"
    assert host.path("/../../etc") == f"{tmp_path}/etc"
    assert Host().path("/usr") == "/usr"


def test_reading_what_is_not_there_or_no_file_is_none(host: Host, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"a\xffb")
    assert host.read("/none") is None
    assert host.read("/folder") is None
    assert host.read("/fifo") == ""  # opened without waiting for a writer
    assert host.read("/file") == "a\udcffb"
    assert host.read("/file", limit=1) == "a"
    assert host.entries("/none") == ()
    assert host.entries("/") == ("fifo", "file", "folder")


def test_tools_are_programs_in_the_fixed_places_only(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil").mkdir()
    for place in ("evil/tool", "usr/bin/tool", "usr/bin/plain"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("")
        (tmp_path / place).chmod(0o755)
    (tmp_path / "usr/bin/plain").chmod(0o644)
    monkeypatch.setenv("PATH", str(tmp_path / "evil"))
    assert host.find_tool("tool") == "/usr/bin/tool"
    assert host.find_tool("plain") is None
    assert host.find_tool("none") is None


def test_a_tool_runs_in_a_clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_LOOKALIKE", "evil")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    done = Host().run(["/usr/bin/env"])
    assert done.status == 0
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": "/",
        "TERM": "dumb",
    }


def test_a_tool_that_fails_hangs_or_is_not_there_is_told() -> None:
    assert Host().run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\n", "err\n")
    with pytest.raises(ToolFailed, match=r"did not end within 0\.1 seconds"):
        Host().run(["/bin/sleep", "60"], timeout=0.1)
    with pytest.raises(ToolFailed, match="cannot run /none"):
        Host().run(["/none"])
    assert "\\xff" in Host().run(["/bin/sh", "-c", r"printf '\377'"]).stdout


def test_a_file_is_written_whole_with_its_mode(host: Host, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    host.write("/f", "new", mode=0o600)
    assert (tmp_path / "f").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    with pytest.raises(OSError, match="directory"):
        host.write("/none/f", "x")
    assert host.entries("/") == ("f",)


def test_removing_takes_files_links_and_empty_directories(host: Host, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/f").write_text("")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "empty").mkdir()
    for name in ("/link", "/empty", "/none"):
        host.remove(name)
    assert host.entries("/") == ("kept",)
    with pytest.raises(OSError, match="not empty"):
        host.remove("/kept")
    host.remove_tree("/kept")
    assert host.entries("/") == ()


def test_a_private_directory_is_ours_alone_or_refused(host: Host, tmp_path: Path) -> None:
    host.make_private_directory("/run/ovlay")
    host.make_private_directory("/run/ovlay")
    assert stat.S_IMODE((tmp_path / "run/ovlay").stat().st_mode) == 0o700
    (tmp_path / "run/open").mkdir()
    (tmp_path / "run/open").chmod(0o777)
    (tmp_path / "run/link").symlink_to("ovlay")
    (tmp_path / "run/file").write_text("")
    for name in ("open", "link", "file"):
        with pytest.raises(Conflict, match=name):
            host.make_private_directory(f"/run/{name}")


def test_nobody_is_told_to_remove_a_directory_with_something_in_it(host: Host, tmp_path: Path) -> None:
    (tmp_path / "persistent").mkdir()
    (tmp_path / "persistent").chmod(0o775)
    (tmp_path / "link").symlink_to("persistent")
    with pytest.raises(Conflict) as refused:
        host.make_private_directory("/persistent")
    assert "remove" not in refused.value.remedy
    assert refused.value.remedy.startswith("look at what is in it")
    assert "&& chmod go-w /persistent`" in refused.value.remedy
    with pytest.raises(Conflict) as refused:
        host.make_private_directory("/link")
    assert refused.value.remedy == "remove /link, then try again"


def test_the_lock_is_waited_for(host: Host) -> None:
    order: list[str] = []

    def second() -> None:
        with host.lock():
            order.append("second")

    with host.lock():
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.05)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("mark", "content", "kind"),
    [
        ("run/.toolboxenv", "", "toolbox"),
        ("run/.containerenv", "", "podman"),
        (".dockerenv", "", "docker"),
        (".flatpak-info", "", "flatpak"),
        ("run/systemd/container", "lxc\n", "lxc"),
    ],
)
def test_a_container_is_known_by_its_marks(host: Host, tmp_path: Path, mark: str, content: str, kind: str) -> None:
    (tmp_path / mark).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / mark).write_text(content)
    assert host.container == kind


def test_no_mark_is_no_container(host: Host) -> None:
    assert host.container is None


def test_os_release_is_read_as_it_is_written(host: Host, tmp_path: Path) -> None:
    assert host.os_release == {}
    fresh = Host(str(tmp_path))
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/os-release").write_text("# x\nID=debian\nVERSION_ID=\"13\"\nNAME='a b'\n\nnothing\n")
    assert fresh.os_release == {"ID": "debian", "VERSION_ID": "13", "NAME": "a b"}


def test_a_user_with_no_runtime_directory_gets_one_of_this_boot_and_never_in_tmp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("uid_map", "0 1000 1\n"), ("boot_id", "abc\n")):
        place = tmp_path / ("proc/self" if name == "uid_map" else "proc/sys/kernel/random")
        place.mkdir(parents=True)
        (place / name).write_text(text)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/me/state")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert Host(str(tmp_path)).state_dir == "/home/me/state/ovlay/boot-abc"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert Host(str(tmp_path)).state_dir == "/run/user/1000/ovlay"
    assert Host(str(tmp_path)).data_dir == "/home/me/state/ovlay"
