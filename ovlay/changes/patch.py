"""Changes as a patch: unified diffs of text with the extended headers of git-diff(1).

The names begin with ``a/`` and ``b/`` and the target's own path, so that ``patch -p1`` and ``git apply`` take it at
the root of a tree. What neither knows (owners, devices, empty directories) is a line that begins with ``#`` between
the files, where both pass over it.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ovlay.changes.change import ChangeKind
from ovlay.changes.content import FILE
from ovlay.changes.descent import close, descend
from ovlay.changes.find import overlay_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.backend import Backend
    from ovlay.changes.change import Attributes, Change, Changes

LIMIT = 1 << 20
"""The size in bytes from which on a file is too large to be shown."""

_LOOKED_AT = 8000  # bytes in which a NUL makes a file a binary one: buffer_is_binary() in git's xdiff-interface.c
_NOWHERE = b"/dev/null"
_GIT_TYPES = {"file": stat.S_IFREG, "link": stat.S_IFLNK}
_QUOTED = {7: "a", 8: "b", 9: "t", 10: "n", 11: "v", 12: "f", 13: "r", 34: '"', 92: "\\"}


class _Place(NamedTuple):
    """A path of a change: its name on the host, its name in the views, and the views."""

    name: str
    path: str
    lower: int
    merged: int


class Part(NamedTuple):
    """The lines of one path, each ending in a newline; ``failure`` says why it could not be read, "" where it was."""

    path: str
    lines: tuple[bytes, ...]
    failure: str = ""


def make_patch(backend: Backend, changes: Changes) -> Iterator[Part]:
    """The patch of changes that were found on a driver's target, path by path; both sides are read anew.

    Raises what `ovlay.changes.find.find_changes` raises.
    """
    mount = overlay_of(backend)
    with backend.host.kernel.views(mount, backend.upper_candidates(mount)) as views:
        for change in changes.changes:
            try:
                lines = tuple(_lines(change, changes.target, views.lower, views.merged))
            except OSError as error:
                yield Part(change.path, (), error.strerror or str(error))
            else:
                yield Part(change.path, lines)


def _lines(change: Change, target: str, lower: int, merged: int) -> Iterator[bytes]:
    if change.kind is ChangeKind.TOUCHED:
        return
    name = target if change.path == "." else f"{target}/{change.path}"
    place = _Place(name, change.path, lower, merged)
    before, after = change.before, change.after
    old = before if before is not None and before.type in _GIT_TYPES else None
    new = after if after is not None and after.type in _GIT_TYPES else None
    yield from _remarks(change, target, name)
    if old is not None and new is not None and old.type != new.type:
        yield from _one_file(place, old, None)
        yield from _one_file(place, None, new)
    elif old is not None or new is not None:
        yield from _one_file(place, old, new)


def _remarks(change: Change, target: str, at: str) -> Iterator[bytes]:
    """What a patch has no words for."""
    before, after = change.before, change.after
    name = _quoted(at)
    if change.renamed_from is not None:
        yield b"# %s: was %s\n" % (name, _quoted(f"{target}/{change.renamed_from}"))
    for side, word in ((before, b"deleted"), (after, b"added")):
        other = after if side is before else before
        if side is not None and side.type not in _GIT_TYPES and (other is None or other.type != side.type):
            yield b"# %s: %s %s, mode %04o\n" % (word, side.type.encode(), name, side.mode)
    if before is None or after is None or before.type != after.type:
        return
    if before.type not in _GIT_TYPES and before.mode != after.mode:
        yield b"# %s: mode %04o, was %04o\n" % (name, after.mode, before.mode)
    if (before.uid, before.gid) != (after.uid, after.gid):
        yield b"# %s: owner %d:%d, was %d:%d\n" % (name, after.uid, after.gid, before.uid, before.gid)
    elif change.kind is ChangeKind.METADATA and before.mode == after.mode:
        yield b"# %s: extended attributes or flags differ\n" % name
    elif change.kind is ChangeKind.MODIFIED and before.type not in _GIT_TYPES:
        yield b"# %s: another %s\n" % (name, before.type.encode())


def _one_file(place: _Place, old: Attributes | None, new: Attributes | None) -> Iterator[bytes]:
    was, now = _quoted("a" + place.name), _quoted("b" + place.name)
    header = [b"diff --git %s %s\n" % (was, now)]
    if old is None and new is not None:
        header.append(b"new file mode %06o\n" % _git_mode(new))
        was = _NOWHERE
    elif new is None and old is not None:
        header.append(b"deleted file mode %06o\n" % _git_mode(old))
        now = _NOWHERE
    elif old is not None and new is not None and _git_mode(old) != _git_mode(new):
        header += [b"old mode %06o\n" % _git_mode(old), b"new mode %06o\n" % _git_mode(new)]
    large = max(side.size for side in (old, new) if side is not None) > LIMIT
    if large:
        body = [b"# larger than %d bytes, and not shown\n" % LIMIT, b"Binary files %s and %s differ\n" % (was, now)]
    else:
        body = list(_body(_content(place.lower, place.path, old), _content(place.merged, place.path, new), was, now))
    if body or len(header) > 1:
        yield from header
        yield from body


def _git_mode(side: Attributes) -> int:
    """The mode as git writes it: the type and all permission bits, of which git itself keeps only whether 0100 is."""
    return _GIT_TYPES[side.type] | (0 if side.type == "link" else side.mode)


def _content(view: int, path: str, side: Attributes | None) -> bytes:
    """The bytes of a file, or the text of a link; at most one more than the limit."""
    if side is None:
        return b""
    folder, _, name = path.rpartition("/")
    opened = [descend(view, folder)]
    try:
        if side.type == "link":
            return os.readlink(os.fsencode(name), dir_fd=opened[0])
        opened.append(os.open(name, FILE, dir_fd=opened[0]))
        if not stat.S_ISREG(os.fstat(opened[1]).st_mode):
            raise OSError("it is no regular file any more")
        chunks: list[bytes] = []
        left = LIMIT + 1
        while left > 0 and (chunk := os.read(opened[1], left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    finally:
        close(opened)


def _body(old: bytes, new: bytes, was: bytes, now: bytes) -> Iterator[bytes]:
    if old == new:
        return
    if b"\0" in old[:_LOOKED_AT] or b"\0" in new[:_LOOKED_AT] or max(len(old), len(new)) > LIMIT:
        yield b"Binary files %s and %s differ\n" % (was, now)
        return
    import difflib

    # A tab after a name with a space in it tells patch(1) where the name ends, as git does.
    names = [name + b"\t" if b" " in name else name for name in (was, now)]
    lines = difflib.diff_bytes(difflib.unified_diff, _split(old), _split(new), names[0], names[1])
    for number, line in enumerate(lines):
        if number >= 2 and not line.endswith(b"\n"):
            yield line + b"\n"
            yield b"\\ No newline at end of file\n"
        else:
            yield line


def _split(text: bytes) -> list[bytes]:
    """Lines that end at a newline and at nothing else, as patch(1) takes them."""
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _quoted(path: str) -> bytes:
    """A name as git writes it: in quotes and with escapes where it has control characters, quotes or backslashes."""
    plain = os.fsencode(path)
    if not any(byte < 32 or byte in (34, 92, 127) or byte >= 128 for byte in plain):
        return plain
    return b'"' + b"".join(map(_escaped, plain)) + b'"'


def _escaped(byte: int) -> bytes:
    if byte in _QUOTED:
        return b"\\" + _QUOTED[byte].encode()
    return b"\\%03o" % byte if byte < 32 or byte >= 127 else bytes((byte,))
