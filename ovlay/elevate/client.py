"""The user's side: start the helper with one prompt, answer its questions, and return what came of it."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, NamedTuple

from ovlay.advice import look_again
from ovlay.elevate.agent import text_agent
from ovlay.elevate.bundle import FLAGS, INTERPRETER, LOADER, TOO_OLD, bundled_code
from ovlay.elevate.helper import error_document, outcome_of, raised
from ovlay.elevate.wire import Wire
from ovlay.errors import InvalidInput, NotPermitted, OvlayError, ToolFailed
from ovlay.files.source import OpenedSource

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from ovlay.carrying import Outcome
    from ovlay.elevate.calls import Call
    from ovlay.elevate.questions import Ask
    from ovlay.elevate.tools import Elevator
    from ovlay.overlay import Overlay
    from ovlay.plan.plan import Plan

INSTALLED = "/usr/libexec/ovlay-helper"
"""Where a distribution puts the helper, with a polkit policy of its own beside it."""

_PATIENCE = 5  # seconds

_LOG_IN = "log in as root, and run an ovlay there that only root can write"


def carry_out_as_root(
    call: Call | Callable[[Ask], Call],
    overlay: Overlay,
    elevator: Elevator,
    *,
    expected: Plan | None,
    confirm: Callable[[Plan], bool] | None,
) -> Outcome:
    """Let root carry a request out after one prompt; it can be asked for what is needed to make the request.

    ``expected`` is the plan that the user said yes to; where root's plan is another, ``confirm`` is called with that.
    It is None where the user said yes to whatever it will be. Raises `NotPermitted` for each kind of refusal, and all
    that the verb itself raises.
    """
    with _helper(elevator, overlay.target) as wire:
        if callable(call):
            call = call(lambda question, arguments: _answer(wire, overlay, question, arguments))
        agreed, plan = confirm is None, None if expected is None else expected.to_json()
        wire.send({"verb": call.verb, "expected": plan, "agreed": agreed, **_about(overlay, call.arguments)})
        return _converse(wire, confirm)


def _about(overlay: Overlay, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What every request says."""
    return {
        "arguments": dict(arguments),
        "driver": _place_of(type(overlay.backend)),
        "target": overlay.target,
        "tmpfs_size": overlay.host.tmpfs_size,
    }


def _answer(wire: Wire, overlay: Overlay, question: str, arguments: Mapping[str, Any]) -> Any:
    wire.send({"question": question, **_about(overlay, arguments)})
    while True:
        message, _ = wire.receive()
        if "open" in message:
            _send_source(wire, str(message["open"]))
        elif "answer" in message:
            return message["answer"]
        else:
            raise raised(message.get("error"))


class Asking:
    """Questions to root: the first one takes a password, and all that follow none. Ended with ``close``."""

    def __init__(self, overlay: Overlay, find_elevator: Callable[[], Elevator]) -> None:
        self._overlay = overlay
        self._find_elevator = find_elevator
        self._open = contextlib.ExitStack()
        self._wire: Wire | None = None

    def ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        """What root answers; raises what it raises, and `NotPermitted` for each kind of refusal."""
        if self._wire is None:
            self._wire = self._open.enter_context(_helper(self._find_elevator(), self._overlay.target))
        try:
            return _answer(self._wire, self._overlay, question, arguments)
        except (EOFError, ConnectionError) as error:
            raise ToolFailed("the helper ended before it had answered", remedy="try again") from error

    def close(self) -> None:
        """Let the helper end."""
        self._open.close()


def _converse(wire: Wire, confirm: Callable[[Plan], bool] | None) -> Outcome:
    """Answer until it is over. An interruption ends the answers: what the helper says then is still heard."""
    from ovlay.plan.plan import Plan

    interrupted = False
    while True:
        try:
            message, _ = wire.receive()
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            wire.stop_answering()
            continue
        except EOFError:
            if interrupted:
                raise KeyboardInterrupt from None
            raise
        if interrupted and "outcome" not in message and "error" not in message:
            continue
        if "confirm" in message:
            wire.send({"answer": confirm is None or confirm(Plan.from_json(message["confirm"]))})
        elif "open" in message:
            _send_source(wire, str(message["open"]))
        elif "outcome" in message:
            if interrupted:
                raise KeyboardInterrupt("interrupted, but it had been done by then")
            return outcome_of(message["outcome"])
        else:
            raise raised(message.get("error"))


def _send_source(wire: Wire, path: str) -> None:
    """Open a file as the user who asked for it to be installed, whatever root could open."""
    try:
        with OpenedSource(path) as descriptor:
            wire.send({"opened": True}, [descriptor])
    except OvlayError as error:
        wire.send({"error": error_document(error)})


def _place_of(driver: type) -> str:
    return f"{driver.__module__}:{driver.__qualname__}"


