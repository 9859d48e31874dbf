"""From what is in an overlay to the manifest that declares it, with the contents kept beside it."""

from __future__ import annotations

import os
import posixpath
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ovlay.advice import command
from ovlay.ancestry import around, directories_of, is_below, is_within
from ovlay.changes.change import ChangeKind
from ovlay.changes.find import look, overlay_of
from ovlay.changes.ignore import leave_out
from ovlay.changes.meaning import find_meant
from ovlay.counting import counted
from ovlay.errors import InvalidInput, StateForbids, Unsupported
from ovlay.manifest.document import NOTHING, Kind
from ovlay.manifest.keeping import Keeper
from ovlay.manifest.managed import Elsewhere, declared_elsewhere
from ovlay.manifest.wording import Reader
from ovlay.manifest.writer import begin, entries_in, put, unsayable
from ovlay.paths import anywhere, demand_inside
from ovlay.plan.capturing import WriteManifest
from ovlay.plan.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ovlay.backend import Backend
    from ovlay.changes.change import Change, Changes
    from ovlay.host import Host
    from ovlay.kernel import Mount, Views
    from ovlay.manifest.document import Entry, Manifest
    from ovlay.manifest.sides import Sides
    from ovlay.manifest.writer import Written

SYSTEM_MANIFEST = "/etc/ovlay/manifest.d/captured.toml"
"""Where root's captures go, when nothing else is said."""

_NEW = (ChangeKind.ADDED, ChangeKind.TYPE_CHANGED)


def default_manifest(host: Host) -> str:
    """The manifest that captures go to, when nothing else is said, as this process finds it."""
    if host.euid == 0 and not host.in_user_namespace:
        return host.path(SYSTEM_MANIFEST)
    import platformdirs

    return posixpath.join(platformdirs.user_config_dir("ovlay", appauthor=False), "manifest.d", "captured.toml")


def plan_capture(
    backend: Backend,
    paths: Sequence[str] = (),
    *,
    to: str | None = None,
    ignore: Sequence[str] = (),
    everything: bool = False,
) -> Plan:
    """How to declare what is in the overlay, or at these paths and below, in the manifest ``to``.

    ``paths`` are absolute, or relative to the target, with links on the way followed; ``ignore`` are globs of
    gitignore(5). What is as another manifest that is found declares it is left out, unless ``everything``. What a
    manifest cannot say is named in the warnings of the plan.

    Raises `NotActive`, `NotPermitted`, `StateForbids` where something lies over the overlay or a link leads out of it,
    `InvalidInput` for a path that is not in the target or on neither side, or a manifest that cannot be added to: such
    as one that does not count here, or has none but entries of a path that do not.
    """
    target = backend.target
    file = default_manifest(backend.host) if to is None else anywhere(to)
    file = os.path.realpath(file) if os.path.islink(file) else file
    if is_below(os.path.realpath(file), {os.path.realpath(backend.host.path(target))}):
        raise InvalidInput(f"{file} is in {target} itself", remedy="name a manifest elsewhere with --to")
    manifest = _Existing.read(backend, file)
    demand_inside(target, paths)
    backend.refuse_covered(backend.status())
    mount = overlay_of(backend)
    manifest = manifest.in_place(backend, mount)
    with backend.host.kernel.views(mount, backend.upper_candidates(mount)) as views:
        wanted = find_meant(backend, (views.merged, views.lower), paths).demand_all()
        wanted = () if "." in wanted else wanted
        found = leave_out(_changes(backend, mount, views, wanted), ignore)
        elsewhere = Elsewhere({}, {}) if everything else declared_elsewhere(backend, file)
        held = elsewhere.held
        known = {change.path: managed for change in found.changes if (managed := _declared(change.path, held))}
        reading = Reader(backend, views, file, manifest.trees)
        in_depth = sorted(found.changes, key=lambda change: change.path.split("/"))
        entries = [entry for change in in_depth if change.path not in known for entry in reading.entry(change)]
    warnings = [*reading.warnings(), *_unseen(found)]
    changed = {change.path for change in found.changes}
    changed |= directories_of(changed)
    warnings += [f"nothing differs from the base at {target}/{path}" for path in wanted if path not in changed]
    if known:
        files = ", ".join(sorted(set(known.values())))
        warnings.append(
            f"left out, being as declared already: {counted(len(known), 'path')}, by {files} (--all captures them too)"
        )
    warnings += _overruled(target, file, [change.path for change in found.changes], elsewhere.otherwise)
    keeper = Keeper(target, file, manifest.written, entries, retired=manifest.retired)
    steps = keeper.steps()
    gone = manifest.contradicting(keeper.entries)
    text = put(
        manifest.text or begin(target),
        keeper.entries,
        file=file,
        without=gone,
        retired=manifest.retired,
        written=manifest.written,
    )
    warnings += [f"{path} is no longer declared in {file}: what is captured leaves no room for it" for path in gone]
    warnings += manifest.without_change(target, changed, wanted, gone)
    if not keeper.entries or (text == manifest.text and not steps):
        there = file if keeper.entries else "another manifest" if known else ""
        reason = f"{there} declares all of it already" if there else f"there is nothing to capture on {target}"
        return Plan(reason=reason, warnings=tuple(warnings))
    write = WriteManifest(file, manifest.digest, text, keeper.obsolete(gone))
    return Plan((*steps, write), warnings=tuple(warnings))


