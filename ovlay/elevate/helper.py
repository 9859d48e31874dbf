"""The helper that root runs: it answers questions of the user's process, or plans one change and carries it out.

Nothing that it is told is trusted. It plans for itself, with the code that was authorised, and compares its plan with
the one that the user confirmed: where they are the same it goes on, else it shows its own and asks again. So it
executes no step that it did not make. It opens no path of the user's: files to be installed are opened by the user's
process, and what is read from them is hashed as it is copied (`ovlay.plan.placing`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
from typing import TYPE_CHECKING, Any

from ovlay.elevate.calls import Words, perform
from ovlay.elevate.wire import Wire
from ovlay.errors import Conflict, InvalidInput, NotPermitted, OvlayError, ToolFailed
from ovlay.host import Host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ovlay.backend import Backend
    from ovlay.carrying import Outcome
    from ovlay.manifest.finding import Finding
    from ovlay.plan.plan import Plan


def main() -> None:
    """Serve one request on standard input, which is a socket, and end.

    What an environment could change is put right first: sudo and pkexec keep the umask of the caller, and some of
    the environment.
    """
    os.umask(0o022)
    os.chdir("/")
    os.environ.clear()
    os.environ.update({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"})
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    for number in _ENDINGS:
        signal.signal(number, _interrupt)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # who holds the one lock must not be stopped by a Ctrl-Z
    with contextlib.suppress(KeyboardInterrupt), socket.socket(fileno=os.dup(0)) as end:
        serve(Wire(end))


_ANSWER = 30  # seconds

_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(*_: object) -> None:
    """Take back what was begun, once: a second signal does not stop that."""
    _be_deaf()
    raise KeyboardInterrupt


def _be_deaf() -> None:
    for number in _ENDINGS:
        signal.signal(number, signal.SIG_IGN)


def serve(wire: Wire) -> None:
    """One conversation: a greeting, the request, questions on the way, and what came of it."""
    from ovlay import __version__

    try:
        wire.send({"hello": __version__, "uid": os.geteuid()})
        try:
            request = _received(wire)
            while "question" in request:
                wire.send({"answer": _answered(wire, request)})
                request = _received(wire)
            outcome = _carry_out(wire, request)
            _be_deaf()  # it is done, and is told
            answer = {"outcome": outcome_document(outcome)}
        except EOFError:
            return
        except (Exception, KeyboardInterrupt) as error:
            answer = {"error": error_document(error)}
        wire.send(answer)
    except (EOFError, OSError):
        return  # nobody is there to hear it


def _received(wire: Wire) -> dict[str, Any]:
    request, files = wire.receive()
    for file in files:
        os.close(file)
    return request


def _answered(wire: Wire, request: dict[str, Any]) -> Any:
    """The answer to a question, which changes nothing."""
    from ovlay.elevate.questions import answer
    from ovlay.overlay import Overlay

    question, backend = str(request.get("question")), _backend(wire, request)
    return answer(question, Words(question, _arguments(request)), Overlay(backend))


def _arguments(request: dict[str, Any]) -> dict[str, Any]:
    arguments = request.get("arguments")
    if not isinstance(arguments, dict):
        raise InvalidInput("a request has arguments")
    return arguments


def _backend(wire: Wire, request: dict[str, Any]) -> Backend:
    host = RemoteSources(wire)
    target, size = request.get("target"), request.get("tmpfs_size")
    if not isinstance(target, str) or not (size is None or type(size) is int):
        raise InvalidInput("a request has a target")
    host.tmpfs_size = size
    return _driver(str(request.get("driver")), host, target)


def _carry_out(wire: Wire, request: dict[str, Any]) -> Outcome:
    backend, arguments = _backend(wire, request), _arguments(request)
    expected, agreed = request.get("expected"), request.get("agreed") is True

    def confirm(plan: Plan) -> bool:
        document = plan.to_json()
        if document == expected:
            return True
        wire.send({"confirm": document})
        reply, _ = wire.receive()
        return reply.get("answer") is True

    return perform(str(request.get("verb")), arguments, backend, None if agreed else confirm)


def _driver(name: str, host: Host, target: str) -> Backend:
    """One of ovlay's own drivers, by the place of its class: ``ovlay_backends.ostree:OstreeBackend``."""
    from importlib import import_module

    from ovlay.backend import Backend
    from ovlay.target import target_on

    module, _, attribute = name.partition(":")
    package, _, leaf = module.partition(".")
    if package != "ovlay_backends" or not leaf.isidentifier() or not attribute.isidentifier():
        raise InvalidInput(
            f"{name} is not a driver of ovlay itself, and root does not run others for a user",
            remedy="log in as root, and run an ovlay there that only root can write",
        )
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        found = None
    if not isinstance(found, type) or not issubclass(found, Backend):
        raise InvalidInput(f"{name} is not a driver")
    driver = found(host, target_on(host, target))
    if type(found.make_host("/")) is not Host:
        raise InvalidInput(f"the driver {driver.name} plays a host, and needs no root")
    return driver


