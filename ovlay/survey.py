"""Put the evidence about a target together: the mount table first, the driver's knowledge beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.kernel import MAX_STACK_DEPTH
from ovlay.model import Access, Anomaly, AnomalyKind, Base, Layer, Mode, Owner, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.backend import Backend
    from ovlay.host import Host
    from ovlay.kernel import Mount, MountTable
    from ovlay.model import Backing

_OURS = (Owner.OVLAY, Owner.TOOL)
_NEARLY_FULL = 0.8  # of the filesystem: from here on it is told


def take_survey(backend: Backend) -> Status:
    """The status of a driver's target, from evidence that is read and never changed."""
    host, target = backend.host, backend.target
    table = host.kernel.mounts()
    mounts = table.stack(target)
    stack = tuple(_layer(mount, backend.owner(mount)) for mount in mounts)
    at = next((n for n in reversed(range(len(stack))) if stack[n].upper is not None and stack[n].owner in _OURS), None)
    overlay = stack[at] if at is not None else None
    mount = mounts[at] if at is not None else None
    upper = None if mount is None else _proven_upper(backend, mount)
    depth = stacking_depth(table, target)
    parts = _devices(mounts)
    submounts = tuple(found.mount_point for found in table.below(target) if found.device not in parts)
    flag = backend.flag()
    backing = None if overlay is None else host.kernel.backing(upper or target)
    return Status(
        backend=backend.name,
        target=target,
        active=overlay is not None,
        writable=host.kernel.writable(target),
        mode=None if mount is None or overlay is None else Mode(_access(mount), backend.persistence(mount)),
        overlay=overlay,
        upper_path=upper,
        backing=backing,
        flag=flag,
        base=backend.base(),
        depth=depth,
        stack=stack,
        submounts=submounts,
        anomalies=(
            *_of_the_stack(target, stack, at, depth),
            *_of_the_submounts(target, table, parts, overlay),
            *_of_the_upper(target, overlay, upper, covered=at is not None and at + 1 < len(stack)),
            *(_of_the_superblock(target, overlay) if backend.seals_superblock else ()),
            *backend.anomalies(overlay),
            *_of_the_space(target, backing),
            *_left_behind(host, target),
            *_unfinished(host, target),
        ),
    )


def stacking_depth(table: MountTable, path: str) -> int:
    """How many filesystems lie on each other at ``path``, as the mount table lets one know.

    An overlay counts one more than the deepest of its layers (fs/overlayfs/super.c, s_stack_depth). A layer given by
    an absolute path is looked up where it is not the overlay's own place; one that leads nowhere counts as none.
    """
    mount = table.covering(path)
    return 0 if mount is None else _depth(table, mount, MAX_STACK_DEPTH, {})


def _depth(table: MountTable, mount: Mount, left: int, known: dict[tuple[Mount, int], int]) -> int:
    """The depth of a mount, looked for in ``left`` steps; ``known`` are those that were found already."""
    if not mount.is_overlay or left == 0:
        return 0
    if (mount, left) not in known:
        layers = (*mount.lower, *((mount.upper,) if mount.upper else ()))
        beneath = {under for layer in layers if (under := _shown_under(table, mount, layer)) is not None}
        known[mount, left] = 1 + max((_depth(table, under, left - 1, known) for under in beneath), default=0)
    return known[mount, left]


def _shown_under(table: MountTable, mount: Mount, layer: str) -> Mount | None:
    """The mount that a layer of ``mount`` lay on when it was mounted, as far as that can be told."""
    if not layer.startswith("/") or layer.startswith("/proc/"):
        return None
    if layer.startswith("/sysroot.tmp/"):
        # ostree-prepare-root's name for the root that it is building, before it becomes "/".
        return table.stack("/")[-1] if table.stack("/") else None
    if layer == mount.mount_point or layer.startswith(mount.mount_point + "/"):
        return table.by_id(mount.parent_id)
    found = table.covering(layer)
    # A layer is never on its own overlay: this is a name from within a detached mount, as bootc's composefs root has.
    return table.by_id(mount.parent_id) if found is mount else found


