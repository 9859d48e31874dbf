"""Place files in the overlay, as install(1) does."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ovlay.cli.permissions import parse_mode
from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from ovlay.cli.options import Options
    from ovlay.cli.terminal import Terminal
    from ovlay.overlay import Overlay
    from ovlay.requests import InstallFile

EXAMPLES = """\
examples:
  ovlay install ./tool /usr/bin/tool              one file under its new name
  ovlay install ./tool ./other /usr/bin/          several files into a directory
  ovlay install -D -m u=rw,go=r a.conf /usr/lib/tool/a.conf
  ovlay install -t /usr/libexec/tool -D ./helper  make the directory, put it there
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of install(1) that make sense here."""
    parser.usage = "ovlay install [OPTION]... SRC... DEST"
    parser.add_argument("paths", nargs="+", metavar="SRC... DEST", help="the files, and where they go")
    parser.add_argument("-m", "--mode", metavar="MODE", help="the mode as in chmod(1) (755)")
    parser.add_argument("-o", "--owner", metavar="OWNER", help="the user, by name or number (the one who runs this)")
    parser.add_argument("-g", "--group", metavar="GROUP", help="the group, by name or number (that of who runs this)")
    parser.add_argument("-D", "--make-parents", action="store_true", help="make all missing directories on the way")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-t", "--target-directory", metavar="DIR", help="put all files into this directory")
    where.add_argument("-T", "--no-target-directory", action="store_true", help="DEST is a file, even if a directory")


def run(options: Options, terminal: Terminal) -> int:
    """Install, or say that all is there already."""
    from ovlay.cli.changing import Request, change
    from ovlay.cli.opening import open_chosen
    from ovlay.elevate.calls import Call, sent_files

    overlay = open_chosen(options)
    files = list(wanted_files(overlay, options))
    many = f"{len(files)} files" if len(files) > 1 else files[0].destination
    request = Request(
        plan=lambda: overlay.backend.plan_install(files),
        carry_out=lambda confirm: overlay.install_files(files, confirm=confirm),
        done=f"installed {many}",
        call=Call("install", {"files": sent_files(files)}),
    )
    return change(request, overlay, options, terminal)


def wanted_files(overlay: Overlay, options: Options) -> Iterator[InstallFile]:
    """The files that the words mean; raises `InvalidInput` where they mean none."""
    from ovlay.requests import InstallFile

    mode = parse_mode(getattr(options, "mode", "755"))
    for source, destination in pairs(overlay, options):
        yield InstallFile(
            source,
            destination,
            mode,
            getattr(options, "owner", None),
            getattr(options, "group", None),
            getattr(options, "make_parents", False),
        )


def pairs(overlay: Overlay, options: Options) -> Iterator[tuple[str, str]]:
    """Every source with its destination, by the rules of install(1)."""
    paths: list[str] = options.paths
    folder: str | None = getattr(options, "target_directory", None)
    if folder is not None:
        sources = paths
    elif len(paths) == 1:
        raise InvalidInput(
            f"there is no destination after {paths[0]!r}", remedy="`ovlay install SRC... DEST`, or -t DIR SRC..."
        )
    else:
        *sources, last = paths
        plain = getattr(options, "no_target_directory", False)
        is_folder = not plain and (last.endswith("/") or overlay.host.is_directory(last))
        if not is_folder:
            if len(sources) > 1:
                hint = "-T takes one file only" if plain else f"end it in a slash ({last}/) with -D to have it made"
                raise InvalidInput(f"{len(sources)} files cannot all become {last}", remedy=hint)
            yield sources[0], last
            return
        folder = last
    for source in sources:
        yield source, posixpath.join(folder, posixpath.basename(source.rstrip("/")))
