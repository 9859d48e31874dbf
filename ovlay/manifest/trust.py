"""Whom root believes: what nobody but root can change, from the root directory down to the file."""

from __future__ import annotations

import os
import posixpath
import stat

_MAX_LINKS = 40  # as many as the kernel follows: path_resolution(7)


def reason_to_distrust(path: str, *, root: str = "/") -> str | None:
    """Why another user could change what is at ``path``, or put something else there; None where nobody can.

    Every directory on the way counts, also those that links lead through: who can write to one can swap what is in
    it. ``root`` is where the walk begins. What is missing is no reason: then nobody else can make it.
    """
    at = root
    left = [part for part in reversed(posixpath.relpath(path, root).split("/")) if part != "."]
    links = 0
    try:
        if (why := reason_against(at, os.lstat(at))) is not None:
            return why
        while left:
            part = left.pop()
            if part == "..":
                at = posixpath.dirname(at)
                continue
            there = posixpath.join(at, part)
            found = os.lstat(there)
            if not stat.S_ISLNK(found.st_mode):
                at = there
                if (why := reason_against(at, found)) is not None:
                    return why
                continue
            links += 1
            if links > _MAX_LINKS:
                return f"{path} has too many links on the way"
            to = os.readlink(there)
            left += [step for step in reversed(to.split("/")) if step not in ("", ".")]
            if to.startswith("/"):
                at = "/"
                if (why := reason_against(at, os.lstat(at))) is not None:
                    return why
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return f"{path} cannot be looked at: {error.strerror}"
    return None


def reason_against(path: str, found: os.stat_result) -> str | None:
    """Why another user could change this one file, directory or link, of which lstat(2) said ``found``."""
    if found.st_uid != 0:
        return f"{path} belongs to user {found.st_uid}, not to root"
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others than root (mode {stat.S_IMODE(found.st_mode):04o})"
    return None
