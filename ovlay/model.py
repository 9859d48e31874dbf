"""The nouns: what an overlay is, what state it is in, and what is odd about it.

All of them are frozen, and all that appear in a ``--json`` output turn into plain JSON values with `as_json`.
Paths are strings as the host sees them: absolute, normalised, with no prefix of a scratch root.

They are named tuples and not dataclasses for the sake of the start: ``import dataclasses`` and the making of these
classes took 20 ms of the 80 that `ovlay status` has, named tuples take 2. Plans and steps, which `status` never
imports, are dataclasses.
"""

from enum import StrEnum
from typing import Any, NamedTuple

STATUS_SCHEMA = "ovlay.status/1"


class Access(StrEnum):
    """What the rest of the system may do with the merged view (bootc's word: access mode)."""

    READ_WRITE = "read-write"
    READ_ONLY = "read-only"


class Persistence(StrEnum):
    """Whether the changes are there after a reboot."""

    TRANSIENT = "transient"
    PERSISTENT = "persistent"


class Mode(NamedTuple):
    """How an overlay is mounted: bootc's two axes.

    ostree's names for the same: "development" is read-write and transient, "transient" is **read-only** and
    transient, "hotfix" is read-write and persistent (ostree-admin-unlock(1)).
    """

    access: Access = Access.READ_WRITE
    persistence: Persistence = Persistence.TRANSIENT

    def __str__(self) -> str:
        return f"{self.access}, {self.persistence}"


class Owner(StrEnum):
    """Who mounted a layer on the target."""

    OVLAY = "ovlay"
    TOOL = "tool"  # the driver's own host tool
    SYSEXT = "sysext"  # systemd-sysext
    IMAGE = "image"  # the image itself: the root, a composefs, a read-only bind of /usr
    FOREIGN = "foreign"  # nobody that the driver knows


class Layer(NamedTuple):
    """One mount on the target, as proc_pid_mountinfo(5) tells of it.

    ``access`` is the mount's own flag (what this path allows), ``superblock`` the filesystem's (what any path
    allows); ``lower``, ``upper`` and ``work`` are the overlay's options as the kernel shows them, which may be
    relative or lead nowhere: see `Status.upper_path` for a path that was proven.
    """

    mount_id: int
    owner: Owner
    fstype: str
    source: str
    device: str
    access: Access
    superblock: Access
    lower: tuple[str, ...] = ()
    upper: str | None = None
    work: str | None = None


class Backing(NamedTuple):
    """The filesystem that takes the changes. Sizes are in bytes; ``free`` is what an unprivileged user gets."""

    fstype: str
    in_memory: bool
    total: int
    used: int
    free: int


class Base(NamedTuple):
    """What the overlay lies on: the image's identity, so that a change under it can be noticed.

    ``checksum`` is the ostree commit or the composefs digest; ``image`` the container image reference.
    """

    kind: str
    checksum: str | None = None
    image: str | None = None
    os_id: str | None = None
    os_version: str | None = None


class AnomalyKind(StrEnum):
    """What can be odd about a target. `Anomaly.remedy` says what to do about it."""

    STALE_FLAG = "stale-flag"  # the tool's flag says unlocked, and no overlay is there
    FLAG_DISAGREES = "flag-disagrees"  # the tool's flag and the mount say different modes
    FOREIGN_OVERLAY = "foreign-overlay"  # an overlay that neither ovlay nor the driver's tool mounted
    HIDDEN_BY_SYSEXT = "hidden-by-sysext"  # a merged system extension lies over the overlay
    HIDES_SYSEXT = "hides-sysext"  # the overlay hides a merged system extension
    UNREACHABLE_UPPER = "unreachable-upper"  # no path leads to the upper directory
    LEFTOVER_UPPER = "leftover-upper"  # the upper of an overlay that is gone is still there
    HELD_AFTER_UNMOUNT = "held-after-unmount"  # unmounted lazily; somebody still uses the old view
    WRITABLE_SUPERBLOCK = "writable-superblock"  # the mount is read-only, its filesystem is not
    WRITABLE_DEPLOYMENT = "writable-deployment"  # /usr is the image itself, and writable
    TRANSIENT_ROOT = "transient-root"  # the whole root is a writable overlay of this boot
    DEPTH_LIMIT = "depth-limit"  # no further overlay can be stacked
    BASE_CHANGED = "base-changed"  # the persistent upper was made over another base
    HIDDEN_SUBMOUNTS = "hidden-submounts"  # mounts below the target that the overlay covers
    NEARLY_FULL = "nearly-full"  # the changes are in memory, and hardly any room is left for more
    INTERRUPTED = "interrupted"  # an ovlay was killed in the middle of a change
    AT_WORK = "at-work"  # another ovlay is changing the host right now


class Anomaly(NamedTuple):
    """Something odd: what kind, what exactly, and what to do about it."""

    kind: AnomalyKind
    detail: str
    remedy: str


class Holder(NamedTuple):
    """A process that uses an overlay: by what (cwd, root, exe, mapped, open file, mount namespace)."""

    pid: int
    command: str
    uses: tuple[str, ...]


class Probe(NamedTuple):
    """Whether a driver fits the host. ``score`` is 0 where it does not, else 1 to 100; the best one wins."""

    score: int
    reason: str

    @property
    def fits(self) -> bool:
        """Whether the driver can be used at all."""
        return self.score > 0


class Status(NamedTuple):
    """The evidence about one target, gathered without changing anything.

    ``active`` is whether an overlay that takes changes (one with an upper directory) is on the target and is the
    driver's, its tool's or ovlay's own; ``mode`` is its mode, from the mount table and never from a flag.
    ``writable`` is the kernel's answer to access(2) with W_OK for this process. ``stack`` lists every mount on the
    target, lowest first. ``flag`` is the host tool's own word for the state, which may be wrong.
    """

    backend: str
    target: str
    active: bool
    writable: bool
    mode: Mode | None = None
    overlay: Layer | None = None
    upper_path: str | None = None
    backing: Backing | None = None
    flag: str | None = None
    base: Base | None = None
    depth: int = 0
    stack: tuple[Layer, ...] = ()
    submounts: tuple[str, ...] = ()
    anomalies: tuple[Anomaly, ...] = ()

    def has(self, kind: AnomalyKind) -> bool:
        """Whether an anomaly of this kind was found."""
        return any(anomaly.kind is kind for anomaly in self.anomalies)

    def to_json(self) -> dict[str, Any]:
        """The machine-readable form, as ``ovlay status --json`` prints it (schema ``ovlay.status/1``)."""
        return {"schema": STATUS_SCHEMA, **as_json(self)}


def as_json(value: Any) -> Any:
    """A value as plain JSON values: named tuples and dataclasses become objects, tuples lists, enumerations strings."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", None)
        if names is not None:
            return {name: as_json(item) for name, item in zip(names, value, strict=True)}
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        return {key: as_json(item) for key, item in value.items()}
    from dataclasses import fields

    return {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
