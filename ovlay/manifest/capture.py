"""From what is in an overlay to the manifest that declares it, with the contents kept beside it."""

from __future__ import annotations

import os
import posixpath
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from ovlay.bases import content_word
from ovlay.changes.change import Attributes, Change, ChangeKind
from ovlay.changes.classify import is_below
from ovlay.changes.find import inside, look, overlay_of
from ovlay.changes.ignore import leave_out
from ovlay.errors import InvalidInput, Unsupported
from ovlay.files.label import ATTRIBUTE, read_label
from ovlay.manifest.document import NOTHING, Entry, Kind, Origin
from ovlay.manifest.keeping import Keeper
from ovlay.manifest.managed import declared_elsewhere
from ovlay.manifest.writer import begin, entries_in, put, unsayable
from ovlay.plan.capturing import WriteManifest
from ovlay.plan.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ovlay.backend import Backend
    from ovlay.changes.change import Changes
    from ovlay.host import Host
    from ovlay.kernel import Mount, Views
    from ovlay.manifest.writer import Written

SYSTEM_MANIFEST = "/etc/ovlay/manifest.d/captured.toml"
"""Where root's captures go, when nothing else is said."""

_KINDS = {"file": Kind.FILE, "link": Kind.SYMLINK, "directory": Kind.DIRECTORY}
_NEW = (ChangeKind.ADDED, ChangeKind.TYPE_CHANGED)
_SIGNATURE = "security.evm"  # the kernel's own, of the other attributes of this very inode


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

    ``paths`` are absolute, or relative to the target; ``ignore`` are globs of gitignore(5). What is as another manifest
    that is found declares it is left out, unless ``everything``. What a manifest cannot say is named in the warnings of
    the plan. Raises `NotActive`, `NotPermitted`, `StateForbids` where something lies over
    the overlay, `InvalidInput` for a path that is not in the target or a manifest that cannot be added to.
    """
    target = backend.target
    file = default_manifest(backend.host) if to is None else os.path.abspath(to)
    file = os.path.realpath(file) if os.path.islink(file) else file
    if is_below(os.path.realpath(file), (os.path.realpath(backend.host.path(target)),)):
        raise InvalidInput(f"{file} is in {target} itself", remedy="name a manifest elsewhere with --to")
    manifest = _Existing.read(file, target)
    wanted = tuple(dict.fromkeys(inside(target, path) for path in paths))
    backend.refuse_covered(backend.status())
    mount = overlay_of(backend)
    with backend.host.kernel.views(mount, backend.upper_candidates(mount)) as views:
        found = leave_out(_changes(backend, mount, views, wanted), ignore)
        elsewhere = {} if everything else declared_elsewhere(backend, file)
        known = {change.path: managed for change in found.changes if (managed := _declared(change.path, elsewhere))}
        reading = _Reading(backend, views, file, manifest.trees)
        in_depth = sorted(found.changes, key=lambda change: change.path.split("/"))
        entries = [entry for change in in_depth if change.path not in known for entry in reading.entry(change)]
    warnings = [*reading.warnings(), *_unseen(found)]
    warnings += [
        f"nothing differs from the base at {target}/{path}"
        for path in wanted
        if not any(is_below(change.path, (path,)) for change in found.changes)
    ]
    if known:
        files = ", ".join(sorted(set(known.values())))
        warnings.append(
            f"left out, being as declared already: {len(known)} paths, by {files} (--all captures them too)"
        )
    keeper = Keeper(target, file, manifest.written, entries)
    steps = keeper.steps()
    gone = manifest.contradicting(keeper.entries)
    text = put(manifest.text or begin(target), keeper.entries, file=file, without=gone)
    warnings += [f"{path} is no longer declared in {file}: what is captured leaves no room for it" for path in gone]
    if not keeper.entries or (text == manifest.text and not steps):
        there = file if keeper.entries else "another manifest" if known else ""
        reason = f"{there} declares all of it already" if there else f"there is nothing to capture on {target}"
        return Plan(reason=reason, warnings=tuple(warnings))
    write = WriteManifest(file, manifest.digest, text, keeper.obsolete(gone))
    return Plan((*steps, write), warnings=tuple(warnings))


def _declared(path: str, elsewhere: Mapping[str, str]) -> str | None:
    """The manifest by which a path is as it is to be: itself, or as a part of what is to be absent."""
    around = next((above for above in _parents(path) if above in elsewhere), None)
    return elsewhere.get(path) or (None if around is None else elsewhere[around])


class _Existing(NamedTuple):
    """The manifest that is added to, as it is now; with no text where there is none yet."""

    file: str
    text: str
    digest: str
    written: tuple[Written, ...]

    @classmethod
    def read(cls, file: str, target: str) -> _Existing:
        import hashlib

        from ovlay.manifest.load import load_manifest

        try:
            with open(file, "rb") as stream:
                data = stream.read()
        except FileNotFoundError:
            return cls(file, "", NOTHING, ())
        digest = hashlib.sha256(data).hexdigest()
        if not data.strip():
            return cls(file, "", digest, ())
        known = load_manifest(file)
        if known.target != target:
            raise InvalidInput(f"{file} is for {known.target}, not {target}", remedy="name another file with --to")
        text = data.decode()
        return cls(file, text, digest, entries_in(text, file))

    @property
    def trees(self) -> frozenset[str]:
        """The paths of its trees."""
        return frozenset(written.path for written in self.written if written.kind is Kind.TREE)

    def contradicting(self, entries: Sequence[Entry]) -> tuple[str, ...]:
        """The paths of entries that cannot stay: below what is no directory now, or no directory with something in it.

        An entry of a path that is captured is replaced, and is none of them.
        """
        paths = {entry.path for entry in entries}
        leaves = {entry.path for entry in entries if entry.kind is not Kind.DIRECTORY}
        above = {parent for path in paths for parent in _parents(path)}
        return tuple(
            written.path
            for written in self.written
            if written.path not in paths
            and (
                not leaves.isdisjoint(_parents(written.path))
                or (written.kind not in (Kind.DIRECTORY, Kind.TREE) and written.path in above)
            )
        )


def _parents(path: str) -> Iterator[str]:
    while (path := posixpath.dirname(path)) not in ("", "/"):
        yield path


def _changes(backend: Backend, mount: Mount, views: Views, wanted: tuple[str, ...]) -> Changes:
    """The changes at these paths and below, and the directories above them that are none in the base."""
    points = tuple(mount.mount_point for mount in backend.host.kernel.mounts().below(backend.target))
    found = look(backend.host, mount, views, paths=wanted, submounts=points, hashes=True)
    changes = list(found.changes)
    above = {parent for path in wanted for parent in _parents(path) if not is_below(parent, wanted)}
    if above:
        around = look(backend.host, mount, views, paths=tuple(sorted(above)), submounts=points)
        changes += [change for change in around.changes if change.path in above and change.kind in _NEW]
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


class _Reading:
    """From changes to entries; what a manifest cannot say is remembered by path."""

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
        if change.kind is ChangeKind.METADATA and not self._sayable_metadata(change, now, label):
            self._leave_out(path, f"a manifest cannot declare {_named(names) or 'that an extended attribute is gone'}")
            return
        if more := _named([*names, *(["immutable or append-only"] if _has_flags(place, kind) else [])]):
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
        """What the base has, in one word; None for a directory, which has none."""
        if change.before is None:
            return NOTHING
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


def _unseen(found: Changes) -> Iterator[str]:
    for path, why in found.errors.items():
        yield f"{found.target}/{path} could not be looked at: {why}"
    for point in found.submounts:
        yield f"{point} is a mount of its own, and what is in it belongs to no overlay"


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
