"""Who uses a changed file, found on the real kernel; and what is read from the texts of /proc."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ovlay.kernel import processes
from ovlay.kernel.linux import LinuxKernel
from ovlay.kernel.processes import Unit, parse_cgroup
from ovlay.model import Access
from tests.kernel.test_linux import overlay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ovlay.kernel import Mount
    from ovlay.kernel.holders import FileUse

kernel_test = pytest.mark.kernel


@contextmanager
def running(*argv: str | Path, **options: object) -> Iterator[int]:
    """A process that has begun to run what it is told to."""
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    try:
        until = time.monotonic() + 10
        while os.readlink(f"/proc/{process.pid}/exe").removesuffix(" (deleted)") != os.path.realpath(argv[0]):
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(0.05)  # past the loader
        yield process.pid
    finally:
        process.kill()
        process.wait()


def uses_of(mount: Mount, pid: int, *wanted: Path) -> dict[tuple[str, str], bool]:
    """What a process uses of these files: by name and way, whether it is outdated."""
    names = {str(path) for path in wanted}
    users = LinuxKernel().users([mount], mount.mount_point, names.__contains__)
    files: tuple[FileUse, ...] = next((user.files for user in users.found if user.pid == pid), ())
    return {(os.path.basename(file.path), file.use): file.outdated for file in files}


def program(path: Path) -> Path:
    shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
    return path


def replace(path: Path) -> None:
    """What ovlay install does: another file under the same name."""
    new = path.with_name("new")
    shutil.copy(path, new)
    new.rename(path)


BOTH = {("daemon", "exe"), ("daemon", "mapped file")}


@kernel_test
def test_a_program_that_was_replaced_is_outdated_and_the_new_one_is_not(inside: Path) -> None:
    _, mount, target, _ = overlay(inside)
    daemon = program(target / "daemon")
    time.sleep(0.05)
    with running(daemon, "60") as before:
        assert uses_of(mount, before, daemon) == dict.fromkeys(BOTH, False)
        replace(daemon)
        time.sleep(0.05)
        with running(daemon, "60") as after:
            assert uses_of(mount, before, daemon) == dict.fromkeys(BOTH, True)
            assert uses_of(mount, after, daemon) == dict.fromkeys(BOTH, False)


@kernel_test
def test_one_who_has_the_file_from_before_the_overlay_is_found(inside: Path) -> None:
    """It uses no overlay at all, and it is the one that has to be restarted."""
    target = inside / "usr/target"
    target.mkdir(parents=True)
    daemon = program(target / "daemon")
    with running(daemon, "60") as pid:
        kernel = LinuxKernel()
        for name in ("upper", "work"):
            (inside / name).mkdir()
        number = kernel.mount_overlay(
            str(target),
            lower=(str(target),),
            upper=f"{inside}/upper",
            work=f"{inside}/work",
            access=Access.READ_WRITE,
            source="ovlay",
        )
        mount = kernel.mounts().by_id(number)
        assert mount is not None
        replace(daemon)
        assert pid not in {holder.pid for holder in kernel.holders([mount])}
        assert uses_of(mount, pid, daemon) == dict.fromkeys(BOTH, True)


@kernel_test
def test_a_service_with_a_mount_namespace_of_its_own_is_found(inside: Path) -> None:
    """As with PrivateTmp= of systemd.exec(5): its root directory is still that of everyone."""
    _, mount, target, _ = overlay(inside)
    daemon = program(target / "daemon")
    process = subprocess.Popen(["unshare", "--mount", daemon, "60"])
    try:
        until = time.monotonic() + 10
        while processes.command(str(process.pid)) != "daemon":
            assert time.monotonic() < until
            time.sleep(0.01)
        replace(daemon)
        assert uses_of(mount, process.pid, daemon) == dict.fromkeys(BOTH, True)
    finally:
        process.kill()
        process.wait()


@kernel_test
def test_a_program_that_was_deleted_is_outdated(inside: Path) -> None:
    _, mount, target, _ = overlay(inside)
    daemon = program(target / "daemon")
    with running(daemon, "60") as pid:
        daemon.unlink()
        assert uses_of(mount, pid, daemon) == dict.fromkeys(BOTH, True)


@kernel_test
def test_a_mapped_file_that_was_written_to_in_place_is_outdated(inside: Path) -> None:
    """Who mapped the lower's file keeps the old bytes: "non-standard behavior" in the kernel's overlayfs.rst."""
    _, mount, target, _ = overlay(inside)
    library = target / "base"
    code = "import mmap,sys,time; f=open(sys.argv[1],'rb'); m=mmap.mmap(f.fileno(),0,prot=1); f.close(); time.sleep(60)"
    import sys

    with running(os.path.realpath(sys.executable), "-I", "-c", code, library) as pid:
        until = time.monotonic() + 10
        use = ("base", "mapped file")
        while use not in (found := uses_of(mount, pid, library)):
            assert time.monotonic() < until
            time.sleep(0.02)
        assert found[use] is False
        library.write_text("other\n")
        assert uses_of(mount, pid, library)[use] is True


@kernel_test
def test_open_files_and_their_names(inside: Path) -> None:
    _, mount, target, _ = overlay(inside)
    names = ("plain", "a b", "line\nbreak", "x (deleted)", "back\\012slash")
    for name in names:
        (target / name).write_text("x\n")
    wanted = [target / name for name in names]
    opened = " ".join(f'{number}<"${number - 2}"' for number in range(3, 3 + len(names)))
    shell = os.path.realpath("/bin/sh")
    with running(
        shell, "-c", f"exec {opened}; while :; do read line; done", "sh", *wanted, stdin=subprocess.PIPE
    ) as pid:
        assert uses_of(mount, pid, *wanted) == {(name, "open file"): False for name in names}
        replace(target / "plain")
        (target / "a b").unlink()
        found = uses_of(mount, pid, *wanted)
        assert {name for (name, _), outdated in found.items() if outdated} == {"plain", "a b"}
    assert uses_of(mount, pid, *wanted) == {}


@kernel_test
def test_a_log_that_is_written_to_is_not_outdated(inside: Path) -> None:
    _, mount, target, _ = overlay(inside)
    log = target / "log"
    shell = os.path.realpath("/bin/sh")
    with running(
        shell, "-c", 'exec 3>>"$1"; while :; do echo x >&3; read line; done', "sh", log, stdin=subprocess.PIPE
    ) as pid:
        assert uses_of(mount, pid, log) == {("log", "open file"): False}


@kernel_test
def test_a_container_has_another_file_of_that_name(inside: Path) -> None:
    _, mount, target, _ = overlay(inside)
    program(target / "daemon")
    root = inside / "root"
    there = root / str(target).lstrip("/")
    there.mkdir(parents=True)
    daemon = program(there / "daemon")
    # The loader and its libraries, so that the program starts.
    for line in subprocess.run(["ldd", daemon], capture_output=True, text=True, check=True).stdout.splitlines():
        for word in line.split():
            if word.startswith("/"):
                copy = root / word.lstrip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, copy)
    inner = f"/{str(target).lstrip('/')}/daemon"
    process = subprocess.Popen(["/usr/sbin/chroot", str(root), inner, "60"])
    try:
        until = time.monotonic() + 10
        while processes.command(str(process.pid)) != "daemon":
            assert time.monotonic() < until
            time.sleep(0.01)
        assert uses_of(mount, process.pid, target / "daemon") == {}
    finally:
        process.kill()
        process.wait()


@kernel_test
def test_who_cannot_be_looked_at_is_counted(inside: Path) -> None:
    """In a user namespace of ours nobody outside of it can be looked at."""
    _, mount, _, _ = overlay(inside)
    users = LinuxKernel().users([mount], mount.mount_point, lambda _: False)
    if os.stat("/proc/1").st_uid == 0 and os.geteuid() == 0 and not processes.is_out_of_sight("1"):
        assert users.unseen < len(processes.pids())
    else:
        assert users.unseen > 0
        assert not users.complete


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look at all of them")
def test_one_who_is_not_root_is_told_that_it_is_not_all() -> None:
    users = LinuxKernel().users([], "/usr", lambda _: False)
    assert users.found == ()
    assert users.unseen > 0 or users.hidden


def test_we_are_not_among_those_who_are_found() -> None:
    with open(__file__, encoding="utf-8"):
        users = LinuxKernel().users([], os.path.dirname(__file__), lambda path: path == __file__)
    assert os.getpid() not in {user.pid for user in users.found}


@pytest.mark.parametrize(
    ("options", "hidden"),
    [("rw", False), ("rw,hidepid=invisible", True), ("rw,hidepid=2", True), ("rw,hidepid=noaccess", False)],
)
def test_a_proc_that_hides_processes(options: str, *, hidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    table = f"28 1 254:0 / / rw - ext4 /dev/vda rw\n23 28 0:22 / /proc rw,relatime shared:5 - proc proc {options}\n"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert processes.hides_processes(table) is hidden
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert processes.hides_processes(table) is False


@pytest.mark.parametrize(
    ("text", "unit", "restart"),
    [
        ("0::/system.slice/sshd.service\n", Unit("sshd.service"), "systemctl restart sshd.service"),
        (
            "0::/system.slice/system-getty.slice/getty@tty1.service\n",
            Unit("getty@tty1.service"),
            "systemctl restart getty@tty1.service",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/pipewire.service\n",
            Unit("pipewire.service", 1000),
            "systemctl --user --machine=1000@ restart pipewire.service",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/init.scope\n",
            Unit("init.scope", 1000),
            "systemctl --user --machine=1000@ daemon-reexec",
        ),
        (
            "0::/system.slice/dev-disk-by\\x2duuid.service\n",
            Unit("dev-disk-by\\x2duuid.service"),
            "systemctl restart 'dev-disk-by\\x2duuid.service'",
        ),
        ("0::/init.scope\n", Unit("init.scope"), "systemctl daemon-reexec"),
        ("0::/user.slice/user-0.slice/session-2.scope\n", Unit("session-2.scope"), None),
        ("0::/system.slice/_foo.service/sub\n", Unit("foo.service"), "systemctl restart foo.service"),
        (
            "12:pids:/x.service\n1:name=systemd:/system.slice/cron.service\n0::/\n",
            Unit("cron.service"),
            "systemctl restart cron.service",
        ),
        ("0::/\n", None, None),
        ("", None, None),
    ],
)
def test_the_unit_is_read_from_the_control_group(text: str, unit: Unit | None, restart: str | None) -> None:
    assert parse_cgroup(text) == unit
    assert (unit.restart if unit else None) == restart


def test_what_a_process_that_is_gone_says() -> None:
    gone = "999999999"
    assert processes.command(gone) == "?"
    assert processes.started(gone) == 0
    assert processes.memory_map(gone) == ""
    assert list(processes.open_files(gone)) == []
    assert processes.unit(gone) is None
    assert not processes.is_out_of_sight(gone)
    assert not processes.shares_root(gone)


def test_when_a_process_was_started() -> None:
    with running(os.path.realpath(shutil.which("sleep") or ""), "60") as pid:
        assert abs(processes.started(str(pid)) - time.time()) < 5
