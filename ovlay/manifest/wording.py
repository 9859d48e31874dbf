"""From changes to the entries that say them; what a manifest has no words for is remembered, by path."""

from __future__ import annotations

import os
import posixpath
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ovlay.bases import content_word
from ovlay.changes.change import ChangeKind
from ovlay.files.label import ATTRIBUTE, read_label
from ovlay.manifest.document import DIRECTORY, NOTHING, Entry, Kind, Origin
from ovlay.manifest.writer import unsayable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.backend import Backend
    from ovlay.changes.change import Attributes, Change
    from ovlay.kernel import Views

_KINDS = {"file": Kind.FILE, "link": Kind.SYMLINK, "directory": Kind.DIRECTORY}
_SIGNATURE = "security.evm"  # the kernel's own, of the other attributes of this very inode


class Reader:
    """Reads changes for the manifest ``file``, which has ``trees`` at these paths."""

    def __init__(self, backend: Backend, views: Views, file: str, trees: frozenset[str]) -> None:
        self._host, self._target = backend.host, backend.target
        self._views = views
        self._origin = Origin(file, posixpath.basename(file).removesuffix(".toml"), 0)
        self._trees = trees
        self._gone = ""  # what is not there any more with all that was in it, with a slash at its end
        self._left_out: list[tuple[str, str]] = []
        self._same_file: dict[tuple[int, int], list[str]] = {}

    def entry(self, change: Change) -> Iterator[Entry]:
        """The entry that says what a change is, if one can. A directory comes right before all that is in it."""
        path = change.path if change.path != "." else ""
        if self._gone and change.path.startswith(self._gone):
            return
        if change.after is None or change.after.type != "directory":
            self._gone = change.path + "/"
        if not path:
            self._leave_out(path, "a manifest cannot say how the target itself is to be")
        elif unsayable([path]):
            self._leave_out(path, "its name is no UTF-8, and a manifest is")
        elif change.after is None:
            yield self._of(Kind.ABSENT, path, replaces=self._replaces(change))
        elif change.after.type not in _KINDS:
            self._leave_out(path, f"a manifest cannot declare a {change.after.type.replace('-', ' ')}")
        else:
            yield from self._there(change, change.after)

    def _there(self, change: Change, now: Attributes) -> Iterator[Entry]:
        path, place = change.path, f"/proc/self/fd/{self._views.merged}/{change.path}"
        kind = _KINDS[now.type]
        try:
            found = os.lstat(place)
            label = read_label(place)
            names = [name for name in os.listxattr(place, follow_symlinks=False) if name not in (ATTRIBUTE, _SIGNATURE)]
            to = os.readlink(place) if kind is Kind.SYMLINK else None
        except OSError as error:
            self._leave_out(path, error.strerror or str(error))
            return
        if kind is Kind.FILE and now.sha256 is None:
            self._leave_out(path, "it could not be read")
            return
        if to is not None and unsayable([to]):
            self._leave_out(path, "what the link says is no UTF-8, and a manifest is")
            return
        if kind is Kind.DIRECTORY and f"{self._target}/{path}" in self._trees:
            self._leave_out(path, "the manifest has a tree of that name, which says how its directories are to be")
            return
        more = _named([*names, *(["the flags immutable and append-only"] if _has_flags(place, kind) else [])])
        if change.kind is ChangeKind.METADATA and not self._sayable_metadata(change, now, label):
            self._leave_out(path, f"a manifest cannot declare {more or 'that an attribute or a flag is gone'}")
            return
        if more:
            self._leave_out(path, f"captured without {more}, which a manifest cannot declare")
        if found.st_nlink > 1 and kind is not Kind.DIRECTORY:
            self._same_file.setdefault((found.st_dev, found.st_ino), []).append(path)
        uid, gid = self._host.default_owner
        yield self._of(
            kind,
            path,
            source=f"{self._target}/{path}" if kind is Kind.FILE else None,  # until it is known where it is kept
            to=to,
            sha256=now.sha256,
            mode=None if kind is Kind.SYMLINK else now.mode,
            owner=None if now.uid == uid else _user(now.uid),
            group=None if now.gid == gid else _group(now.gid),
            label=None if label is None else label.rstrip(b"\0").decode("ascii", "replace"),
            replaces=None if kind is Kind.DIRECTORY else self._replaces(change),
        )

    def _sayable_metadata(self, change: Change, now: Attributes, label: bytes | None) -> bool:
        """Whether of a path that differs only in what is attached to it, anything that an entry can say differs."""
        was = change.before
        assert was is not None
        if (was.mode, was.uid, was.gid) != (now.mode, now.uid, now.gid):
            return True
        return label != read_label(f"/proc/self/fd/{self._views.lower}/{change.path}")

    def _replaces(self, change: Change) -> str | None:
        """What the base has, in one word; None for what has none, such as a device."""
        if change.before is None:
            return NOTHING
        if change.before.type == "directory":
            return DIRECTORY
        if change.before.type != "link":
            return change.before.sha256
        return content_word("symlink", None, os.readlink(f"/proc/self/fd/{self._views.lower}/{change.path}"))

    def _of(self, kind: Kind, path: str, **more: str | int | None) -> Entry:
        return Entry(kind, f"{self._target}/{path}", self._origin, **more)  # type: ignore[arg-type]

    def _leave_out(self, path: str, why: str) -> None:
        self._left_out.append((path, why))

    def warnings(self) -> Iterator[str]:
        """What a manifest cannot say, by name."""
        for path, why in self._left_out:
            yield f"{self._target}/{path}: {why}" if path else f"{self._target}: {why}"
        for names in self._same_file.values():
            if len(names) > 1:
                listed = ", ".join(f"{self._target}/{name}" for name in names)
                yield f"{listed}: captured as files of their own, though they are names of one file"


def _named(names: Sequence[str]) -> str:
    words = {"security.capability": "capabilities", "system.posix_acl_access": "an access list"}
    words["system.posix_acl_default"] = "a default access list"
    return ", ".join(words.get(name, f"the attribute {name}" if "." in name else name) for name in names)


def _has_flags(place: str, kind: Kind) -> bool:
    from ovlay.changes.content import FILE, has_flags

    if kind is Kind.SYMLINK:
        return False
    with ExitStack() as stack:
        try:
            descriptor = os.open(place, FILE)
        except OSError:
            return False
        stack.callback(os.close, descriptor)
        return has_flags(descriptor) != 0


def _user(uid: int) -> str | int:
    """The name of a user, where that leads back to the number; else the number."""
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
        return name if pwd.getpwnam(name).pw_uid == uid else uid
    except KeyError:
        return uid


def _group(gid: int) -> str | int:
    import grp

    try:
        name = grp.getgrgid(gid).gr_name
        return name if grp.getgrnam(name).gr_gid == gid else gid
    except KeyError:
        return gid