class RemoteSources(Host):
    """This host, with the files to be installed opened by the user's process and sent here."""

    def __init__(self, wire: Wire) -> None:
        super().__init__("/")
        self._wire = wire

    @contextlib.contextmanager
    def opened_source(self, path: str) -> Iterator[int]:
        """A descriptor on a source, opened by the user for reading; raises what the user met there.

        While the lock is held everybody waits for the user's process, which may be stopped: so not for long.
        """
        try:
            with self._wire.patience(_ANSWER if self.holds_lock else None):
                self._wire.send({"open": path})
                reply, files = self._wire.receive()
        except TimeoutError as error:
            raise ToolFailed(
                f"{path} was not opened within {_ANSWER} seconds by the ovlay that was to open it",
                remedy="do not stop that one meanwhile (as Ctrl-Z does), and try again",
            ) from error
        try:
            if reply.get("opened") is not True or len(files) != 1:
                raise raised(reply.get("error"))
            if not stat.S_ISREG(os.fstat(files[0]).st_mode):  # what the user's process looked at is not known here
                raise InvalidInput(f"{path} is not a regular file", remedy="give a regular file")
            yield files[0]
        finally:
            for file in files:
                os.close(file)


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """An outcome for the way back. What is retired is known where the manifests were read."""
    return {
        "plan": outcome.plan.to_json(),
        "changed": outcome.changed,
        "told": list(outcome.told),
        "needed": list(outcome.needed),
        "conflicts": [_conflict_document(finding) for finding in outcome.conflicts],
    }


def _conflict_document(finding: Finding) -> dict[str, Any]:
    """A conflict, and where the path is declared, or was when it was placed."""
    item, receipt = finding.item, finding.receipt
    return {
        "path": finding.path,
        "conflict": finding.conflict,
        "detail": finding.detail,
        "declared": None if item is None else [item.kind, item.origin.file, item.origin.name, item.origin.line],
        "placed": None if receipt is None else [receipt.kind, receipt.manifest],
    }


def outcome_of(document: Mapping[str, Any]) -> Outcome:
    """The outcome that `outcome_document` was made of."""
    from ovlay.carrying import Outcome
    from ovlay.plan.plan import Plan

    return Outcome(
        Plan.from_json(document["plan"]),
        changed=document["changed"] is True,
        told=tuple(map(str, document["told"])),
        needed=tuple(map(str, document["needed"])),
        conflicts=tuple(_conflict(row) for row in document["conflicts"]),
    )


def _conflict(row: Mapping[str, Any]) -> Finding:
    from ovlay.manifest.document import Kind, Origin
    from ovlay.manifest.finding import ConflictKind, Finding, State
    from ovlay.manifest.items import Item
    from ovlay.receipts import Receipt

    path, item, receipt = str(row["path"]), None, None
    if row["declared"] is not None:
        kind, file, name, line = row["declared"]
        item = Item(path, Kind(kind), Origin(file, name, line))
    if row["placed"] is not None:
        kind, manifest = row["placed"]
        receipt = Receipt(path, kind, manifest=manifest)
    return Finding(path, State.CONFLICT, item, ConflictKind(row["conflict"]), str(row["detail"]), receipt)


def error_document(error: BaseException) -> dict[str, Any]:
    """An error for the way back."""
    from ovlay.model import as_json

    if isinstance(error, OSError) and not isinstance(error, OvlayError):
        from ovlay.plan.execute import translate

        error = translate(error, "do that")
    elif not isinstance(error, (OvlayError, KeyboardInterrupt)):
        unexpected = f"unexpected {type(error).__name__} in the helper: {error}"
        error = ToolFailed(unexpected, remedy="this is a mistake in ovlay or in a driver: report it")
    import ovlay.errors

    known = next((each for each in type(error).__mro__ if each.__name__ in vars(ovlay.errors)), type(error))
    return {
        "kind": known.__name__,
        "message": str(error),
        "remedy": getattr(error, "remedy", ""),
        "holders": as_json(getattr(error, "holders", ())),
        "problems": as_json(getattr(error, "problems", ())),
        "notes": list(getattr(error, "__notes__", ())),
    }


def raised(document: object) -> BaseException:
    """The error that `error_document` was made of."""
    import ovlay.errors
    from ovlay.model import Holder

    if not isinstance(document, dict):
        return Conflict("the other side gave no answer that can be understood", remedy="look at `ovlay status`")
    if document.get("kind") == "KeyboardInterrupt":
        return KeyboardInterrupt()
    found = getattr(ovlay.errors, str(document.get("kind")), None)
    known = isinstance(found, type) and issubclass(found, OvlayError)
    message, remedy = str(document.get("message")), str(document.get("remedy", ""))
    if problems := document.get("problems"):
        from ovlay.manifest.document import InvalidManifest, Problem

        error: OvlayError = InvalidManifest([Problem(**problem) for problem in problems])
    elif found is ovlay.errors.Busy:
        listed = [item for item in document.get("holders", ()) if isinstance(item, dict)]
        holders = tuple(
            Holder(int(item["pid"]), str(item["command"]), tuple(map(str, item["uses"]))) for item in listed
        )
        error = ovlay.errors.Busy(message, remedy=remedy, holders=holders)
    else:
        error = (found if known and found is not None else NotPermitted)(message, remedy=remedy)
    for note in document.get("notes", ()):
        error.add_note(str(note))
    return error