def image_is_read_only(table: MountTable, target: str) -> bool:
    """Whether the image beneath all that was mounted on ``target`` since is read-only.

    The answer is the same before and after an overlay is on the target: a driver that fits because of it goes on to.
    """
    image = [
        mount
        for mount in (*table.stack("/")[-1:], *table.stack(target))
        if not mount.is_overlay or (mount.upper is None and mount.source != "sysext")
    ]
    return any(mount.read_only or mount.superblock_read_only for mount in image)


def plain_base(host: Host, kind: str, *, checksum: str | None = None, image: str | None = None) -> Base:
    """A base with what os-release(5) tells of it."""
    release = host.os_release
    return Base(kind, checksum, image, release.get("ID"), release.get("VERSION_ID"))


def _layer(mount: Mount, owner: Owner) -> Layer:
    return Layer(
        mount_id=mount.mount_id,
        owner=owner,
        fstype=mount.fstype,
        source=mount.source,
        device=mount.device,
        access=Access.READ_ONLY if mount.read_only else Access.READ_WRITE,
        superblock=Access.READ_ONLY if mount.superblock_read_only else Access.READ_WRITE,
        lower=mount.lower if mount.is_overlay else (),
        upper=mount.upper if mount.is_overlay else None,
        work=mount.work if mount.is_overlay else None,
    )


def _access(mount: Mount) -> Access:
    return Access.READ_ONLY if mount.read_only or mount.superblock_read_only else Access.READ_WRITE


def _devices(mounts: tuple[Mount, ...]) -> frozenset[str]:
    """The devices of the overlays on the target: a mount below it with one is a part, as systemd-sysext's second is."""
    return frozenset(mount.device for mount in mounts if mount.is_overlay)


def _proven_upper(backend: Backend, mount: Mount) -> str | None:
    for candidate in backend.upper_candidates(mount):
        if backend.host.kernel.is_upper(mount, candidate):
            return candidate
    return None


def _of_the_stack(target: str, stack: tuple[Layer, ...], at: int | None, depth: int) -> Iterator[Anomaly]:
    above = stack[at + 1 :] if at is not None else ()
    beneath = stack[:at] if at is not None else ()
    for layer in stack:
        if layer.owner is Owner.FOREIGN:
            yield Anomaly(
                AnomalyKind.FOREIGN_OVERLAY,
                f"an overlay that is neither ovlay's nor its driver's is on {target} (source {layer.source})",
                f"if nobody needs it, take it away with `umount {target}`; else choose the driver that mounted it",
            )
    over = next((layer for layer in reversed(above) if layer.owner is Owner.SYSEXT), None)
    if over is not None:
        fate = "it shows, but cannot be written" if over.upper is None else "it shows, but what is written goes to them"
        yield Anomaly(
            AnomalyKind.HIDDEN_BY_SYSEXT,
            f"system extensions are merged over the overlay on {target}: {fate}",
            "take them away with `systemd-sysext unmerge`; they can be merged again afterwards"
            if over.upper is None
            else "`systemd-sysext unmerge` takes them away, and may lose what was written since they were merged",
        )
    # An overlay over the merged view itself (lowerdir is the target) lets the extensions show; ostree's does not.
    hiding = at is not None and stack[at].lower != (target,)
    if hiding and any(layer.owner is Owner.SYSEXT for layer in beneath):
        yield Anomaly(
            AnomalyKind.HIDES_SYSEXT,
            f"the overlay on {target} hides system extensions that are merged beneath it",
            f"{command('ovlay unmount', target)} brings them back",
        )
    if depth >= MAX_STACK_DEPTH:
        yield Anomaly(
            AnomalyKind.DEPTH_LIMIT,
            f"{depth} filesystems are stacked at {target}: the kernel allows no further overlay on it",
            f"take one away first (`systemd-sysext unmerge`, or {command('ovlay unmount', target)})",
        )


