"""What the user's process and the helper say to each other: JSON over a socket, with open files beside it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_LENGTH = struct.Struct("!I")
_LARGEST = 64 << 20  # bytes: a plan of a hundred thousand steps is smaller
_MOST_FILES = 4


class Wire:
    """One end of the conversation. A message is its length, 4 bytes in network order, and a JSON object.

    Files are passed along with the length: SCM_RIGHTS in unix(7). Who receives them closes them.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._until: float | None = None

    @contextlib.contextmanager
    def patience(self, seconds: float | None) -> Iterator[None]:
        """Talk for at most so many seconds in all: then ``TimeoutError`` is raised, and nothing more can be said."""
        self._until = None if seconds is None else time.monotonic() + seconds
        try:
            yield
        finally:
            self._until = None
            self._end.settimeout(None)

    def _wait(self) -> None:
        """Let the next call of the socket wait for as long as there is patience left."""
        if self._until is not None:
            left = self._until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the other side does not answer")
            self._end.settimeout(left)

    def send(self, message: Mapping[str, Any], files: Sequence[int] = ()) -> None:
        """Send one message with open files; raises ``OSError`` where the other side is gone."""
        body = json.dumps(message).encode()
        self._wait()
        if files:
            socket.send_fds(self._end, [_LENGTH.pack(len(body))], list(files))
        else:
            self._end.sendall(_LENGTH.pack(len(body)))
        self._wait()
        self._end.sendall(body)

    def stop_answering(self) -> None:
        """Tell the other side that nothing more will be sent; what it sends is still received."""
        self._end.shutdown(socket.SHUT_WR)

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """The next message, and the files that came with it.

        Raises ``EOFError`` where the other side ended the conversation, `InvalidInput` for what is no message.
        """
        self._wait()
        head, files, _, _ = socket.recv_fds(self._end, _LENGTH.size, _MOST_FILES)
        try:
            head += self._exactly(_LENGTH.size - len(head))
            (length,) = _LENGTH.unpack(head)
            if length > _LARGEST:
                raise InvalidInput(f"a message of {length} bytes is too long")
            message = json.loads(self._exactly(length))
        except (ValueError, RecursionError) as error:
            _close(files)
            raise error if isinstance(error, InvalidInput) else InvalidInput(f"not a message: {error}") from error
        except BaseException:
            _close(files)
            raise
        if not isinstance(message, dict):
            _close(files)
            raise InvalidInput("a message is a JSON object")
        return message, files

    def _exactly(self, count: int) -> bytes:
        chunks = []
        while count:
            self._wait()
            chunk = self._end.recv(min(count, 1 << 20))
            if not chunk:
                raise EOFError("the other side ended the conversation")
            chunks.append(chunk)
            count -= len(chunk)
        return b"".join(chunks)


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
