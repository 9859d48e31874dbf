"""From a file to a `Manifest`, or to every mistake that is in it."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any

from ovlay.advice import DEFAULT_TARGET
from ovlay.errors import InvalidInput, NotPermitted
from ovlay.manifest.document import SCHEMA, Entry, InvalidManifest, Kind, Manifest, Origin, Problem, When
from ovlay.manifest.fields import ENTRIES, HEAD, Field, read_table, unknown
from ovlay.manifest.positions import find_positions
from ovlay.manifest.values import Mistake, shown
from ovlay.notation import BYTE_ORDER_MARK
from ovlay.paths import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.manifest.positions import KeyPath, Positions

LIMIT = 16 << 20
"""The most bytes that a manifest may have."""


_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def load_manifest(path: str | os.PathLike[str], *, trusted: bool = True, root: str = "/") -> Manifest:
    """What is in a manifest, where there is no mistake in it.

    ``trusted`` is whether the caller named the file; if not, root reads none that another user could have written, nor
    one with such a source, and an absolute source is one of the host below ``root``. A relative source is relative to
    the directory that the file really is in, if a link leads to it. Raises `InvalidManifest` with every mistake, and
    `NotPermitted` where the file may not be read.
    """
    file = os.path.abspath(os.fspath(path))
    if not trusted:
        _demand_trust(file, root)
    text = _read(file)
    folder = os.path.dirname(os.path.realpath(file))
    return parse_manifest(text, file=file, folder=folder, trusted=trusted, root=root)


def parse_manifest(text: str, *, file: str, folder: str, trusted: bool = True, root: str = "/") -> Manifest:
    """What a text says, as if it were in ``file`` and its sources in ``folder``; raises `InvalidManifest`."""
    positions = find_positions(text)
    if positions.refused is not None:
        raise InvalidManifest([Problem(file, positions.refused.line, "", f"{positions.refused.message} is too much")])
    reader = _Reader(file, positions, trusted=trusted, folder=folder, root=root)
    manifest = reader.read(_parse_toml(file, text))
    if manifest is None:
        raise InvalidManifest(reader.problems)
    return manifest


def _demand_trust(file: str, root: str) -> None:
    """Raise `InvalidManifest` where this is root, and somebody else could have written the file."""
    from ovlay.manifest.trust import reason_to_distrust

    why = reason_to_distrust(file, root=root) if os.geteuid() == 0 else None
    if why is not None:
        hint = "chown it to root and chmod it go-w, or name the manifest"
        raise InvalidManifest([Problem(file, 0, "", f"is not trusted: {why}", hint)])


def _read(file: str) -> str:
    """The text of a regular file; never waits for a FIFO or a terminal."""

    def wrong(message: str, line: int = 0) -> InvalidManifest:
        return InvalidManifest([Problem(file, line, "", message)])

    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError as error:
        raise NotPermitted(f"{file}: may not be read", remedy="run as a user who may read it") from error
    except FileNotFoundError as error:
        raise wrong("there is no such file") from error
    except OSError as error:
        raise wrong(error.strerror or "cannot be opened") from error
    except ValueError as error:  # a null character
        raise wrong("there can be no file of that name") from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise wrong("is a directory" if stat.S_ISDIR(mode) else "is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(LIMIT + 1)
    except OSError as error:
        raise wrong(f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) > LIMIT:
        raise wrong(f"is larger than {LIMIT >> 20} MiB, which is more than a manifest may be")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise wrong(f"is not UTF-8 text: {error.reason} at byte {error.start}", line) from error


def _parse_toml(file: str, text: str) -> dict[str, Any]:
    import tomllib

    if text.startswith(BYTE_ORDER_MARK):
        hint = "save it as UTF-8 without one"
        raise InvalidManifest([Problem(file, 1, "", "begins with a byte order mark", hint)])
    try:
        return tomllib.loads(text)
    except ValueError as error:
        place = _TOML_PLACE.fullmatch(str(error))
        if place is None:
            message, line = str(error), 0
        else:
            column = f" at column {place[3]}" if place[3] else ""
            message = place[1][:1].lower() + place[1][1:] + column
            line = int(place[2]) if place[2] else text.rstrip().count("\n") + 1
        raise InvalidManifest([Problem(file, line, "", f"is not TOML: {message}")]) from error


class _Reader:
    """The data of one file with where it stands, and the problems that were found in it."""

    def __init__(self, file: str, positions: Positions, *, trusted: bool, folder: str, root: str) -> None:
        self.file = file
        self.positions = positions
        self.trusted = trusted
        self.folder = folder
        self.root = root
        self.problems: list[Problem] = []

    def read(self, data: dict[str, Any]) -> Manifest | None:
        """The manifest, or None where there are problems."""
        version = data.get("schema")
        if type(version) is int and version > SCHEMA:
            message = f"the manifest is of version {shown(version)}, made for a newer ovlay; this one knows {SCHEMA}"
            self._report((), [Mistake(message, "update ovlay", ("schema",))])
            return None
        if "schema" not in data:
            self._report((), [Mistake("is missing", f"write: schema = {SCHEMA}", ("schema",))])
        head, mistakes = read_table(HEAD, {key: value for key, value in data.items() if key in HEAD})
        self._report((), (mistake for mistake in mistakes if mistake.message != "is missing"))
        known = {**HEAD, **{kind.value: Field(str) for kind in Kind}}
        self._report((), (unknown(key, known) for key in data if key not in known))
        target = self._target(head.get("target", None if "target" in data else DEFAULT_TARGET))
        name = head.get("name") or os.path.basename(self.file).removesuffix(".toml") or self.file
        self._check_when(("when",), head.get("when", When()), target)
        entries = [entry for kind in Kind for entry in self._entries(kind, data.get(kind.value, []), name, target)]
        entries.sort(key=lambda entry: entry.origin.line)
        self._find_twins(entries)
        if self.problems:
            self.problems.sort(key=lambda problem: problem.line)
            return None
        assert target is not None
        when = head.get("when", When())
        return Manifest(self.file, name, target, tuple(entries), head.get("overlay"), when, self.trusted)

    def _report(self, path: KeyPath, mistakes: Iterable[Mistake]) -> None:
        for mistake in mistakes:
            full = (*path, *mistake.path)
            line = self.positions.line(full)
            self.problems.append(Problem(self.file, line, _dotted(full), mistake.message, mistake.hint))

    def _target(self, written: str | None) -> str | None:
        """The target, normalised; None where it is wrong."""
        if written is None:
            return None
        target = normal(written)
        if target == "/":
            self._report((), [Mistake("cannot be the root directory", "such as /usr", ("target",))])
            return None
        return target

    def _entries(self, kind: Kind, tables: Any, name: str, target: str | None) -> Iterator[Entry]:
        """The entries of one kind; those that are wrong are told and left out."""
        if not isinstance(tables, list):
            hint = f"write [[{kind}]] and not [{kind}]" if isinstance(tables, dict) else ""
            self._report((), [Mistake("must be a list of tables", hint or f"write [[{kind}]]", (str(kind),))])
            return
        for number, table in enumerate(tables):
            path: KeyPath = (str(kind), number)
            if not isinstance(table, dict):
                self._report(path, [Mistake(f"must be a table, not {shown(table)}")])
                continue
            found, mistakes = read_table(ENTRIES[kind], table)
            mistakes += self._contradictions(kind, path, table, found)
            if target is not None and "path" in found:
                try:
                    found["path"] = _below(target, found["path"])
                except InvalidInput as error:
                    mistakes.append(Mistake(str(error), error.remedy, ("path",)))
            if "source" in found:
                found["source"] = self._source(found["source"])
                mistakes += self._distrust(found["source"])
            self._check_when((*path, "when"), found.get("when", When()), target)
            self._report(path, mistakes)
            if not mistakes and target is not None:
                yield Entry(kind, origin=Origin(self.file, name, self.positions.line(path), self.trusted), **found)

    def _contradictions(
        self, kind: Kind, path: KeyPath, table: dict[str, Any], found: dict[str, Any]
    ) -> Iterator[Mistake]:
        """What is wrong with keys that are right on their own."""
        if kind is Kind.FILE and ("source" in table) == ("text" in table):
            message = "has both source and text" if "source" in table else "has neither source nor text"
            yield Mistake(message, "give exactly one of them")
        if "text" in found and "sha256" in found:
            import hashlib

            if hashlib.sha256(found["text"].encode()).hexdigest() != found["sha256"]:
                yield Mistake("is not that of the text", path=("sha256",))
        for key in ("mode", "file-mode", "directory-mode"):
            written = self.positions.numbers.get((*path, key), "0o")
            if key.replace("-", "_") in found and written.isdecimal():
                yield Mistake(f"{written} is a decimal number", f'write it as "{written:0>4}" or 0o{written}', (key,))

    def _source(self, written: str) -> str:
        if written.startswith("/"):
            found = written if self.trusted or self.root == "/" else self.root + written
        else:
            found = os.path.join(self.folder, written)
        return normal(found)

    def _distrust(self, source: str) -> Iterator[Mistake]:
        """Root installs nothing on a found manifest's word that another user could have written."""
        if self.trusted or os.geteuid() != 0:
            return
        from ovlay.manifest.trust import reason_to_distrust

        root = self.root if source.startswith(self.root.rstrip("/") + "/") else "/"
        why = reason_to_distrust(source, root=root)
        if why is not None:
            yield Mistake(f"is not trusted: {why}", path=("source",))

    def _check_when(self, path: KeyPath, when: When, target: str | None) -> None:
        """Only what is below the target is in the base."""
        if target is None:
            return
        for key in ("missing", "present"):
            for asked in getattr(when, key):
                try:
                    _below(target, asked)
                except InvalidInput as error:
                    self._report(path, [Mistake(str(error), error.remedy, (key,))])

    def _find_twins(self, entries: list[Entry]) -> None:
        """Tell what is declared twice, unless conditions may tell the two apart."""
        seen: dict[str, Entry] = {}
        for entry in entries:
            first = seen.setdefault(entry.path, entry)
            if first is not entry and not (_conditional(first) and _conditional(entry)):
                message = f"{entry.path} is declared on line {first.origin.line} already"
                hint = "leave one out, or give both a condition (when)"
                self.problems.append(Problem(self.file, entry.origin.line, str(entry.kind), message, hint))


def _conditional(entry: Entry) -> bool:
    return entry.when != When()


def _below(target: str, path: str) -> str:
    from ovlay.files.destination import below

    return os.path.join(target, below(target, path))


def _dotted(path: KeyPath) -> str:
    """A key path as in TOML and JSONPath: ``file[0].when.image``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if _BARE_KEY.fullmatch(part) else shown(part)
            text += f".{name}" if text else name
    return text
