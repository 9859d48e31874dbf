"""The only door to the operating system: files, host tools, who we are, and the kernel.

Drivers and steps reach the system through a `Host` and nothing else, so that the same driver runs on a real host,
on a recorded one and on a simulated one. Paths are the host's own; `Host.path` says where they are found.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from functools import cached_property
from typing import TYPE_CHECKING

from ovlay.command import Finished as Finished  # noqa: PLC0414, TC001 (drivers and tests take it from here)
from ovlay.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from ovlay.kernel import Kernel, Mount
    from ovlay.plan.sharing import Sharing

TOOL_PATH = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where host tools are looked for. The caller's PATH is never used: privileged code trusts nothing a user can write."""

STATE_DIR = "/run/ovlay"
"""What ovlay must remember until the next boot: locks and the views that a lazy unmount left behind."""

DATA_DIR = "/var/lib/ovlay"
"""Uppers that do not fit into memory. Only root can enter it. Never /var/tmp: cleaners empty it under a live /usr."""

PUBLIC_DIR = "/run/ovlay-public"
"""What root lets every user know. Only root can write there. See `ovlay.manifest.notice`."""

READ_LIMIT = 16 << 20
OWN_LIMIT = 1 << 30
"""The most that is read of a file of ovlay's own, in bytes: a journal has every path of its plan."""

_MOST_LINKS = 40  # on the way of one path: path_resolution(7)

# The marker files of containers and what runs them: systemd's container interface, podman, docker, toolbox, flatpak.
_CONTAINER_MARKS = (
    ("/run/.toolboxenv", "toolbox"),
    ("/run/.containerenv", "podman"),
    ("/.dockerenv", "docker"),
    ("/.flatpak-info", "flatpak"),
)


