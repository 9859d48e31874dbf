"""Write docs/reference.md and the man page docs/ovlay.1 from the parser of the command line.

    python docs/generate.py            write both
    python docs/generate.py --check    exit with 1 where one of them is not up to date

Nothing here depends on the width of the terminal, the date, or how this Python's argparse lays out its help.
"""

# argparse has no public way to look at a parser; and this is a program that prints.
# ruff: noqa: SLF001, T201

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ovlay.bkt import words
from ovlay.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent

EXIT_CODES = {
    0: "as asked",
    1: "something differs (diff, drift)",
    2: "usage, invalid input, or not confirmed",
    3: "no driver fits",
    4: "the driver cannot do that",
    5: "the state of the host forbids it: busy, no space, a conflict",
    6: "not permitted",
    7: "a host tool or the kernel failed, or said that it was done and was not",
    130: "interrupted; what had been begun was taken back",
    141: "the reader of the output went away",
}

FILES = {
    "/etc/ovlay/config.toml": "the administrator's configuration",
    "~/.config/ovlay/config.toml": "the user's, which root does not read",
    "/run/ovlay": "what is remembered until the next boot",
    "/var/lib/ovlay": "uppers of ovlay's own overlays",
}

ENVIRONMENT = {
    "OVLAY_BACKEND": "the driver that is taken where --backend does not say",
    "NO_COLOR": "no colour, where it is set and not empty",
}

COMMON = "options of every verb"


def groups(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Every group of arguments with its lines: how it is written, and what it does."""
    for group in parser._action_groups:
        lines = []
        for action in group._group_actions:
            if action.dest in ("help", "version", "words") or action.help == argparse.SUPPRESS:
                continue
            metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar
            if metavar is None and action.choices is not None:
                metavar = "|".join(map(str, action.choices))
            value = "" if action.nargs == 0 else f" {metavar}"
            written = ", ".join(action.option_strings) + value if action.option_strings else str(action.metavar)
            lines.append((written, action.help or ""))
        if lines:
            yield group.title or "", lines


def verbs() -> Iterator[tuple[str, options.Verb, options.Parser]]:
    """Every verb with its module and parser."""
    for name in options.VERBS:
        module = options.load_verb(name)
        yield name, module, options.verb_parser(name, module)


def commands() -> Iterator[tuple[str, options.Verb, options.Parser]]:
    """Every command of ovlay-bkt with its module and parser."""
    for name in words.COMMANDS:
        module = words.load_command(name)
        yield name, module, words.command_parser(name, module)


def examples(module: options.Verb) -> str:
    """The examples of a verb without their heading."""
    return module.EXAMPLES.removeprefix("examples:\n")


def reference() -> str:
    """The reference in Markdown."""
    lines = ["# Command line reference", "", "Written by `docs/generate.py` from the parser; do not edit.", ""]
    common = dict(groups(options.main_parser()))[COMMON]
    lines += [f"## {COMMON.capitalize()}", "", "They may stand before or after the verb.", "", *_table(common), ""]
    for name, module, parser in verbs():
        lines += [f"## ovlay {name}", "", *_section(module, parser), f"More: [verbs/{name}.md](verbs/{name}.md)", ""]
    lines += ["## ovlay-bkt", "", "bkt's commands, in bkt's own words: [bkt.md](bkt.md)", ""]
    for name, module, parser in commands():
        lines += [f"### ovlay-bkt {name}", "", *_section(module, parser)]
    lines += ["## Exit codes", "", *_table([(str(code), text) for code, text in EXIT_CODES.items()]), ""]
    lines += ["## Environment", "", *_table(list(ENVIRONMENT.items())), ""]
    lines += ["## Files", "", *_table(list(FILES.items()))]
    return "\n".join(lines) + "\n"


def man_page() -> str:
    """The man page in roff (man(7))."""
    parser = options.main_parser()
    lines = [
        '.TH OVLAY 1 "" "ovlay" "User Commands"',
        ".SH NAME",
        r"ovlay \- a writable layer on a read\-only /usr",
        ".SH SYNOPSIS",
        ".B ovlay",
        r"[\fIOPTION\fR]... \fIVERB\fR [\fIOPTION\fR]...",
        ".SH DESCRIPTION",
        _roff(parser.description or ""),
        ".SH VERBS",
    ]
    for _, module, verb in verbs():
        lines += _subsection(module, verb, (verb.usage or "").removeprefix("ovlay "))
    lines += [
        ".SH COMMANDS OF OVLAY\\-BKT",
        "bkt's own command lines and messages, for bkt to hand its arguments over to.",
    ]
    for _, module, verb in commands():
        lines += _subsection(module, verb, verb.usage or "")
    lines += [".SH OPTIONS", "They may stand before or after the verb.", *_tagged(dict(groups(parser))[COMMON])]
    lines += [".SH EXIT STATUS", *_tagged([(str(code), text) for code, text in EXIT_CODES.items()])]
    lines += [".SH ENVIRONMENT", *_tagged(list(ENVIRONMENT.items())), ".SH FILES", *_tagged(list(FILES.items()))]
    lines += [".SH SEE ALSO", ".BR ostree\\-admin\\-unlock (1),", ".BR bootc\\-usr\\-overlay (8),"]
    lines += [".BR systemd\\-sysext (8),", ".BR install (1),", ".BR mount (8)"]
    return "\n".join(lines) + "\n"


def _section(module: options.Verb, parser: options.Parser) -> Iterator[str]:
    yield from ((module.__doc__ or "").strip(), "", "```", parser.usage or "", "```", "")
    for title, arguments in groups(parser):
        if title != COMMON:
            yield from (*_table(arguments), "")
    shown = "\n".join(line.removeprefix("  ") for line in examples(module).splitlines())
    yield from ("```", shown, "```", "")


def _subsection(module: options.Verb, parser: options.Parser, usage: str) -> Iterator[str]:
    yield from (f".SS {_roff(usage)}", _roff((module.__doc__ or "").strip()))
    for title, arguments in groups(parser):
        if title != COMMON:
            yield from _tagged(arguments)
    yield from (".PP", ".nf", _roff(examples(module).rstrip("\n")), ".fi")


def _table(rows: list[tuple[str, str]]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| `{left}` | {right} |" for left, right in rows)]


def _tagged(rows: list[tuple[str, str]]) -> Iterator[str]:
    for left, right in rows:
        yield from (".TP", f".B {_roff(left)}", _roff(right))


def _roff(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("\n\n", "\n.PP\n")
    return "\n".join(map(_shielded, escaped.split("\n")))


def _shielded(line: str) -> str:
    """A line that begins with a dot is a request in roff: only ours may be one."""
    return rf"\&{line}" if line.startswith((".", "'")) and line != ".PP" else line


def main(words: list[str]) -> int:
    """Write the pages, or check them."""
    pages = {HERE / "reference.md": reference(), HERE / "ovlay.1": man_page()}
    if "--check" in words:
        stale = [path.name for path, text in pages.items() if not path.is_file() or path.read_text() != text]
        print("\n".join(f"{name} is not up to date: run `python docs/generate.py`" for name in stale))
        return 1 if stale else 0
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
