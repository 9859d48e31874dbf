"""Who uses an overlay, and apart from them who uses a file that changed and should be restarted."""

from __future__ import annotations

import os
import posixpath
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.errors import NotActive, NotPermitted
from ovlay.paths import normal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.backend import Backend
    from ovlay.changes.meaning import Meant
    from ovlay.kernel import Mount
    from ovlay.kernel.holders import FileUse, User, Users

HOLDERS_SCHEMA = "ovlay.holders/1"


class Process(NamedTuple):
    """A process that uses an overlay or files of its.

    ``uses`` says how it uses the overlay, as in `ovlay.Holder`; ``files`` are those that changed, or that were asked
    for. ``unit`` is the systemd unit that it runs in and ``restart`` the command that starts it anew, where there are
    such. ``outdated`` is whether it uses a file as it was before a change.
    """

    pid: int
    command: str
    unit: str | None
    restart: str | None
    uses: tuple[str, ...]
    files: tuple[FileUse, ...]
    outdated: bool


class Holders(NamedTuple):
    """Who uses the overlay on a target.

    ``holders`` use the overlay itself; every process that was started since it is there does so through its
    libraries. ``changed`` use a file whose content changed, also those that have it from before there was an overlay;
    None where this process may not know what changed (``reason`` says why). ``left_behind`` use a view that a lazy
    unmount took away. ``unseen`` processes could not be looked at; where ``hidden``, /proc shows no others at all.
    """

    target: str
    active: bool
    holders: tuple[Process, ...]
    changed: tuple[Process, ...] | None
    left_behind: tuple[Process, ...]
    unseen: int
    hidden: bool
    reason: str = ""

    @property
    def complete(self) -> bool:
        """Whether every process was looked at, and all changes are known."""
        return not self.unseen and not self.hidden and self.changed is not None

    def to_json(self) -> dict[str, Any]:
        """The machine-readable form, as ``ovlay holders --json`` prints it (schema ``ovlay.holders/1``)."""
        from ovlay.model import as_json

        return {"schema": HOLDERS_SCHEMA, **as_json(self), "complete": self.complete}


def find_holders(backend: Backend, paths: Sequence[str] = ()) -> Holders:
    """The holders of a driver's overlay; see `ovlay.Overlay.holders`."""
    from ovlay.ancestry import is_below
    from ovlay.changes.meaning import no_such_path
    from ovlay.kernel.holders import Users

    host, target = backend.host, backend.target
    mounts = _overlays(backend)
    meant = _meant(backend, mounts, paths)
    trees = {_absolute(target, path) for path in (*meant.found, *meant.missing)}
    changed, reason = _changed_files(backend) if mounts else (frozenset[str](), "")
    names = changed or frozenset[str]()

    def wanted(path: str) -> bool:
        return is_below(path, trees) if trees else path in names

    # Where nothing is there to be used nobody need be looked at, and nobody can be missed.
    users = host.kernel.users(mounts, target, wanted) if mounts or trees else Users((), 0, hidden=False)
    used = [file.path for user in users.found for file in user.files]
    for path in meant.missing:
        if not any(is_below(file, {_absolute(target, path)}) for file in used):
            raise no_such_path(path, target)
    behind = _left_behind(backend)
    found = tuple(_process(user, names) for user in users.found)
    return Holders(
        target=target,
        active=bool(mounts),
        holders=tuple(one for one in found if (one.files if trees else one.uses)),
        changed=None if changed is None else tuple(one for one in found if any(f.path in names for f in one.files)),
        left_behind=tuple(_process(user, frozenset()) for user in behind.found),
        unseen=max(users.unseen, behind.unseen),
        hidden=users.hidden or behind.hidden,
        reason=reason,
    )


def _meant(backend: Backend, mounts: Sequence[Mount], paths: Sequence[str]) -> Meant:
    """What is meant. Of a base that this process may not look at it is not known that something is missing."""
    from ovlay.changes.meaning import Meant, find_meant

    if not paths:
        return Meant(backend.target)
    host, target = backend.host, backend.target
    with ExitStack() as stack:
        sides = [os.open(host.path(target), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        stack.callback(os.close, sides[0])
        known = True
        try:
            for mount in mounts:
                sides.append(stack.enter_context(host.kernel.views(mount, backend.upper_candidates(mount))).lower)
        except NotPermitted:
            known = False
        meant = find_meant(backend, sides, paths)
    return meant if known else Meant(backend.target, (*meant.found, *meant.missing))


def _absolute(target: str, path: str) -> str:
    return normal(posixpath.join(target, path))


def _process(user: User, changed: frozenset[str]) -> Process:
    """A process as it is told of: a file that did not change is not outdated, whatever mount it came from."""
    files = tuple(file._replace(outdated=file.outdated and file.path in changed) for file in user.files)
    unit = user.unit
    return Process(
        pid=user.pid,
        command=user.command,
        unit=None if unit is None else unit.name,
        restart=None if unit is None else unit.restart,
        uses=user.uses,
        files=files,
        outdated=any(file.outdated for file in files),
    )


def _overlays(backend: Backend) -> tuple[Mount, ...]:
    from ovlay.changes.find import overlay_of

    try:
        return (overlay_of(backend),)
    except NotActive:
        return ()


def _changed_files(backend: Backend) -> tuple[frozenset[str] | None, str]:
    """The paths of files whose content changed; None where this process may not know, and why."""
    from ovlay.changes.change import ChangeKind
    from ovlay.changes.find import find_changes

    try:
        found = find_changes(backend)
    except NotPermitted as error:
        return None, str(error)
    quiet = (ChangeKind.METADATA, ChangeKind.TOUCHED)
    return frozenset(
        f"{found.target}/{change.path}"
        for change in found.changes
        if change.kind not in quiet and not all(side is None or side.type == "directory" for side in change[2:4])
    ), ""


def _left_behind(backend: Backend) -> Users:
    """Who uses the views that lazy unmounts left behind."""
    from ovlay.kernel.holders import Users

    host, target = backend.host, backend.target
    nobody = Users((), 0, hidden=False)
    if not host.entries(host.state_dir + "/detached"):
        return nobody
    from ovlay.plan.unmounting import remembered_views

    mounts = [mount for view in remembered_views(host, target) for mount in view.mounts(host)]
    return host.kernel.users(mounts, target, lambda _: False) if mounts else nobody
