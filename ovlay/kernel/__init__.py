"""What ovlay asks of the kernel, and the two that answer: Linux, and a simulation with no privilege.

`Kernel` is the interface. `ovlay.kernel.linux.LinuxKernel` is the real one; `ovlay.simulated.SimulatedKernel` plays
the same in a scratch directory. All paths are the host's own (``/usr``), never those of a scratch root.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple

from ovlay.kernel.mountinfo import Mount, MountTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from ovlay.kernel.holders import Users
    from ovlay.model import Access, Backing, Holder

__all__ = ["MAX_STACK_DEPTH", "Kernel", "Mount", "MountTable", "Views"]

MAX_STACK_DEPTH = 2
"""How deep filesystems may be stacked: FILESYSTEM_MAX_STACK_DEPTH in the kernel's include/linux/fs.h."""


class Views(NamedTuple):
    """The sides of one overlay, as directory descriptors that can be read from, with nothing mounted over either.

    ``merged`` is what the overlay shows, ``lower`` what lies beneath it; mounts below the target are in neither.
    ``upper`` is its upper directory, None where none was found that is proven to be it. ``own_inodes`` says whether
    what the overlay did not copy up shows in ``merged`` with the time stamps and the inode number of the lower's.
    """

    merged: int
    lower: int
    upper: int | None = None
    own_inodes: bool = True


class Kernel(abc.ABC):
    """Questions about mounts, and the few ways to change them. Every refusal is an ``OSError`` or an `OvlayError`."""

    @abc.abstractmethod
    def mounts(self) -> MountTable:
        """The mount table of this namespace, read anew."""

    @abc.abstractmethod
    def supports(self, fstype: str) -> bool:
        """Whether a filesystem of this type can be mounted: /proc/filesystems, or a module of that name."""

    @abc.abstractmethod
    def writable(self, path: str) -> bool:
        """Whether this process may write at ``path`` now: access(2) with W_OK, which a read-only mount denies too."""

    @abc.abstractmethod
    def backing(self, path: str) -> Backing | None:
        """The filesystem behind ``path`` with its space, or None where it cannot be asked."""

    @abc.abstractmethod
    def is_upper(self, mount: Mount, candidate: str) -> bool:
        """Whether ``candidate`` is proven to be the upper directory of this mounted overlay."""

    @abc.abstractmethod
    def views(self, mount: Mount, candidates: Iterable[str] = ()) -> AbstractContextManager[Views]:
        """Both sides of a mounted overlay, to compare them; ``candidates`` are paths that may lead to its upper.

        Raises `Conflict` where the mount is not on its target any more, and `NotPermitted` where this process may not
        look beneath it.
        """

    @abc.abstractmethod
    def mount_overlay(
        self, target: str, *, lower: Sequence[str], upper: str, work: str, access: Access, source: str
    ) -> int:
        """Mount an overlay on ``target`` and return its mount id."""

    @abc.abstractmethod
    def mount_tmpfs(self, path: str, *, size: int | None, mode: int, source: str) -> int:
        """Mount a tmpfs of at most ``size`` bytes (None: the kernel's half of the memory); return its mount id."""

    @abc.abstractmethod
    def unmount(self, mount: Mount, *, lazy: bool) -> None:
        """Unmount exactly this mount, which must be the topmost at its place; EBUSY where it is held and not lazy."""

    @abc.abstractmethod
    def set_access(self, mount: Mount, access: Access) -> None:
        """Make this mount and its superblock read-only or read-write for everyone; EBUSY where files are open."""

    @abc.abstractmethod
    def slide_beneath(self, mount: Mount, source: str) -> None:
        """Put a read-only view of the directory ``source`` directly beneath ``mount``, so that unmounting it seals
        the place with no moment in between (MOVE_MOUNT_BENEATH, Linux 6.5; EINVAL before)."""

    @abc.abstractmethod
    def carry(self, points: Sequence[str], *, detach: bool) -> AbstractContextManager[None]:
        """Keep the mounts at ``points`` while a mount on a parent comes or goes: they are attached again after it.

        With ``detach`` they are taken away for that time, and come back after a failure too.
        """

    @abc.abstractmethod
    def writable_view(self, target: str) -> AbstractContextManager[int]:
        """A directory descriptor on the merged view through which this process alone may write.

        Where the target is writable it is just that; where an overlay is mounted read-only, the view is a detached
        copy of the mount, and the target stays read-only for everyone else.
        """

    @abc.abstractmethod
    def writable_directory(self, path: str) -> AbstractContextManager[int]:
        """A directory descriptor through which this process may write at ``path``, although its mount is read-only."""

    @abc.abstractmethod
    def holders(self, mounts: Iterable[Mount]) -> tuple[Holder, ...]:
        """The processes that use any of these mounts, also after a lazy unmount, as far as the caller may see.

        This process is not among them, nor a sudo or pkexec that only waits for it.
        """

    @abc.abstractmethod
    def users(self, mounts: Iterable[Mount], target: str, wanted: Callable[[str], bool]) -> Users:
        """As `holders`, and with them who uses a file below ``target`` for whose path ``wanted`` is true.

        A file is found by the name that the process knows it by, whatever mount it came from: who still uses the file
        of before a change uses no overlay. The answer says whether every process could be looked at.
        """

    @abc.abstractmethod
    def held_by_us(self, mount: Mount) -> bool:
        """Whether this process, or what it was started through, is itself a user of the mount."""
