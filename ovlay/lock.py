"""The one lock under which plans are made and executed, and what keeps a host tool from outliving it unnoticed.

Both are of flock(2): the kernel takes them from who dies.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from ovlay.errors import Busy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.host import Host

NAME = "lock"
"""The file, below the state directory. In it is the process id of who holds it, for those who wait to be told."""

TOOL = "tool"
"""The file, below the state directory, that is there and locked while a host tool runs for who holds the lock."""

_POLL = 0.02  # seconds between two looks at a lock that somebody else holds
_GRACE = 0.3  # seconds after which it is told who is waited for: a question holds the lock for an instant
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@contextlib.contextmanager
def locked(host: Host) -> Iterator[None]:
    """Hold the lock. See `ovlay.host.Host.lock`."""
    host.make_private_directory(host.state_dir)
    descriptor = os.open(host.path(f"{host.state_dir}/{NAME}"), _FLAGS, 0o600)
    try:
        _take(host, descriptor, lambda: f"another ovlay (pid {_holder(descriptor)})")
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        host.holds_lock = True
        yield
    finally:
        host.holds_lock = False
        os.close(descriptor)


def is_locked(host: Host) -> bool:
    """Whether an ovlay is at work; waits for nobody, and is False for who may not look."""
    import fcntl

    try:
        descriptor = os.open(host.path(f"{host.state_dir}/{NAME}"), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def guarded_tool(host: Host) -> Iterator[tuple[int, ...]]:
    """The descriptors that a host tool is to inherit, so that who comes after us knows that it runs still.

    An ovlay that is killed leaves its tool running, and its lock free.
    """
    if not host.holds_lock:
        yield ()
        return
    import fcntl

    path = host.path(f"{host.state_dir}/{TOOL}")
    descriptor = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield (descriptor,)
    finally:
        # A child that the tool leaves in the background has the descriptor still: nobody looks at that file any more.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


def await_tool(host: Host) -> None:
    """Wait for a host tool that an ovlay which was killed had started. Only for who holds the lock."""
    path = host.path(f"{host.state_dir}/{TOOL}")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    try:
        _take(host, descriptor, lambda: "a host tool that was started by an ovlay which was killed")
        os.unlink(path)
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", "replace") or "unknown"


def _take(host: Host, descriptor: int, whom: Callable[[], str]) -> None:
    import fcntl
    import time

    begun, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - begun
            if waited > host.patience:
                raise Busy(
                    f"{whom()} has been at work for more than {host.patience:g} seconds",
                    remedy=f"see who it is with `fuser -v {host.state_dir}/*`, then try again",
                ) from None
            if not told and waited > _GRACE:
                told = True
                host.told(f"waiting for {whom()} to end")
            time.sleep(_POLL)
        else:
            return
