"""Where the contents of captured files are kept: beside the manifest, each under the path that it has on the host.

A content that is there is never overwritten, so that the old manifest has all its sources until the new one takes its
place: where a name is taken by another content, a part of the digest makes a new one.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import TYPE_CHECKING

from ovlay.plan.capturing import KeepSource, sources_folder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from ovlay.manifest.document import Entry
    from ovlay.manifest.writer import Written

_DIGITS = 12


class Keeper:
    """Names for the contents of entries, whose ``source`` is the captured file when they come, and the copy then.

    ``written`` are those that the manifest has by now; the ones that are ``retired``, by their lines, stay as they are.
    """

    def __init__(
        self,
        target: str,
        manifest: str,
        written: Sequence[Written],
        entries: Iterable[Entry],
        *,
        retired: Collection[int] = (),
    ) -> None:
        self._target, self._manifest = target, manifest
        self._top = posixpath.dirname(manifest)
        self._folder = sources_folder(manifest)
        having = [entry for entry in written if "source" in entry.table]
        self._old = {entry.path: str(entry.table["source"]) for entry in having if entry.line not in retired}
        self._retired = [str(entry.table["source"]) for entry in having if entry.line in retired]
        self._files: dict[str, str] = {}
        self._folders: set[str] = set()
        self._steps: list[KeepSource] = []
        self.entries = tuple(self._kept(entry) for entry in entries)
        """The entries with the sources that are kept."""

    def steps(self) -> tuple[KeepSource, ...]:
        """The copies that have to be made."""
        return tuple(self._steps)

    def obsolete(self, gone: Collection[str]) -> tuple[str, ...]:
        """The kept contents that only entries named which are replaced, or of the paths ``gone``."""
        now = {entry.path: entry.source or "" for entry in self.entries}
        stay = [source for path, source in self._old.items() if path not in now and path not in gone]
        still = {self._relative(source) for source in (*now.values(), *stay, *self._retired)}
        left = {source for path, source in self._old.items() if path in now or path in gone}
        inside = f"{self._folder}/"
        left = {source for source in left if self._relative(source) not in still}
        return tuple(sorted(source for source in left if posixpath.normpath(source).startswith(inside)))

    def _kept(self, entry: Entry) -> Entry:
        if entry.source is None or entry.sha256 is None:
            return entry
        name = next(name for name in self._names(entry, entry.sha256) if self._is_free(name, entry.sha256))
        if name not in self._files and not self._holds(name, entry.sha256):
            path = entry.path[len(self._target) + 1 :]
            self._steps.append(KeepSource(self._target, path, self._manifest, name, entry.sha256))
        self._files[name] = entry.sha256
        self._folders |= set(_folders(name))
        return entry._replace(source=posixpath.join(self._top, name))

    def _names(self, entry: Entry, sha256: str) -> Iterator[str]:
        old = self._old.get(entry.path)
        if old is not None and self._holds(old, sha256):
            yield old
        plain = f"{self._folder}{entry.path}"
        yield plain
        yield f"{plain}.{sha256[:_DIGITS]}"
        yield f"{self._folder}/{sha256}"

    def _is_free(self, name: str, sha256: str) -> bool:
        """Whether this content is, or can be put, under this name."""
        if name in self._files:
            return self._files[name] == sha256
        if name in self._folders or any(folder in self._files for folder in _folders(name)):
            return False
        for folder in _folders(name):
            found = _look(posixpath.join(self._top, folder))
            if found is not None and not stat.S_ISDIR(found.st_mode):
                return False
        return _look(posixpath.join(self._top, name)) is None or self._holds(name, sha256)

    def _holds(self, name: str, sha256: str) -> bool:
        """Whether a regular file of this name is there, with this content."""
        from ovlay.files.source import content_of

        try:
            descriptor = os.open(
                posixpath.join(self._top, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError:
            return False
        try:
            return stat.S_ISREG(os.fstat(descriptor).st_mode) and content_of(descriptor).sha256 == sha256
        finally:
            os.close(descriptor)

    def _relative(self, source: str) -> str:
        return posixpath.normpath(source).removeprefix(self._top.rstrip("/") + "/")


def _folders(name: str) -> Iterator[str]:
    while name := posixpath.dirname(name):
        if name == "/":
            return
        yield name


def _look(path: str) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None
