"""The real kernel: mounts by the new mount API, and what they show.

See mount_setattr(2), open_tree(2), fsopen(2), move_mount(2) (the man-pages project since 6.16), and the kernel's
Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ovlay.advice import look_again
from ovlay.errors import Conflict, SystemCallFailed
from ovlay.kernel import Kernel, Views
from ovlay.kernel.mountinfo import Mount, MountTable, parse_mountinfo
from ovlay.model import Access, Backing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ovlay.kernel.holders import Users
    from ovlay.model import Holder

_VALUE_LIMIT = 255  # bytes of an fsconfig(2) value: strndup_user(..., 256) in the kernel's fs/fsopen.c


class LinuxKernel(Kernel):
    """The kernel under this process, in this process's mount namespace."""

    def mounts(self) -> MountTable:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
            return parse_mountinfo(stream.read())

    def supports(self, fstype: str) -> bool:
        with contextlib.suppress(OSError), open("/proc/filesystems", encoding="ascii") as stream:
            if any(line.split()[-1:] == [fstype] for line in stream):
                return True
        return os.path.exists(f"/lib/modules/{os.uname().release}/kernel/fs/{fstype}fs") or os.path.exists(
            f"/lib/modules/{os.uname().release}/kernel/fs/{fstype}"
        )

    def writable(self, path: str) -> bool:
        return os.access(path, os.W_OK, effective_ids=True)

    def backing(self, path: str) -> Backing | None:
        try:
            space = os.statvfs(path)
        except OSError:
            return None
        mount = self.mounts().covering(os.path.realpath(path))
        fstype = mount.fstype if mount is not None else "unknown"
        if mount is not None and mount.upper is not None:
            # The numbers of an overlay are those of its upper's filesystem (ovl_statfs), the name is not.
            from ovlay.kernel.upper import is_on_tmpfs

            fstype = "tmpfs" if is_on_tmpfs(mount.mount_point) else fstype
        total = space.f_blocks * space.f_frsize
        return Backing(
            fstype=fstype,
            in_memory=fstype in ("tmpfs", "ramfs"),
            total=total,
            used=total - space.f_bfree * space.f_frsize,
            free=space.f_bavail * space.f_frsize,
        )

    def is_upper(self, mount: Mount, candidate: str) -> bool:
        from ovlay.kernel.upper import is_upper, upper_handle

        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            merged = os.open(mount.mount_point, flags)
            stack.callback(os.close, merged)
            upper = os.open(candidate, flags)
            stack.callback(os.close, upper)
            device = os.fstat(merged).st_dev
            if f"{os.major(device)}:{os.minor(device)}" != mount.device:
                return False  # something else is mounted over it: nothing can be proven from here
            if os.fstat(upper).st_dev == device:
                return False  # that is the merged view itself
            return is_upper(merged, upper, upper_handle(merged))
        return False

    def views(self, mount: Mount, candidates: Iterable[str] = ()) -> contextlib.AbstractContextManager[Views]:
        from ovlay.kernel.views import opened_views

        return opened_views(mount, self.mounts(), candidates)

    def mount_overlay(
        self, target: str, *, lower: Sequence[str], upper: str, work: str, access: Access, source: str
    ) -> int:
        from ovlay.kernel import libc

        with contextlib.ExitStack() as stack:
            context = libc.fsopen("overlay")
            stack.callback(os.close, context)
            libc.fsconfig_string(context, "source", source)
            _set_lower(stack, context, lower)
            # A backslash is an escape here, and in lowerdir+ it is not: ovl_parse_layer() in fs/overlayfs/params.c.
            _set_directory(stack, context, "upperdir", upper, upper.replace("\\", "\\\\"))
            _set_directory(stack, context, "workdir", work, work.replace("\\", "\\\\"))
            if _in_user_namespace():
                libc.fsconfig_flag(context, "userxattr")
            if access is Access.READ_ONLY:
                libc.fsconfig_flag(context, "ro")
            libc.fsconfig_create(context)
            mount = libc.fsmount(context, read_only=access is Access.READ_ONLY)
            stack.callback(os.close, mount)
            libc.move_mount(mount, target)
            return _mount_id(mount)

    def mount_tmpfs(self, path: str, *, size: int | None, mode: int, source: str) -> int:
        from ovlay.kernel import libc

        with contextlib.ExitStack() as stack:
            context = libc.fsopen("tmpfs")
            stack.callback(os.close, context)
            libc.fsconfig_string(context, "source", source)
            libc.fsconfig_string(context, "mode", f"{mode:o}")
            if size is not None:
                libc.fsconfig_string(context, "size", str(size))
            libc.fsconfig_create(context)
            mount = libc.fsmount(context)
            stack.callback(os.close, mount)
            libc.move_mount(mount, path)
            return _mount_id(mount)

    def unmount(self, mount: Mount, *, lazy: bool) -> None:
        from ovlay.kernel import libc

        self._demand_topmost(mount)
        libc.umount(mount.mount_point, lazy=lazy)

    def set_access(self, mount: Mount, access: Access) -> None:
        from ovlay.kernel import libc

        self._demand_topmost(mount)
        read_only = access is Access.READ_ONLY
        descriptor = libc.open_tree(mount.mount_point, clone=False)
        try:
            if not read_only:
                _set_superblock(descriptor, access)
            libc.mount_set_read_only(descriptor, read_only)
            if read_only:
                try:
                    _set_superblock(descriptor, access)
                except BaseException:
                    if not mount.read_only:  # half of it would look as if it were done
                        libc.mount_set_read_only(descriptor, read_only=False)
                    raise
        finally:
            os.close(descriptor)

    def slide_beneath(self, mount: Mount, source: str) -> None:
        from ovlay.kernel import libc

        self._demand_topmost(mount)
        clone = libc.open_tree(source)
        try:
            libc.mount_set_read_only(clone, read_only=True)
            libc.move_mount(clone, mount.mount_point, beneath=True)
        finally:
            os.close(clone)

    @contextlib.contextmanager
    def carry(self, points: Sequence[str], *, detach: bool) -> Iterator[None]:
        from ovlay.kernel import libc

        with contextlib.ExitStack() as stack:
            before = self.mounts()
            clones = []
            for point in points:
                clone = libc.open_tree(point, recursive=True)
                stack.callback(os.close, clone)
                clones.append((point, clone))
            done = detach
            try:
                if detach:
                    for point, _ in reversed(clones):
                        libc.umount(point, lazy=True)
                yield
                done = True
            finally:
                if done and self._bring_back(clones, before):
                    failed = self._bring_back(clones, before)  # once more: what does not come back now is lost
                    if failed is not None:
                        raise failed

    def _bring_back(self, clones: Sequence[tuple[str, int]], before: MountTable) -> OSError | None:
        """Attach all mounts again that do not show as they did, whichever of them fails; returns the first failure."""
        from ovlay.kernel import libc

        failed = None
        for point, clone in clones:
            # It can be there already: on what the overlay covered, or within a mount that was just brought.
            if _shown(self.mounts(), point) != _shown(before, point):
                try:
                    libc.move_mount(clone, point)
                except OSError as error:
                    failed = failed or error
        return failed

    @contextlib.contextmanager
    def writable_view(self, target: str) -> Iterator[int]:
        from ovlay.kernel import libc

        mount = self.mounts().covering(target)
        if mount is None or not (mount.read_only or mount.superblock_read_only):
            descriptor = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
            return
        if mount.mount_point != target or not mount.is_overlay or mount.upper is None:
            raise Conflict(f"what is mounted on {target} is read-only and is no overlay with an upper directory")
        clone = libc.open_tree(target)  # not recursive: mounts below the target are not in the view
        restore = mount.superblock_read_only
        try:
            if restore:
                _set_superblock(clone, Access.READ_WRITE)
            libc.mount_set_read_only(clone, read_only=False)
            view = os.open(f"/proc/self/fd/{clone}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield view
            finally:
                os.close(view)
        finally:
            # The superblock's flag is seen by everyone: it goes back even after a failure, once nothing is open.
            try:
                if restore:
                    _set_superblock(clone, Access.READ_ONLY)
            finally:
                os.close(clone)

    @contextlib.contextmanager
    def writable_directory(self, path: str) -> Iterator[int]:
        from ovlay.kernel import libc

        clone = libc.open_tree(path)
        try:
            libc.mount_set_read_only(clone, read_only=False)
            descriptor = os.open(f"/proc/self/fd/{clone}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        finally:
            os.close(clone)

    def holders(self, mounts: Iterable[Mount]) -> tuple[Holder, ...]:
        from ovlay.kernel.holders import find_holders

        return find_holders(mounts)

    def users(self, mounts: Iterable[Mount], target: str, wanted: Callable[[str], bool]) -> Users:
        from ovlay.kernel.holders import find_users

        return find_users(mounts, target, wanted)

    def held_by_us(self, mount: Mount) -> bool:
        from ovlay.kernel.holders import held_by_us

        return held_by_us(mount)

    def _demand_topmost(self, mount: Mount) -> None:
        point = mount.mount_point
        stack = self.mounts().stack(point)
        if not stack or stack[-1].mount_id != mount.mount_id or stack[-1].device != mount.device:
            raise Conflict(f"the mount on {point} is no longer the one that was looked at", remedy=look_again(point))


def _shown(table: MountTable, point: str) -> tuple[str, str] | None:
    """What is mounted on ``point``: the filesystem's device and the directory of it; None where nothing is."""
    mounts = table.stack(point)
    return (mounts[-1].device, mounts[-1].root) if mounts else None


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_ctime_ns, found.st_mtime_ns, found.st_mode, found.st_uid, found.st_gid)


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as stream:
        return stream.read().split()[:3] != ["0", "0", "4294967295"]


def _set_directory(stack: contextlib.ExitStack, context: int, key: str, path: str, value: str) -> None:
    """Name a directory of the overlay by ``value``, its path as the key takes it.

    One that is too long is given as a descriptor (Linux 6.13), and mountinfo shows its path all the same; before, by
    what /proc calls the descriptor, and mountinfo shows that.
    """
    from ovlay.kernel import libc

    if len(os.fsencode(value)) <= _VALUE_LIMIT:
        libc.fsconfig_string(context, key, value)
        return
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    try:
        libc.fsconfig_descriptor(context, key, descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        libc.fsconfig_string(context, key, f"/proc/self/fd/{descriptor}")


def _set_lower(stack: contextlib.ExitStack, context: int, layers: Sequence[str]) -> None:
    from ovlay.kernel import libc

    try:
        for layer in layers:
            _set_directory(stack, context, "lowerdir+", layer, layer)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # Before Linux 6.5 there is only lowerdir=, in which a colon and a backslash are escaped.
        joined = ":".join(layer.replace("\\", "\\\\").replace(":", "\\:") for layer in layers)
        libc.fsconfig_string(context, "lowerdir", joined)


def _set_superblock(descriptor: int, access: Access) -> None:
    from ovlay.kernel import libc

    context = libc.fspick(descriptor)
    try:
        libc.fsconfig_flag(context, "ro" if access is Access.READ_ONLY else "rw")
        libc.fsconfig_reconfigure(context)
    finally:
        os.close(context)


def _mount_id(descriptor: int) -> int:
    """The id of the mount that a descriptor is on: proc_pid_fdinfo(5)."""
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as stream:
        for line in stream:
            if line.startswith("mnt_id:"):
                return int(line.split()[1])
    raise SystemCallFailed("the kernel does not tell the id of a new mount in /proc/self/fdinfo")
