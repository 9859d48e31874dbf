"""Steps that keep what is in an overlay beside a manifest, and write the manifest that declares it.

The sources come first and the manifest last, so that one that can be read always has its sources.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.counting import counted
from ovlay.errors import Conflict, StateForbids
from ovlay.files.copying import DIRECTORY, descend
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.host import Host

NOTHING = "nothing"
"""Stands for the digest of a manifest that is not there yet."""

_BLOCK = 256 * 1024
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY = ".ovlay-new-"


@dataclass(frozen=True, slots=True)
class KeepSource(Step):
    """Copy a file of the merged view to the directory of a manifest, where nothing of that name is.

    ``source`` is relative to that directory. The copy is never more than its owner may write or run with the rights of
    another: set-id bits and write permission for others stay behind, and are in the manifest. Fails where the content
    is not what it was when the plan was made.
    """

    kind: ClassVar[str] = "keep-source"
    privileged: ClassVar[bool] = False

    target: str
    path: str
    manifest: str
    source: str
    sha256: str

    def describe(self) -> str:
        return f"copy {self.target}/{self.path} to {posixpath.dirname(self.manifest)}/{self.source}"

    def run(self, host: Host) -> str:
        folder, _, name = self.path.rpartition("/")
        os.makedirs(posixpath.dirname(self.manifest), mode=0o755, exist_ok=True)
        with contextlib.ExitStack() as stack:
            root = stack.enter_context(_opened(host.path(self.target)))
            parent = stack.enter_context(_descended(root, folder))
            there = os.open(name, _FILE, dir_fd=parent)
            stack.callback(os.close, there)
            top = stack.enter_context(_opened(posixpath.dirname(self.manifest)))
            beside = stack.enter_context(_made(top, posixpath.dirname(self.source)))
            temporary = _TEMPORARY + secrets.token_hex(8)
            new = os.open(temporary, _NEW, 0o600, dir_fd=beside)
            stack.callback(os.close, new)
            try:
                if not stat.S_ISREG(os.fstat(there).st_mode) or _copy(there, new) != self.sha256:
                    raise Conflict(
                        f"{self.target}/{self.path} changed since the plan was made", remedy="capture it again"
                    )
                os.fchmod(new, host.permissions(os.fstat(there)) & 0o755 | 0o600)
                os.fsync(new)
                os.rename(temporary, posixpath.basename(self.source), src_dir_fd=beside, dst_dir_fd=beside)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=beside)
                    _prune(top, posixpath.dirname(self.source))
                raise
        return ""

    def undo(self, host: Host) -> None:
        """Take the copy away, unless the manifest names it by now: then it was the last step that was interrupted."""
        with contextlib.suppress(FileNotFoundError), open(self.manifest, "rb") as stream:
            if self.sha256.encode() in stream.read():
                return
        discard_source(self.manifest, self.source)


@dataclass(frozen=True, slots=True)
class WriteManifest(Step):
    """Write a manifest whole, in the place of one whose content had the SHA-256 ``before`` (`NOTHING`: of none).

    Owner and mode of one that is there stay. ``obsolete`` are sources, relative to its directory, that it does not
    name any more: they are removed afterwards.
    """

    kind: ClassVar[str] = "write-manifest"
    privileged: ClassVar[bool] = False

    path: str
    before: str
    text: str
    obsolete: tuple[str, ...]

    def describe(self) -> str:
        files = counted(len(self.obsolete), "file")
        gone = f" and remove {files} that it names no more" if self.obsolete else ""
        return f"write {self.path}{gone}"

    def run(self, host: Host) -> str:
        folder, _, name = self.path.rpartition("/")
        os.makedirs(folder or "/", mode=0o755, exist_ok=True)
        with _opened(folder or "/") as parent:
            mode, owner = self._demand_unchanged(name, parent)
            temporary = _TEMPORARY + secrets.token_hex(8)
            new = os.open(temporary, _NEW, 0o600, dir_fd=parent)
            try:
                with os.fdopen(new, "wb") as stream:
                    stream.write(self.text.encode())
                    stream.flush()
                    if owner is not None:
                        os.fchown(stream.fileno(), *owner)
                    os.fchmod(stream.fileno(), mode)
                    os.fsync(stream.fileno())
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
                os.fsync(parent)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=parent)
        for source in (*self.obsolete, *unfinished_sources(self.path)):
            discard_source(self.path, source)
        return ""

    def _demand_unchanged(self, name: str, parent: int) -> tuple[int, tuple[int, int] | None]:
        """The mode and the owner that the new file is to have; `Conflict` where it is not what it was."""
        import hashlib

        try:
            descriptor = os.open(name, _FILE, dir_fd=parent)
        except FileNotFoundError:
            found, digest = None, NOTHING
        else:
            with os.fdopen(descriptor, "rb") as stream:
                found, digest = os.fstat(descriptor), hashlib.sha256(stream.read()).hexdigest()
        if digest != self.before:
            raise Conflict(f"{self.path} changed since the plan was made", remedy="capture again")
        if found is None:
            return 0o644, None
        return stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)


def sources_folder(manifest: str) -> str:
    """The directory beside a manifest in which the contents of what is captured are kept, by its name."""
    return posixpath.basename(manifest).removesuffix(".toml") + ".files"


def unfinished_sources(manifest: str) -> tuple[str, ...]:
    """What a capture that was killed had not copied to its end, relative to the directory of the manifest."""
    folder = sources_folder(manifest)
    found = []
    with contextlib.suppress(OSError), _opened(posixpath.dirname(manifest) or "/") as top:
        for place, _, names, _ in os.fwalk(folder, dir_fd=top):
            found += [posixpath.join(place, name) for name in names if name.startswith(_TEMPORARY)]
    return tuple(found)


def discard_source(manifest: str, source: str) -> None:
    """Remove a source beside a manifest, and the directories that are empty without it; what cannot be is left."""
    with contextlib.suppress(OSError), _opened(posixpath.dirname(manifest)) as top:
        folder, _, name = source.rpartition("/")
        with _descended(top, folder) as parent:
            os.unlink(name, dir_fd=parent)
        _prune(top, folder)


def _prune(top: int, folder: str) -> None:
    """Remove a directory and those above it, up to the first one that is not empty."""
    while folder:
        above, _, name = folder.rpartition("/")
        with _descended(top, above) as parent:
            os.rmdir(name, dir_fd=parent)
        folder = above


def _copy(source: int, target: int) -> str:
    """Copy the content of an open file, and return its SHA-256."""
    import hashlib

    digest = hashlib.sha256()
    while chunk := os.read(source, _BLOCK):
        digest.update(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(target, rest) :]
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _descended(root: int, folder: str) -> Iterator[int]:
    descriptor = descend(root, folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _made(root: int, folder: str) -> Iterator[int]:
    """A directory below ``root``, with those on the way made where they are missing, and no link followed."""
    current = os.open(".", DIRECTORY, dir_fd=root)
    try:
        for name in folder.split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=current)
            try:
                deeper = os.open(name, DIRECTORY, dir_fd=current)
            except OSError as error:
                raise StateForbids(f"{folder}: {name} is in the way of a directory", remedy="move it away") from error
            os.close(current)
            current = deeper
        yield current
    finally:
        os.close(current)
