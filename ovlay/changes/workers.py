"""A walk shared among processes: threads do not help, since it is Python that takes the time.

Workers are forked only from a process with a single thread, and only when there is enough left to do after a while.
What they find is the same as what one process finds, in another order.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from ovlay.changes.classify import Comparison, Task

_ALONE = 0.006  # seconds: what is over sooner is not worth a fork
_LEVELS, _FEW = 2, 32  # how deep one piece of work goes meanwhile; fewer pieces cannot be shared well
_PAUSES = (0.0002, 0.0005, 0.001)
_PIECES, _NUMBER = 512, 4  # with numbers of so many bytes they fit into a pipe of any size


def carry_out(walk: Comparison, begin: Task, *, workers: int | None = None) -> None:
    """Do the whole walk. ``workers`` is how many processes take part (None: one for each processor)."""
    count = len(os.sched_getaffinity(0)) if workers is None else workers
    walk.tasks.append(begin)
    if count > 1:
        _begin(walk)
    if len(walk.tasks) > 1 and _has_one_thread():
        _share(walk, count)
    _finish(walk)


def _begin(walk: Comparison) -> None:
    """Walk for a while, a few levels at a time, so that the pieces that are left are many and none is very large."""
    until, usual = time.monotonic() + _ALONE, walk.deepest
    walk.deepest = 0
    walk.step(walk.tasks.pop())
    walk.deepest = _LEVELS
    while walk.tasks and time.monotonic() < until:
        walk.step(walk.tasks.pop())
    walk.deepest = 0
    for _ in range(_LEVELS):
        if 1 < len(walk.tasks) < _FEW:
            few, walk.tasks = walk.tasks, []
            for task in few:
                walk.step(task)
    walk.deepest = usual


def _finish(walk: Comparison) -> None:
    while walk.tasks:
        walk.step(walk.tasks.pop())


def _has_one_thread() -> bool:
    """Whether nothing else runs in this process, that could hold a lock at the moment of a fork."""
    import threading

    for pause in _PAUSES:
        try:
            if len(os.listdir("/proc/self/task")) == 1:
                return True
        except OSError:
            return False  # nobody knows
        if threading.active_count() > 1:
            return False
        time.sleep(pause)  # the kernel shows a thread for a little longer than Python, which has joined it
    return False


class _Worker(NamedTuple):
    pid: int
    answer: int


def _share(walk: Comparison, count: int) -> None:
    pieces, before = [walk.tasks[number::_PIECES] for number in range(_PIECES)], walk.found()
    walk.tasks = []
    # The numbers of the pieces, of which each process takes the next one: reads from a pipe never overlap.
    queue, end = os.pipe()
    os.write(end, b"".join(number.to_bytes(_NUMBER, "little") for number in range(_PIECES)))
    os.close(end)
    workers: list[_Worker] = []
    try:
        for _ in range(count - 1):
            workers.append(_start(walk, pieces, queue))
        _work(walk, pieces, queue)
        walk.rows.sort()
        complete = True
        while workers:
            complete = _collect(walk, workers.pop()) and complete
        if not complete:  # a worker was killed: nobody knows what it did not get to
            walk.forget()
            walk.take(before)
            walk.tasks = [task for piece in pieces for task in piece]
    finally:
        os.close(queue)
        for worker in workers:
            _end(worker)


def _start(walk: Comparison, pieces: list[list[Task]], queue: int) -> _Worker:
    answer, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_worker(walk, pieces, queue, end)
    os.close(end)
    return _Worker(pid, answer)


def _be_worker(walk: Comparison, pieces: list[list[Task]], queue: int, end: int) -> NoReturn:
    """What the forked process does; it never returns into the program that it was forked from."""
    status = 1
    try:
        walk.forget()
        _work(walk, pieces, queue)
        walk.rows.sort()  # so that the one process that sorts all of them finds them nearly sorted
        with open(end, "wb") as stream:
            marshal.dump(walk.found(), stream)
        status = 0
    finally:
        os._exit(status)


def _work(walk: Comparison, pieces: list[list[Task]], queue: int) -> None:
    while number := os.read(queue, _NUMBER):
        walk.tasks += pieces[int.from_bytes(number, "little")]
        _finish(walk)


def _collect(walk: Comparison, worker: _Worker) -> bool:
    """Take what a worker found; False where it did not come to its end."""
    try:
        with open(worker.answer, "rb") as stream:
            found = marshal.loads(stream.read())  # noqa: S302 (we wrote it)
    except (EOFError, ValueError, TypeError):
        found = None
    _, status = os.waitpid(worker.pid, 0)
    if found is None or status != 0:
        return False
    walk.take(found)
    return True


def _end(worker: _Worker) -> None:
    """Stop a worker whose answer nobody waits for."""
    import signal

    os.close(worker.answer)
    with contextlib.suppress(OSError):
        os.kill(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)
