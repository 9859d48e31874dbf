"""The words of the command line: the flags of every verb, and the parser of the one that was chosen."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from ovlay import __version__
from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import SupportsWrite

    from ovlay.cli.terminal import Terminal

VERBS = {
    "status": "Say what is on the target: the overlay, where its changes go, and what is odd about it.",
    "enable": "Put an overlay on the target, so that it can be written to.",
    "install": "Place files in the overlay, as install(1) does.",
    "diff": "Say what differs from the base: what was added, modified, deleted, and how.",
    "capture": "Declare what is in the overlay in a manifest, with the contents beside it.",
    "plan": "Say what `ovlay apply` would do, and why; change nothing.",
    "apply": "Make everything as the manifests say: only what differs is written, and twice is the same as once.",
    "drift": "Say where manifests, overlay and base differ; `ovlay check` is the same.",
    "holders": "Say who uses the overlay, and who of them a file that changed.",
    "revert": "Make paths as in the base again, through the overlay and with no reboot.",
    "reset": "Make the whole target as in the base again, or take a new and empty overlay.",
    "unmount": "Take the overlay away, and the changes in it.",
    "disable": "Say what a reboot does to the overlay, and offer to unmount it.",
    "salvage": "List what an earlier overlay left on the disk, and copy files out of it.",
    "service": "Apply the manifests at every boot, and keep units from starting until the image changes.",
    "guard": "Say what an upgrade does to the overlay: what is lost, and what the manifests bring back.",
    "backends": "List the drivers: which one fits this host, and why the others do not.",
    "demo": "Show all of it on a throw-away directory, with no root.",
}
"""Every verb with its line in ``ovlay --help``, which is also the first line of its module."""

ALIASES = {"check": "drift"}
"""Other names of verbs."""

_EXAMPLES = """\
examples:
  ovlay demo                                see it work, with nothing at stake
  ovlay status                              is /usr writable, and who made it so?
  sudo ovlay enable                         make /usr writable until the next boot
  sudo ovlay install ./tool /usr/bin/       put a file there
  sudo ovlay diff                           what did I change?
  sudo ovlay unmount --lazy                 and back to the image
"""


class Options(argparse.Namespace):
    """What was said on the command line. The flags that every verb has are named here, with their defaults."""

    backend: str | None = None
    target: str | None = None
    root: str = "/"
    json: bool = False
    dry_run: bool = False
    yes: bool = False
    elevate: str | None = None
    host: bool = False
    verbose: int = 0
    quiet: bool = False
    said: tuple[str, ...] = ()  # all of it


class Verb(Protocol):
    """What the module of a verb has."""

    __doc__: str | None
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what only this verb takes."""

    def run(self, options: Options, terminal: Terminal) -> int:
        """Do it, and return the exit status."""


class Parser(argparse.ArgumentParser):
    """A parser that raises `InvalidInput` where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        """Refuse the words, and name the page that helps."""
        raise InvalidInput(message, remedy=f"`{self.prog} --help` says how it is meant")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the page, and let a reader that went away be known: argparse would hide it."""
        (file or sys.stdout).write(self.format_help())


def parse_words(words: Sequence[str]) -> tuple[Verb, Options]:
    """The verb's module and what was said to it; raises `InvalidInput` for words that mean nothing."""
    parser = main_parser()
    parser.add_argument("words", nargs=argparse.PARSER, metavar="VERB", help="what to do: see below")
    options = parser.parse_args(words, namespace=Options())
    options.said = tuple(words)
    name, *rest = options.words
    name = ALIASES.get(name, name)
    if name not in VERBS:
        import difflib

        close = difflib.get_close_matches(name, VERBS, 1)
        raise InvalidInput(
            f"there is no verb {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            remedy=f"the verbs are: {', '.join(VERBS)}",
        )
    module = load_verb(name)
    verb_parser(name, module).parse_intermixed_args(rest, namespace=options)  # `revert A --yes B` means both
    if options.quiet and options.verbose:
        raise InvalidInput("--quiet and --verbose exclude each other", remedy="leave one of them away")
    return module, options


def load_verb(name: str) -> Verb:
    """The module of a verb."""
    from importlib import import_module

    return cast("Verb", import_module(f"ovlay.cli.{name}"))


def main_parser() -> Parser:
    """The parser of what stands before the verb."""
    parser = Parser(
        prog="ovlay",
        description="A writable layer on a read-only /usr, that can say what is in it and be taken away again.",
        epilog="verbs:\n" + "".join(f"  {name:10}{line}\n" for name, line in VERBS.items()) + "\n" + _EXAMPLES,
        usage="ovlay [OPTION]... VERB [OPTION]...",
        formatter_class=_Help,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("--version", action="version", version=f"ovlay {__version__}")
    add_common(parser)
    return parser


def verb_parser(name: str, module: Verb) -> Parser:
    """The parser of what stands after the verb."""
    parser = Parser(
        prog=f"ovlay {name}",
        usage=f"ovlay {name} [OPTION]...",
        description=module.__doc__,
        epilog=module.EXAMPLES,
        formatter_class=_Help,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    module.add_arguments(parser)
    parser.add_argument("--version", action="version", version=f"ovlay {__version__}")
    add_common(parser)
    return parser


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every verb has."""
    group = parser.add_argument_group("options of every verb")
    group.add_argument("--backend", metavar="NAME", help="take this driver, instead of the one that fits best")
    group.add_argument("--target", metavar="DIR", help="the directory that the overlay is for (/usr)")
    group.add_argument("--root", metavar="DIR", help="where the driver `fake` keeps its simulated host")
    group.add_argument("--json", action="store_true", help="print one JSON document, on standard output")
    group.add_argument("--dry-run", action="store_true", help="print the plan and change nothing; needs no privilege")
    group.add_argument("-y", "--yes", action="store_true", help="do not ask before the host is changed")
    group.add_argument(
        "--elevate",
        metavar="HOW",
        help="let root do it, or answer it, by sudo, run0, doas or pkexec; or none: do not ask",
    )
    group.add_argument("--host", action="store_true", help="in a container: let the ovlay of its host do it")
    group.add_argument("-v", "--verbose", action="count", help="say more; twice: show every host command")
    group.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors and what was asked for")


class _Help(argparse.RawDescriptionHelpFormatter):
    """As it is, but for the width: argparse makes one for each argument, and imports shutil to ask for it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """As shutil.get_terminal_size has it."""
    wanted = os.environ.get("COLUMNS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80
