"""The ways in which a base and an overlay on it can be put together, for a process that is alone in its namespaces."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

EVERYWHERE = frozenset({"links", "fifos"})
FULL = EVERYWHERE | {"devices", "owners", "attributes", "acl", "escapes", "flags", "user-attributes"}
MIXED = FULL - {"flags"}  # two filesystems of which only one has them


@dataclass(frozen=True)
class Topology:
    """``lower`` and ``upper`` are filesystems (``same``: the upper is on the lower's); ``options`` are the overlay's.

    ``can`` is what cases may need there; ``tools`` must be installed. ``root`` says whether it needs the real root.
    ``reached`` is whether the upper can be found.
    """

    lower: str = "tmpfs"
    upper: str = "same"
    options: str = ""
    can: frozenset[str] = FULL
    tools: tuple[str, ...] = ()
    root: bool = True
    reached: bool = True
    mount: Callable[[Scratch, Topology], None] | None = None
    after: Callable[[Scratch], None] | None = None


@dataclass
class Scratch:
    """The directories of one run: ``target`` is where the base is, and then the overlay on it."""

    top: Path
    target: Path = field(init=False)
    work: Path = field(init=False)  # upper and work directories

    def __post_init__(self) -> None:
        self.target = self.top / "target"
        self.work = self.top / "layers"


def run(*command: str | os.PathLike[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise OSError(f"{command}: {done.stdout}{done.stderr}")


def make_base(scratch: Scratch, topology: Topology, fill: Callable[[Path], object]) -> None:
    """Put a filled filesystem on the target, and one for the upper beside it."""
    scratch.target.mkdir(parents=True)
    scratch.work.mkdir()
    if topology.lower in ("erofs", "squashfs"):
        fill(scratch.target)
        image = scratch.top / "image"
        if topology.lower == "erofs":
            run("mkfs.erofs", "-T", "1600000000", image, scratch.target)
        else:
            run("mksquashfs", scratch.target, image, "-quiet", "-no-progress")
        run("mount", "-t", topology.lower, "-o", "loop,ro", image, scratch.target)
    elif topology.upper == "same":
        put_filesystem(topology.lower, scratch.work)
        (scratch.work / "base").mkdir()
        run("mount", "--bind", scratch.work / "base", scratch.target)
        fill(scratch.target)
        return
    else:
        put_filesystem(topology.lower, scratch.target)
        fill(scratch.target)
    put_filesystem(topology.upper, scratch.work)


def put_filesystem(kind: str, place: Path) -> None:
    name, _, options = kind.partition(" ")
    if name == "tmpfs":
        run("mount", "-t", "tmpfs", "tmpfs", place)
        return
    image = place.with_suffix(".image")
    with open(image, "wb") as stream:
        stream.truncate((400 if name == "xfs" else 128) << 20)
    force = "-F" if name == "ext4" else "-f"
    run(f"mkfs.{name}", "-q", force, *options.split(), image)
    run("mount", "-o", "loop", image, place)


def mount_overlay(scratch: Scratch, topology: Topology) -> None:
    """The usual way: over the base itself."""
    upper, work = scratch.work / "upper", scratch.work / "work"
    for directory in (upper, work):
        directory.mkdir()
    found = scratch.target.stat()
    os.chown(upper, found.st_uid, found.st_gid)
    upper.chmod(found.st_mode & 0o7777)
    options = f"lowerdir={scratch.target},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "ovlay", "-o", ",".join(filter(None, (options, topology.options))), scratch.target)


def mount_fuse(scratch: Scratch, topology: Topology) -> None:
    upper, work = scratch.work / "upper", scratch.work / "work"
    for directory in (upper, work):
        directory.mkdir()
    upper.chmod(scratch.target.stat().st_mode & 0o7777)
    # It looks its lower up by a path, which must not lead to itself.
    beneath = scratch.top / "beneath"
    beneath.mkdir()
    run("mount", "--bind", scratch.target, beneath)
    run("fuse-overlayfs", "-o", f"lowerdir={beneath},upperdir={upper},workdir={work}", scratch.target)


def mount_detached(scratch: Scratch, topology: Topology, *, size: str = "50%") -> None:
    """As bootc does on its composefs backend: upper and work on a tmpfs to which no path leads."""
    from ovlay.kernel import libc

    mode = scratch.target.stat().st_mode & 0o7777
    context = libc.fsopen("tmpfs")
    libc.fsconfig_string(context, "size", size)
    libc.fsconfig_create(context)
    tmpfs = libc.fsmount(context)
    here = f"/proc/self/fd/{tmpfs}"
    os.mkdir(f"{here}/upper")
    os.chmod(f"{here}/upper", mode)
    os.mkdir(f"{here}/work")
    overlay = libc.fsopen("overlay")
    libc.fsconfig_string(overlay, "source", "transient")
    libc.fsconfig_string(overlay, "lowerdir+", str(scratch.target))
    os.chdir(here)
    libc.fsconfig_string(overlay, "upperdir", "upper")
    libc.fsconfig_string(overlay, "workdir", "work")
    os.chdir("/")
    libc.fsconfig_create(overlay)
    mount = libc.fsmount(overlay)
    libc.move_mount(mount, str(scratch.target))
    for descriptor in (context, tmpfs, overlay, mount):
        os.close(descriptor)


def mount_mapped(source: Path, at: Path, mapping: str) -> None:
    """An idmapped mount of a directory: mount_setattr(2). ``mapping`` is a line of user_namespaces(7)' uid_map."""
    import ctypes

    from ovlay.kernel import libc

    holder = subprocess.Popen(["unshare", "--user", "sleep", "60"])
    try:
        here = os.stat("/proc/self/ns/user").st_ino
        while os.stat(f"/proc/{holder.pid}/ns/user").st_ino == here:
            time.sleep(0.01)
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text(mapping)
        namespace = os.open(f"/proc/{holder.pid}/ns/user", os.O_RDONLY)
    finally:
        holder.kill()
        holder.wait()
    tree = libc.open_tree(str(source))
    idmap = 0x100000  # MOUNT_ATTR_IDMAP: include/uapi/linux/mount.h
    attributes = (ctypes.c_uint64 * 4)(idmap, 0, 0, namespace)
    call, size = 442, ctypes.sizeof(attributes)  # mount_setattr, on every architecture
    assert ctypes.CDLL(None).syscall(call, tree, b"", libc.AT_EMPTY_PATH, attributes, ctypes.c_size_t(size)) == 0
    libc.move_mount(tree, str(at))
    for descriptor in (tree, namespace):
        os.close(descriptor)


def mount_two_lowers(scratch: Scratch, topology: Topology) -> None:
    """As systemd-sysext does with a mutable hierarchy: an extension lies between the upper and the base."""
    extension = scratch.work / "extension"
    (extension / "added").mkdir(parents=True)
    (extension / "added/by-extension").write_text("extension\n")
    (extension / "modes").mkdir()
    (extension / "modes/file").write_text("content\n")
    extension.chmod(scratch.target.stat().st_mode & 0o7777)
    upper, work = scratch.work / "upper", scratch.work / "work"
    for directory in (upper, work):
        directory.mkdir()
    upper.chmod(scratch.target.stat().st_mode & 0o7777)
    options = f"lowerdir={extension}:{scratch.target},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "sysext", "-o", options, scratch.target)


def mount_over_an_overlay(scratch: Scratch, topology: Topology) -> None:
    """An overlay on an overlay, as where system extensions are merged beneath."""
    extension = scratch.top / "extension"
    (extension / "added").mkdir(parents=True)
    (extension / "added/by-extension").write_text("extension\n")
    extension.chmod(scratch.target.stat().st_mode & 0o7777)
    run("mount", "-t", "overlay", "sysext", "-o", f"lowerdir={extension}:{scratch.target}", scratch.target)
    mount_overlay(scratch, topology)


def cover_with_an_overlay(scratch: Scratch) -> None:
    """Merge a system extension over the overlay."""
    extension = scratch.top / "over"
    (extension / "over").mkdir(parents=True)
    (extension / "over/file").write_text("extension\n")
    run("mount", "-t", "overlay", "sysext", "-o", f"lowerdir={extension}:{scratch.target}", scratch.target)


USER = EVERYWHERE | {"acl", "user-attributes"}

TOPOLOGIES: dict[str, Topology] = {
    "user": Topology(options="userxattr", can=USER, root=False),
    "user-two-filesystems": Topology(upper="tmpfs", options="userxattr", can=USER, root=False),
    "tmpfs": Topology(),
    "two-tmpfs": Topology(upper="tmpfs"),
    "ext4": Topology("ext4 -I 256"),
    "ext4-and-tmpfs": Topology("ext4 -I 256", "tmpfs", can=MIXED),
    "ext4-of-small-inodes": Topology("ext4 -I 128"),
    "small-inodes-above": Topology("tmpfs", "ext4 -I 128", can=MIXED),
    "xfs": Topology("xfs", tools=("mkfs.xfs",)),
    "btrfs": Topology("btrfs", tools=("mkfs.btrfs",)),
    "btrfs-and-xfs": Topology("btrfs", "xfs", tools=("mkfs.btrfs", "mkfs.xfs"), can=MIXED),
    "erofs": Topology("erofs", "tmpfs", tools=("mkfs.erofs",), can=MIXED - {"acl"}),
    "squashfs": Topology("squashfs", "ext4 -I 256", tools=("mksquashfs",), can=MIXED - {"acl"}),
    "redirects": Topology("ext4 -I 256", options="redirect_dir=on"),
    "redirects-two-filesystems": Topology("ext4 -I 256", "tmpfs", options="redirect_dir=on,xino=off", can=MIXED),
    "redirects-erofs": Topology(
        "erofs", "tmpfs", options="redirect_dir=on,xino=off", tools=("mkfs.erofs",), can=MIXED - {"acl"}
    ),
    "redirects-squashfs": Topology(
        "squashfs", "tmpfs", options="redirect_dir=on", tools=("mksquashfs",), can=MIXED - {"acl"}
    ),
    "redirects-btrfs": Topology("btrfs", "tmpfs", options="redirect_dir=on", tools=("mkfs.btrfs",), can=MIXED),
    "xino": Topology("ext4 -I 256", "tmpfs", options="xino=on,redirect_dir=on", can=MIXED),
    "index": Topology("ext4 -I 256", options="index=on"),
    "index-xfs": Topology("xfs", options="index=on,redirect_dir=on", tools=("mkfs.xfs",)),
    "metacopy": Topology("ext4 -I 256", options="metacopy=on,redirect_dir=on"),
    "metacopy-index": Topology("ext4 -I 256", "tmpfs", options="metacopy=on,redirect_dir=on,index=on", can=MIXED),
    "no-uuid": Topology(options="uuid=off"),
    "detached": Topology("ext4 -I 256", reached=False, mount=mount_detached, can=MIXED),
    "detached-erofs": Topology(
        "erofs", "tmpfs", reached=False, mount=mount_detached, tools=("mkfs.erofs",), can=MIXED - {"acl"}
    ),
    "under-an-extension": Topology("ext4 -I 256", "tmpfs", after=cover_with_an_overlay, can=MIXED),
    "over-an-extension": Topology("ext4 -I 256", mount=mount_over_an_overlay),
    "extension-within": Topology("ext4 -I 256", mount=mount_two_lowers),
    "fuse": Topology(
        "ext4 -I 256", mount=mount_fuse, reached=False, tools=("fuse-overlayfs",), can=frozenset({"links", "owners"})
    ),
    "fuzz-redirects": Topology(upper="tmpfs", options="redirect_dir=on,metacopy=on"),
    "fuzz-index": Topology(options="index=on,redirect_dir=on"),
}
