"""Who uses a mount: a scan of /proc that finds what fuser(1) and lsof(8) miss after a lazy unmount.

A mapped file names its superblock's device (proc_pid_maps(5)), but where the lower layer is an overlay itself, as on a
composefs root, it names that one's; the running program, once opened, names its mount (proc_pid_fdinfo(5)), and so does
an open file. A working or root directory lies on the overlay's own device (stat(2)). A mount namespace of its own can
hold a copy.

Files are found by their names, since who still uses the file of before a change has it from another mount.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from ovlay.kernel import processes
from ovlay.model import Holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ovlay.kernel.mountinfo import Mount
    from ovlay.kernel.processes import Unit

_WAITING = ("sudo", "doas", "su", "pkexec", "run0")


class FileUse(NamedTuple):
    """A file that a process uses, and how: exe, mapped file, open file.

    ``outdated`` is whether it is not what is there under that name now: the file was replaced, removed, or written to
    after the process was started.
    """

    path: str
    use: str
    outdated: bool


class User(NamedTuple):
    """A process that uses a mount (``uses`` says by what, as in `ovlay.Holder`) or files that were asked for."""

    pid: int
    command: str
    unit: Unit | None
    uses: tuple[str, ...]
    files: tuple[FileUse, ...]


class Users(NamedTuple):
    """Who was found, by process id; ``unseen`` is how many processes could not be looked at.

    ``hidden`` is whether /proc shows this user no processes of others at all, so that nobody can count them.
    """

    found: tuple[User, ...]
    unseen: int
    hidden: bool

    @property
    def complete(self) -> bool:
        """Whether every process was looked at."""
        return not self.unseen and not self.hidden


def find_holders(mounts: Iterable[Mount]) -> tuple[Holder, ...]:
    """The processes that use any of these mounts. What this process may not look at is left out.

    The mount namespaces of the processes are read too: a copy of the mount there keeps the filesystem alive.
    """
    return tuple(Holder(user.pid, user.command, user.uses) for user in _scan(mounts, None))


def find_users(mounts: Iterable[Mount], target: str, wanted: Callable[[str], bool], *, root: str = "") -> Users:
    """The processes that use any of these mounts, or a file below ``target`` that is ``wanted``.

    ``wanted`` is asked with the names that processes have for their files. Below ``root`` lies the host, where that
    is not this one: its names are given and asked for without it.
    """
    files = _Files(f"{root}{target}/", root, wanted)
    found = tuple(_scan(mounts, files))
    ourselves = _ourselves()
    others = [pid for pid in processes.pids() if int(pid) not in ourselves]
    unseen = sum(processes.is_out_of_sight(pid) and not processes.is_kernel_thread(pid) for pid in others)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        hidden = processes.hides_processes(stream.read())
    return Users(found, unseen, hidden)


def held_by_us(mount: Mount) -> bool:
    """Whether this process, or the sudo that it was started through, uses the mount."""
    wanted = _Wanted((mount,))
    return any(any(_uses(str(pid), wanted, processes.memory_map(str(pid)))) for pid in _ourselves())


def _scan(mounts: Iterable[Mount], files: _Files | None) -> Iterator[User]:
    wanted = _Wanted(tuple(mounts))
    ourselves = _ourselves()
    ours = processes.namespace("self")
    copies: dict[str, bool] = {}
    for pid in sorted(map(int, processes.pids())):
        if pid in ourselves:
            continue
        name = str(pid)
        maps = processes.memory_map(name)
        uses = list(_uses(name, wanted, maps)) if wanted.ids else []
        namespace = processes.namespace(name)
        if wanted.ids and namespace and namespace != ours:
            if namespace not in copies:
                copies[namespace] = processes.has_overlay(name, wanted.devices)
            if copies[namespace]:
                uses.append("mount namespace")
        used = tuple(files.used(name, maps)) if files is not None and processes.shares_root(name) else ()
        if uses or used:
            unit = processes.unit(name) if files is not None else None
            yield User(pid, processes.command(name), unit, tuple(uses), used)


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
    while pid > 1 and processes.command(str(pid)) in _WAITING:
        found.add(pid)
        pid = processes.parent(str(pid))
    return found


def _uses(pid: str, wanted: _Wanted, maps: str) -> Iterator[str]:
    for link in ("cwd", "root"):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/{link}").st_dev in wanted.numbers:
                yield link
    with contextlib.suppress(OSError, ValueError):
        if processes.program_mount(pid) in wanted.ids:
            yield "exe"
    if any(device in maps for device in wanted.mapped):
        yield "mapped file"
    for descriptor, _ in processes.open_files(pid):
        with contextlib.suppress(OSError, ValueError):
            if processes.open_mount(pid, descriptor) in wanted.ids:
                yield "open file"
                return


class _Present(NamedTuple):
    """What is under a name now: the file's identity for stat(2) and in maps, and when it was written last."""

    identity: tuple[int, int]
    mapped: tuple[str, int] | None
    written: float


