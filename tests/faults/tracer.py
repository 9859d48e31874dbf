"""Run a command and strike it at one system call of those that change something: kill, or let that call fail.

It is copied into a host of the lab and needs nothing but Python. A seccomp filter (seccomp(2), SECCOMP_RET_TRACE) stops
a process before such a call and no other; ptrace(2) then kills it there, so the call is not made, or makes it return
an error. Calls of the command and of all its children are counted in the order in which they are made: striking at
the first, the second, and so on until nothing is struck any more, meets the time before and after each of them.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import signal
import struct
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

SUPPORTED = platform.machine() == "x86_64"

# The kernel's arch/x86/entry/syscalls/syscall_64.tbl.
CALLS = {
    "write": 1,
    "pwrite64": 18,
    "writev": 20,
    "pwritev": 296,
    "sendfile": 40,
    "copy_file_range": 326,
    "open": 2,
    "openat": 257,
    "creat": 85,
    "rename": 82,
    "renameat": 264,
    "renameat2": 316,
    "mkdir": 83,
    "mkdirat": 258,
    "rmdir": 84,
    "link": 86,
    "linkat": 265,
    "symlink": 88,
    "symlinkat": 266,
    "unlink": 87,
    "unlinkat": 263,
    "mknod": 133,
    "mknodat": 259,
    "chmod": 90,
    "fchmod": 91,
    "fchmodat": 268,
    "fchmodat2": 452,
    "chown": 92,
    "fchown": 93,
    "lchown": 94,
    "fchownat": 260,
    "setxattr": 188,
    "lsetxattr": 189,
    "fsetxattr": 190,
    "removexattr": 197,
    "lremovexattr": 198,
    "fremovexattr": 199,
    "utimes": 235,
    "futimesat": 261,
    "utimensat": 280,
    "truncate": 76,
    "ftruncate": 77,
    "fallocate": 285,
    "fsync": 74,
    "fdatasync": 75,
    "sync": 162,
    "syncfs": 306,
    "ioctl": 16,
    "flock": 73,
    "mount": 165,
    "umount2": 166,
    "unshare": 272,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
}
_NAMES = {number: name for name, number in CALLS.items()}

_MAKES = os.O_CREAT | os.O_TRUNC | 0o20000000  # __O_TMPFILE
_OPEN_TREE_CLONE = 1
_IOCTLS = (0x40086602, 0x40049409)  # FS_IOC_SETFLAGS, FICLONE

# linux/filter.h, linux/seccomp.h, linux/audit.h
_LOAD, _EQUAL, _GREATER, _SET, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000
_X86_64 = 0xC000003E

_TRACEME, _CONT, _GETREGS, _SETREGS, _SETOPTIONS = 0, 7, 12, 13, 0x4200
_OPTIONS = 0x02 | 0x04 | 0x08 | 0x10 | 0x80 | 0x100000  # FORK, VFORK, CLONE, EXEC, SECCOMP, EXITKILL
_EVENT_SECCOMP = 7
_WALL = 0x40000000
_REGISTERS = 27  # struct user_regs_struct; rax is the 11th, orig_rax the 16th
_RAX, _ORIG_RAX, _RDI, _RSI, _RDX, _R10 = 10, 15, 14, 13, 12, 7

_HOLD = 0.3  # seconds

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class Made(NamedTuple):
    """A call that was about to be made: by which of the processes (0 is the command itself), its name, and to what.

    To what is known of fsync(2) and of the new name in a rename; else it is "".
    """

    process: int
    call: str
    where: str = ""


class Traced(NamedTuple):
    """How it ended: the wait status of the command, all calls in their order, and whether it was struck."""

    status: int
    made: tuple[Made, ...]
    struck: bool
    stdout: str
    stderr: str


def _program() -> bytes:
    """The filter: TRACE for each call of `CALLS` that really changes something, else ALLOW."""
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _X86_64), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 0)]
    for name, number in CALLS.items():
        if name in ("open", "openat"):
            test = [(_LOAD, 0, 0, 16 + 8 * (name == "openat") + 8), (_SET, 0, 1, _MAKES)]
        elif name == "open_tree":
            test = [(_LOAD, 0, 0, 16 + 16), (_SET, 0, 1, _OPEN_TREE_CLONE)]
        elif name == "ioctl":
            test = [(_LOAD, 0, 0, 16 + 8), (_EQUAL, 1, 0, _IOCTLS[0]), (_EQUAL, 0, 1, _IOCTLS[1])]
        elif name in ("write", "writev"):  # what is said on the terminal changes nothing
            test = [(_LOAD, 0, 0, 16), (_GREATER, 0, 1, 2)]
        else:
            test = []
        block = [*test, (_RETURN, 0, 0, _TRACE)]
        if test:
            block.append((_RETURN, 0, 0, _ALLOW))
        lines += [(_EQUAL, 0, len(block), number), *block]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def trace(
    argv: list[str],
    *,
    at: int = 0,
    deed: str = "kill",
    limit: float = 60,
    meanwhile: Callable[[], None] | None = None,
) -> Traced:
    """Run a command and strike at the call of number ``at`` (from 1 on; 0 strikes none).

    ``deed`` is ``kill`` (the process that makes the call), ``kill-first`` (the command, while a child of it that makes
    the call goes on after a while), ``kill-all``, ``interrupt`` (the command gets a SIGINT, as soon as the call is
    made), or the number of the errno that the call fails with. ``meanwhile`` is called as soon as it is struck.
    """
    read, write = os.pipe()
    tracer = os.fork()
    if tracer == 0:
        try:
            os.close(read)
            answer = json.dumps(_trace(argv, at, deed, limit, lambda: os.write(write, b"struck\n")))
            _tell(write, answer)
        except BaseException as error:  # it is told to the parent
            _tell(write, json.dumps({"failed": repr(error)}))
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        line = stream.readline()
        if line == b"struck\n":
            if meanwhile is not None:
                meanwhile()
            line = stream.readline()
    os.waitpid(tracer, 0)
    told = json.loads(line)
    if isinstance(told, dict):
        raise RuntimeError(told["failed"])
    status, made, struck, stdout, stderr = told
    return Traced(status, tuple(Made(*each) for each in made), struck, stdout, stderr)


def _tell(pipe: int, text: str) -> None:
    with os.fdopen(os.dup(pipe), "w") as stream:
        stream.write(text + "\n")


def _trace(
    argv: list[str], at: int, deed: str, limit: float, tell: Callable[[], object]
) -> tuple[int, list[tuple[int, str, str]], bool, str, str]:
    said = [os.memfd_create(name) for name in ("out", "err")]
    first = os.fork()
    if first == 0:
        _become(argv, said)
    os.waitpid(first, 0)
    _ptrace(_SETOPTIONS, first, data=_OPTIONS)
    _ptrace(_CONT, first)
    signal.signal(signal.SIGALRM, _too_long)
    signal.setitimer(signal.ITIMER_REAL, limit)
    known = {first: 0}
    made: list[tuple[int, str, str]] = []
    struck, ended = False, 0
    alive = {first}
    registers = (ctypes.c_ulonglong * _REGISTERS)()
    while alive:
        try:
            pid, status = os.waitpid(-1, _WALL)
        except ChildProcessError:
            break
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            alive.discard(pid)
            if pid == first:
                ended = status
            continue
        alive.add(pid)
        event, number = status >> 16, os.WSTOPSIG(status)
        passed = 0
        if event == _EVENT_SECCOMP:
            group = _group(pid)
            try:
                _ptrace(_GETREGS, pid, data=ctypes.addressof(registers))
            except ProcessLookupError:  # a tool that its ovlay has killed meanwhile
                continue
            name = _NAMES[registers[_ORIG_RAX]]
            made.append((known.setdefault(group, len(known)), name, _where(pid, name, registers)))
            if at and len(made) == at:
                struck = True
                if deed.isdecimal():
                    registers[_ORIG_RAX], registers[_RAX] = 2**64 - 1, 2**64 - int(deed)
                    _ptrace(_SETREGS, pid, data=ctypes.addressof(registers))
                elif deed == "interrupt":
                    os.kill(first, signal.SIGINT)
                else:
                    for victim in {"kill": [group], "kill-first": [first], "kill-all": sorted(map(_group, alive))}[
                        deed
                    ]:
                        _kill(victim)
                tell()
                if deed == "kill-first" and group != first:
                    time.sleep(_HOLD)  # its child is stopped before the call, while others look
        elif event == 0 and number not in (signal.SIGTRAP, signal.SIGSTOP):
            passed = number
        try:
            _ptrace(_CONT, pid, data=passed)
        except ProcessLookupError:
            continue
    texts = []
    for each in said:
        os.lseek(each, 0, os.SEEK_SET)
        texts.append(os.read(each, 1 << 20).decode("utf-8", "replace"))
    return ended, made, struck, texts[0], texts[1]


def _become(argv: list[str], said: list[int]) -> None:
    try:
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(said[0], 1)
        os.dup2(said[1], 2)
        program = _program()
        buffer = ctypes.create_string_buffer(program, len(program))
        filters = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
        _libc.ptrace(_TRACEME, 0, None, None)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets what it runs in the background ignore it
        os.kill(os.getpid(), signal.SIGSTOP)
        if _libc.prctl(22, 2, ctypes.c_char_p(filters), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
            raise OSError(ctypes.get_errno(), "seccomp")
        os.execv(argv[0], argv)
    except BaseException as error:  # there is nobody to raise it to
        os.write(2, repr(error).encode())
    finally:
        os._exit(127)


def _where(pid: int, name: str, registers: ctypes.Array[ctypes.c_ulonglong]) -> str:
    """What a call is about, where that matters for the order of writes."""
    try:
        if name in ("fsync", "fdatasync"):
            return os.readlink(f"/proc/{pid}/fd/{registers[_RDI]}")
        if name in ("renameat", "renameat2"):
            folder = os.readlink(f"/proc/{pid}/fd/{registers[_RDX]}") if registers[_RDX] < 1 << 31 else ""
            return f"{folder}/{_text(pid, registers[_R10])}"
        if name == "rename":
            return _text(pid, registers[_RSI])
    except OSError:
        return "?"
    return ""


def _text(pid: int, address: int) -> str:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(256).partition(b"\0")[0].decode(errors="replace")


def _group(thread: int) -> int:
    """The process that a thread is of."""
    try:
        with open(f"/proc/{thread}/status", encoding="ascii", errors="replace") as stream:
            return next(int(line.split()[1]) for line in stream if line.startswith("Tgid:"))
    except (OSError, StopIteration):
        return thread


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


def _too_long(*_: object) -> None:
    raise TimeoutError("the command that is traced does not end")


def _ptrace(request: int, pid: int, *, data: int = 0) -> None:
    if _libc.ptrace(request, pid, None, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request}: {os.strerror(number)}")


if __name__ == "__main__":
    done = trace(sys.argv[1:])
    sys.stdout.write(json.dumps(done) + "\n")
