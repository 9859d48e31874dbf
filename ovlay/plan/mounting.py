"""Steps that put an overlay on a target, or change how it is mounted."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.advice import DEFAULT_TARGET, look_again
from ovlay.errors import Conflict, OvlayError, ToolFailed, reason_of
from ovlay.model import Access
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from ovlay.host import Host
    from ovlay.kernel import Mount


_WORDS, _OUTPUT = 500, 100_000  # characters of what a tool said, for a sentence, and for who asks for more


@dataclass(frozen=True, slots=True)
class MountTmpfs(Step):
    """A tmpfs for an upper directory; ``size`` is its limit in bytes, or half of the memory that is free if less."""

    kind: ClassVar[str] = "mount-tmpfs"
    brief: ClassVar[bool] = True

    path: str
    size: int | None

    def describe(self) -> str:
        limit = f" of at most {self.size >> 20} MiB" if self.size is not None else ""
        return f"mount a tmpfs{limit} on {self.path}"

    def run(self, host: Host) -> str:
        os.makedirs(host.path(self.path), mode=0o700, exist_ok=True)
        number = 0
        try:
            number = host.kernel.mount_tmpfs(self.path, size=_bounded(host, self.size), mode=0o700, source="ovlay")
            found = host.kernel.mounts().by_id(number)
            if found is None or found.mount_point != self.path:
                raise Conflict(f"the tmpfs that was just mounted on {self.path} is not what is on it")
        except BaseException as error:
            take_off(host, number, error)
            self.undo(host)
            raise
        return ""

    def undo(self, host: Host) -> None:
        mounts = host.mounts_at(self.path)
        if mounts and mounts[-1].source == "ovlay":
            host.kernel.unmount(mounts[-1], lazy=True)
        with contextlib.suppress(OSError):
            host.remove(self.path)


def _bounded(host: Host, size: int | None) -> int | None:
    """``size``, but no more than half of the memory that is available now (MemAvailable in proc_meminfo(5)).

    The plan cannot say so: it must be the same when it is made again, and this number never is.
    """
    for line in (host.read("/proc/meminfo") or "").splitlines():
        words = line.split()
        if words[:1] == ["MemAvailable:"] and len(words) > 1 and words[1].isdecimal():
            half = int(words[1]) * 512
            return half if size is None else min(size, half)
    return size


@dataclass(frozen=True, slots=True)
class MountOverlay(Step):
    """An overlay by ovlay itself, marked in the mount table by its source ``ovlay``."""

    kind: ClassVar[str] = "mount-overlay"
    brief: ClassVar[bool] = True

    target: str
    lower: tuple[str, ...]
    upper: str
    work: str
    access: Access
    carry: tuple[str, ...]

    def describe(self) -> str:
        kept = f", keeping the mounts on {', '.join(self.carry)}" if self.carry else ""
        return f"mount a {self.access} overlay on {self.target} with the upper directory {self.upper}{kept}"

    def run(self, host: Host) -> str:
        number = 0
        try:
            with host.kernel.carry(self.carry, detach=False):
                number = host.kernel.mount_overlay(
                    self.target, lower=self.lower, upper=self.upper, work=self.work, access=self.access, source="ovlay"
                )
            mounts = host.mounts_at(self.target)
            if not mounts or mounts[-1].mount_id != number:
                raise Conflict(f"the overlay that was just mounted on {self.target} is not what is on it")
            demand_access(mounts[-1], self.access)
        except BaseException as error:  # whatever stopped it, the mount may be there, and its upper is about to go
            if number == 0:
                self.undo(host)
            take_off(host, number, error)
            raise
        return ""

    def stands(self, host: Host) -> bool | None:
        return any(mount.is_overlay and mount.upper == self.upper for mount in host.mounts_at(self.target))

    def undo(self, host: Host) -> None:
        mounts = host.mounts_at(self.target)
        if mounts and mounts[-1].is_overlay and mounts[-1].upper == self.upper:
            with host.kernel.carry(self.carry, detach=True):
                host.kernel.unmount(mounts[-1], lazy=True)


@dataclass(frozen=True, slots=True)
class MountWithTool(Step):
    """An overlay by the host's own tool. Its exit status proves nothing: the mount table is asked."""

    kind: ClassVar[str] = "mount-with-tool"

    argv: tuple[str, ...]
    target: str
    access: Access
    carry: tuple[str, ...]

    def describe(self) -> str:
        kept = f", keeping the mounts on {', '.join(self.carry)}" if self.carry else ""
        return f"run `{' '.join(self.argv)}`, which mounts a {self.access} overlay on {self.target}{kept}"

    def run(self, host: Host) -> str:
        before = {mount.mount_id for mount in host.kernel.mounts()}
        with host.kernel.carry(self.carry, detach=False):
            run_tool(host, self.argv, target=self.target)
        new = [mount for mount in host.mounts_at(self.target) if mount.mount_id not in before]
        overlay = next((mount for mount in reversed(new) if mount.is_overlay and mount.upper is not None), None)
        if overlay is None:
            raise ToolFailed(
                f"`{' '.join(self.argv)}` exited 0, but no overlay is on {self.target}",
                remedy="if this runs in a mount namespace of its own, run it in that of the host",
                argv=self.argv,
                status=0,
            )
        demand_access(overlay, self.access)
        return ""

    def stands(self, host: Host) -> bool | None:
        return any(
            mount.is_overlay and mount.upper is not None and mount.source != "ovlay"
            for mount in host.mounts_at(self.target)
        )


