"""A conversation with the real helper, in a process of its own, by who says what nobody should."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ovlay.elevate.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

_START = "import sys; sys.path[:0] = {path!r}; from ovlay.elevate.helper import main; main()"
PATIENCE = 20  # seconds

DRIVER = "ovlay_backends.overlayfs:OverlayfsBackend"
ENABLE: dict[str, Any] = {
    "verb": "enable",
    "arguments": {"access": "read-write", "persistence": "transient"},
    "driver": DRIVER,
    "target": "/usr",
    "tmpfs_size": None,
    "expected": None,
    "agreed": False,
}


class Helper:
    """The helper, and our end of the wire. It has said its greeting."""

    def __init__(self, process: subprocess.Popen[bytes], end: socket.socket) -> None:
        self.process = process
        self.end = end
        self.wire = Wire(end)
        greeting, _ = self.wire.receive()
        assert "hello" in greeting

    def answer(self) -> dict[str, Any]:
        """The next that it says."""
        message, files = self.wire.receive()
        assert files == []
        return message

    def ended(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(PATIENCE)


@contextmanager
def helper() -> Iterator[Helper]:
    """Start the helper as the user who runs the tests; it may say nothing on standard error but why it ended."""
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    with ours:
        with theirs:
            start = _START.format(path=[each for each in sys.path if each])
            argv = [sys.executable, "-IB", "-c", start]
            process = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            yield Helper(process, ours)
        finally:
            ours.close()
            try:
                said, _ = process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                raise
    assert b"Traceback" not in said, said.decode()


def refusal(request: object) -> dict[str, Any]:
    """The error that a request is answered with."""
    with helper() as other:
        body = json.dumps(request).encode()
        other.end.sendall(struct.pack("!I", len(body)) + body)
        answer = other.answer()
        assert set(answer) == {"error"}, answer
        error: dict[str, Any] = answer["error"]
        assert other.ended() == 0
        return error
