"""The demo's stage: a process in namespaces of its own, where mounts are allowed and no one else sees them.

``python -m ovlay.cli.stage DIRECTORY`` plays the story there with the driver ``overlayfs``, and writes a JSON object a
line: ``{"unavailable": why}``, ``{"scene": …}``, ``{"change": …}``, or ``{"failed": …}``. See user_namespaces(7).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from ovlay.errors import OvlayError
from ovlay.model import as_json

if TYPE_CHECKING:
    from ovlay.overlay import Overlay


def main(directory: str) -> int:
    """Play the story below ``directory``, which is empty and ours, and keep the tool beside it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the parent tells what happened, and cleans up
    try:
        enter_namespaces()
        overlay = set_up(directory)
    except (OSError, OvlayError) as error:
        _write({"unavailable": str(error)})
        return 0
    from ovlay.cli.story import Scene, tell

    try:
        for item in tell(overlay, os.path.dirname(directory)):
            _write({"scene" if isinstance(item, Scene) else "change": as_json(item)})
    except OvlayError as error:
        _write({"failed": {"message": str(error), "remedy": error.remedy}})
    return 0


def enter_namespaces() -> None:
    """A mount namespace of our own; for one who is not root, inside of a user namespace in which he is."""
    from ovlay.kernel import libc

    uid, gid = os.geteuid(), os.getegid()
    try:
        libc.unshare(libc.CLONE_NEWNS)
    except PermissionError:
        libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
        _put("/proc/self/setgroups", "deny")
        _put("/proc/self/uid_map", f"0 {uid} 1")
        _put("/proc/self/gid_map", f"0 {gid} 1")
    libc.make_private()


def set_up(directory: str) -> Overlay:
    """A sealed tree, and the overlay for it; raises ``OSError`` where the kernel does not let us mount one."""
    from ovlay.cli.story import make_base
    from ovlay.host import Host
    from ovlay.kernel import libc
    from ovlay.kernel.linux import LinuxKernel
    from ovlay.model import Access
    from ovlay.overlay import open_overlay

    trial = {name: os.path.join(directory, "trial", name) for name in ("lower", "upper", "work", "merged")}
    for path in trial.values():
        os.makedirs(path)
    kernel = LinuxKernel()
    kernel.mount_overlay(
        trial["merged"],
        lower=[trial["lower"]],
        upper=trial["upper"],
        work=trial["work"],
        access=Access.READ_WRITE,
        source="trial",
    )
    kernel.unmount(kernel.mounts().stack(trial["merged"])[-1], lazy=False)

    target = os.path.join(directory, "usr")
    make_base(target)
    sealed = libc.open_tree(target)
    libc.mount_set_read_only(sealed, read_only=True)
    libc.move_mount(sealed, target)
    os.close(sealed)
    return open_overlay("overlayfs", target=target, host=Host(scratch=os.path.join(directory, "scratch")))


def _put(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as stream:
        stream.write(text)


def _write(item: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(item) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