def _of_the_submounts(
    target: str, table: MountTable, parts: frozenset[str], overlay: Layer | None
) -> Iterator[Anomaly]:
    if overlay is None:
        return
    visible = {mount.mount_point for mount in table.below(target)}  # the original of one that was kept lies beneath
    hidden = [
        mount.mount_point
        for mount in table
        if mount.mount_point.startswith(target + "/") and mount.mount_point not in visible and mount.device not in parts
    ]
    if hidden:
        yield Anomaly(
            AnomalyKind.HIDDEN_SUBMOUNTS,
            f"the overlay on {target} covers the mounts on {', '.join(sorted(set(hidden)))}",
            f"{command('ovlay unmount', target)} brings them back; "
            f"{command('ovlay enable', target)} would have kept them in sight",
        )


def _of_the_upper(target: str, overlay: Layer | None, upper: str | None, *, covered: bool) -> Iterator[Anomaly]:
    if overlay is None:
        return
    if upper is None and not covered:  # of a covered overlay nothing can be proven: its root cannot be reached
        yield Anomaly(
            AnomalyKind.UNREACHABLE_UPPER,
            f"no path is known that leads to the upper directory of the overlay on {target} ({overlay.upper})",
            "nothing need be done: files can be placed and the overlay unmounted all the same; root may see more",
        )


def _of_the_superblock(target: str, overlay: Layer | None) -> Iterator[Anomaly]:
    if overlay is not None and overlay.access is Access.READ_ONLY and overlay.superblock is Access.READ_WRITE:
        yield Anomaly(
            AnomalyKind.WRITABLE_SUPERBLOCK,
            f"the mount on {target} is read-only, but its filesystem is not: another mount of it may be writing",
            "wait for the tool that writes (such as `dnf --transient`) to end",
        )


def _of_the_space(target: str, backing: Backing | None) -> Iterator[Anomaly]:
    """On a disk the host has its own warnings; memory that runs out here takes the system with it."""
    if backing is None or not backing.in_memory or backing.used <= backing.total * _NEARLY_FULL:
        return
    part = 100 * backing.used // backing.total if backing.total else 100
    yield Anomaly(
        AnomalyKind.NEARLY_FULL,
        f"the {backing.fstype} that takes the changes of {target} is in memory, and {part} % of it is used",
        f"see what takes the room with {command('ovlay diff --stat', target)}, and take back with "
        f"{command('ovlay revert', target)} what is not needed; "
        "or unmount it, and enable it again with a larger `tmpfs-size` in the configuration",
    )


def _unfinished(host: Host, target: str) -> Iterator[Anomaly]:
    """A change that is not at its end: because somebody is at it, or because he was killed. Waits for nobody."""
    from ovlay.host import OWN_LIMIT

    text = None if host.holds_lock else host.read(host.journal_path, limit=OWN_LIMIT)
    if text is None:
        return
    from ovlay.lock import is_locked
    from ovlay.plan.journal import Record

    if is_locked(host):
        yield Anomaly(
            AnomalyKind.AT_WORK,
            "another ovlay is changing this host right now",
            "ask again when it is done; a change waits for it",
        )
        return
    record = Record.parse(text)
    what = f" in the middle of: {record.first}" if record is not None and record.first else ""
    yield Anomaly(
        AnomalyKind.INTERRUPTED,
        f"an ovlay was stopped{what}",
        f"the next change, such as {command('ovlay enable', target)} or {command('ovlay unmount', target)}, "
        "brings it to an end first",
    )


def _left_behind(host: Host, target: str) -> Iterator[Anomaly]:
    """Views that a lazy unmount left behind, and that somebody uses still."""
    if not host.entries(host.state_dir + "/detached"):
        return  # the usual case, for which no step needs to be imported
    from ovlay.plan.unmounting import name_holders, remembered_views

    for view in remembered_views(host, target):
        if held := view.holders(host):
            yield Anomaly(
                AnomalyKind.HELD_AFTER_UNMOUNT,
                f"an overlay that was unmounted lazily from {target} is still used by {name_holders(held)}",
                "end or restart these processes; until then what they write goes into the old overlay",
            )
