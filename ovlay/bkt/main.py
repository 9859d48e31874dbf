"""The command ``ovlay-bkt``: read bkt's words, run the command, make an exit status of what came of it."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from ovlay.cli.main import end_with, flushed

if TYPE_CHECKING:
    from collections.abc import Sequence

_FOR_PROGRAMS = frozenset({"--json", "json", "--format=json"})
"""What asks for JSON; that an error is to be a document is known before the words are understood."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with these words (those of the process by default), and return the exit status.

    It is one of `ovlay.cli.main.main`; for ``admin bootc upgrade`` it is that of bootc.
    """
    _speak_utf8()
    return flushed(_run, list(sys.argv[1:] if argv is None else argv))


def command() -> None:
    """The console script: `main`, and then the end of the process with no further ceremony."""
    end_with(main)


def _speak_utf8() -> None:
    """Let both streams be UTF-8, whatever the locale says: the one who reads is bkt, whose texts are UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(encoding="utf-8")


def _run(words: list[str]) -> int:
    from ovlay.bkt.words import parse_words
    from ovlay.cli.terminal import Terminal

    terminal = Terminal(json=not _FOR_PROGRAMS.isdisjoint(words))
    verbose = 0
    try:
        command, options = parse_words(words)
        verbose = options.verbose
        terminal = Terminal(json=options.json, quiet=options.quiet)
        if options.host:
            from ovlay.cli.delegation import delegate
            from ovlay.host import Host

            return delegate(words, Host(), program="ovlay-bkt")
        if verbose:
            from ovlay.cli.logs import logs_shown

            with logs_shown(verbose):
                return command.run(options, terminal)
        return command.run(options, terminal)
    except SystemExit as end:  # --help and --version, and a SIGTERM
        return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        from ovlay.cli.failure import report

        return report(error, words, terminal, verbose=verbose, program="ovlay-bkt")
