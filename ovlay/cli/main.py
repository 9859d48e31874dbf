"""The command ``ovlay``: read the words, run the verb, make an exit status of what came of it."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from ovlay.cli.terminal import Unsaid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
BROKEN_PIPE = 141  # 128 + SIGPIPE
DIFFERS = 1
UNSAID = 7  # a system call failed


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with these words (those of the process by default), and return the exit status.

    0 as asked · 1 differs · 2 usage, invalid input, or not confirmed · 3 no driver fits · 4 the driver cannot do that
    · 5 the state forbids it · 6 not permitted · 7 a host tool failed · 130 interrupted · 141 the reader went away.
    """
    return flushed(_run, list(sys.argv[1:] if argv is None else argv))


def flushed(run: Callable[[list[str]], int], words: list[str]) -> int:
    """Run with these words, and see to it that all that was said is out, or that it is told why it is not."""
    _open_what_is_closed()
    status = 0
    try:
        try:
            status = run(words)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _leave_unsaid()
        return BROKEN_PIPE
    except (Unsaid, OSError) as error:  # all other errors were reported where they were met
        _leave_unsaid()
        why = error.strerror if isinstance(error, OSError) else error
        with suppress(OSError):
            sys.stderr.write(f"standard output: {why}; what was to be said there is lost\n")
        return status if status > DIFFERS else UNSAID
    return status


def _open_what_is_closed() -> None:
    """Give each standard stream that is closed /dev/null: else what is opened next, such as a lock, has its number."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: open(2)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _leave_unsaid() -> None:
    """What is still buffered would raise again when the interpreter ends: give it somewhere to go."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def command() -> None:
    """The console script: `main`, and then the end of the process with no further ceremony.

    A process that lives for some milliseconds gains nothing from collecting garbage, nor from taking apart its
    modules one by one at its end: both together are a fifth of the time that ``ovlay status`` takes.
    """
    end_with(main)


def end_with(main: Callable[[], int]) -> None:
    """Run ``main``, which flushes standard output, and end the process with the status that it returns."""
    gc.disable()
    sys.dont_write_bytecode = True  # in a writable /usr that would be a change of its own
    status = main()
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(status)


def _run(words: list[str]) -> int:
    from ovlay.cli.options import parse_words
    from ovlay.cli.terminal import Terminal

    terminal = Terminal(json="--json" in words)
    verbose = sum(word.count("v") if word.startswith("-v") else word == "--verbose" for word in words)
    try:
        module, options = parse_words(words)
        terminal = Terminal(json=options.json, quiet=options.quiet)
        if options.host:
            from ovlay.cli.delegation import delegate
            from ovlay.host import Host

            return delegate(words, Host())
        if options.verbose:
            from ovlay.cli.logs import logs_shown

            with logs_shown(options.verbose):
                return module.run(options, terminal)
        return module.run(options, terminal)
    except SystemExit as end:  # --help and --version, and a SIGTERM
        return end.code if isinstance(end.code, int) else 0
    except (BrokenPipeError, Unsaid):
        raise
    except (Exception, KeyboardInterrupt) as error:
        from ovlay.cli.failure import report

        return report(error, words, terminal, verbose=verbose)
