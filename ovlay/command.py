"""A host tool as a child process: for a limited time, with a limited output, and with nothing of it left behind."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from ovlay.advice import look_again
from ovlay.errors import ToolFailed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

OUTPUT_LIMIT = 16 << 20
"""How many bytes of each stream are kept; the rest is read and thrown away, so that the tool goes on."""

_LOOK = 0.05  # seconds between two looks at whether a tool that says nothing has ended


class Finished(NamedTuple):
    """How a host tool ended: its exit status (negative: the signal), and what it printed."""

    status: int
    stdout: str
    stderr: str


def run_command(
    argv: Sequence[str], *, environment: Mapping[str, str], timeout: float, inherit: Sequence[int] = ()
) -> Finished:
    """Run a command to its end, in a process group of its own that goes with it where it takes too long.

    What it prints is read as UTF-8, whatever it is. A child that it leaves in the background is not waited for.
    ``inherit`` are descriptors that it keeps. Raises `ToolFailed` where it cannot be started, or does not end within
    ``timeout`` seconds.
    """
    import subprocess

    try:
        process = subprocess.Popen(
            list(argv),
            env=dict(environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=tuple(inherit),
        )
    except OSError as error:
        raise ToolFailed(f"cannot run {argv[0]}: {error.strerror}", argv=argv) from error
    with process:
        try:
            said = _heard(process, timeout)
        except BaseException as error:
            _end(process)
            if isinstance(error, TimeoutError):
                raise ToolFailed(
                    f"{argv[0]} did not end within {timeout:g} seconds and was killed",
                    remedy=look_again(),
                    argv=argv,
                ) from None
            raise
        return Finished(process.returncode, *(text.decode("utf-8", "backslashreplace") for text in said))


def _heard(process: subprocess.Popen[bytes], timeout: float) -> list[bytes]:
    """What a process says until it has ended, or until nobody can say anything any more; TimeoutError."""
    import selectors
    import time

    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    said = {stream.fileno(): bytearray() for stream in streams}
    end = time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for number in said:
            os.set_blocking(number, False)
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map():
            ended = process.poll() is not None
            ready = selector.select(0 if ended else _LOOK)
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                if not chunk:
                    selector.unregister(key.fd)
                said[key.fd] += chunk[: OUTPUT_LIMIT - len(said[key.fd])]
            if ended and not ready:
                break  # what it left in the background holds the pipe, and says nothing
            if time.monotonic() > end:
                raise TimeoutError
    while process.poll() is None:  # it closed both, and goes on
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(_LOOK)
    return [bytes(text) for text in said.values()]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with all that it started."""
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
