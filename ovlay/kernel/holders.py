"""Who uses a mount: a scan of /proc that finds what fuser(1) and lsof(8) miss after a lazy unmount.

A mapped file names its superblock's device (proc_pid_maps(5)), but where the lower layer is an overlay itself, as on a
composefs root, it names that one's; the running program, once opened, names its mount (proc_pid_fdinfo(5)), and so does
an open file. A working or root directory lies on the overlay's own device (stat(2)). A mount namespace of its own can
hold a copy.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ovlay.kernel.mountinfo import parse_mountinfo
from ovlay.model import Holder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.kernel.mountinfo import Mount


_WAITING = ("sudo", "doas", "su", "pkexec", "run0")


def find_holders(mounts: Iterable[Mount]) -> tuple[Holder, ...]:
    """The processes that use any of these mounts. What this process may not look at is left out.

    The mount namespaces of the processes are read too: a copy of the mount there keeps the filesystem alive.
    """
    wanted = _Wanted(tuple(mounts))
    devices = wanted.devices
    ourselves = _ourselves()
    ours = _namespace("self")
    copies: dict[str, bool] = {}
    found = []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) in ourselves:
            continue
        uses = list(_uses(name, wanted))
        namespace = _namespace(name)
        if namespace and namespace != ours:
            if namespace not in copies:
                copies[namespace] = _has_copy(name, devices)
            if copies[namespace]:
                uses.append("mount namespace")
        if uses:
            found.append(Holder(int(name), _command(name), tuple(uses)))
    return tuple(sorted(found, key=lambda holder: holder.pid))


def held_by_us(mount: Mount) -> bool:
    """Whether this process, or the sudo that it was started through, uses the mount."""
    wanted = _Wanted((mount,))
    return any(any(_uses(str(pid), wanted)) for pid in _ourselves())


class _Wanted:
    """What the mounts that are looked for look like in /proc."""

    def __init__(self, mounts: tuple[Mount, ...]) -> None:
        numbers = [tuple(map(int, mount.device.split(":"))) for mount in mounts]
        self.devices = {mount.device for mount in mounts}
        self.ids = {mount.mount_id for mount in mounts}
        self.numbers = {os.makedev(major, minor) for major, minor in numbers}
        self.mapped = {f" {major:02x}:{minor:02x} " for major, minor in numbers}


def _ourselves() -> set[int]:
    """This process, and those of its parents that only wait for it to end."""
    found = {os.getpid()}
    pid = os.getppid()
    while pid > 1 and _command(str(pid)) in _WAITING:
        found.add(pid)
        pid = _parent(pid)
    return found


def _parent(pid: int) -> int:
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stream,
    ):
        return int(stream.read().rpartition(")")[2].split()[1])
    return 0


def _uses(pid: str, wanted: _Wanted) -> Iterator[str]:
    for link in ("cwd", "root"):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/{link}").st_dev in wanted.numbers:
                yield link
    with contextlib.suppress(OSError, ValueError):
        if _program_mount(pid) in wanted.ids:
            yield "exe"
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as stream:
        text = stream.read()
        if any(device in text for device in wanted.mapped):
            yield "mapped file"
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fdinfo"):
            with contextlib.suppress(OSError, ValueError):
                if _open_mount(f"/proc/{pid}/fdinfo/{descriptor}") in wanted.ids:
                    yield "open file"
                    return


def _program_mount(pid: str) -> int:
    program = os.open(f"/proc/{pid}/exe", os.O_PATH | os.O_CLOEXEC)
    try:
        return _open_mount(f"/proc/self/fdinfo/{program}")
    finally:
        os.close(program)


def _open_mount(path: str) -> int:
    with open(path, encoding="ascii", errors="replace") as stream:
        for line in stream:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    return -1


def _namespace(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:
        return ""


def _has_copy(pid: str, devices: set[str]) -> bool:
    try:
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
            return any(mount.device in devices and mount.is_overlay for mount in parse_mountinfo(stream.read()))
    except OSError:
        return False


def _command(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "?"