@contextlib.contextmanager
def _helper(elevator: Elevator, target: str) -> Iterator[Wire]:
    """A conversation with a helper that runs as root; raises `NotPermitted` where none could be started."""
    end, process, said = _started(elevator)
    with end:
        try:
            yield Wire(end)
        except (EOFError, ConnectionError) as error:
            raise ToolFailed(
                f"the helper ended before it had answered: {said.text().strip() or 'it was killed'}",
                remedy=look_again(target),
                status=process.wait(),
            ) from error
        finally:
            end.close()
            process.wait()


class _Started(NamedTuple):
    """A helper that has greeted: our end of the conversation, the program that was asked, and what that says."""

    end: socket.socket
    process: subprocess.Popen[bytes]
    said: _Said


class _Refused(NamedTuple):
    """Nothing was started: why, and the exit status of the program that was asked."""

    error: OvlayError
    status: int


def _started(elevator: Elevator) -> _Started:
    """The helper, by this program, or by what is to be tried where that could ask nobody; raises the first refusal."""
    command, code = _command()
    refusals: list[OvlayError] = []
    way: Elevator | None = elevator
    while way is not None:
        answer = _asked(way, command, code)
        if isinstance(answer, _Started):
            return answer
        refusals.append(answer.error)
        way = way.next_after(answer.status)
    raise refusals[0]


def _asked(way: Elevator, command: Sequence[str], code: bytes | None) -> _Started | _Refused:
    """What comes of asking with one program."""
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as closing:
        closing.enter_context(ours)
        with text_agent(way):
            with theirs:
                process = _start(way.argv(command), theirs)
            said = _Said(process, shown=way.can_ask)
            try:
                if code is not None:
                    _send_code(ours, code)
                greeting, _ = Wire(ours).receive()
            except KeyboardInterrupt:
                ours.close()
                _let_end(process)
                raise KeyboardInterrupt("interrupted before root's rights were given; nothing was changed") from None
            except (EOFError, OSError):
                status = process.wait()
                return _Refused(_not_started(way, status, said.text()), status)
        if "hello" not in greeting or greeting.get("uid") != 0:
            raise NotPermitted(
                f"{way.name} started the helper, but not as root", remedy="choose another program with --elevate"
            )
        closing.pop_all()
    return _Started(ours, process, said)


def _let_end(process: subprocess.Popen[bytes]) -> None:
    """Wait for who was asking: it puts the terminal right again. Where it does not heed Ctrl-C it is ended."""
    import subprocess

    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(PermissionError):  # sudo is root's by then, and has its own way with Ctrl-C
            process.terminate()
        process.wait()


def _command() -> tuple[Sequence[str], bytes | None]:
    """What root is to run: the helper of the distribution, or the system's Python with code that we send."""
    import hashlib

    if is_roots_alone(INSTALLED):
        return (INSTALLED,), None
    if not is_roots_alone(INTERPRETER):
        raise NotPermitted(f"{INTERPRETER} is missing, or others than root can write it", remedy=_LOG_IN)
    code = bundled_code()
    return (INTERPRETER, FLAGS, "-c", LOADER, hashlib.sha256(code).hexdigest()), code


def is_roots_alone(path: str) -> bool:
    """Whether only root can change what this path leads to: the file, and every link and directory on the way."""
    from ovlay.manifest.trust import reason_to_distrust

    return os.path.isfile(path) and reason_to_distrust(path) is None


def _start(argv: Sequence[str], end: socket.socket) -> subprocess.Popen[bytes]:
    import subprocess

    try:
        return subprocess.Popen(
            list(argv),
            stdin=end.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # The refusals are told apart by their words; only in the locale C itself does gettext(3) ignore LANGUAGE.
            env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": ""},
        )
    except OSError as error:
        raise NotPermitted(f"cannot run {argv[0]}: {error.strerror}", remedy=_LOG_IN) from error


def _send_code(end: socket.socket, code: bytes) -> None:
    """Pass the code as a file that lives in memory."""
    with open(os.memfd_create("ovlay", os.MFD_CLOEXEC), "wb") as stream:
        stream.write(code)
        stream.flush()
        socket.send_fds(end, [b"\0"], [stream.fileno()])


class _Said:
    """What a process says on standard error: kept for the reason of a refusal, and ``shown`` as it comes."""

    def __init__(self, process: subprocess.Popen[bytes], *, shown: bool) -> None:
        import threading

        self._shown = shown
        self._process = process
        self._chunks: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            while chunk := os.read(stream.fileno(), 4096):
                self._chunks.append(chunk)
                if self._shown:
                    os.write(2, chunk)

    def text(self) -> str:
        """All of it, once the process has ended."""
        self._process.wait()
        self._reader.join(timeout=1)
        return b"".join(self._chunks)[-4096:].decode(errors="backslashreplace")


def _not_started(elevator: Elevator, status: int, said: str) -> OvlayError:
    if any(line.startswith(TOO_OLD) for line in said.splitlines()):  # sudo repeats the whole command where it refuses
        return InvalidInput(said.strip(), remedy=_LOG_IN)
    return elevator.refusal(status, said)
