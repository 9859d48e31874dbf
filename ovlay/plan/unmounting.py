"""Steps that take an overlay away, and what is known of the views that a lazy unmount leaves behind."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shlex
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.advice import command
from ovlay.errors import Busy, InvalidInput, OvlayError, StateForbids, ToolFailed
from ovlay.files.copying import descend, look
from ovlay.kernel import Mount
from ovlay.model import as_json
from ovlay.plan.mounting import run_tool, topmost
from ovlay.plan.step import Step
from ovlay.receipts import drop_receipts

if TYPE_CHECKING:
    from ovlay.host import Host
    from ovlay.model import Holder


@dataclass(frozen=True, slots=True)
class Unmount(Step):
    """Unmount one overlay. A lazy unmount never fails for being busy; those who use the old view keep it."""

    kind: ClassVar[str] = "unmount"
    brief: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    target: str
    mount_id: int
    lazy: bool
    carry: tuple[str, ...]

    def describe(self) -> str:
        how = "lazily unmount" if self.lazy else "unmount"
        kept = f", keeping the mounts on {', '.join(self.carry)}" if self.carry else ""
        return f"{how} the overlay on {self.target}{kept}"

    def run(self, host: Host) -> str:
        mount = topmost(host, self.target, self.mount_id)
        self._demand_places(host, mount)
        view = View(self.target, mount.mount_id, mount.device)
        if self.lazy:
            view.remember(host)
        try:
            with host.kernel.carry(self.carry, detach=True):
                host.kernel.unmount(mount, lazy=self.lazy)
        except OSError as error:
            if self.lazy:
                view.forget(host)
            if error.errno != errno.EBUSY:
                raise
            self._detach_from_ourselves(host, mount, error)
        if any(found.mount_id == self.mount_id for found in host.kernel.mounts()):
            raise ToolFailed(f"the overlay on {self.target} is still mounted")
        drop_receipts(host, self.target)
        if not self.lazy:
            return ""
        holders = host.kernel.holders([mount])
        if holders:
            return f"the old view of {self.target} is still used by {name_holders(holders)}"
        view.forget(host)
        return ""

    def _demand_places(self, host: Host, mount: Mount) -> None:
        """Raise `StateForbids` for a mount below the target whose place only the overlay has."""
        outer = [point for point in self.carry if not any(point.startswith(other + "/") for other in self.carry)]
        if not outer:
            return
        with host.kernel.views(mount) as views:
            for point in outer:
                folder, _, name = point.removeprefix(self.target + "/").rpartition("/")
                try:
                    parent = descend(views.lower, folder)
                except OSError:
                    found = None
                else:
                    found = look(name, parent)
                    os.close(parent)
                if found is None or stat.S_ISDIR(found.st_mode) != os.path.isdir(host.path(point)):
                    raise StateForbids(
                        f"{point} is a mount whose place only the overlay on {self.target} has",
                        remedy=f"unmount it first: `umount {shlex.quote(point)}`",
                    )

    def _detach_from_ourselves(self, host: Host, mount: Mount, error: OSError) -> None:
        """Where nobody but this very process holds the overlay, it goes when this process ends."""
        holders = host.kernel.holders([mount])
        if holders or not host.kernel.held_by_us(mount):
            raise Busy(
                f"the overlay on {self.target} is busy: used by {name_holders(holders)}",
                remedy=_let_go(self.target),
                holders=holders,
            ) from error
        with host.kernel.carry(self.carry, detach=True):
            host.kernel.unmount(mount, lazy=True)


@dataclass(frozen=True, slots=True)
class UnmountWithTool(Step):
    """Let the host's own tool take its overlay away; the mount table says whether it did.

    systemd-sysext unmounts lazily, always (MNT_DETACH in src/sysext/sysext.c): nothing is ever busy for it, and those
    who use the overlay lose what they wrote. So, unless ``lazy``, its users are looked for first. A mount namespace
    that only has a copy of the mount is none of them, as it is none for umount(2).
    """

    kind: ClassVar[str] = "unmount-with-tool"
    resumes: ClassVar[bool] = True

    argv: tuple[str, ...]
    target: str
    mount_id: int
    lazy: bool

    def describe(self) -> str:
        unused = "" if self.lazy else ", unless something uses it"
        return f"run `{' '.join(self.argv)}`, which takes the overlay off {self.target}{unused}"

    def run(self, host: Host) -> str:
        mount = topmost(host, self.target, self.mount_id)
        holders = host.kernel.holders([mount])
        users = tuple(holder for holder in holders if holder.uses != ("mount namespace",))
        if users and not self.lazy:
            raise Busy(
                f"the overlay on {self.target} is busy: used by {name_holders(users)}",
                remedy=_let_go(self.target),
                holders=users,
            )
        view = View(self.target, mount.mount_id, mount.device)
        if holders:
            view.remember(host)
        try:
            run_tool(host, self.argv, target=self.target)
        except OvlayError:
            view.forget(host)
            raise
        if any(found.mount_id == self.mount_id for found in host.kernel.mounts()):
            raise ToolFailed(
                f"`{' '.join(self.argv)}` exited 0, but its overlay is still on {self.target}", argv=self.argv, status=0
            )
        drop_receipts(host, self.target)
        return f"the old view of {self.target} is still used by {name_holders(holders)}" if holders else ""


@dataclass(frozen=True, slots=True)
class UnmountTmpfs(Step):
    """Take ovlay's tmpfs away from where systemd-sysext looks for an upper.

    An overlay that somebody uses still has a mount of it for its own: what is in it goes when they do.
    """

    kind: ClassVar[str] = "unmount-tmpfs"
    resumes: ClassVar[bool] = True

    path: str

    def describe(self) -> str:
        return f"unmount the tmpfs on {self.path}"

    def run(self, host: Host) -> str:
        while (mounts := host.mounts_at(self.path)) and (mounts[-1].fstype, mounts[-1].source) == ("tmpfs", "ovlay"):
            host.kernel.unmount(mounts[-1], lazy=True)
        with contextlib.suppress(OSError):  # what others put there stays
            host.remove(self.path)
        return ""


@dataclass(frozen=True, slots=True)
class SealBeneath(Step):
    """Put a read-only view of ``source`` under the overlay, where nothing read-only is under it.

    After the reboot of an ostree hotfix on a plain layout the deployment itself would show, writable, and its files
    are hard links into the repository (src/switchroot/ostree-prepare-root.c mounts the hotfix in place of the bind).
    """

    kind: ClassVar[str] = "seal-beneath"

    target: str
    mount_id: int
    source: str

    def describe(self) -> str:
        return f"put a read-only mount of {self.source} beneath the overlay on {self.target}"

    def run(self, host: Host) -> str:
        mount = topmost(host, self.target, self.mount_id)
        try:
            host.kernel.slide_beneath(mount, self.source)
        except OSError as error:
            raise StateForbids(
                f"unmounting {self.target} would show the image itself, writable, and this kernel cannot put a "
                f"read-only mount beneath the overlay first ({error.strerror})",
                remedy="reboot into the rollback deployment instead: `ostree admin status` lists it",
            ) from error
        under = host.mounts_at(self.target)
        if len(under) < 2 or not under[-2].read_only:
            raise ToolFailed(f"nothing read-only is beneath the overlay on {self.target}")
        return ""


@dataclass(frozen=True, slots=True)
class ClearFlag(Step):
    """Remove ostree's flag "unlocked", so that ostree unlocks again; kept while somebody uses the old view.

    Without the flag ostree's next unlock removes the upper directory, even under those who use it
    (ostree_sysroot_deployment_unlock() in src/libostree/ostree-sysroot.c). The time stamp of ``watched`` tells
    ostree's clients to look again (_ostree_sysroot_bump_mtime() there).
    """

    kind: ClassVar[str] = "clear-flag"
    resumes: ClassVar[bool] = True

    target: str
    flag: str
    watched: str
    mount_id: int
    device: str

    def describe(self) -> str:
        return f"remove the flag {self.flag}, unless something still uses an old view of {self.target}"

    def run(self, host: Host) -> str:
        views = (View(self.target, self.mount_id, self.device), *remembered_views(host, self.target))
        if any(view.holders(host) for view in views):
            return "ostree's flag stays, since removing it would let ostree delete the files under that old view"
        for view in views:
            view.forget(host)
        host.remove(self.flag)
        with host.kernel.writable_directory(self.watched) as descriptor:
            os.utime(descriptor)
        return ""


def name_holders(holders: tuple[Holder, ...], most: int = 5) -> str:
    """Holders for a sentence: the first few, and how many more."""
    if not holders:
        return "something that this user may not look at"
    named = ", ".join(f"{holder.command} (pid {holder.pid})" for holder in holders[:most])
    return named + (f" and {len(holders) - most} more" if len(holders) > most else "")


@dataclass(frozen=True, slots=True)
class View:
    """An overlay that left the mount table, by what is needed to find those who use it still."""

    target: str
    mount_id: int
    device: str

    def record(self, host: Host) -> str:
        """Where the view is remembered until the next boot."""
        return f"{host.state_dir}/detached/{self.mount_id}-{self.device.replace(':', '-')}.json"

    @classmethod
    def from_text(cls, text: str) -> View:
        """The view that was remembered in a record; raises `InvalidInput` where it is none."""
        from ovlay.notation import is_plain, parse_json

        record = parse_json(text)
        if not isinstance(record, dict) or record.keys() != {"target", "mount_id", "device"}:
            raise InvalidInput("no record of a view")
        target, mount_id, device = record["target"], record["mount_id"], record["device"]
        if type(mount_id) is not int or not isinstance(target, str) or not is_plain(target):
            raise InvalidInput("no record of a view")
        if not isinstance(device, str) or not re.fullmatch(r"[0-9]{1,10}:[0-9]{1,10}", device):  # it names a file
            raise InvalidInput("no record of a view")
        return cls(target, mount_id, device)

    def remember(self, host: Host) -> None:
        """Write the record."""
        host.make_private_directory(host.state_dir)
        host.make_private_directory(host.state_dir + "/detached")
        host.write(self.record(host), json.dumps(as_json(self)), mode=0o600)

    def forget(self, host: Host) -> None:
        """Remove the record, where there is one."""
        host.remove(self.record(host))

    def holders(self, host: Host) -> tuple[Holder, ...]:
        """Who uses the view still."""
        mounts = self.mounts(host)
        return host.kernel.holders(mounts) if mounts else ()

    def mounts(self, host: Host) -> tuple[Mount, ...]:
        """What to look for where its users are looked for: the mount that is gone.

        () where a new overlay on the target has its device number: the kernel gives it away again only when the
        filesystem is gone, and the users of the new one are not those of the old.
        """
        if any(mount.device == self.device for mount in host.mounts_at(self.target)):
            return ()
        return (Mount(self.mount_id, 0, self.device, "/", "", "", "", "overlay", "", ""),)


def remembered_views(host: Host, target: str) -> tuple[View, ...]:
    """The views of ``target`` that a lazy unmount of this boot left behind; they need not be held any more."""
    folder = host.state_dir + "/detached"
    views = []
    for name in host.entries(folder):
        try:
            view = View.from_text(host.read(f"{folder}/{name}") or "")
        except InvalidInput:
            continue  # a half-written one, or no record at all
        if view.target == target:
            views.append(view)
    return tuple(views)


def _let_go(target: str) -> str:
    """What to do about those who use an overlay."""
    return f"end these processes, or use {command('ovlay unmount --lazy', target)}, which leaves them their view"
