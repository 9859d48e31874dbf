"""A machine for the tests of restoring: a base, an overlay on it, and every kind of change."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from ovlay.changes.compare import Aspect, Difference, compare, scan_tree
from ovlay.host import Host
from ovlay.overlay import Overlay
from ovlay.plan.restoring import RestorePaths
from ovlay_backends.overlayfs import OverlayfsBackend

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.model import Mode

ODD = "new\nline \udcff"
"""A name that is neither printable nor UTF-8."""

LINKS = (Aspect.HARD_LINKS,)


class Machine:
    """A target with a small base on a scratch tmpfs, and the real kernel's overlay on it."""

    def __init__(self, scratch: Path, mode: Mode | None = None) -> None:
        self.target = scratch / "usr"
        make_base(self.target)
        self.base = scan_tree(self.target)
        self.host = Host("/", scratch=str(scratch / "own"))
        self.overlay = Overlay(OverlayfsBackend(self.host, str(self.target)))
        self.overlay.enable(mode)

    def step(self, added: tuple[str, ...], changed: tuple[str, ...]) -> RestorePaths:
        """A step that nobody planned."""
        overlay = self.overlay.status().overlay
        assert overlay is not None
        return RestorePaths(str(self.target), overlay.mount_id, added, changed, durable=False)

    def differences(self, ignore: tuple[Aspect, ...] = LINKS) -> tuple[Difference, ...]:
        """What the target differs in from what it was."""
        return compare(self.base, scan_tree(self.target), ignore=ignore)

    def is_base(self) -> None:
        """The target is what it was, and so is what lies beneath."""
        assert self.differences() == ()
        assert not self.overlay.changes().changes
        self.overlay.unmount(lazy=True)
        assert compare(self.base, scan_tree(self.target)) == ()


def make_base(usr: Path) -> None:
    for folder in ("bin", "lib/deep/er", "share/doc", "share/empty", "libexec"):
        (usr / folder).mkdir(parents=True)
    for name in ("bin/tool", "bin/other", "lib/libone.so", "lib/deep/a", "lib/deep/er/b", "share/doc/text"):
        (usr / name).write_text(f"{name}\n" * 50)
    (usr / "bin/tool").chmod(0o4755)
    (usr / "lib/link").symlink_to("libone.so")
    (usr / "lib/dangling").symlink_to("/nowhere")
    os.mkfifo(usr / "lib/fifo", 0o640)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(usr / "lib/socket"))
    (usr / f"share/{ODD}").write_text("odd\n")
    os.link(usr / "share/doc/text", usr / "share/doc/same")
    (usr / "lib/sparse").write_bytes(b"")
    os.truncate(usr / "lib/sparse", 5 << 20)
    with (usr / "lib/sparse").open("r+b") as stream:
        stream.seek(3 << 20)
        stream.write(b"middle")
    os.setxattr(usr / "bin/other", "user.note", b"kept")
    os.setxattr(usr / "lib/deep", "user.note", b"of a directory")
    (usr / "lib/deep").chmod(0o2750)
    with suppress(PermissionError):
        os.mknod(usr / "lib/device", stat.S_IFCHR | 0o660, os.makedev(1, 3))
    with suppress(PermissionError):
        # CAP_NET_RAW, permitted and effective: struct vfs_cap_data of include/uapi/linux/capability.h
        os.setxattr(usr / "bin/other", "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
    old = 1_600_000_000_123_456_789
    for path in (*sorted(usr.rglob("*"), reverse=True), usr):
        os.utime(path, ns=(old, old), follow_symlinks=False)
        old += 1_000_000_007


def edit_all(usr: Path) -> None:
    """Every kind of change that there is."""
    (usr / "bin/tool").write_text("changed")  # takes the set-id bit away
    (usr / "bin/other").chmod(0o700)
    with suppress(OSError):
        os.removexattr(usr / "bin/other", "security.capability")
    os.setxattr(usr / "bin/other", "user.note", b"other")
    os.setxattr(usr / "bin/other", "user.more", b"")
    for path in ("lib/deep/er/b", "lib/deep/a", "lib/link", "lib/fifo", "lib/socket", "lib/sparse"):
        (usr / path).unlink()
    (usr / "lib/deep/er").rmdir()
    (usr / "lib/deep").rmdir()
    (usr / "lib/link").symlink_to("other")
    (usr / "lib/fifo").write_text("no fifo any more")
    (usr / "lib/libone.so").unlink()
    (usr / "lib/libone.so").mkdir()
    (usr / "lib/libone.so/inner").write_text("in what was a file")
    (usr / "share/empty").rmdir()
    (usr / "share/empty").symlink_to("doc")
    (usr / "share/doc/text").write_text("one of two names")
    (usr / f"share/{ODD}").unlink()
    (usr / f"share/{ODD} too").write_text("")
    (usr / "new/tree/below").mkdir(parents=True)
    (usr / "new/tree/below/file").write_text("new")
    (usr / "new/tree/link").symlink_to("/etc/passwd")
    shutil.move(usr / "libexec", usr / "renamed")  # rename(2) of a directory of the lower is EXDEV
    usr.chmod(0o711)
    if (usr / "lib/device").exists():
        (usr / "lib/device").unlink()
        os.mknod(usr / "lib/device", stat.S_IFCHR | 0o660, os.makedev(1, 5))
    os.utime(usr / "lib/dangling", ns=(5, 5), follow_symlinks=False)
