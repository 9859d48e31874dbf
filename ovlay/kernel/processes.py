"""What /proc tells of one process: its name, its unit, its mounts, and the files that it uses.

See proc_pid_maps(5), proc_pid_fdinfo(5), proc_pid_cgroup(5) and their neighbours. Every question may find that the
process is gone, or that we may not look at it: then the answer is empty.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from ovlay.kernel.mountinfo import parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterator

GONE = " (deleted)"
"""What d_path() puts after the name of a file that is no longer there, or has been replaced."""


class Unit(NamedTuple):
    """The systemd unit that a process runs in; ``user`` is whose service manager it belongs to, None for the system."""

    name: str
    user: int | None = None

    @property
    def restart(self) -> str | None:
        """The command that starts it anew; None for a scope, which nothing can restart (systemd.scope(5))."""
        import shlex

        if self.name == "init.scope":
            return "systemctl daemon-reexec" if self.user is None else f"{self._systemctl} daemon-reexec"
        return None if self.name.endswith(".scope") else f"{self._systemctl} restart {shlex.quote(self.name)}"

    @property
    def _systemctl(self) -> str:
        return "systemctl" if self.user is None else f"systemctl --user --machine={self.user}@"


def pids() -> list[str]:
    """The processes in sight."""
    return [name for name in os.listdir("/proc") if name.isdecimal()]


def command(pid: str) -> str:
    """The name of a process: comm, of at most 15 bytes."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "?"


def parent(pid: str) -> int:
    """The process that started it, or 0."""
    fields = _stat(pid)
    return int(fields[1]) if len(fields) > 1 else 0


def started(pid: str) -> float:
    """When it was started, by the clock of time stamps, in seconds; up to two ticks too late; 0 where it is unknown."""
    fields = _stat(pid)
    if len(fields) < 20:
        return 0.0
    # btime of /proc/stat has whole seconds only; the time since the boot includes suspends, as starttime does.
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return booted + (int(fields[19]) + 1) / os.sysconf("SC_CLK_TCK")


def _stat(pid: str) -> list[str]:
    """The fields of stat from the third one on: the second may hold anything."""
    with (
        contextlib.suppress(OSError),
        open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream,
    ):
        return stream.read().rpartition(")")[2].split()
    return []


def is_kernel_thread(pid: str) -> bool:
    """Whether it is a thread of the kernel's own (PF_KTHREAD in include/linux/sched.h), which uses no file."""
    fields = _stat(pid)
    return len(fields) > 6 and bool(int(fields[6]) & 0x200000)


def is_out_of_sight(pid: str) -> bool:
    """Whether we may not look at its files: ptrace(2), access mode PTRACE_MODE_READ."""
    try:
        os.readlink(f"/proc/{pid}/exe")
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def hides_processes(table_of_ours: str) -> bool:
    """Whether /proc shows this process only its user's own processes: the option hidepid of proc(5)."""
    for mount in parse_mountinfo(table_of_ours).stack("/proc")[-1:]:
        values = mount.super_values("hidepid")
        return bool(values) and values[0] in ("2", "4", "invisible", "ptraceable") and os.geteuid() != 0
    return False


def memory_map(pid: str) -> str:
    """The text of its maps."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            return stream.read()
    except OSError:
        return ""


def mapped_names(text: str, prefix: str) -> set[str]:
    """The names of files in a text of maps that begin with ``prefix``, as they are written there: see `mappings`."""
    written = written_in_maps(prefix)
    return set(re.findall(rf" ({re.escape(written)}.*)$", text, re.MULTILINE)) if written in text else set()


def mappings(text: str, name: str) -> set[tuple[str, int]]:
    """The device and the inode number of each file that a text of maps has under a name, as it is written there."""
    found = re.findall(rf" ([0-9a-f]+:[0-9a-f]+) (\d+) +{re.escape(name)}$", text, re.MULTILINE)
    return {(device, int(inode)) for device, inode in found}


def written_in_maps(name: str) -> str:
    """How maps writes a name: a newline is escaped, and nothing else."""
    return name.replace("\n", "\\012")


def open_files(pid: str) -> Iterator[tuple[str, str]]:
    """Its descriptors that lead to a file with a name, each with that name."""
    with contextlib.suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                name = os.readlink(f"/proc/{pid}/fd/{number}")
                if name.startswith("/"):  # and no socket, pipe or anon_inode
                    yield number, name


def program_mount(pid: str) -> int:
    """The mount that its program is on."""
    program = os.open(f"/proc/{pid}/exe", os.O_PATH | os.O_CLOEXEC)
    try:
        return open_mount("self", str(program))
    finally:
        os.close(program)


def open_mount(pid: str, descriptor: str) -> int:
    """The mount that an open file is on."""
    with open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    return -1


def is_written_to(pid: str, descriptor: str) -> bool:
    """Whether an open file is open for writing."""
    with (
        contextlib.suppress(OSError, ValueError),
        open(f"/proc/{pid}/fdinfo/{descriptor}", encoding="ascii", errors="replace") as stream,
    ):
        for line in stream:
            if line.startswith("flags:"):
                return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def shares_root(pid: str) -> bool:
    """Whether its root directory is ours: in a container or a chroot the same name is another file."""
    try:
        return os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat("/"))
    except OSError:
        return False


def namespace(pid: str) -> str:
    """What identifies its mount namespace, or an empty text."""
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def has_overlay(pid: str, devices: set[str]) -> bool:
    """Whether an overlay with one of these device numbers is mounted where it lives."""
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            return any(mount.device in devices and mount.is_overlay for mount in parse_mountinfo(stream.read()))
    except OSError:
        return False


def unit(pid: str) -> Unit | None:
    """The systemd unit that it runs in, by its control group; None where there is none."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="replace", newline="\n") as stream:
            return parse_cgroup(stream.read())
    except OSError:
        return None


def parse_cgroup(text: str) -> Unit | None:
    """The unit that a text of proc_pid_cgroup(5) names: the innermost service or scope on the path of systemd's tree.

    Of the hierarchies of version 1 only the one that is called systemd counts. A leading underscore is systemd's own
    escape (cg_unescape() in src/basic/cgroup-util.c).
    """
    paths = {}
    for line in text.split("\n"):  # and at no other line end: who owns a control group chooses names below it
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if line and controllers in ("", "name=systemd"):
            paths[number == "0"] = path
    owner: int | None = None
    inner: str | None = None
    for part in (paths.get(False) or paths.get(True, "")).split("/"):
        name = part.removeprefix("_")
        manager = re.fullmatch(r"user@(\d+)\.service", name)
        if manager is not None and inner is None:
            owner = int(manager[1])
        elif name.endswith((".service", ".scope")):
            inner = name
    if inner is None:
        return None if owner is None else Unit(f"user@{owner}.service")
    return Unit(inner, owner)