class Host:
    """A running system, or what stands for one below ``root``."""

    tmpfs_size: int | None = None
    """The limit in bytes of a tmpfs that ovlay mounts for an upper; None leaves it to `ovlay.uppers.tmpfs_size`."""

    plans_for_root: bool = False
    """Whether what is planned here is going to be carried out by root, whoever plans it."""

    listener: Callable[[str], None] | None = None
    """Who is told of what takes time, such as waiting for another ovlay: a command line shows it."""

    patience: float = 120
    """For how many seconds another ovlay that is at work is waited for."""

    tool_patience: float = 120
    """For how many seconds a host tool that changes something may take."""

    holds_lock: bool = False
    """Whether this is who holds the `lock`."""

    shared: Sharing | None = None
    """What the steps of the plan that is being executed have in common."""

    def __init__(self, root: str = "/", *, kernel: Kernel | None = None, scratch: str | None = None) -> None:
        """``scratch`` takes the place of `STATE_DIR` and `DATA_DIR`, for one who may write to neither."""
        self.root = posixpath.normpath(os.path.abspath(root))
        self._kernel = kernel
        self._scratch = scratch

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel of this host."""
        if self._kernel is not None:
            return self._kernel
        from ovlay.kernel.linux import LinuxKernel

        return LinuxKernel()

    # --- questions ---------------------------------------------------------------------------------------------

    def path(self, inside: str) -> str:
        """Where the host's path ``inside`` is found by this process."""
        return inside if self.root == "/" else self.root + posixpath.normpath("/" + inside.lstrip("/"))

    def read(self, inside: str, *, limit: int = READ_LIMIT) -> str | None:
        """The text of a file (at most ``limit`` bytes of it), or None where it is missing, no file, or not for us."""
        try:
            descriptor = os.open(self.path(inside), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None
        try:
            chunks = []
            while limit > 0 and (chunk := os.read(descriptor, min(limit, 1 << 20))):
                chunks.append(chunk)
                limit -= len(chunk)
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return b"".join(chunks).decode("utf-8", "surrogateescape")

    def entries(self, inside: str) -> tuple[str, ...]:
        """The names in a directory, sorted; () where it is missing or not for us."""
        try:
            return tuple(sorted(os.listdir(self.path(inside))))
        except OSError:
            return ()

    def exists(self, inside: str) -> bool:
        """Whether there is anything of that name, a dangling link too."""
        return os.path.lexists(self.path(inside))

    def is_hidden(self, inside: str) -> bool:
        """Whether this process may not even know if there is anything of that name, or may not look into it."""
        try:
            found = os.stat(self.path(inside))
        except PermissionError:
            return True
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and not os.access(self.path(inside), os.R_OK | os.X_OK)

    def is_directory(self, inside: str) -> bool:
        """Whether the path leads to a directory."""
        return os.path.isdir(self.path(inside))

    def read_link(self, inside: str) -> str | None:
        """The text of a symbolic link, or None."""
        try:
            return os.readlink(self.path(inside))
        except OSError:
            return None

    def resolved(self, inside: str) -> str:
        """An absolute path with every link on the way followed, within the host; what is not there stays as it is."""
        place, links = "/", 0
        left = posixpath.normpath(inside).split("/")[::-1]
        while left:
            name = left.pop()
            if name in ("", ".", ".."):
                place = posixpath.dirname(place) if name == ".." else place
                continue
            path = posixpath.join(place, name)
            text = self.read_link(path) if links < _MOST_LINKS else None
            if text is None:
                place = path
                continue
            links += 1
            place = "/" if text.startswith("/") else place
            left += text.split("/")[::-1]
        return place

    def find_tool(self, name: str) -> str | None:
        """The path of a host tool in `TOOL_PATH`, or None."""
        for directory in TOOL_PATH:
            candidate = f"{directory}/{name}"
            try:
                mode = os.stat(self.path(candidate)).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & 0o111:
                return candidate
        return None

    @property
    def euid(self) -> int:
        """The effective user id that steps run with."""
        return os.geteuid()

    @cached_property
    def state_dir(self) -> str:
        """What lasts until the next boot: `STATE_DIR`, in a user namespace the user's runtime directory.

        Where the user has none (XDG_RUNTIME_DIR is not set), it is one of this boot in `data_dir`: never one in /tmp,
        which somebody else could have made first.
        """
        if self._scratch is not None:
            return self._scratch + "/state"
        if not self.in_user_namespace:
            return STATE_DIR
        if not os.environ.get("XDG_RUNTIME_DIR"):
            return f"{self.data_dir}/boot-{self.boot_id}"
        import platformdirs

        return platformdirs.user_runtime_dir("ovlay", appauthor=False)

    @cached_property
    def data_dir(self) -> str:
        """Where ovlay keeps uppers: `DATA_DIR`, in a user namespace the user's state directory."""
        if self._scratch is not None:
            return self._scratch + "/data"
        if not self.in_user_namespace:
            return DATA_DIR
        import platformdirs

        return platformdirs.user_state_dir("ovlay", appauthor=False)

    @property
    def public_dir(self) -> str | None:
        """What users may know of root's doing: `PUBLIC_DIR`; None where all of it is the user's own anyway."""
        return PUBLIC_DIR if self.root == "/" and self._scratch is None and not self.in_user_namespace else None

    @cached_property
    def in_user_namespace(self) -> bool:
        """Whether uid 0 is not the machine's root here: user_namespaces(7), /proc/self/uid_map."""
        words = (self.read("/proc/self/uid_map") or "").split()
        return bool(words) and words[:3] != ["0", "0", "4294967295"]

    @cached_property
    def container(self) -> str | None:
        """The kind of container that this is, or None on a host (systemd's container interface, and marker files)."""
        for mark, kind in _CONTAINER_MARKS:
            if self.exists(mark):
                return kind
        return (self.read("/run/systemd/container") or "").strip() or None

    @property
    def journal_path(self) -> str:
        """Where that is written down which is being done, for as long as it is being done: see `ovlay.plan.journal`."""
        return f"{self.state_dir}/journal"

    @property
    def is_unfinished(self) -> bool:
        """Whether there is a journal: of an ovlay that is at work, or of one that was killed."""
        return self.exists(self.journal_path)

    @cached_property
    def boot_id(self) -> str:
        """The random id of this boot: random(4)."""
        return (self.read("/proc/sys/kernel/random/boot_id") or "unknown").strip()

    @cached_property
    def os_release(self) -> dict[str, str]:
        """os-release(5) of the host, {} where there is none."""
        return parse_os_release(self.read("/etc/os-release") or self.read("/usr/lib/os-release") or "")

    def mounts_at(self, target: str) -> tuple[Mount, ...]:
        """The mounts on ``target`` as the table shows them now, lowest first."""
        return self.kernel.mounts().stack(target)

    def permissions(self, found: os.stat_result) -> int:
        """The permission bits of a file, from what stat(2) said of it.

        Only a host that plays a read-only mount by taking write permission away knows better than stat(2).
        """
        return stat.S_IMODE(found.st_mode)

    @property
    def default_owner(self) -> tuple[int, int]:
        """The user and group id of what is placed with no owner given."""
        return (0, 0) if self.plans_for_root else (os.geteuid(), os.getegid())

    def opened_source(self, path: str) -> AbstractContextManager[int]:
        """A descriptor on a regular file that is to be placed; see `ovlay.files.source.OpenedSource`.

        The path is the caller's own and not the host's: a simulated host takes its files from the real one.
        """
        from ovlay.files.source import OpenedSource

        return OpenedSource(path)

    def told(self, line: str) -> None:
        """Say what is worth knowing while something is under way, to the ``listener`` if there is one."""
        if self.listener is not None:
            self.listener(line)

    # --- changes: for steps only -------------------------------------------------------------------------------

    def run(self, argv: Sequence[str], *, timeout: float = 120) -> Finished:
        """Run a host tool by its absolute path with a clean environment, and wait at most ``timeout`` seconds.

        Raises `ToolFailed` where it cannot be started or does not end in time; a status other than 0 does not raise.
        """
        import logging

        from ovlay.command import run_command
        from ovlay.lock import guarded_tool

        logging.getLogger(__name__).debug("run %s", " ".join(argv))
        environment = {"PATH": ":".join(TOOL_PATH), "LC_ALL": "C.UTF-8", "HOME": "/", "TERM": "dumb"}
        with guarded_tool(self) as inherited:
            return run_command(argv, environment=environment, timeout=timeout, inherit=inherited)

    def make_directory(self, inside: str, *, mode: int = 0o755) -> None:
        """Make one directory with exactly this mode; FileExistsError where there is anything of that name."""
        os.mkdir(self.path(inside), 0o700)
        os.chmod(self.path(inside), mode)

    def make_private_directory(self, inside: str) -> None:
        """See to it that this directory is there, is ours, and that nobody else can enter it (mode 0700).

        Raises `Conflict` where somebody else's directory, or a link, is in its place.
        """
        path = self.path(inside)
        os.makedirs(posixpath.dirname(path), mode=0o755, exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            found = os.lstat(path)
            if not stat.S_ISDIR(found.st_mode):
                raise Conflict(f"{inside} is not a directory", remedy=f"remove {inside}, then try again") from None
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                owner = "root:root" if os.geteuid() == 0 else str(os.geteuid())
                raise Conflict(
                    f"{inside} is not a directory that only we can write",
                    remedy="look at what is in it, and who put it there; if it is to stay, say "
                    f"`chown {owner} {inside} && chmod go-w {inside}`, then try again",
                ) from None

    def write(self, inside: str, content: str | bytes, *, mode: int = 0o644, durable: bool = False) -> None:
        """Write a file whole: under a temporary name beside it, then renamed.

        Where ``durable`` it is on the disk before it has its name, and the name is afterwards.
        """
        path = self.path(inside)
        temporary = f"{path}.ovlay-{os.getpid()}-{os.urandom(4).hex()}"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
                os.fchmod(stream.fileno(), mode)
                if durable:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):  # it has its name already
                os.unlink(temporary)
            raise
        if durable:
            folder = os.open(posixpath.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self, inside: str) -> None:
        """Remove a file or an empty directory; nothing happens where there is none."""
        path = self.path(inside)
        try:
            os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        except FileNotFoundError:
            return

    def remove_tree(self, inside: str) -> None:
        """Remove a directory and all below it, following no link and crossing into no other filesystem."""
        import shutil

        shutil.rmtree(self.path(inside), ignore_errors=False)

    def lock(self) -> AbstractContextManager[None]:
        """Hold the one lock under which plans are made and executed. The kernel takes it from who dies.

        Where another ovlay holds it the ``listener`` is told, once; raises `Busy` where that does not
        end within `patience` seconds.
        """
        from ovlay.lock import locked

        return locked(self)


def parse_os_release(text: str) -> dict[str, str]:
    """The values in a text of os-release(5), where the last line that sets a key counts."""
    pairs = (line.split("=", 1) for line in text.split("\n") if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, value in pairs if key.strip()}
