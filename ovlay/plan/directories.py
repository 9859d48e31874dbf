"""Steps that make, fill and remove the directories behind an overlay."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.advice import command
from ovlay.errors import Conflict
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from ovlay.host import Host

KEPT = "kept"
"""Below the state directory: what is known of uppers that outlived their overlay, a JSON file each."""


@dataclass(frozen=True, slots=True)
class MakePrivateDirectory(Step):
    """A directory of ovlay's own, that only its user can enter."""

    kind: ClassVar[str] = "make-private-directory"

    path: str

    def describe(self) -> str:
        return f"make the directory {self.path}"

    def run(self, host: Host) -> str:
        host.make_private_directory(self.path)
        return ""

    def undo(self, host: Host) -> None:
        with contextlib.suppress(OSError):  # not ours alone where something else is in it
            host.remove(self.path)


@dataclass(frozen=True, slots=True)
class MakeUpper(Step):
    """A fresh upper and work directory below ``path``.

    The upper's root has the mode, the owner and the label of ``like``: with mode 0700 nobody but root could enter
    the merged view (bootc#1836).
    """

    kind: ClassVar[str] = "make-upper"

    path: str
    like: str

    def describe(self) -> str:
        return f"make a fresh upper directory {self.path}/upper, with mode, owner and label of {self.like}"

    def run(self, host: Host) -> str:
        found = os.stat(host.path(self.like))
        if host.entries(self.path):
            raise Conflict(f"{self.path} is in use already", remedy="try again")
        try:
            self._make(host, found)
        except BaseException:
            with contextlib.suppress(OSError):
                self.undo(host)
            raise
        return ""

    def _make(self, host: Host, found: os.stat_result) -> None:
        if not host.is_directory(self.path):
            host.make_directory(self.path, mode=0o700)
        host.make_directory(f"{self.path}/work", mode=0o700)
        host.make_directory(f"{self.path}/upper", mode=host.permissions(found))
        upper = host.path(f"{self.path}/upper")
        made = os.stat(upper)
        if (made.st_uid, made.st_gid) != (found.st_uid, found.st_gid):
            with contextlib.suppress(PermissionError):  # in a user namespace the owner may have no id
                os.chown(upper, found.st_uid, found.st_gid)
        for name in ("security.selinux", "system.posix_acl_access", "system.posix_acl_default"):
            with contextlib.suppress(OSError):
                os.setxattr(upper, name, os.getxattr(host.path(self.like), name))
        # systemd.unit(5): ConditionNeedsUpdate= compares the time of /usr, and a boot is no update.
        os.utime(upper, ns=(found.st_atime_ns, found.st_mtime_ns))

    def undo(self, host: Host) -> None:
        if is_mounted_upper(host, self.path):
            raise Conflict(f"{self.path} is the upper directory of an overlay that is mounted, and stays")
        for name in ("upper", "work"):
            if host.is_directory(f"{self.path}/{name}"):
                host.remove_tree(f"{self.path}/{name}")
        with contextlib.suppress(OSError):  # it may be the mount point of a tmpfs, which the step before takes away
            host.remove(self.path)


@dataclass(frozen=True, slots=True)
class WriteFile(Step):
    """A small text file of ovlay's own, beside the overlay and never in it; its parent directories are made."""

    kind: ClassVar[str] = "write-file"

    path: str
    text: str

    def describe(self) -> str:
        return f"write {self.path}"

    def run(self, host: Host) -> str:
        os.makedirs(os.path.dirname(host.path(self.path)), mode=0o755, exist_ok=True)
        host.write(self.path, self.text, durable=True)
        return ""

    def undo(self, host: Host) -> None:
        host.remove(self.path)


@dataclass(frozen=True, slots=True)
class DiscardUpper(Step):
    """Remove the upper of an overlay that is gone; kept for as long as somebody uses the old view.

    One that is kept is written down, so that the next plan of `ovlay.uppers.clean_up` removes it.
    """

    kind: ClassVar[str] = "discard-upper"
    brief: ClassVar[bool] = True
    resumes: ClassVar[bool] = True

    target: str
    path: str
    mount_id: int
    device: str

    def describe(self) -> str:
        return f"remove {self.path} with the changes in it, unless something still uses them"

    def run(self, host: Host) -> str:
        from ovlay.plan.unmounting import View, name_holders

        view = View(self.target, self.mount_id, self.device)
        if held := view.holders(host):
            self._keep(host)
            enable = command("ovlay enable", self.target)
            return f"{self.path} is kept for {name_holders(held)}; the next {enable} or a reboot removes it"
        try:
            remove_upper(host, self.path)
        except OSError:
            self._keep(host)  # the next `ovlay enable` tries it again
            raise
        host.remove(self._record(host))
        view.forget(host)
        return ""

    def _record(self, host: Host) -> str:
        return f"{host.state_dir}/{KEPT}/{os.path.basename(self.path)}.json"

    def _keep(self, host: Host) -> None:
        import json

        host.make_private_directory(host.state_dir)
        host.make_private_directory(f"{host.state_dir}/{KEPT}")
        host.write(self._record(host), json.dumps(self.to_json()), mode=0o600)


@dataclass(frozen=True, slots=True)
class DiscardLeftover(Step):
    """Remove an upper that an earlier boot left behind. What cannot be removed stays, and stops nothing."""

    kind: ClassVar[str] = "discard-leftover"

    path: str

    def describe(self) -> str:
        return f"remove {self.path}, which an earlier boot left behind"

    def run(self, host: Host) -> str:
        if is_mounted_upper(host, self.path):
            return f"{self.path} is in use after all, and stays"
        try:
            remove_upper(host, self.path)
        except OSError as error:
            return f"{self.path} could not be removed: {error.strerror}"
        return ""


def is_mounted_upper(host: Host, path: str) -> bool:
    """Whether an overlay in the mount table has its upper directory below ``path``."""
    return any((mount.upper or "").startswith(path + "/") for mount in host.kernel.mounts() if mount.is_overlay)


def remove_upper(host: Host, path: str) -> None:
    """Remove a directory with an upper in it, and the tmpfs that is mounted on it where there is one."""
    beneath = host.mounts_at(path)
    if beneath:
        host.kernel.unmount(beneath[-1], lazy=False)
    if host.is_directory(path):
        host.remove_tree(path)
