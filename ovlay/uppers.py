"""Where ovlay's own uppers lie: a fresh directory for each overlay, named by boot and number, on a disk or in memory.

On a disk they are below the data directory, in memory on a tmpfs each below the state directory. An upper is never
used a second time, but for a persistent one, which has its own place (see the driver ``overlayfs``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.host import Host
    from ovlay.model import Access
    from ovlay.plan.step import Step

TMPFS_LIMIT = 8 << 30
"""A tmpfs for an upper is never larger, in bytes, however much memory there is."""


def own_overlay(
    host: Host, target: str, access: Access, carry: Sequence[str], *, in_memory: bool = False
) -> tuple[Step, ...]:
    """The steps to an overlay of ovlay's own on ``target``, over what shows there now, with a fresh upper.

    ``carry`` are the mounts below the target that stay in sight.
    """
    from ovlay.plan.steps import MountOverlay

    directory, steps = fresh_upper(host, target, in_memory=in_memory)
    mount = MountOverlay(target, (target,), f"{directory}/upper", f"{directory}/work", access, tuple(carry))
    return (*steps, mount)


def fresh_upper(host: Host, target: str, *, in_memory: bool = False) -> tuple[str, tuple[Step, ...]]:
    """A directory that is not there yet, and the steps that make it with ``upper`` and ``work`` in it."""
    from ovlay.plan.steps import MakePrivateDirectory, MakeUpper, MountTmpfs

    above = host.state_dir if in_memory else host.data_dir
    folder = f"{above}/overlays"
    taken = set(host.entries(folder))
    number = next(n for n in range(1 << 16) if f"{host.boot_id[:8]}-{n}" not in taken)
    directory = f"{folder}/{host.boot_id[:8]}-{number}"
    steps: list[Step] = [MakePrivateDirectory(above), MakePrivateDirectory(folder)]
    if in_memory:
        steps.append(MountTmpfs(directory, tmpfs_size(host)))
    steps.append(MakeUpper(directory, target))
    return directory, tuple(steps)


def tmpfs_size(host: Host) -> int | None:
    """The limit of a tmpfs for an upper: what the host was told, else half of the memory, as the kernel has it, and
    at most `TMPFS_LIMIT`.

    It is a limit and takes nothing by itself; `ovlay.plan.steps.MountTmpfs` lowers it where memory is short. None
    where the host does not tell how much memory it has.
    """
    if host.tmpfs_size is not None:
        return host.tmpfs_size
    for line in (host.read("/proc/meminfo") or "").splitlines():
        words = line.split()
        if words[:1] == ["MemTotal:"] and len(words) > 1 and words[1].isdecimal():
            return min(int(words[1]) * 512, TMPFS_LIMIT)
    return None


def leftovers(host: Host) -> tuple[str, ...]:
    """The directories of ovlay's own uppers on the disk that no mounted overlay uses; () for who may not look."""
    folder = f"{host.data_dir}/overlays"
    names = host.entries(folder)
    if not names:
        return ()
    used = [mount.upper or "" for mount in host.kernel.mounts() if mount.is_overlay]
    paths = (f"{folder}/{name}" for name in names)
    return tuple(
        path
        for path in paths
        if host.is_directory(f"{path}/upper") and not any(upper.startswith(path + "/") for upper in used)
    )


def clean_up(host: Host) -> tuple[Step, ...]:
    """The steps that remove what earlier overlays of ovlay left: uppers of another boot, and uppers that were kept
    for those who used them and whom nobody uses any more. Nothing that is mounted, nor held, is among them."""
    return (*_of_earlier_boots(host), *_kept(host))


def _of_earlier_boots(host: Host) -> tuple[Step, ...]:
    names = host.entries(f"{host.data_dir}/overlays")
    now = host.boot_id[:8]
    if not names or now == "unknown":
        return ()
    from ovlay.plan.directories import is_mounted_upper
    from ovlay.plan.steps import DiscardLeftover

    old = (f"{host.data_dir}/overlays/{name}" for name in names if name.rpartition("-")[0] not in (now, ""))
    return tuple(DiscardLeftover(path) for path in old if not is_mounted_upper(host, path))


def _kept(host: Host) -> tuple[Step, ...]:
    from ovlay.errors import InvalidInput
    from ovlay.plan.directories import KEPT, is_mounted_upper

    folder = f"{host.state_dir}/{KEPT}"
    names = host.entries(folder)
    if not names:
        return ()
    from ovlay.plan.steps import DiscardUpper
    from ovlay.plan.unmounting import View

    steps = []
    for name in names:
        try:
            step = DiscardUpper.from_text(host.read(f"{folder}/{name}") or "")
        except InvalidInput:
            continue  # a half-written record
        if is_mounted_upper(host, step.path) or View(step.target, step.mount_id, step.device).holders(host):
            continue
        steps.append(step)
    return tuple(steps)
