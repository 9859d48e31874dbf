"""What changed on a target: choose how to see it, look, and put the result together.

Where the upper directory is reached and proven, it names what to look at, and the cost grows with the changes. Else
merged and lower are compared, leaving out what surely is the lower's own; where nothing is sure, in full.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from typing import TYPE_CHECKING, Any

from ovlay.advice import command
from ovlay.ancestry import is_below
from ovlay.changes.change import Attributes, Change, ChangeKind, Changes, MadeWhenAsked, type_word
from ovlay.changes.classify import ADDED, Comparison
from ovlay.changes.workers import carry_out
from ovlay.errors import NotActive
from ovlay.model import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ovlay.backend import Backend
    from ovlay.changes.classify import Row
    from ovlay.host import Host
    from ovlay.kernel import Mount, Views

_OURS = (Owner.OVLAY, Owner.TOOL)
_ON = ("on", "Y")
_KINDS = (
    ChangeKind.ADDED,
    ChangeKind.MODIFIED,
    ChangeKind.METADATA,
    ChangeKind.DELETED,
    ChangeKind.TYPE_CHANGED,
    ChangeKind.TOUCHED,
)


def find_changes(
    backend: Backend,
    paths: Iterable[str | os.PathLike[str]] = (),
    *,
    hashes: bool = False,
    everything: bool = False,
    workers: int | None = None,
) -> Changes:
    """Every difference of the driver's target from what lies beneath its overlay, or of these paths only.

    ``paths`` are relative to the target, or absolute and in it; links on the way are followed. ``hashes`` adds the
    SHA-256 of regular files, ``everything`` what was touched and is the same. ``workers`` is the number of processes
    that look (None: one for each processor where there is much to look at; 1 where the caller's process must not be
    forked).

    Raises `NotActive` where there is no overlay, `NotPermitted` where this process may not look beneath it,
    `InvalidInput` for a path that is not in the target or on neither side, `StateForbids` for one that a link leads out
    of it, `Conflict` where the overlay goes away meanwhile.
    """
    host, target = backend.host, backend.target
    asked = [os.fspath(path) for path in paths]
    if asked:
        from ovlay.paths import demand_inside

        demand_inside(target, asked)
    mount = overlay_of(backend)
    submounts = tuple(found.mount_point for found in host.kernel.mounts().below(target) if found.device != mount.device)
    with host.kernel.views(mount, backend.upper_candidates(mount)) as views:
        wanted = _meant(backend, views, asked) if asked else ()
        return look(
            host, mount, views, paths=wanted, submounts=submounts, hashes=hashes, everything=everything, workers=workers
        )


def _meant(backend: Backend, views: Views, asked: Sequence[str]) -> tuple[str, ...]:
    from ovlay.changes.meaning import find_meant

    return find_meant(backend, (views.merged, views.lower), asked).demand_all()


def overlay_of(backend: Backend) -> Mount:
    """The overlay whose changes are meant: the topmost that takes changes and is ours or our tool's, else the topmost.

    Raises `NotActive` where there is none.
    """
    mounts = backend.host.mounts_at(backend.target)
    overlays = [mount for mount in mounts if mount.is_overlay]
    ours = [mount for mount in overlays if mount.upper is not None and backend.owner(mount) in _OURS]
    if not overlays:
        raise NotActive(
            f"there is no overlay on {backend.target}, so nothing differs from a base",
            remedy=f"see {command('ovlay status', backend.target)}",
        )
    return (ours or overlays)[-1]


def look(
    host: Host,
    mount: Mount,
    views: Views,
    *,
    paths: tuple[str, ...] = (),
    submounts: Sequence[str] = (),
    hashes: bool = False,
    everything: bool = False,
    workers: int | None = None,
) -> Changes:
    """The changes of one overlay, whose sides are open. ``paths`` are relative to the target.

    What other lower layers brought is none of them, where the upper is reached and can tell.
    """
    paths = () if "." in paths else paths
    options = _options(host, mount, paths, everything=everything)
    if not views.own_inodes:
        # What is mounted below the target is in these views.
        options["skip"] = frozenset(posixpath.relpath(point, mount.mount_point) for point in submounts)
    walk = _walk(host, mount, views, options)
    with _no_collections():
        carry_out(walk, walk.begin, workers=workers)
    if walk.linked and _shares_links(host, mount):
        from ovlay.changes.pruned_walk import LinkedNames

        names = LinkedNames(views, linked=walk.linked, known={row[0] for row in walk.rows}, **options)
        carry_out(names, names.begin, workers=workers)
        walk.take(names.found())
    wanted = frozenset(paths)
    rows = [row for row in walk.rows if is_below(row[0], wanted)] if wanted else walk.rows
    if views.upper is not None and _has_layers(mount):
        from ovlay.changes.layers import without_layers

        rows = without_layers(views.upper, rows, prefix=prefix(mount), errors=walk.errors)
    rows.sort()
    renames: dict[str, str] = {}
    if views.own_inodes and mount.fstype == "overlay":
        from ovlay.changes.renames import find_renames

        renames = find_renames(
            views,
            rows,
            prefix=prefix(mount),
            origins=getattr(walk, "origins", None),
            numbering=getattr(walk, "numbering", None),
            errors=walk.errors,
        )
    digests: dict[tuple[str, bool], str] = {}
    if hashes:
        from ovlay.changes.digests import digest_rows

        digests = digest_rows(views, rows, walk.errors)
    changes = MadeWhenAsked(len(rows), lambda: _changes(rows, renames, digests))
    return Changes(mount.mount_point, changes, not walk.errors, dict(sorted(walk.errors.items())), tuple(submounts))


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Nothing that a walk keeps can be garbage, and looking through it again and again takes a tenth of the time."""
    import gc

    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


