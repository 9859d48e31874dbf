"""The words of bkt's command lines: which command they mean, and what was said to it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, cast

from ovlay import __version__
from ovlay.cli.options import Options, Parser, add_common
from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.cli.options import Verb

COMMANDS = {
    "admin usroverlay enable": "enable",
    "admin usroverlay status": "status",
    "admin usroverlay apply-dev": "apply_dev",
    "admin usroverlay disable": "disable",
    "admin usroverlay reset": "reset",
    "admin bootc upgrade": "bootc_upgrade",
    "admin systemctl override": "systemctl_override",
    "dev install-local": "install_local",
    "drift check": "drift_check",
}
"""Every command, and the module in this package that does it."""

HANDED_ON = "admin bootc upgrade"
"""The command whose arguments are another program's."""

_WITH_VALUE = ("--backend", "--target", "--root", "--elevate")
_HELP = ("-h", "--help")


def parse_words(words: Sequence[str]) -> tuple[Verb, Options]:
    """The command's module and what was said to it; raises `InvalidInput` for words that mean nothing."""
    name, before, after = split(words)
    options = Options()
    if name not in COMMANDS:
        main_parser().parse_args(before, namespace=options)  # which ends here for --help and --version
        raise InvalidInput(_unknown(name), remedy="`ovlay-bkt --help` lists the commands")
    module = load_command(name)
    parser = command_parser(name, module)
    if name == HANDED_ON and not set(after) & set(_HELP):
        parser.parse_args(before, namespace=options)
        options.arguments = after
    else:
        parser.parse_args([*before, *after], namespace=options)
    options.words = [name]
    if options.quiet and options.verbose:
        raise InvalidInput("--quiet and --verbose exclude each other", remedy="leave one of them away")
    return module, options


def split(words: Sequence[str]) -> tuple[str, list[str], list[str]]:
    """The name of the command, the options that stand before its last word, and all that stands after it."""
    name: list[str] = []
    before: list[str] = []
    rest = list(words)
    while rest and " ".join(name) not in COMMANDS:
        word = rest.pop(0)
        if not word.startswith("-"):
            name.append(word)
            continue
        before.append(word)
        if word in _WITH_VALUE and rest:
            before.append(rest.pop(0))
    return " ".join(name), before, rest


def load_command(name: str) -> Verb:
    """The module of a command."""
    from importlib import import_module

    return cast("Verb", import_module(f"ovlay.bkt.{COMMANDS[name]}"))


def main_parser() -> Parser:
    """The parser of what stands before the command."""
    lines = (f"  {name:26} {(load_command(name).__doc__ or '').strip()}\n" for name in COMMANDS)
    parser = Parser(
        prog="ovlay-bkt",
        description="bkt's commands for a writable /usr, in bkt's own words.",
        epilog="commands:\n" + "".join(lines),
        usage="ovlay-bkt [OPTION]... COMMAND [OPTION]...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    _add_common(parser)
    return parser


def command_parser(name: str, module: Verb) -> Parser:
    """The parser of what stands after the command."""
    parser = Parser(
        prog=f"ovlay-bkt {name}",
        usage=f"ovlay-bkt {name} [OPTION]...",
        description=module.__doc__,
        epilog=module.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    module.add_arguments(parser)
    _add_common(parser)
    return parser


def _add_common(parser: Parser) -> None:
    parser.add_argument("--version", action="version", version=f"ovlay {__version__}")
    parser.add_argument("-n", dest="dry_run", action="store_true", help=argparse.SUPPRESS)  # bkt's short --dry-run
    add_common(parser)


def _unknown(name: str) -> str:
    import difflib

    if not name:
        return "no command was given"
    longer = [known for known in COMMANDS if known.startswith(name + " ")]
    if longer:
        return f"{name!r} is not all of a command: {', '.join(longer)}"
    close = difflib.get_close_matches(name, COMMANDS, 1)
    return f"there is no command {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
