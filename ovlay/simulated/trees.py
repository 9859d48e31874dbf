"""The directories of a simulated kernel: what is covered is moved aside and comes back, untouched."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import uuid
from typing import TYPE_CHECKING

from ovlay.kernel.mountinfo import Mount
from ovlay.simulated.layers import fill_upper, materialise, merge, remove_tree
from ovlay.simulated.ledger import Ledger
from ovlay.simulated.seals import Seals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.kernel.mountinfo import MountTable
    from ovlay.simulated.ledger import Layers, State


class Trees:
    """The trees of all mounts below one scratch root, and the books about them."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.ledger = Ledger(root)
        self.seals = Seals(self.ledger.path("seals.json"))

    def real(self, path: str) -> str:
        """Where the host's ``path`` is found."""
        return self.root + posixpath.normpath("/" + path.lstrip("/"))

    def is_there(self, path: str) -> bool:
        """Whether the host's ``path`` leads to a directory."""
        return os.path.isdir(self.real(path))

    def covered(self, number: int) -> bool:
        """Whether this mount has moved something aside."""
        return os.path.lexists(self.ledger.path("covered", number))

    def push(self, state: State, mount: Mount, build: Callable[[str], None]) -> None:
        """Put a new tree on a place: made beside it, and then exchanged with what is there."""
        real = self.real(mount.mount_point)
        fresh, covered = self.ledger.path("new"), self.ledger.path("covered", mount.mount_id)
        if os.path.lexists(fresh):
            remove_tree(fresh)
        try:
            build(fresh)
        except BaseException:
            if os.path.lexists(fresh):
                remove_tree(fresh)
            raise
        self.move(real, covered)
        self.move(fresh, real)
        state.pushed = (*state.pushed, mount.mount_id)
        self.ledger.save(state)
        self.ledger.write_mounts((*self.ledger.mounts(), mount))
        self.settle(mount.mount_point)

    def pop(self, mount: Mount, *, keep: str | None = None) -> None:
        """Take a mount off its place, with all that is mounted in it; with ``keep`` its tree is moved there."""
        for child in reversed([found for found in self.ledger.mounts() if found.parent_id == mount.mount_id]):
            self.pop(child)
        self.sync(mount)
        real, state = self.real(mount.mount_point), self.ledger.load()
        held = bool(self.ledger.holders([mount.mount_id]))
        if self.covered(mount.mount_id):
            aside = keep or self.ledger.path("views", mount.mount_id)
            self.move(real, aside)
            self.move(self.ledger.path("covered", mount.mount_id), real)
        state.pushed = tuple(number for number in state.pushed if number != mount.mount_id)
        if keep is None:
            state.sizes.pop(mount.mount_id, None)
        if not held:
            state.overlays.pop(mount.mount_id, None)
        self.ledger.save(state)
        self.ledger.write_mounts(found for found in self.ledger.mounts() if found.mount_id != mount.mount_id)
        self.settle(mount.mount_point)
        if not held and keep is None:
            self.drop_views()

    def parent(self, point: str) -> Mount:
        """The mount that a new one on ``point`` is attached to."""
        if not self.is_there(point):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), point)
        parent = self.ledger.mounts().covering(point)
        if parent is None:
            raise OSError(errno.EINVAL, "the mount table has no root", point)
        return parent

    def slide_beneath(self, mount: Mount, source: str) -> None:
        """Put a copy of ``source``, read-only, between a mount and what it covers."""
        table, state = self.ledger.mounts(), self.ledger.load()
        under = table.covering(source) or mount
        number = state.next_mount
        state.next_mount = number + 1
        state.pushed = (number, *state.pushed)
        beneath = under._replace(mount_id=number, parent_id=mount.parent_id, root=source, mount_point=mount.mount_point)
        copy = self.ledger.path("carried", number)
        materialise(merge([os.path.realpath(self.real(source))]), copy, self.seals.true_mode)
        if self.covered(mount.mount_id):
            self.move(self.ledger.path("covered", mount.mount_id), self.ledger.path("covered", number))
        self.move(copy, self.ledger.path("covered", mount.mount_id))
        lines = []
        for found in table:
            if found.mount_id == mount.mount_id:
                options = ",".join(("ro", *beneath.options.split(",")[1:]))
                lines += [beneath._replace(options=options), mount._replace(parent_id=number)]
            else:
                lines.append(found)
        self.ledger.save(state)
        self.ledger.write_mounts(lines)

    def attach_again(self, mount: Mount) -> None:
        """Attach a mount that was popped with its tree kept, on what is at its place now."""
        state = self.ledger.load()
        parent = self.parent(mount.mount_point)
        number = state.next_mount
        state.next_mount = number + 1
        if mount.mount_id in state.sizes:
            state.sizes[number] = state.sizes.pop(mount.mount_id)
        kept = self.ledger.path("carried", mount.mount_id)
        again = mount._replace(mount_id=number, parent_id=parent.mount_id)
        self.push(state, again, lambda place: self.move(kept, place))

    def drop_views(self) -> None:
        """Remove the trees that were unmounted lazily and that nobody holds any more; what was written is kept."""
        state = self.ledger.load()
        for name in os.listdir(self.ledger.path("views")):
            if self.ledger.holders([int(name)]):
                continue
            view = self.ledger.path("views", name)
            gone = Mount(int(name), 0, "0:0", "/", "/", "rw", "", "overlay", "", "rw")
            self.sync(gone)
            self.seals.forget(view)
            remove_tree(view)
            state.overlays.pop(int(name), None)
        self.ledger.save(state)

    def sync(self, mount: Mount) -> None:
        """Put what was written into the merged tree of an overlay into its upper; nothing for another mount."""
        layers = self.ledger.load().overlays.get(mount.mount_id)
        if layers is None or not self.is_there(layers.upper):
            return
        merged, lower = self._sides(mount, layers)
        fill_upper(self.real(layers.upper), lower, merged, self.seals.true_mode)

    @contextlib.contextmanager
    def sides(self, mount: Mount) -> Iterator[tuple[str, str]]:
        """Directories that show the merged tree of an overlay and the lower with their true modes and no submounts.

        They are the trees themselves where these can be shown as they are, else copies for the length of the block.
        """
        layers = self.ledger.load().overlays[mount.mount_id]
        with contextlib.ExitStack() as stack:
            yield self._shown(stack, self._sides(mount, layers)[0]), self._shown(stack, self._sides(mount, layers)[1])

    def _shown(self, stack: contextlib.ExitStack, tree: dict[str, str]) -> str:
        top = tree["."]
        plain = all(real == (top if path == "." else f"{top}/{path}") for path, real in tree.items())
        if plain and not self.seals.sealed(top):  # a seal shows as modes or flags that nobody gave
            return top
        copy = self.ledger.path("shown", uuid.uuid4())
        os.makedirs(os.path.dirname(copy), mode=0o700, exist_ok=True)
        stack.callback(remove_tree, copy)
        materialise(tree, copy, self.seals.true_mode)
        return copy

    def _sides(self, mount: Mount, layers: Layers) -> tuple[dict[str, str], dict[str, str]]:
        """What the merged tree of an overlay shows, and what its lower layers do."""
        table = self.ledger.mounts()
        above = next((m for m in table if (m.parent_id, m.mount_point) == (mount.mount_id, mount.mount_point)), None)
        tree = self.ledger.path("views", mount.mount_id)
        if not os.path.isdir(tree):
            tree = self.real(mount.mount_point) if above is None else self.ledger.path("covered", above.mount_id)
        lower = merge([self._find_layer(path, inode) for path, inode in layers.lower])
        point = mount.mount_point
        return self.without_submounts(merge([tree]), table, point), self.without_submounts(lower, table, point)

    def _find_layer(self, path: str, inode: int) -> str:
        """Where a lower layer is by now: it moves when something is mounted over it."""
        covered = self.ledger.path("covered")
        for candidate in (self.root + path, *(f"{covered}/{name}" for name in os.listdir(covered))):
            with contextlib.suppress(FileNotFoundError):
                if os.stat(candidate).st_ino == inode:
                    return candidate
        raise OSError(errno.ESTALE, "the lower layer of an overlay is gone", path)

    def without_submounts(self, tree: dict[str, str], table: MountTable, target: str) -> dict[str, str]:
        """What an overlay sees of a tree: not what is mounted in it, but the directories that are covered so."""
        if target == "/":
            return tree
        for mount in table:
            if mount.mount_point.startswith(target + "/") and self.covered(mount.mount_id):
                point = posixpath.relpath(mount.mount_point, target)
                if point in tree:
                    tree = {p: real for p, real in tree.items() if p != point and not p.startswith(point + "/")}
                    under = merge([self.ledger.path("covered", mount.mount_id)])
                    tree |= {point if p == "." else f"{point}/{p}": real for p, real in under.items()}
        return dict(sorted(tree.items(), key=lambda item: item[0].split("/") if item[0] != "." else []))

    def submounts(self, target: str) -> frozenset[str]:
        """The real paths of what is mounted below ``target``."""
        return frozenset(self.real(mount.mount_point) for mount in self.ledger.mounts().below(target))

    def _places(self) -> tuple[str, ...]:
        """Where trees are sealed or not: /usr, and wherever something was mounted since the boot."""
        pushed = set(self.ledger.load().pushed)
        return tuple({"/usr", *(mount.mount_point for mount in self.ledger.mounts() if mount.mount_id in pushed)})

    def settle_all(self) -> None:
        """Make all seals what the mount table says."""
        for point in self._places():
            self.settle(point)

    def settle(self, point: str) -> None:
        """Make the seal on a place what the topmost mount there says."""
        real, mount = self.real(point), self.ledger.mounts().covering(point)
        if mount is None or not os.path.isdir(real):
            return
        if mount.read_only or mount.superblock_read_only:
            if not self.seals.sealed(real):
                self.seals.seal(real, beside=self.submounts(point))
        elif self.seals.sealed(real):
            self.seals.unseal(real)

    def move(self, source: str, destination: str) -> None:
        """Rename a directory into another one, whatever seals are on it and on the directories that it is in."""
        with (
            self.seals.opened(source),
            self.seals.opened(os.path.dirname(source)),
            self.seals.opened(os.path.dirname(destination)),
        ):
            os.rename(source, destination)

    def unseal_all(self) -> None:
        """Lift every seal."""
        trees = [self.real(point) for point in self._places()]
        for name in ("covered", "views", "carried"):
            trees += [self.ledger.path(name, number) for number in os.listdir(self.ledger.path(name))]
        for tree in trees:
            if os.path.isdir(tree) and self.seals.sealed(tree):
                self.seals.unseal(tree)

    def reboot(self) -> None:
        """Take away all mounts, whoever holds them, and empty /run."""
        holders = self.ledger.path("holders")
        for name in os.listdir(holders):
            os.unlink(f"{holders}/{name}")
        self.drop_views()
        for number in reversed(self.ledger.load().pushed):
            if (mount := self.ledger.mounts().by_id(number)) is not None:
                self.pop(mount)
        for name in os.listdir(self.root + "/run"):
            remove_tree(f"{self.root}/run/{name}")
        self.ledger.boot(self.ledger.boot_table)
        self.settle_all()
