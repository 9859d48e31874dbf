"""Where the words of a verb go, and where its questions are asked."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping


class Unsaid(Exception):
    """Standard output takes nothing more, for another reason than that its reader went away."""


class Terminal:
    """Standard output for results, standard error for everything else.

    With ``json`` standard output takes one JSON document and nothing else; with ``quiet`` only what was asked for is
    said. What comes from the host, such as a path, is shown with its control characters escaped.
    """

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    def print(self, line: str = "") -> None:
        """A line of the result that was asked for."""
        if not self.json:
            _write(sys.stdout, line)

    def say(self, line: str = "") -> None:
        """A line that tells what was done."""
        if not self.quiet:
            self.print(line)

    def note(self, line: str) -> None:
        """A line on standard error that is worth knowing, and is no error."""
        if not self.quiet:
            _write(sys.stderr, line)

    def complain(self, line: str) -> None:
        """A line on standard error that is never held back; lost where the terminal is gone."""
        with suppress(OSError):
            _write(sys.stderr, line)

    def document(self, document: Mapping[str, Any]) -> None:
        """The result as JSON, where that was asked for."""
        if self.json:
            import json

            _put(sys.stdout, json.dumps(document, indent=2) + "\n")

    def demand_answer(self) -> None:
        """Raise `InvalidInput` where nobody is there who could answer a question."""
        if not self.can_ask:
            raise InvalidInput("not on a terminal: say --yes", remedy="add --yes, or look first with --dry-run")

    @property
    def can_ask(self) -> bool:
        """Whether a person reads the question and can type an answer."""
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, question: str) -> bool:
        """A question to the person at the terminal; anything but yes is a no."""
        sys.stdout.flush()
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):  # end of file: the cursor still stands behind the question
            sys.stderr.write("\n")
        return answer.strip().lower() in ("y", "yes")

    def strong(self, text: str) -> str:
        """``text`` as a headline of standard output: bold, where it is a terminal that can."""
        return f"\033[1m{text}\033[0m" if shows_colour(sys.stdout) else text


def shows_colour(stream: TextIO) -> bool:
    """Whether to send colour: to a terminal that is not dumb, unless NO_COLOR says no (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def printable(text: str) -> str:
    """``text`` with its control characters and undecodable bytes escaped, so that a path cannot play the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def _write(stream: TextIO, line: str) -> None:
    if not line.isprintable():
        bold, plain = "\033[1m", "\033[0m"
        marked = line.startswith(bold) and line.endswith(plain) and shows_colour(stream)
        line = bold + printable(line[len(bold) : -len(plain)]) + plain if marked else printable(line)
    encoding = stream.encoding or "utf-8"
    _put(stream, line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        if stream is not sys.stdout:
            raise
        raise Unsaid(error.strerror) from error