def _overruled(target: str, file: str, paths: Sequence[str], otherwise: Mapping[str, str]) -> Iterator[str]:
    """What to say of what is captured in vain, since a manifest that wins over this one says something else."""
    by_file: dict[str, list[str]] = {}
    for path in paths:
        if path in otherwise:
            by_file.setdefault(otherwise[path], []).append(path)
    for other, listed in by_file.items():
        more = f" and {len(listed) - 1} more" if len(listed) > 1 else ""
        yield (
            f"{target}/{listed[0]}{more}: declared otherwise in {other}, which wins over {file}: "
            f"{command(f'ovlay capture --to {other}', target)} changes it there"
        )


def _declared(path: str, elsewhere: Mapping[str, str]) -> str | None:
    """The manifest by which a path is as it is to be: itself, or as a part of what is to be absent."""
    return next((elsewhere[each] for each in (path, *around(path)) if each in elsewhere), None)


class _Existing(NamedTuple):
    """The manifest that is added to, as it is now; with no text where there is none yet.

    ``retired`` are the lines of entries whose condition does not hold here, each with the reason.
    """

    file: str
    text: str
    digest: str
    written: tuple[Written, ...] = ()
    retired: Mapping[int, str] = MappingProxyType({})

    @classmethod
    def read(cls, backend: Backend, file: str) -> _Existing:
        import hashlib

        from ovlay.manifest.load import load_manifest

        if unsayable((posixpath.basename(file),)):  # it is a part of every source that is captured
            raise InvalidInput(f"{file}: its name is no UTF-8, and a manifest is", remedy="name another file with --to")
        data = _content(file)
        if data is None:
            return cls(file, "", NOTHING)
        digest = hashlib.sha256(data).hexdigest()
        if not data.strip():
            return cls(file, "", digest)
        known = load_manifest(file)
        if known.target != backend.target:
            raise InvalidInput(
                f"{file} is for {known.target}, not {backend.target}", remedy="name another file with --to"
            )
        text = data.decode()
        return cls(file, text, digest, entries_in(text, file), _retired(backend, known))

    @property
    def counting(self) -> tuple[Written, ...]:
        """The entries that count here."""
        return tuple(written for written in self.written if written.line not in self.retired)

    def in_place(self, backend: Backend, mount: Mount) -> _Existing:
        """The same, with each entry by the path to which the links on the way lead now, as changes have it."""
        from ovlay.manifest.sides import Sides

        if not self.written:
            return self
        sides = Sides(backend, mount)
        try:
            written = tuple(replace(entry, path=_true(sides, entry.path)) for entry in self.written)
        finally:
            sides.close()
        return self._replace(written=written)

    @property
    def trees(self) -> frozenset[str]:
        """The paths of its trees."""
        return frozenset(written.path for written in self.counting if written.kind is Kind.TREE)

    def contradicting(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        """The paths of entries that cannot stay: below what is no directory now, or no directory with something in it.

        An entry of a path that is captured is replaced, and is none of them.
        """
        paths = {entry.path for entry in entries}
        leaves = {entry.path for entry in entries if entry.kind is not Kind.DIRECTORY}
        above = directories_of(paths)
        return tuple(
            written.path
            for written in self.counting
            if written.path not in paths
            and (
                is_within(written.path, leaves)
                or (written.kind not in (Kind.DIRECTORY, Kind.TREE) and written.path in above)
            )
        )

    def without_change(
        self, target: str, changed: set[str], wanted: Sequence[str], gone: Sequence[str]
    ) -> Iterator[str]:
        """What to say of entries whose path is as in the base. They stay: a fresh overlay has nothing of them yet.

        ``changed`` are the paths that are not, with the directories that they are in.
        """
        prefix = target + "/"
        asked = frozenset(wanted)
        left = [
            written.path
            for written in self.counting
            if written.path not in gone and written.kind is not Kind.TREE
            if (path := written.path.removeprefix(prefix)) not in changed and (not asked or is_below(path, asked))
        ]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            yield f"{left[0]}{more}: declared in {self.file}, and as in the base now; what is declared stays"


def _retired(backend: Backend, manifest: Manifest) -> dict[int, str]:
    """The lines of entries that do not count here, with the reasons; raises `InvalidInput` where none of them does."""
    from ovlay.manifest.conditions import reason_against
    from ovlay.manifest.declaring import facts_about

    with facts_about(backend, (manifest,)) as facts:
        why = reason_against(manifest.when, facts)
        if why is not None:
            raise InvalidInput(
                f"{manifest.file} has a condition that does not hold here ({why}): what is captured would not count",
                remedy="name another file with --to",
            )
        reasons = {entry.origin.line: reason_against(entry.when, facts) for entry in manifest.entries}
    return {line: reason for line, reason in reasons.items() if reason is not None}


def _true(sides: Sides, path: str) -> str:
    """The path to which another one leads, in the base where it is cut off by now; as it is where that is elsewhere."""
    folder, _, name = posixpath.relpath(path, sides.target).rpartition("/")
    with suppress(StateForbids):
        side = sides.base if folder and sides.now.folder(folder + "/x") is None else sides.now
        folder = side.followed(folder)
    return posixpath.join(sides.target, folder, name)


def _content(file: str) -> bytes | None:
    """What is in a file, None where there is none; raises `InvalidInput` for what is no regular file."""
    from ovlay.files.source import OpenedSource

    try:
        os.stat(file)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise InvalidInput(f"{file}: what it is to be in is no directory") from error
    with OpenedSource(file) as descriptor, os.fdopen(descriptor, "rb", closefd=False) as stream:
        return stream.read()


def _changes(backend: Backend, mount: Mount, views: Views, wanted: tuple[str, ...]) -> Changes:
    """The changes at these paths and below, and the directories above them that are none in the base."""
    points = tuple(mount.mount_point for mount in backend.host.kernel.mounts().below(backend.target))
    found = look(backend.host, mount, views, paths=wanted, submounts=points, hashes=True)
    changes = list(found.changes)
    asked = frozenset(wanted)
    above = {parent for parent in directories_of(wanted) if not is_below(parent, asked)}
    if above:
        on_the_way = look(backend.host, mount, views, paths=tuple(sorted(above)), submounts=points)
        changes += [change for change in on_the_way.changes if change.path in above and change.kind in _NEW]
    if len(mount.lower) > 1:
        changes = _without_layers(backend, mount, views, changes)
    return found._replace(changes=tuple(sorted(changes, key=lambda change: change.path)))


def _without_layers(backend: Backend, mount: Mount, views: Views, changes: Sequence[Change]) -> list[Change]:
    """The changes without what lower layers over the base brought, which is in no upper."""
    if views.upper is not None:
        upper = f"/proc/self/fd/{views.upper}"
        return [
            change
            for change in changes
            if change.kind is not ChangeKind.ADDED or os.path.lexists(f"{upper}/{change.path}")
        ]
    if backend.brings_files(mount):
        raise Unsupported(
            f"other layers, such as system extensions, are part of the overlay on {backend.target}: what they bring "
            "cannot be told from what was changed",
            remedy="name the paths that are yours, with no extension merged",
        )
    return list(changes)


def _unseen(found: Changes) -> Iterator[str]:
    for path, why in found.errors.items():
        yield f"{found.target}/{path} could not be looked at: {why}"
    for point in found.submounts:
        yield f"{point} is a mount of its own, and what is in it belongs to no overlay"
