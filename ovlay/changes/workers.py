"""A walk shared among processes: threads do not help, since it is Python that takes the time.

Workers are forked only from a process with a single thread, and only when there is enough left to do after a while.
What they find is the same as what one process finds, in another order. Nobody knows how large a directory is before it
is walked, so who has nothing left to do says so, and the others give of what they have.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import select
import time
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ovlay.changes.classify import DEEPEST

if TYPE_CHECKING:
    from ovlay.changes.classify import Comparison, Task

_ALONE = 0.006  # seconds: what is over sooner is not worth a fork
_LEVELS, _FEW = 2, 32  # how deep one piece of work goes meanwhile; fewer pieces cannot be shared well
_PAUSES = (0.0002, 0.0005, 0.001)
_TOGETHER = 16  # tasks in a packet, of which a pipe holds as many
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
    """Walk for a while, a few levels at a time, so that the pieces that are left are many."""
    until = time.monotonic() + _ALONE
    walk.levels[0] = 0
    walk.step(walk.tasks.pop())
    walk.levels[0] = _LEVELS
    while walk.tasks and time.monotonic() < until:
        walk.step(walk.tasks.pop())
    walk.levels[0] = 0
    for _ in range(_LEVELS):
        if 1 < len(walk.tasks) < _FEW:
            few, walk.tasks = walk.tasks, []
            for task in few:
                walk.step(task)
    walk.levels[0] = DEEPEST


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


class _Work:
    """What there is to do, as the processes share it: each calls `do` with a number of its own, from 0 on.

    The pieces are numbered, and each process takes the next number: reads from a pipe never overlap. After that tasks
    come in packets from who has too many (pipe(2), O_DIRECT). Who waits for one closes its end for writing: when all
    wait, all read the end, and that is the end. ``_levels`` is memory that all of them see.
    """

    def __init__(self, pieces: list[list[Task]], count: int) -> None:
        import mmap

        self._pieces = pieces
        self._levels = mmap.mmap(-1, count)
        self._levels[:] = bytes([DEEPEST]) * count
        self._numbers, end = os.pipe()
        os.write(end, b"".join(number.to_bytes(_NUMBER, "little") for number in range(len(pieces))))
        os.close(end)
        self._packets, self._giving = os.pipe2(os.O_DIRECT | os.O_CLOEXEC)
        os.set_blocking(self._giving, False)

    def do(self, walk: Comparison, me: int) -> None:
        """Take part until nothing is left."""
        walk.levels = memoryview(self._levels)[me : me + 1]
        while number := os.read(self._numbers, _NUMBER):
            walk.tasks += self._pieces[int.from_bytes(number, "little")]
            self._finish(walk)
        while packet := self._packet(me):
            walk.levels[0] = DEEPEST
            walk.tasks += marshal.loads(packet)  # noqa: S302 (we wrote it)
            self._finish(walk)
        walk.levels = bytearray([DEEPEST])

    def close(self) -> None:
        for descriptor in (self._numbers, self._packets, self._giving):
            if descriptor >= 0:
                os.close(descriptor)

    def _packet(self, me: int) -> bytes:
        """Wait for tasks of others; empty when they wait too."""
        for other in range(len(self._levels)):
            if other != me:
                self._levels[other] = 0
        os.close(self._giving)
        self._giving = -1
        packet = os.read(self._packets, select.PIPE_BUF)
        if packet:
            self._giving = os.open(f"/proc/self/fd/{self._packets}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # open(2) with O_DIRECT is for files; for pipes it is fcntl(2) that takes it.
            fcntl.fcntl(self._giving, fcntl.F_SETFL, os.O_DIRECT | os.O_NONBLOCK)
        return packet

    def _finish(self, walk: Comparison) -> None:
        while walk.tasks:
            if walk.levels[0] == 0 and len(walk.tasks) > 1:  # somebody waits
                walk.levels[0] = DEEPEST
                self._give(walk)
            walk.step(walk.tasks.pop())

    def _give(self, walk: Comparison) -> None:
        """Every second task, as far as they fit into the pipe; nobody waits for room there."""
        give, walk.tasks = walk.tasks[::2], walk.tasks[1::2]
        while give:
            packet = marshal.dumps(give[:_TOGETHER])
            if len(packet) > select.PIPE_BUF:
                break
            try:
                os.write(self._giving, packet)
            except BlockingIOError:
                break
            del give[:_TOGETHER]
        walk.tasks += give


def _share(walk: Comparison, count: int) -> None:
    pieces, before = [walk.tasks[number::_PIECES] for number in range(_PIECES)], walk.found()
    walk.tasks = []
    work = _Work(pieces, count)
    workers: list[_Worker] = []
    try:
        for number in range(1, count):
            workers.append(_start(walk, work, number))
        _do(walk, work, 0)
        complete = True
        while workers:
            complete = _collect(walk, workers.pop()) and complete
        if not complete:  # a worker was killed: nobody knows what it did not get to
            walk.forget()
            walk.take(before)
            walk.tasks = [task for piece in pieces for task in piece]
    finally:
        work.close()
        for worker in workers:
            _end(worker)


def _start(walk: Comparison, work: _Work, number: int) -> _Worker:
    answer, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_worker(walk, work, number, end)
    os.close(end)
    return _Worker(pid, answer)


def _be_worker(walk: Comparison, work: _Work, number: int, end: int) -> NoReturn:
    """What the forked process does; it never returns into the program that it was forked from."""
    status = 1
    try:
        walk.forget()
        _do(walk, work, number)
        with open(end, "wb") as stream:
            marshal.dump(walk.found(), stream)
        status = 0
    finally:
        os._exit(status)


def _do(walk: Comparison, work: _Work, number: int) -> None:
    work.do(walk, number)
    walk.rows.sort()  # so that the one who sorts all of them finds them nearly sorted


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
