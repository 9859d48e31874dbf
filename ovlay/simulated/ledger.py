"""What a simulated kernel must remember, on the disk: the mount table, and which directory stands for what.

The mount table is a text in the kernel's own format where a host has it, ``/proc/self/mountinfo``. All else is in one
hidden directory beside the host's files:

    covered/ID   what was at the place before mount ID came
    views/ID     the tree of mount ID after a lazy unmount, for as long as somebody holds it
    carried/ID   the tree of mount ID while it is taken from one place to another
    holders/     who holds which mount
    state.json   the overlays by mount id, and the numbers that are given out next
    boot         the mount table that a boot begins with
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import uuid
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ovlay.kernel.mountinfo import Mount, MountTable, parse_mountinfo
from ovlay.model import Holder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HIDDEN = ".ovlay-simulated"
"""The name of the hidden directory."""

MOUNTINFO = "/proc/self/mountinfo"

_ESCAPES = {" ": "\\040", "\t": "\\011", "\n": "\\012", "\\": "\\134"}


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a mounted overlay: where each really is, a path below the scratch root.

    A lower layer that is moved, because something was mounted over it, is found again by its inode number.
    """

    lower: tuple[tuple[str, int], ...]
    upper: str


@dataclass(slots=True)
class State:
    """What state.json holds."""

    next_mount: int = 64
    next_device: int = 64
    overlays: dict[int, Layers] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)  # of tmpfs mounts, in bytes
    pushed: tuple[int, ...] = ()  # mounts that came after the boot and have something covered


class Ledger:
    """The books of one scratch root."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.directory = f"{root}/{HIDDEN}"

    def path(self, *names: object) -> str:
        """A path in the hidden directory."""
        return "/".join((self.directory, *map(str, names)))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Change the books as the only one among all processes; not to be nested."""
        descriptor = os.open(self.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    # --- booting -----------------------------------------------------------------------------------------------

    @property
    def booted(self) -> bool:
        """Whether this root was booted by a simulated kernel."""
        return os.path.exists(self.path("boot"))

    def boot(self, table: str) -> None:
        """Begin with this mount table, or with the one that is there already; a new boot id, and nothing mounted."""
        for name in ("covered", "views", "carried", "holders"):
            os.makedirs(self.path(name), mode=0o700, exist_ok=True)
        there = self.root + MOUNTINFO
        if not self.booted and os.path.exists(there):
            with open(there, encoding="utf-8", errors="surrogateescape") as stream:
                table = stream.read()
        numbers = self.load() if self.booted else State()
        highest = max((mount.mount_id for mount in parse_mountinfo(table)), default=0)
        self.save(State(max(numbers.next_mount, highest + 1), numbers.next_device))
        self._write(there, table)
        self._write(f"{self.root}/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
        if not os.path.exists(f"{self.root}/proc/self/uid_map"):
            self._write(f"{self.root}/proc/self/uid_map", "         0          0 4294967295\n")
        self._write(self.path("boot"), table)

    @property
    def boot_table(self) -> str:
        """The mount table that a boot begins with."""
        with open(self.path("boot"), encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()

    # --- the mount table ---------------------------------------------------------------------------------------

    def mounts(self) -> MountTable:
        """The table as it is now."""
        with open(self.root + MOUNTINFO, encoding="utf-8", errors="surrogateescape") as stream:
            return parse_mountinfo(stream.read())

    def write_mounts(self, mounts: Iterable[Mount]) -> None:
        """Replace the table."""
        self._write(self.root + MOUNTINFO, "".join(format_mount(mount) + "\n" for mount in mounts))

    # --- the state ---------------------------------------------------------------------------------------------

    def load(self) -> State:
        """state.json."""
        with open(self.path("state.json"), encoding="utf-8") as stream:
            read: dict[str, Any] = json.load(stream)
        return State(
            next_mount=read["next_mount"],
            next_device=read["next_device"],
            overlays={
                int(number): Layers(tuple((str(path), int(inode)) for path, inode in kept["lower"]), kept["upper"])
                for number, kept in read["overlays"].items()
            },
            sizes={int(number): int(size) for number, size in read["sizes"].items()},
            pushed=tuple(read["pushed"]),
        )

    def save(self, state: State) -> None:
        """Replace state.json."""
        self._write(self.path("state.json"), json.dumps(asdict(state)))

    # --- holders -----------------------------------------------------------------------------------------------

    def add_holder(self, mount_id: int, command: str) -> str:
        """Write down that this process holds a mount; returns the record."""
        record = self.path("holders", f"{mount_id}-{uuid.uuid4()}")
        self._write(record, json.dumps({"pid": os.getpid(), "command": command}))
        return record

    def holders(self, mount_ids: Iterable[int]) -> tuple[Holder, ...]:
        """Who holds any of these mounts; one whose process is gone holds nothing."""
        wanted = {str(number) for number in mount_ids}
        found: set[tuple[int, str]] = set()
        for name in os.listdir(self.path("holders")):
            if name.partition("-")[0] not in wanted or "." in name:
                continue
            with contextlib.suppress(FileNotFoundError), open(self.path("holders", name), encoding="utf-8") as stream:
                record = json.load(stream)
                if os.path.exists(f"/proc/{record['pid']}"):
                    found.add((record["pid"], record["command"]))
        return tuple(Holder(pid, command, ("cwd",)) for pid, command in sorted(found))

    def _write(self, path: str, text: str) -> None:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        temporary = f"{path}.{os.getpid()}"
        with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
        os.rename(temporary, path)


def format_mount(mount: Mount) -> str:
    """A line of mountinfo, as proc_pid_mountinfo(5) has it."""
    root, point, source, options = map(_escape, (mount.root, mount.mount_point, mount.source, mount.super_options))
    head = f"{mount.mount_id} {mount.parent_id} {mount.device} {root} {point} {mount.options}"
    tags = f" {mount.propagation}" if mount.propagation else ""
    return f"{head}{tags} - {mount.fstype} {source} {options}"


def with_access(mount: Mount, read_only: bool) -> Mount:  # noqa: FBT001
    """The same mount with another access, of the mount and of its superblock."""
    word = "ro" if read_only else "rw"
    options, more = mount.options.partition(",")[2], mount.super_options.partition(",")[2]
    return mount._replace(
        options=",".join(filter(None, (word, options))), super_options=",".join(filter(None, (word, more)))
    )


def _escape(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)