# --- choosing --------------------------------------------------------------------------------------------------------


def _options(host: Host, mount: Mount, paths: tuple[str, ...], *, everything: bool) -> dict[str, Any]:
    from ovlay.host import Host as PlainHost

    plain = type(host).permissions is PlainHost.permissions
    return {
        "private": private(mount),
        # With context= the mount gives every file one label, whatever the layers say: mount(8).
        "labels": not mount.super_values("context"),
        "everything": everything,
        "paths": paths,
        "permissions": None if plain else host.permissions,
    }


def prefix(mount: Mount) -> str:
    """How this overlay names its own attributes in its layers."""
    return "user.overlay." if "userxattr" in mount.super_options.split(",") else "trusted.overlay."


def private(mount: Mount) -> tuple[str, ...]:
    """The prefixes of attributes of a layer that the merged view does not show."""
    if mount.fstype == "overlay":
        return (prefix(mount),)
    # fuse-overlayfs, main.c: can_access_xattr
    return ("user.containers.", "user.fuseoverlayfs.", "trusted.overlay.", "user.overlay.")


def _walk(host: Host, mount: Mount, views: Views, options: dict[str, Any]) -> Comparison:
    if not views.own_inodes:
        return Comparison(views, **options)
    if views.upper is not None and _upper_is_all(views):
        from ovlay.changes.upper_walk import UpperWalk

        del options["private"]
        metacopy = option(host, mount, "metacopy") in _ON
        return UpperWalk(views, prefix=prefix(mount), metacopy=metacopy, **options)
    from ovlay.changes.pruned_walk import PrunedWalk, Pruning

    root = os.fstat(views.merged)
    if root.st_ctime_ns % 1_000_000_000 == 0:
        # The upper's filesystem may know whole seconds only, in which a file can have been changed twice.
        return Comparison(views, **options)
    redirects = option(host, mount, "redirect_dir") in _ON
    one_layer = not _has_layers(mount)
    pruning = Pruning(directories=one_layer, whole_seconds=one_layer, redirects=redirects)
    return PrunedWalk(views, pruning=pruning, **options)


def _has_layers(mount: Mount) -> bool:
    """Whether there is more beneath than the base, as with system extensions."""
    return mount.fstype == "overlay" and len(mount.lower) > 1


def _upper_is_all(views: Views) -> bool:
    """Whether what is beneath is what the overlay was mounted over: then a name differs only where the upper has it.

    A name in the root that is not in the upper tells, by its change time; else all the names there.
    """
    assert views.upper is not None
    above = set(os.listdir(views.upper))
    with os.scandir(views.lower) as entries:
        other = next((entry.name for entry in entries if entry.name not in above), None)
    if other is not None:
        with contextlib.suppress(FileNotFoundError):  # then the names are compared, and this one differs
            now = os.stat(other, dir_fd=views.merged, follow_symlinks=False)
            was = os.stat(other, dir_fd=views.lower, follow_symlinks=False)
            if (now.st_ctime_ns, now.st_mtime_ns) == (was.st_ctime_ns, was.st_mtime_ns):
                return True
    return set(os.listdir(views.merged)) - above == set(os.listdir(views.lower)) - above


def option(host: Host, mount: Mount, name: str) -> str | None:
    """The value of an overlay's option. The mount table leaves out what is the module's default."""
    values = mount.super_values(name)
    return values[0] if values else (host.read(f"/sys/module/overlay/parameters/{name}") or "").strip() or None


def _shares_links(host: Host, mount: Mount) -> bool:
    """Whether a file that is changed under one name changes under its other names too."""
    return mount.fstype != "overlay" or any(option(host, mount, name) in _ON for name in ("index", "nfs_export"))


# --- the result ------------------------------------------------------------------------------------------------------


def _changes(
    rows: Sequence[Row], renames: Mapping[str, str], digests: Mapping[tuple[str, bool], str]
) -> tuple[Change, ...]:
    return tuple(
        Change(
            path,
            _KINDS[kind],
            _attributes(was, digests.get((path, False)) if digests else None),
            _attributes(now, digests.get((path, True)) if digests else None),
            renames.get(path) if kind == ADDED and renames else None,
        )
        for path, kind, was, now in rows
    )


def _attributes(found: tuple[Any, ...] | None, sha256: str | None) -> Attributes | None:
    if found is None:
        return None
    mode, _, _, _, uid, gid, size = found
    return Attributes(type_word(mode), size, mode & 0o7777, uid, gid, sha256)
