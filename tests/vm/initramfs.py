"""The initramfs of a machine: busybox, the image's own ostree-prepare-root, and the modules of the disk."""

from __future__ import annotations

import itertools
import lzma
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MODULES = ("virtio_pci", "virtio_blk", "virtio_console", "ext4", "overlay", "erofs", "loop")
"""What it loads: the disks, the channel to the tests, the file systems, and what a composefs root is made of."""

_DIRECTORIES = ("bin", "dev", "etc", "modules", "proc", "run", "sys", "sysroot", "tmp", "usr")
_PROGRAMS = ("/bin/busybox", "/usr/lib/ostree/ostree-prepare-root")
_APPLETS = ("cat", "insmod", "mount", "sh", "sleep", "switch_root")
_CONSOLE = (5, 1)


def make_initramfs(tree: Path, release: str, configuration: str, place: Path) -> None:
    """Write the initramfs for the kernel of this release, of what is in the tree of packages."""
    members: dict[str, bytes | str] = {}
    for name in (*_PROGRAMS, *_libraries(tree)):
        members[name.lstrip("/")] = (tree / name.lstrip("/")).read_bytes()
    members |= {f"bin/{name}": "busybox" for name in _APPLETS}
    members["usr/lib/ostree/prepare-root.conf"] = configuration.encode()
    for number, name in enumerate(_modules(tree, release)):
        packed = (tree / name.lstrip("/")).read_bytes()
        content = lzma.decompress(packed) if name.endswith(".xz") else packed
        members[f"modules/{number:02}-{Path(name).name.partition('.')[0]}.ko"] = content
    members["init"] = (Path(__file__).parent / "guest" / "init").read_bytes()
    with place.open("wb") as stream:  # not packed, since emulation would unpack it
        stream.writelines(_archive(members))


def _libraries(tree: Path) -> tuple[str, ...]:
    """What the programs are linked with, the loader too."""
    told = subprocess.run(["chroot", tree, "ldd", *_PROGRAMS], capture_output=True, text=True, check=False).stdout
    return tuple(sorted({word for word in told.split() if word.startswith("/") and not word.endswith(":")}))


def _modules(tree: Path, release: str) -> tuple[str, ...]:
    """Their files in the order of loading, each once."""
    order: list[str] = []
    for module in MODULES:
        ask = ["chroot", str(tree), "modprobe", "-S", release, "--show-depends", module]
        told = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
        order += [line.split()[1] for line in told.splitlines() if line.startswith("insmod ")]
    return tuple(dict.fromkeys(order))


def _archive(members: dict[str, bytes | str]) -> Iterator[bytes]:
    """A cpio archive, "newc" of the kernel's early-userspace/buffer-format.rst; a member that is text is a link."""
    directories = {str(parent) for name in members for parent in Path(name).parents} | set(_DIRECTORIES)
    directories.discard(".")
    inodes = itertools.count(1)
    for name in sorted(directories):
        yield _header(next(inodes), name, stat.S_IFDIR | 0o755)
    yield _header(next(inodes), "dev/console", stat.S_IFCHR | 0o600, device=_CONSOLE)
    for name, content in sorted(members.items()):
        data = os.fsencode(content) if isinstance(content, str) else content
        mode = stat.S_IFLNK | 0o777 if isinstance(content, str) else stat.S_IFREG | 0o755
        yield _header(next(inodes), name, mode, len(data)) + data + b"\0" * (-len(data) % 4)
    yield _header(0, "TRAILER!!!", 0)


def _header(number: int, name: str, mode: int, size: int = 0, device: tuple[int, int] = (0, 0)) -> bytes:
    text = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, size, 0, 0, *device, len(text), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + text
    return head + b"\0" * (-len(head) % 4)
