"""From files that are asked for to the steps that are still needed."""

from __future__ import annotations

import os
import posixpath
import stat
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from ovlay.advice import command
from ovlay.errors import InvalidInput, NotActive, NotPermitted, StateForbids
from ovlay.files.accounts import group_id, user_id
from ovlay.files.destination import below, opened_parent
from ovlay.files.room import demand_room
from ovlay.files.source import content_of
from ovlay.model import AnomalyKind, Persistence
from ovlay.plan.placing import MakeLeadingDirectory, PlaceFile
from ovlay.plan.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ovlay.host import Host
    from ovlay.model import Status
    from ovlay.plan.step import Step
    from ovlay.requests import InstallFile


def plan_files(host: Host, status: Status, files: Sequence[InstallFile]) -> Plan:
    """The steps for what differs from what is there; raises as `ovlay.backend.Backend.plan_install` says."""
    overlay = _demand_overlay(status)
    durable = status.mode is not None and status.mode.persistence is Persistence.PERSISTENT
    steps: list[Step] = []
    made: set[str] = set()
    seen: set[str] = set()
    needed = 0
    with ExitStack() as stack:
        root = os.open(host.path(status.target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, root)
        for file in files:
            relative = below(status.target, file.destination)
            if relative in seen:
                raise InvalidInput(f"{file.destination} is given twice")
            seen.add(relative)
            there, missing = _find(root, status.target, relative)
            if missing and not file.make_parents:
                raise InvalidInput(
                    f"{status.target}/{posixpath.dirname(relative)}: there is no such directory",
                    remedy="make it with -D (--make-parents), which makes all directories on the way",
                )
            for path in missing:
                if path not in made:
                    made.add(path)
                    steps.append(MakeLeadingDirectory(status.target, overlay, path, 0o755, *host.default_owner))
            demand = partial(_demand_room_for, status, needed, None if there is None else there.st_size)
            step = _wanted(host, status.target, overlay, relative, file, durable=durable, demand=demand)
            if there is None or not _is_so(host, root, status.target, relative, step):
                needed += step.size
                steps.append(step)
    demand_room(status, needed)
    return Plan(tuple(steps), "" if steps else "all files are there already, with the same content, mode and owner")


def _demand_overlay(status: Status) -> int:
    """The mount id of the overlay that takes the files."""
    if status.overlay is None:
        enable = command("ovlay enable", status.target)
        raise NotActive(f"there is no overlay on {status.target}", remedy=f"enable one first: {enable}")
    if status.has(AnomalyKind.HIDDEN_BY_SYSEXT):
        raise StateForbids(
            f"the overlay on {status.target} is hidden by merged system extensions",
            remedy="run `systemd-sysext unmerge` first",
        )
    return status.overlay.mount_id


def _demand_room_for(status: Status, needed: int, there: int | None, size: int) -> None:
    """Raise `NoSpace` for a source of this size that does not fit, before all of it is read.

    Only where a file of that very size is there already it may turn out that it takes no room.
    """
    if size != there:
        demand_room(status, needed + size)


def _wanted(
    host: Host,
    target: str,
    mount_id: int,
    relative: str,
    file: InstallFile,
    *,
    durable: bool,
    demand: Callable[[int], None],
) -> PlaceFile:
    if not 0 <= file.mode <= 0o7777:
        raise InvalidInput(f"mode {file.mode:o} is not between 0 and 7777")
    with host.opened_source(file.source) as descriptor:
        demand(os.fstat(descriptor).st_size)
        content = content_of(descriptor)
    uid, gid = host.default_owner
    return PlaceFile(
        source=os.path.abspath(file.source),
        target=target,
        mount_id=mount_id,
        path=relative,
        size=content.size,
        sha256=content.sha256,
        mode=file.mode,
        uid=uid if file.owner is None else user_id(file.owner),
        gid=gid if file.group is None else group_id(file.group),
        durable=durable,
    )


def _find(root: int, target: str, relative: str) -> tuple[os.stat_result | None, list[str]]:
    """What is there, and which directories on the way are missing, outermost first."""
    missing: list[str] = []
    parent = relative
    while True:
        try:
            with opened_parent(root, target, parent) as descriptor:
                if missing:
                    return None, missing
                try:
                    found = os.stat(posixpath.basename(relative), dir_fd=descriptor, follow_symlinks=False)
                except FileNotFoundError:
                    return None, []
                if stat.S_ISDIR(found.st_mode):
                    raise InvalidInput(f"{target}/{relative} is a directory", remedy="name the file in it")
                return found, []
        except FileNotFoundError:
            parent = posixpath.dirname(parent)
            missing.insert(0, parent)


def _is_so(host: Host, root: int, target: str, relative: str, step: PlaceFile) -> bool:
    """Whether the file that is there is what the step would make of it."""
    with opened_parent(root, target, relative) as parent:
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            there = os.open(posixpath.basename(relative), flags, dir_fd=parent)
        except PermissionError as error:
            raise NotPermitted(f"{target}/{relative}: may not be read", remedy="run it as root") from error
        except OSError:
            return False
    try:
        found = os.fstat(there)
        if not stat.S_ISREG(found.st_mode) or found.st_size != step.size:
            return False
        if (host.permissions(found), found.st_uid, found.st_gid) != (step.mode, step.uid, step.gid):
            return False
        return content_of(there).sha256 == step.sha256
    finally:
        os.close(there)
