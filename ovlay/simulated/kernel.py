"""A kernel that mounts with plain directories: what is covered is moved aside, what is shown is a copy.

Where a program looks it finds what the real kernel would show it: the merged tree, the sealed one, the pristine one
again after an unmount. What a program wrote into a merged tree is put into the upper directory when the overlay is
unmounted, made read-only or written through `SimulatedKernel.writable_view`, or when `SimulatedKernel.sync` is
called; the real kernel does it at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
from typing import TYPE_CHECKING

from ovlay.advice import look_again
from ovlay.errors import Conflict
from ovlay.kernel import MAX_STACK_DEPTH, Kernel
from ovlay.kernel.mountinfo import Mount, MountTable
from ovlay.model import Access, Backing
from ovlay.simulated.layers import materialise, merge
from ovlay.simulated.ledger import Layers, with_access
from ovlay.simulated.trees import Trees

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ovlay.kernel import Views
    from ovlay.kernel.holders import Users
    from ovlay.model import Holder

PLAIN_TABLE = """\
23 28 0:22 / /proc rw,relatime shared:5 - proc proc rw
26 28 0:24 / /run rw,relatime shared:15 - tmpfs run rw,mode=755,inode64
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 28 254:0 /usr /usr ro,relatime shared:3 - ext4 /dev/vda rw
"""
"""A host with a read-only bind of /usr on a writable root."""

_BLOCK = 4096
_WORDS = {Access.READ_ONLY: "ro", Access.READ_WRITE: "rw"}


class SimulatedKernel(Kernel):
    """The kernel of the host below ``root``, which is booted with ``table`` where that has not been done yet.

    A tree that is mounted read-only is sealed (see `ovlay.simulated.seals`), so before ``root`` is removed `close`
    must be called; opening it again seals it again.
    """

    def __init__(self, root: str, *, table: str = PLAIN_TABLE) -> None:
        self.root = os.path.realpath(root)
        self._trees = Trees(self.root)
        self._ledger, self._seals = self._trees.ledger, self._trees.seals
        if not self._ledger.booted:
            os.makedirs(self.root + "/usr", mode=0o755, exist_ok=True)
            os.makedirs(self.root + "/run", mode=0o755, exist_ok=True)
            self._ledger.boot(table)
        with self._ledger.locked():
            self._trees.settle_all()

    # --- questions ---------------------------------------------------------------------------------------------

    def mounts(self) -> MountTable:
        """The text file ``proc/self/mountinfo`` of the scratch root."""
        return self._ledger.mounts()

    def supports(self, fstype: str) -> bool:
        """Overlays and tmpfs are all that this kernel can mount."""
        return fstype in ("overlay", "tmpfs")

    def writable(self, path: str) -> bool:
        """Both the simulated mount and the real directory must allow it."""
        mount = self.mounts().covering(path)
        allowed = mount is None or not (mount.read_only or mount.superblock_read_only)
        return allowed and os.access(self._trees.real(path), os.W_OK, effective_ids=True)

    def backing(self, path: str) -> Backing | None:
        """A tmpfs has the size that it was mounted with; all else lies on the filesystem of the scratch root."""
        real = self._trees.real(path)
        mount = self.mounts().covering(path)
        state = self._ledger.load()
        if mount is not None and mount.mount_id in state.overlays:
            upper = state.overlays[mount.mount_id].upper
            real, mount = self._trees.real(upper), self.mounts().covering(upper)
        if mount is not None and (size := state.sizes.get(mount.mount_id)) is not None:
            used = _used(self._trees.real(mount.mount_point))
            return Backing("tmpfs", in_memory=True, total=size, used=used, free=max(0, size - used))
        try:
            space = os.statvfs(real)
        except OSError:
            return None
        fstype = mount.fstype if mount is not None else "unknown"
        total = space.f_blocks * space.f_frsize
        used, free = total - space.f_bfree * space.f_frsize, space.f_bavail * space.f_frsize
        return Backing(fstype, in_memory=fstype == "tmpfs", total=total, used=used, free=free)

    def is_upper(self, mount: Mount, candidate: str) -> bool:
        """The books know, whatever the mount table shows."""
        layers = self._ledger.load().overlays.get(mount.mount_id)
        return layers is not None and posixpath.normpath(candidate) == layers.upper and self._trees.is_there(candidate)

    @contextlib.contextmanager
    def views(self, mount: Mount, candidates: Iterable[str] = ()) -> Iterator[Views]:
        """Both sides of an overlay, after a `sync`. Merged and lower share no inode: each is a copy."""
        from ovlay.kernel import Views

        with contextlib.ExitStack() as stack:
            with self._ledger.locked():
                layers = self._ledger.load().overlays.get(mount.mount_id)
                if layers is None or self.mounts().by_id(mount.mount_id) is None:
                    raise Conflict(
                        f"the overlay on {mount.mount_point} is no longer there",
                        remedy=look_again(mount.mount_point),
                    )
                self._trees.sync(mount)
                sides = stack.enter_context(self._trees.sides(mount))
            opened = []
            for directory in (*sides, self._trees.real(layers.upper)):
                opened.append(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
                stack.callback(os.close, opened[-1])
            yield Views(merged=opened[0], lower=opened[1], upper=opened[2], own_inodes=False)

    def holders(self, mounts: Iterable[Mount]) -> tuple[Holder, ...]:
        """Only those that hold through `hold`: real processes cannot tell this host's mounts from directories."""
        return self._ledger.holders(mount.mount_id for mount in mounts)

    def users(self, mounts: Iterable[Mount], target: str, wanted: Callable[[str], bool]) -> Users:
        """Those who hold through `hold`, and real processes that use a file of the scratch directory."""
        from ovlay.kernel.holders import User, find_users

        real = find_users((), target, wanted, root=self.root)
        held = [User(pid, command, None, uses, ()) for pid, command, uses in self.holders(mounts)]
        return real._replace(found=tuple(sorted((*real.found, *held), key=lambda user: user.pid)))

    def held_by_us(self, mount: Mount) -> bool:
        """Never: a process that holds through `hold` is somebody else to ovlay."""
        return False

    def permissions(self, found: os.stat_result) -> int:
        """The true permission bits of a file, also while it is sealed."""
        return self._seals.true_mode(found)

    def refuses_writes(self) -> bool:
        """Whether this very process is refused when it writes to what is sealed; root in a container is not."""
        return self._seals.bind()

    def pristine(self, target: str) -> str:
        """The real path of the tree that was on ``target`` before any overlay came."""
        covering = [mount for mount in self.mounts().stack(target) if self._trees.covered(mount.mount_id)]
        return self._ledger.path("covered", covering[0].mount_id) if covering else self._trees.real(target)

    # --- mounting ----------------------------------------------------------------------------------------------

    def mount_overlay(
        self, target: str, *, lower: Sequence[str], upper: str, work: str, access: Access, source: str
    ) -> int:
        """The lower layers are what these paths show now; the merged tree is a copy of them and of the upper."""
        shown = ",".join((*(f"lowerdir+={layer}" for layer in lower), f"upperdir={upper}", f"workdir={work}"))
        return self.attach_overlay(target, lower=lower, upper=upper, access=access, source=source, shown=shown)

    def attach_overlay(
        self,
        target: str,
        *,
        lower: Sequence[str],
        upper: str | None,
        access: Access,
        source: str,
        shown: str,
        options: str = "relatime",
        superblock: Access | None = None,
    ) -> int:
        """Mount an overlay of which the mount table shows what a host tool makes it show.

        ``shown`` are the options of the superblock after rw or ro, ``options`` those of the mount. A lower below the
        scratch root is taken as a real path, as is one of `pristine`. ``superblock`` is its access where it is
        another one than the mount's. An overlay with no upper takes no changes.
        """
        with self._ledger.locked():
            table, state = self.mounts(), self._ledger.load()
            self._demand_depth(table, (*lower, *((upper,) if upper else ())))
            real = [layer if layer.startswith(self.root + "/") else self._trees.real(layer) for layer in lower]
            number, device = state.next_mount, state.next_device
            state.next_mount, state.next_device = number + 1, device + 1
            if upper is not None:
                inside = posixpath.normpath(upper)
                kept = tuple((path.removeprefix(self.root), os.stat(path).st_ino) for path in real)
                state.overlays[number] = Layers(kept, inside)
            layers = [*([self._trees.real(upper)] if upper is not None else []), *real]
            parent = self._trees.parent(target)
            mount = Mount(
                mount_id=number,
                parent_id=parent.mount_id,
                device=f"0:{device}",
                root="/",
                mount_point=target,
                options=f"{_WORDS[access]},{options}",
                propagation="",
                fstype="overlay",
                source=source,
                super_options=f"{_WORDS[superblock or access]},{shown}",
            )

            def build(place: str) -> None:
                materialise(self._trees.without_submounts(merge(layers), table, target), place, self.permissions)

            self._trees.push(state, mount, build)
        return number

    def mount_tmpfs(self, path: str, *, size: int | None, mode: int, source: str) -> int:
        """An empty directory; only `backing` knows of its size."""
        with self._ledger.locked():
            state = self._ledger.load()
            number, device = state.next_mount, state.next_device
            state.next_mount, state.next_device = number + 1, device + 1
            limit = size if size is not None else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
            state.sizes[number] = limit
            parent = self._trees.parent(path)
            options = f"rw,size={limit // 1024}k,mode={mode:o},inode64"
            mount = Mount(
                number, parent.mount_id, f"0:{device}", "/", path, "rw,relatime", "", "tmpfs", source, options
            )

            def build(place: str) -> None:
                os.mkdir(place)
                os.chmod(place, mode)

            self._trees.push(state, mount, build)
        return number

    def unmount(self, mount: Mount, *, lazy: bool) -> None:
        """What was written goes into the upper, and what was covered comes back as it was."""
        with self._ledger.locked():
            self._demand_topmost(mount)
            table = self.mounts()
            children = [found for found in table if found.parent_id == mount.mount_id]
            if not lazy and (children or self._ledger.holders([mount.mount_id])):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), mount.mount_point)
            self._trees.pop(mount)

    def set_access(self, mount: Mount, access: Access) -> None:
        """Seal the merged tree, or let it be written again."""
        with self._ledger.locked():
            self._demand_topmost(mount)
            if access is Access.READ_ONLY:
                self._trees.sync(mount)
            changed = with_access(mount, access is Access.READ_ONLY)
            self._ledger.write_mounts(changed if found.mount_id == mount.mount_id else found for found in self.mounts())
            self._trees.settle(mount.mount_point)

    def slide_beneath(self, mount: Mount, source: str) -> None:
        """A copy of ``source`` takes the place beneath: it is read-only, so it stays the same."""
        with self._ledger.locked():
            self._demand_topmost(mount)
            self._trees.slide_beneath(mount, source)

    @contextlib.contextmanager
    def carry(self, points: Sequence[str], *, detach: bool) -> Iterator[None]:
        """The mounts are taken away and attached again on what is there then.

        The real kernel leaves the first ones beneath when nothing is detached, where nobody sees them.
        """
        carried: list[Mount] = []
        with self._ledger.locked():
            for point in points:
                mount = self.mounts().stack(point)[-1]
                self._trees.pop(mount, keep=self._ledger.path("carried", mount.mount_id))
                carried.append(mount)
        try:
            yield
        finally:
            with self._ledger.locked():
                for mount in carried:
                    self._trees.attach_again(mount)

    # --- writing -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writable_view(self, target: str) -> Iterator[int]:
        """The merged tree itself. Where it is sealed the seal is lifted meanwhile, for this user alone.

        The real kernel gives a view that nobody else has, and this cannot be had with plain directories: during the
        block another process of the same user can write into the target too. See `ovlay.simulated.seals.Seals.lifted`
        for how little is opened.
        """
        mount = self.mounts().covering(target)
        sealed = mount is not None and (mount.read_only or mount.superblock_read_only)
        if mount is not None and sealed and (mount.mount_point != target or mount.upper is None):
            raise Conflict(f"what is mounted on {target} is read-only and is no overlay with an upper directory")
        real = self._trees.real(target)
        with self._seals.lifted(real, beside=self._trees.submounts(target)):
            descriptor = os.open(real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        self.sync(target)

    @contextlib.contextmanager
    def writable_directory(self, path: str) -> Iterator[int]:
        """The directory itself, with its own seal lifted; afterwards its modification time is now."""
        descriptor = os.open(self._trees.real(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with self._seals.opened(self._trees.real(path)):
                yield descriptor
            os.utime(descriptor)
        finally:
            os.close(descriptor)

    def sync(self, target: str) -> None:
        """Put into the upper what was written into the merged tree so far; nothing where no overlay is on top."""
        with self._ledger.locked():
            for mount in self.mounts().stack(target)[-1:]:
                self._trees.sync(mount)

    # --- for tests ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def hold(self, path: str, *, command: str = "holder") -> Iterator[str]:
        """Use what is mounted at ``path``, as a process does that has its working directory there.

        Gives a real path to the view. Before and after an unmount it leads to the same files.
        """
        with self._ledger.locked():
            mount = self.mounts().covering(path)
            if mount is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            descriptor = os.open(self._trees.real(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            record = self._ledger.add_holder(mount.mount_id, command)
        try:
            yield f"/proc/{os.getpid()}/fd/{descriptor}"
        finally:
            with self._ledger.locked():
                os.close(descriptor)
                with contextlib.suppress(FileNotFoundError):  # a reboot ends every process
                    os.unlink(record)
                self._trees.drop_views()

    @contextlib.contextmanager
    def unsealed(self, target: str) -> Iterator[str]:
        """The real path of ``target``, writable for the length of a block: for who builds a host, not for drivers."""
        self._seals.unseal(self._trees.real(target))
        try:
            yield self._trees.real(target)
        finally:
            self._trees.settle(target)

    def show_again(self, mount: Mount, point: str) -> None:
        """Add a line to the mount table: a directory of a mounted filesystem, read-only at a place within it."""
        with self._ledger.locked():
            state = self._ledger.load()
            number = state.next_mount
            state.next_mount = number + 1
            again = mount._replace(
                mount_id=number,
                parent_id=mount.mount_id,
                root=point.removeprefix(mount.mount_point),
                mount_point=point,
                options=",".join(("ro", *mount.options.split(",")[1:])),
            )
            self._ledger.save(state)
            self._ledger.write_mounts((*self.mounts(), again))

    def reboot(self) -> None:
        """All that is mounted goes, and with it /run and every tmpfs; what is on the disk stays."""
        with self._ledger.locked():
            self._trees.reboot()

    def close(self) -> None:
        """Lift every seal, so that the scratch root can be removed. The mounts stay; `SimulatedKernel` seals again."""
        with self._ledger.locked():
            self._trees.unseal_all()

    # --- how ---------------------------------------------------------------------------------------------------

    def _demand_topmost(self, mount: Mount) -> None:
        point = mount.mount_point
        stack = self.mounts().stack(point)
        if not stack or stack[-1].mount_id != mount.mount_id or stack[-1].device != mount.device:
            raise Conflict(f"the mount on {point} is no longer the one that was looked at", remedy=look_again(point))

    def _demand_depth(self, table: MountTable, layers: Sequence[str]) -> None:
        from ovlay.survey import stacking_depth

        inside = [layer for layer in layers if not layer.startswith(self.root + "/")]
        if any(stacking_depth(table, layer) >= MAX_STACK_DEPTH for layer in inside):
            raise OSError(errno.EINVAL, "maximum fs stacking depth exceeded")


def _used(directory: str) -> int:
    """The bytes that files take in whole blocks, as on a tmpfs."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += -(-os.lstat(os.path.join(folder, name)).st_size // _BLOCK) * _BLOCK
    return total
