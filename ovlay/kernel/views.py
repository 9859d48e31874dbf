"""The sides of one overlay, as descriptors: what it shows, what is beneath it, and its upper directory.

A thread of its own takes the mounts off the target in a mount namespace of its own, where nobody sees it, and keeps
detached copies (open_tree(2) with OPEN_TREE_CLONE). unshare(2) with CLONE_NEWNS is per thread, so that no process
must be forked; the namespace ends with the thread, the copies live for as long as their descriptors.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ovlay.advice import look_again
from ovlay.errors import Conflict, NotPermitted
from ovlay.kernel import Views
from ovlay.kernel.mountinfo import parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.kernel.mountinfo import Mount, MountTable

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def opened_views(mount: Mount, table: MountTable, candidates: Iterable[str] = ()) -> Iterator[Views]:
    """The sides of a mounted overlay; needs CAP_SYS_ADMIN in the user namespace that mounted it. See `Kernel.views`."""
    with ExitStack() as stack:
        merged, lower = _peel(mount)
        stack.callback(os.close, merged)
        stack.callback(os.close, lower)
        upper = None
        if mount.fstype == "overlay":
            from ovlay.kernel.upper import find_upper

            upper = find_upper(mount, merged, table, candidates)
            if upper is not None:
                stack.callback(os.close, upper)
        yield Views(merged, lower, upper)


def _peel(mount: Mount) -> tuple[int, int]:
    found: list[tuple[int, int]] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(_peel_here(mount))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="ovlay-views")
    thread.start()
    thread.join()
    if failed and isinstance(failed[0], OSError):
        raise _refusal(mount, failed[0]) from failed[0]
    if failed:
        raise failed[0]
    return found[0]


def _refusal(mount: Mount, error: OSError) -> BaseException:
    """What the kernel says to who may not take this mount away: EPERM without the capability, else EINVAL."""
    import errno

    if isinstance(error, NotPermitted) or error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL):
        return error
    return NotPermitted(
        f"only root can look beneath the overlay on {mount.mount_point}",
        remedy="run it as root, for instance with sudo",
    )


def _peel_here(mount: Mount) -> tuple[int, int]:
    from ovlay.kernel import libc

    libc.unshare(libc.CLONE_NEWNS)
    libc.make_private("/")
    target = mount.mount_point
    with ExitStack() as stack:
        while (top := _topmost(target)) is not None and top.device != mount.device:
            libc.umount(target, lazy=True)
        if top is None:
            raise Conflict(f"the overlay on {target} is gone", remedy=look_again(target))
        merged = _readable(libc.open_tree(target))
        stack.callback(os.close, merged)
        libc.umount(target, lazy=True)
        lower = _readable(libc.open_tree(target))
        stack.pop_all()
        return merged, lower


def _topmost(target: str) -> Mount | None:
    # The table of this thread: /proc/self is that of the main thread, which is in another namespace.
    with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as stream:
        mounts = parse_mountinfo(stream.read()).stack(target)
    return mounts[-1] if mounts else None


def _readable(tree: int) -> int:
    """A descriptor that can be listed: that of open_tree(2) is one with O_PATH."""
    try:
        return os.open(".", _DIRECTORY, dir_fd=tree)
    finally:
        os.close(tree)
