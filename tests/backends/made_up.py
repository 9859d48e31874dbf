"""Made-up hosts: a mount table and a few files, for what no recorded state shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.states.host import RecordedHost, RecordedKernel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ovlay.host import Finished

CHECKSUM = "0123456789abcdef" * 4
DEPLOYED = f"/ostree/deploy/os/deploy/{CHECKSUM}.0"
DIGEST = "fedcba9876543210" * 8
MEMORY = "MemTotal:        4194304 kB\nMemFree:          131072 kB\nMemAvailable:    1048576 kB\n"

PLAIN_LINUX = "20 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
"""A distribution of the common kind: everything on one writable filesystem."""

READ_ONLY_LINUX = "20 1 254:0 / / ro,relatime shared:1 - ext4 /dev/vda ro\n"
"""A read-only root that is neither ostree's nor bootc's."""

OSTREE = (
    f"20 1 254:0 {DEPLOYED} / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    f"21 20 254:0 {DEPLOYED}/usr /usr ro,relatime shared:2 - ext4 /dev/vda rw\n"
)
"""An ostree host of the plain layout."""

COMPOSEFS = (
    f"20 1 0:30 / / ro,relatime shared:1 - overlay composefs:{DIGEST} ro,lowerdir+=/,datadir+=/objects,metacopy=on\n"
)
"""A host that bootc booted over composefs alone."""

TRANSIENT_COMPOSEFS = (
    f"20 1 0:31 / / rw,relatime shared:1 - overlay transient:composefs={DIGEST} rw,lowerdir+=/,upperdir=/upper,"
    "workdir=/work\n"
)
"""The same with a root that is writable for this boot."""

BOOTC_OVERLAY = "30 20 0:40 / /usr {0},relatime - overlay transient rw,lowerdir+=/usr,upperdir=/upper,workdir=/work\n"
"""What ``bootc usr-overlay`` mounts there; the mount's own flag is to be filled in."""


class MadeUpKernel(RecordedKernel):
    """A recorded kernel that may lack overlayfs, and where what is read-only in the table cannot be written."""

    def __init__(self, root: Path, mountinfo: str, *, overlayfs: bool) -> None:
        super().__init__(root, mountinfo, writable=True)
        self._overlayfs = overlayfs

    def supports(self, fstype: str) -> bool:
        return self._overlayfs and fstype == "overlay"

    def writable(self, path: str) -> bool:
        mount = self.mounts().covering(path)
        return mount is not None and not (mount.read_only or mount.superblock_read_only)


def made_up_host(
    root: Path,
    mountinfo: str,
    *,
    tools: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    answers: Mapping[tuple[str, ...], Finished] | None = None,
    overlayfs: bool = True,
) -> RecordedHost:
    """A host with these mounts, tools and files below ``root``; everything else that is asked for is missing."""
    given = {
        "/proc/self/mountinfo": mountinfo,
        "/proc/meminfo": MEMORY,
        "/proc/sys/kernel/random/boot_id": "5dc2e9d4-9add-4b63-a26e-3a0b0738ccdd\n",
        "/usr/lib/os-release": "ID=fedora\nVERSION_ID=44\n",
        **dict.fromkeys((f"/usr/bin/{tool}" for tool in tools), ""),
        **(files or {}),
    }
    for path, text in given.items():
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755)
    return RecordedHost(root, MadeUpKernel(root, mountinfo, overlayfs=overlayfs), answers or {})
