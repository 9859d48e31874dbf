"""What an added path was before, where the overlay itself knows: by its redirects, and by what files were copied from.

A directory that was moved has the place that it is merged with in its ``redirect``; what is in it and not in the upper
came along. A file that was copied up has the handle of the lower's file in its ``origin``, when the lower's has one
name only. With no upper to look into, the inode number is what is left: it stays that of the lower's file.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from ovlay.changes.classify import ADDED, DELETED
from ovlay.changes.content import listed
from ovlay.changes.descent import close, descend

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.changes.classify import Row
    from ovlay.kernel import Views

# struct ovl_fb: version, magic, length, flags, type, uuid[16], then the handle itself (fs/overlayfs/overlayfs.h).
_HEADER, _MAGIC, _TYPE_AT, _LENGTH_AT = 21, 0xFB, 4, 2


def find_renames(
    views: Views,
    rows: Sequence[Row],
    *,
    prefix: str,
    origins: dict[str, bytes | None] | None,
    numbering: tuple[int, int] | None,
    errors: dict[str, str],
) -> dict[str, str]:
    """By added path, what it was. What could not be looked at goes into ``errors``.

    ``origins`` are the handles that the upper has for added files, None where it was not looked into;
    ``numbering`` is the device that the lower's own files show in the merged view and what is added to their inode
    numbers, None where none was met.
    """
    gone: dict[str, tuple[Any, ...]] = {}
    new: dict[str, tuple[Any, ...]] = {}
    for path, kind, was, now in rows:
        if kind == DELETED and was is not None:
            gone[path] = was
        elif kind == ADDED and now is not None:
            new[path] = now
    if not gone or not new:
        return {}
    if views.upper is None or origins is None:
        return {} if numbering is None else dict(_by_number(views, gone, new, numbering))
    moved = dict(_moved_directories(views.upper, gone, new, prefix, errors))
    return moved | dict(_by_origin(views, gone, new, origins, moved, prefix))


# --- directories -----------------------------------------------------------------------------------------------------


def _moved_directories(
    upper: int, gone: dict[str, tuple[Any, ...]], new: dict[str, tuple[Any, ...]], prefix: str, errors: dict[str, str]
) -> Iterator[tuple[str, str]]:
    """The directories with a redirect, and what came along in them: it is not in the upper, so it is the lower's."""
    came_from: dict[str, str] = {}
    for path in sorted(path for path, now in new.items() if stat.S_ISDIR(now[0])):
        try:
            redirect = _redirect(upper, path, f"{prefix}redirect")
        except OSError as error:
            errors[path] = error.strerror or str(error)
            continue
        if redirect is None:
            continue
        if redirect.startswith("/"):
            came_from[path] = redirect[1:]
        elif redirect:
            above = path.rpartition("/")[0]
            before = came_from.get(above, above)
            came_from[path] = f"{before}/{redirect}" if before else redirect
        elif (above := path.rpartition("/")[0]) in came_from:
            # It is in the upper because something in it changed; whether it was there before, the lower says.
            came_from[path] = f"{came_from[above]}/{path.rpartition('/')[2]}"
    for path in sorted(new):
        above, _, name = path.rpartition("/")
        if path not in came_from and above in came_from:
            try:
                came_along = not _is_in(upper, path)
            except OSError as error:
                errors[path] = error.strerror or str(error)
                continue
            if came_along:
                came_from[path] = f"{came_from[above]}/{name}"
        before = came_from.get(path, "")
        if before in gone and stat.S_IFMT(gone[before][0]) == stat.S_IFMT(new[path][0]):
            yield path, before


def _redirect(upper: int, path: str, name: str) -> str | None:
    """Where a directory of the upper is merged from; None for one that is not there: it came along with its parent."""
    try:
        directory = descend(upper, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        return os.fsdecode(os.getxattr(directory, name)) if name in listed(directory) else ""
    finally:
        os.close(directory)


def _is_in(root: int, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    opened: list[int] = []
    try:
        opened.append(descend(root, folder))
        os.stat(name, dir_fd=opened[0], follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    else:
        return True
    finally:
        close(opened)


# --- files -----------------------------------------------------------------------------------------------------------


def _by_origin(  # noqa: PLR0917
    views: Views,
    gone: dict[str, tuple[Any, ...]],
    new: dict[str, tuple[Any, ...]],
    origins: dict[str, bytes | None],
    moved: dict[str, str],
    prefix: str,
) -> Iterator[tuple[str, str]]:
    assert views.upper is not None
    sought: dict[tuple[int, bytes], str] = {}
    for path, now in new.items():
        if path in moved or not stat.S_ISREG(now[0]):
            continue
        origin = origins[path] if path in origins else _origin(views.upper, path, f"{prefix}origin")
        if origin is not None and len(origin) > _HEADER and origin[1] == _MAGIC:
            sought[origin[_TYPE_AT], origin[_HEADER : origin[_LENGTH_AT]]] = path
    if not sought:
        return
    taken = set(moved.values())
    for before, was in gone.items():
        if stat.S_ISREG(was[0]) and before not in taken:
            handle = _handle(views.lower, before)
            if handle is not None and handle in sought:
                yield sought[handle], before


def _origin(upper: int, path: str, name: str) -> bytes | None:
    folder, _, base = path.rpartition("/")
    opened: list[int] = []
    try:
        opened.append(descend(upper, folder))
        return os.getxattr(f"/proc/self/fd/{opened[0]}/{base}", name, follow_symlinks=False)
    except OSError:
        return None  # it has none, or is gone by now: it is added all the same, and nothing is missing in the answer
    finally:
        close(opened)


def _handle(lower: int, path: str) -> tuple[int, bytes] | None:
    from ovlay.kernel import libc

    folder, _, name = path.rpartition("/")
    opened: list[int] = []
    try:
        opened.append(descend(lower, folder))
        handle = libc.name_to_handle_at(opened[0], name)
    except OSError:
        return None  # a filesystem without handles: nothing to recognise a file by, and no claim is made
    finally:
        close(opened)
    return handle.handle_type, handle.content


def _by_number(
    views: Views, gone: dict[str, tuple[Any, ...]], new: dict[str, tuple[Any, ...]], numbering: tuple[int, int]
) -> Iterator[tuple[str, str]]:
    """What has the number of a deleted one, on the device that the lower's own files show, and the same time stamp.

    The time stamp is for btrfs, which gives out a number once in each subvolume.
    """
    numbers = {was[1]: path for path, was in gone.items() if stat.S_ISDIR(was[0]) or was[3] == 1}
    for path, now in new.items():
        before = numbers.get(now[1] - numbering[1])
        if before is None or now[2] != numbering[0]:
            continue
        was = gone[before]
        if stat.S_IFMT(was[0]) != stat.S_IFMT(now[0]) or (stat.S_ISREG(now[0]) and was[6] != now[6]):
            continue
        stamp = _time_stamp(views.merged, path)
        if stamp is not None and stamp == _time_stamp(views.lower, before):
            yield path, before


def _time_stamp(view: int, path: str) -> int | None:
    folder, _, name = path.rpartition("/")
    opened: list[int] = []
    try:
        opened.append(descend(view, folder))
        return os.stat(name, dir_fd=opened[0], follow_symlinks=False).st_mtime_ns
    except OSError:
        return None  # it changed since it was compared: what is not certain is not called a rename
    finally:
        close(opened)
