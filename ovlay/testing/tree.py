"""A small /usr that has one of everything that an overlay must keep: what the contract and the plugin work on."""

from __future__ import annotations

import contextlib
import os

STAMP = 1_577_934_245_123_456_789
"""The modification time of everything in the tree, in nanoseconds since the epoch."""

TOOL = b"#!/bin/sh\necho pristine\n"
"""The content of bin/tool."""


def make_known_tree(directory: str | os.PathLike[str]) -> None:
    """Make ``directory`` and fill it: programs, a hard link, links that stay in and one that leads out, attributes.

    ``local`` leads to ``../var/usrlocal``, as it does on ostree hosts, and need not lead anywhere.
    """
    top = os.fspath(directory)
    for folder in ("", "bin", "lib", "lib/deep/deeper", "share/doc", "share/empty"):
        os.makedirs(f"{top}/{folder}", mode=0o755, exist_ok=True)
    _write(f"{top}/bin/tool", TOOL, 0o755)
    _write(f"{top}/lib/data", b"data\n" * 1000, 0o644)
    _write(f"{top}/lib/deep/deeper/leaf", b"", 0o600)
    _write(f"{top}/lib/private", b"for one user\n", 0o400)
    _write(f"{top}/share/doc/" + os.fsdecode(b"no utf-8 \xff\n"), b"name\n", 0o644)
    os.link(f"{top}/lib/data", f"{top}/share/doc/same-as-data")
    os.symlink("tool", f"{top}/bin/alias")
    os.symlink("../lib/deep", f"{top}/share/deep")
    os.symlink("../var/usrlocal", f"{top}/local")
    os.chmod(f"{top}/share/empty", 0o1777)  # noqa: S103 (the sticky bit is easily lost)
    with contextlib.suppress(OSError):  # not every filesystem has them
        os.setxattr(f"{top}/lib/data", "user.note", b"kept")
        os.setxattr(f"{top}/lib/deep", "user.note", b"kept too")
    for folder, folders, files in os.walk(top, topdown=False):
        for name in (*folders, *files):
            os.utime(os.path.join(folder, name), ns=(STAMP, STAMP), follow_symlinks=False)
    os.utime(top, ns=(STAMP, STAMP))


def _write(path: str, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, content)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
