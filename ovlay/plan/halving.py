"""The second half of a long run of steps, carried out by a process of its own while this one carries out the first.

Only of steps that place things: each is whole by itself, writes down what it is about to do before it does it, and can
be repeated. What the other process did not get to, for whatever reason, is done by this one after its own half, and so
an error is raised here as if there was one process. The other one holds the lock too, and dies with this one.
"""

from __future__ import annotations

import contextlib
import marshal
import os
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ovlay.plan.batching import batch_at, run_batch
from ovlay.plan.linking import PlaceLink
from ovlay.plan.placing import PlaceFile
from ovlay.plan.settling import MakeDirectory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.host import Host
    from ovlay.plan.sharing import Sharing
    from ovlay.plan.step import Step

Placing = PlaceFile | PlaceLink | MakeDirectory
_PLACING = (PlaceFile, PlaceLink, MakeDirectory)


class Halves(NamedTuple):
    """Where to begin with the other process, what the second half begins with, and where it ends."""

    fork: int
    second: int
    end: int


def halves_of(steps: Sequence[Step], *, many: int) -> Halves | None:
    """How to share these steps; None where it is not worth it, or not possible.

    They can be shared where nothing that the second half needs is made in the first, from where the other process
    begins on.
    """
    end = len(steps)
    begin = end
    while begin and isinstance(steps[begin - 1], _PLACING):
        begin -= 1
    if end - begin < many:
        return None
    placing = [step for step in steps[begin:] if isinstance(step, _PLACING)]
    first = placing[0]
    if any(step.target != first.target or step.durable != first.durable for step in placing):
        return None
    middle = len(placing) // 2
    parent = _folder(placing[middle])
    while middle < len(placing) and _folder(placing[middle]) == parent and isinstance(placing[middle], PlaceFile):
        middle += 1  # a directory is made together with its files
    needed: set[str] = set()
    for parent in {_folder(step) for step in placing[middle:]}:
        folder = parent
        while folder and folder not in needed:
            needed.add(folder)
            folder = folder.rpartition("/")[0]
    made = [n for n, step in enumerate(placing[:middle]) if isinstance(step, MakeDirectory) and step.path in needed]
    fork = made[-1] + 1 if made else 0
    if fork > middle // 2 or middle == len(placing):
        return None
    return Halves(begin + fork, begin + middle, end)


def _folder(step: Placing) -> str:
    return step.path.rpartition("/")[0]


class Other:
    """The other process."""

    def __init__(self, pid: int, answer: int) -> None:
        self._pid = pid
        self._answer = answer

    def collect(self, shared: Sharing) -> int:
        """Wait for its end, take over what it wrote down, and return how many steps it did."""
        done, rows = 0, None
        try:
            with (
                open(self._answer, "rb", closefd=False) as stream,
                contextlib.suppress(EOFError, ValueError, TypeError),
            ):
                done, rows = marshal.loads(stream.read())  # noqa: S302 (we wrote it)
        finally:
            self.end()
        shared.take(rows)
        return done if rows is not None else 0

    def end(self) -> None:
        """Stop it, if it is still at work."""
        import signal

        if self._pid:
            os.close(self._answer)
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(self._pid, 0)
            self._pid = 0


def begin_other(host: Host, steps: Sequence[Step], shared: Sharing) -> Other | None:
    """Start on these steps in another process; None where this one cannot be copied, or there is one processor."""
    try:
        if len(os.sched_getaffinity(0)) < 2 or len(os.listdir("/proc/self/task")) != 1:
            return None
    except OSError:
        return None
    shared.prepare(step for step in steps if isinstance(step, _PLACING))
    answer, end = os.pipe()
    me = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(answer)
        os.close(end)
        return None
    if pid == 0:
        _be_other(host, steps, shared, end, me)
    os.close(end)
    return Other(pid, answer)


def _be_other(host: Host, steps: Sequence[Step], shared: Sharing, end: int, parent: int) -> NoReturn:
    """What the other process does; it never returns into the program that it was copied from."""
    try:
        from ovlay.kernel.libc import die_with_parent

        die_with_parent()
        done: list[Step] = []
        shared.forget()
        with contextlib.suppress(BaseException):
            while len(done) < len(steps) and os.getppid() == parent:
                run_batch(batch_at(steps, len(done)), host, done)
            shared.leave()
        with open(end, "wb") as stream:
            marshal.dump((len(done), shared.told()), stream, 2)
    finally:
        os._exit(0)
