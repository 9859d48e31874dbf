"""An error on the command line: one message, the next step, and an exit status."""

from __future__ import annotations

import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

from ovlay.errors import NotPermitted, OvlayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.cli.terminal import Terminal

SCHEMA = "ovlay.error/1"
UNEXPECTED = 7
_LOG_IN = "log in as root, and run an ovlay that only root can write"
INTERRUPTED = 130


def report(
    error: BaseException, words: Sequence[str], terminal: Terminal, *, verbose: int, program: str = "ovlay"
) -> int:
    """Say what went wrong on standard error, with ``--json`` on standard output too, and return the exit status.

    Where ``verbose`` is 1 the traceback of what nobody expected is shown, where it is 2 that of every error.
    """
    if verbose > 1 or (verbose and not isinstance(error, (OvlayError, KeyboardInterrupt))):
        import traceback

        sys.stderr.write("".join(traceback.format_exception(error)))
    document = describe(error, words)
    terminal.complain(f"{program}: {getattr(error, 'summary', document['message'])}")
    for problem in getattr(error, "problems", ()):
        terminal.complain(f"  {problem}")
    for line in getattr(error, "__notes__", ()):
        terminal.complain(f"  {line}")
    if document["remedy"]:
        terminal.complain(f"  next: {document['remedy']}")
    terminal.document(document)
    status: int = document["exit_code"]
    return status


def describe(error: BaseException, words: Sequence[str]) -> dict[str, Any]:
    """The error as a document of schema ``ovlay.error/1``; ``words`` are those of the command line."""
    from ovlay.model import as_json

    kind, message, remedy, exit_code = _parts(error)
    if exit_code == NotPermitted.exit_code and remedy.startswith("run it as root") and os.geteuid() != 0:
        how = as_root(words)
        remedy = how if how == _LOG_IN else f"let root do it, which takes a password: {how}"
    return {
        "schema": SCHEMA,
        "kind": kind,
        "message": message,
        "remedy": remedy,
        "exit_code": exit_code,
        "holders": as_json(getattr(error, "holders", ())),
        "problems": as_json(getattr(error, "problems", ())),
    }


def _parts(error: BaseException) -> tuple[str, str, str, int]:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", str(error) or "interrupted; what had been begun was taken back", "", INTERRUPTED
    if isinstance(error, OSError) and not isinstance(error, OvlayError):
        from ovlay.plan.execute import translate

        error = translate(error, "do that")
    if isinstance(error, OvlayError):
        return kind_of(type(error)), str(error), error.remedy, error.exit_code
    return (
        "unexpected",
        f"unexpected {type(error).__name__}: {error}",
        "this is a mistake in ovlay or in a driver: run it again with -v and report what it prints",
        UNEXPECTED,
    )


def kind_of(error: type[OvlayError]) -> str:
    """The name of an error class as it is in JSON: ``StateForbids`` is ``state-forbids``."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in error.__name__).removeprefix("-")


def as_root(words: Sequence[str]) -> str:
    """How to let root do what these words ask for.

    It is never this program run as root, which others than root may be able to write: the same words with --elevate
    let the helper do it (`ovlay.elevate`). Where nothing can ask for a password, an ovlay of root's own is needed.
    """
    from ovlay.config import WAYS_TO_ROOT
    from ovlay.host import Host

    way = next((name for name in WAYS_TO_ROOT if name != "none" and Host().find_tool(name)), None)
    if way is None:
        return _LOG_IN
    script = os.path.abspath(sys.argv[0])
    if os.path.basename(script) == "__main__.py":
        program = [sys.executable, "-m", "ovlay"]
    else:
        import shutil

        name = os.path.basename(script)
        found = shutil.which(name)
        program = [name if found is not None and os.path.realpath(found) == os.path.realpath(script) else script]
    return f"`{shlex.join([*program, '--elevate', way, *_without_elevate(words)])}`"


def _without_elevate(words: Sequence[str]) -> Iterator[str]:
    left = iter(words)
    for word in left:
        if word == "--elevate":
            next(left, None)
        elif not word.startswith("--elevate="):
            yield word
