"""What a manifest says, as values: entries with where each was written, and on what condition it holds."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ovlay.counting import counted
from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ovlay.manifest.items import Item
    from ovlay.model import Mode

SCHEMA = 1
"""The version of the format that is understood here."""

NOTHING = "nothing"
"""What ``replaces`` says of a path that the base does not have."""

DIRECTORY = "directory"
"""What ``replaces`` says of a directory of the base, whatever is in it."""


class Kind(StrEnum):
    """What an entry declares; the name of its table in the file."""

    FILE = "file"
    TREE = "tree"
    SYMLINK = "symlink"
    DIRECTORY = "directory"
    ABSENT = "absent"


class Origin(NamedTuple):
    """Where something was declared: the manifest's file, its name, and the line (0 where it is the whole file).

    ``named`` is whether the caller named the file, and so vouches for it and its sources. What was only found, root
    trusts no further than `ovlay.manifest.trust` says.
    """

    file: str
    name: str
    line: int
    named: bool = True

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class When(NamedTuple):
    """What must hold on a host for an entry, or a manifest, to count; an empty one always holds.

    ``image`` and ``checksum`` are globs on the booted image, of which one must fit; ``os_release`` has for each key of
    os-release(5) a glob or a set of version specifiers; ``missing`` and ``present`` are paths of the base.
    """

    image: tuple[str, ...] = ()
    checksum: tuple[str, ...] = ()
    os_release: Mapping[str, str] = MappingProxyType({})
    missing: tuple[str, ...] = ()
    present: tuple[str, ...] = ()


class Entry(NamedTuple):
    """One thing that is to be so.

    ``path`` is absolute and normalised. ``source`` is an absolute path; a file has either it or ``text``. ``mode`` of
    a tree is None, and ``file_mode`` and ``directory_mode`` count; what is None is left to the default of its kind.
    ``replaces`` is the SHA-256 of what the base had when the entry was written, `DIRECTORY` or `NOTHING`.
    """

    kind: Kind
    path: str
    origin: Origin
    source: str | None = None
    text: str | None = None
    to: str | None = None
    sha256: str | None = None
    mode: int | None = None
    file_mode: int | None = None
    directory_mode: int | None = None
    owner: str | int | None = None
    group: str | int | None = None
    label: str | None = None
    replaces: str | None = None
    exclude: tuple[str, ...] = ()
    when: When = When()


class Manifest(NamedTuple):
    """One file: its entries in their order, the target, and the mode of the overlay that it asks for.

    ``file`` is its absolute path as it was named or found, ``named`` as in `Origin`.
    """

    file: str
    name: str
    target: str
    entries: tuple[Entry, ...]
    mode: Mode | None = None
    when: When = When()
    named: bool = True

    @property
    def origin(self) -> Origin:
        """The whole file."""
        return Origin(self.file, self.name, 0, self.named)


class Problem(NamedTuple):
    """One mistake in a manifest: the file, the line from 1 (0 where it is the whole file), the key, what is wrong."""

    file: str
    line: int
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        key = f"{self.key}: " if self.key else ""
        return f"{where}: {key}{self.message}" + (f" ({self.hint})" if self.hint else "")


class InvalidManifest(InvalidInput):
    """One or several manifests cannot be used; ``problems`` are all the mistakes in all of them.

    Its text is a line that counts them, and a line for each.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([self.summary, *map(str, self.problems)]), remedy="mend what is named")

    @property
    def summary(self) -> str:
        """How many mistakes there are, and in how many files."""
        files = len({problem.file for problem in self.problems})
        return f"{counted(len(self.problems), 'mistake')} in {counted(files, 'manifest')}"


class Retired(NamedTuple):
    """An entry, or a whole manifest, whose condition does not hold here; ``reason`` says which."""

    origin: Origin
    path: str | None
    reason: str


class Declared(NamedTuple):
    """What all manifests together say for this host: one entry for each path, the last one that counts.

    ``mode`` is that of the last manifest that names one. ``manifests`` are the files that were read. ``items`` are what
    the entries come to, where another process has expanded them already (`ovlay.manifest.sending`). With
    ``is_conditional`` another host, or another image, might make something else of the same files. ``read`` is when
    they were begun to be read, in nanoseconds; 0 where that is not known. ``searched`` are the directories in which
    they were looked for, () where they were named, or where that is not known.
    """

    target: str
    entries: tuple[Entry, ...]
    mode: Mode | None = None
    retired: tuple[Retired, ...] = ()
    manifests: tuple[str, ...] = ()
    items: tuple[Item, ...] | None = None
    is_conditional: bool = False
    read: int = 0
    searched: tuple[str, ...] = ()

    @property
    def found_nothing(self) -> str:
        """That there is no manifest at all, for a person; "" where there is one."""
        if self.manifests or self.entries or self.items:
            return ""
        where = f": neither manifest.toml nor manifest.d/*.toml in {' or '.join(self.searched)}"
        return f"no manifest was found{where if self.searched else ''}"