class _Files:
    """The files that are asked for, and what they are now."""

    def __init__(self, prefix: str, root: str, wanted: Callable[[str], bool]) -> None:
        self._prefix, self._root, self._wanted = prefix, root, wanted
        self._now: dict[str, _Present | None] = {}

    def used(self, pid: str, maps: str) -> Iterator[FileUse]:
        """Which of them a process uses, each way once."""
        seen: dict[tuple[str, str], bool] = {}
        for path, use, outdated in self._all(pid, maps):
            seen[path, use] = seen.get((path, use), False) or outdated
        return (FileUse(path, use, outdated) for (path, use), outdated in sorted(seen.items()))

    def _all(self, pid: str, maps: str) -> Iterator[tuple[str, str, bool]]:
        started: float | None = None
        exe = f"/proc/{pid}/exe"
        with contextlib.suppress(OSError):
            if named := self._named(os.readlink(exe)):
                path, gone = named
                started = processes.started(pid)
                yield path, "exe", gone or self._differs(path, exe) or self._written_after(path, started)
        for name in processes.mapped_names(maps, self._prefix):
            if named := self._named(name.replace("\\012", "\n")):
                path, gone = named
                started = processes.started(pid) if started is None else started
                now = self._present(path)
                other = now is None or (now.mapped is not None and processes.mappings(maps, name) != {now.mapped})
                yield path, "mapped file", gone or other or self._written_after(path, started)
        for number, name in processes.open_files(pid):
            if named := self._named(name):
                path, gone = named
                written_to = processes.is_written_to(pid, number)
                yield path, "open file", gone or (self._differs(path, f"/proc/{pid}/fd/{number}") and not written_to)

    def _named(self, name: str) -> tuple[str, bool] | None:
        """The wanted path that a name in /proc stands for, and whether the file is not there under it any more."""
        if not name.startswith(self._prefix):
            return None
        plain = name.removeprefix(self._root)
        if self._wanted(plain):
            return plain, False
        if plain.endswith(processes.GONE) and self._wanted(plain.removesuffix(processes.GONE)):
            return plain.removesuffix(processes.GONE), True
        return None

    def _differs(self, path: str, link: str) -> bool:
        now = self._present(path)
        found = os.stat(link)
        return now is None or now.identity != (found.st_dev, found.st_ino)

    def _written_after(self, path: str, started: float) -> bool:
        now = self._present(path)
        return now is None or now.written > started > 0

    def _present(self, path: str) -> _Present | None:
        if path not in self._now:
            self._now[path] = _look(self._root + path)
        return self._now[path]


def _look(path: str) -> _Present | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        with contextlib.suppress(OSError):
            found = os.lstat(path)
            return _Present((found.st_dev, found.st_ino), None, found.st_mtime)
        return None
    try:
        found = os.fstat(descriptor)
        return _Present((found.st_dev, found.st_ino), _as_mapped(descriptor), found.st_mtime)
    finally:
        os.close(descriptor)


def _as_mapped(descriptor: int) -> tuple[str, int] | None:
    """How maps name this very file; for one on an overlay stat(2) has another device number, kernel by kernel."""
    import mmap

    try:
        with mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ):
            name = processes.written_in_maps(os.readlink(f"/proc/self/fd/{descriptor}"))
            found = processes.mappings(processes.memory_map("self"), name)
    except (OSError, ValueError):  # an empty file, or none that can be mapped
        return None
    return found.pop() if len(found) == 1 else None