@dataclass(frozen=True, slots=True)
class SetAccess(Step):
    """Change a mounted overlay between read-only and read-write; what is in it stays."""

    kind: ClassVar[str] = "set-access"
    brief: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    target: str
    mount_id: int
    access: Access

    def describe(self) -> str:
        return f"make the overlay on {self.target} {self.access}; the changes in it stay"

    def run(self, host: Host) -> str:
        host.kernel.set_access(topmost(host, self.target, self.mount_id), self.access)
        demand_access(topmost(host, self.target, self.mount_id), self.access)
        return ""


def run_tool(host: Host, argv: tuple[str, ...], *, target: str = DEFAULT_TARGET, timeout: float | None = None) -> None:
    """Run a host tool; raises `ToolFailed` with its own words where its exit status is not 0."""
    done = host.run(argv, timeout=host.tool_patience if timeout is None else timeout)
    if done.status != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()
        last = words[-1].removeprefix("error: ")[:_WORDS] if words else "it said nothing"
        how = f"failed with status {done.status}" if done.status > 0 else f"was killed by signal {-done.status}"
        raise ToolFailed(
            f"`{' '.join(argv)}` {how}: {last}",
            remedy=look_again(target),
            argv=argv,
            status=done.status,
            output=(done.stderr or done.stdout)[-_OUTPUT:],
        )


def take_off(host: Host, number: int, error: BaseException) -> None:
    """Take away what a step that fails has just mounted, wherever it came to be: no path is asked for, but its id.

    ``error`` is why the step fails; it is told that this failed too. A ``number`` of 0 is nothing.
    """
    mount = host.kernel.mounts().by_id(number)
    if mount is None:
        return
    try:
        host.kernel.unmount(mount, lazy=True)
    except (OSError, OvlayError) as second:
        error.add_note(f"and what was mounted on {mount.mount_point} could not be taken away: {reason_of(second)}")


def topmost(host: Host, target: str, mount_id: int) -> Mount:
    """The mount that a plan was made for; raises `Conflict` where it is no longer the topmost on its target.

    A ``mount_id`` of 0 is the overlay that an earlier step of the same plan has put there.
    """
    mounts = host.mounts_at(target)
    fits = mounts and mounts[-1].mount_id == mount_id
    if mount_id == 0 and mounts:
        fits = mounts[-1].is_overlay and mounts[-1].upper is not None
    if not fits:
        raise Conflict(
            f"what is mounted on {target} changed since the plan was made",
            remedy=look_again(target),
        )
    return mounts[-1]


def demand_access(mount: Mount, access: Access) -> None:
    """Raise `ToolFailed` where the mount table shows another access than was asked for."""
    found = Access.READ_ONLY if mount.read_only or mount.superblock_read_only else Access.READ_WRITE
    if found is not access:
        raise ToolFailed(f"the overlay on {mount.mount_point} is {found}, and was to be {access}")
