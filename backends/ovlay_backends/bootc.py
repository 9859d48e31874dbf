"""bootc: ``bootc usr-overlay``, on a host whose image is a container image; over ostree, or over composefs alone.

Host commands: ``bootc usr-overlay [--read-only]``, ``bootc --version`` while a plan is made, and on the ostree side
``ostree admin unlock [--transient | --hotfix]`` for what bootc has no command for.

The two sides have nothing in common but the command. Over ostree bootc runs ``ostree admin unlock`` (usroverlay() in
crates/lib/src/cli.rs of bootc). Over composefs it mounts an overlay itself, with an upper on a tmpfs that no path
leads to (composefs_usr_overlay() in crates/lib/src/bootc_composefs/state.rs), and keeps no flag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ovlay.backend import Backend
from ovlay.errors import StateForbids, Unsupported
from ovlay.model import Access, Mode, Owner, Persistence, Probe
from ovlay.survey import plain_base
from ovlay_backends.deployment import (
    BOOTED,
    UNLOCK_OPTIONS,
    composefs_digest,
    origin_value,
    parse_origin,
    root_anomalies,
)
from ovlay_backends.ostree import OstreeBackend

if TYPE_CHECKING:
    from collections.abc import Iterable

    from packaging.version import Version

    from ovlay.host import Host
    from ovlay.kernel import Mount
    from ovlay.model import Anomaly, Base, Layer, Status
    from ovlay.plan.plan import Plan

READ_ONLY_SINCE = "1.15.0"
"""The first bootc with ``usr-overlay --read-only``."""

_IMAGE_KEY = "container-image-reference"  # ORIGIN_CONTAINER of ostree-ext, in the origin files of both sides
_COMPOSEFS_STATE = "/sysroot/state/deploy"

_READ_WRITE = Mode(Access.READ_WRITE, Persistence.TRANSIENT)
_READ_ONLY = Mode(Access.READ_ONLY, Persistence.TRANSIENT)


class BootcBackend(Backend):
    """A host that was booted from a bootc image. All answers are those of one of its two sides."""

    name: ClassVar[str] = "bootc"

    def __init__(self, host: Host, target: str) -> None:
        super().__init__(host, target)
        on_composefs = not host.exists(BOOTED) and composefs_digest(host) is not None
        self._side: Backend = ComposefsSide(host, target) if on_composefs else OstreeSide(host, target)

    @property
    def modes(self) -> frozenset[Mode]:
        return self._side.modes

    def probe(self) -> Probe:
        return self._side.probe()

    def status(self) -> Status:
        return self._side.status()

    def plan_enable(self, mode: Mode) -> Plan:
        return self._side.plan_enable(mode)

    def plan_unmount(self, *, lazy: bool) -> Plan:
        return self._side.plan_unmount(lazy=lazy)

    def owner(self, mount: Mount) -> Owner:
        return self._side.owner(mount)

    def persistence(self, mount: Mount) -> Persistence:
        return self._side.persistence(mount)

    def upper_candidates(self, mount: Mount) -> Iterable[str]:
        return self._side.upper_candidates(mount)

    def leftover_uppers(self) -> tuple[str, ...]:
        return self._side.leftover_uppers()

    def flag(self) -> str | None:
        return self._side.flag()

    def base(self) -> Base | None:
        return self._side.base()

    def anomalies(self, overlay: Layer | None) -> Iterable[Anomaly]:
        return self._side.anomalies(overlay)

    def ask_tool(self) -> str | None:
        output = self.output_of("bootc", "status", "--format=json")
        mode = parse_bootc_status(output or "")
        return None if mode is None else f"bootc status says that the overlay on /usr is {mode}"


class OstreeSide(OstreeBackend):
    """bootc over ostree: its flags, uppers and dangers are ostree's."""

    name: ClassVar[str] = "bootc"
    tool: ClassVar[str] = "bootc"
    score: ClassVar[int] = 90

    def probe(self) -> Probe:
        probe = super().probe()
        if not probe.fits or self._deployment is None:
            return probe
        image = origin_value(self.host, self._deployment, _IMAGE_KEY)
        if image is None:
            return Probe(0, f"the deployment is not of a container image (its origin has no {_IMAGE_KEY})")
        return Probe(self.score, f"booted from the container image {image}, over ostree")

    def unlock_words(self, mode: Mode) -> tuple[str, ...]:
        if mode == _READ_WRITE:
            return ("bootc", "usr-overlay")
        if mode == _READ_ONLY:
            return ("bootc", "usr-overlay", "--read-only")
        return super().unlock_words(mode)

    def unlock_command(self, mode: Mode) -> tuple[str, ...]:
        if mode == _READ_ONLY and not knows_read_only(self):
            return self.with_path(("ostree", "admin", "unlock", *UNLOCK_OPTIONS[mode]))
        return super().unlock_command(mode)


class ComposefsSide(Backend):
    """bootc over composefs alone. Where something is on /usr, bootc says "already mounted" and exits 0."""

    name: ClassVar[str] = "bootc"
    seals_superblock: ClassVar[bool] = False  # bootc sets MOUNT_ATTR_RDONLY, and leaves the filesystem as it is

    def __init__(self, host: Host, target: str) -> None:
        super().__init__(host, target)
        self._digest = composefs_digest(host)

    @property
    def modes(self) -> frozenset[Mode]:
        return frozenset({_READ_WRITE, _READ_ONLY})

    def probe(self) -> Probe:
        if self.target != "/usr":
            return Probe(0, f"bootc mounts overlays on /usr only, not on {self.target}")
        if self.host.container is not None:
            return Probe(0, f"inside a container ({self.host.container})")
        if self.host.find_tool("bootc") is None:
            return Probe(0, "bootc is not installed")
        return Probe(90, f"booted from the composefs image {(self._digest or '')[:16]}")

    def status(self) -> Status:
        status = super().status()
        if status.backing is None or status.overlay is None or status.overlay.owner is not Owner.TOOL:
            return status
        # statvfs(2) of the overlay gives the tmpfs's numbers, but no path leads to it that could tell its type.
        return status._replace(backing=status.backing._replace(fstype="tmpfs", in_memory=True))

    def owner(self, mount: Mount) -> Owner:
        if mount.is_overlay and mount.source == "transient" and mount.upper is not None:
            return Owner.TOOL
        return super().owner(mount)

    def upper_candidates(self, mount: Mount) -> Iterable[str]:
        # bootc's "/upper" is a path inside its detached tmpfs, never one of ours.
        return () if mount.source == "transient" else super().upper_candidates(mount)

    def base(self) -> Base | None:
        origin = self.host.read(f"{_COMPOSEFS_STATE}/{self._digest}/{self._digest}.origin") or ""
        return plain_base(self.host, "composefs", checksum=self._digest, image=parse_origin(origin, _IMAGE_KEY))

    def anomalies(self, overlay: Layer | None) -> Iterable[Anomaly]:
        return root_anomalies(self.host, self.target, overlay)

    def plan_enable(self, mode: Mode) -> Plan:
        from ovlay.plan.plan import Plan
        from ovlay.plan.steps import MountWithTool
        from ovlay.uppers import clean_up, own_overlay

        self.demand_mode(mode)
        status = self.status()
        if status.active:
            return self.plan_change(status, mode)
        self.refuse_foreign(status)
        if status.stack:
            raise StateForbids(
                f"something is mounted on {self.target} already (source {status.stack[-1].source}), and then "
                "`bootc usr-overlay` does nothing",
                remedy="run `systemd-sysext unmerge` first"
                if status.stack[-1].owner is Owner.SYSEXT
                else f"see what it is with `findmnt {self.target}`, and unmount it first",
            )
        tool = self.host.find_tool("bootc")
        if tool is None:
            raise Unsupported("bootc is not installed", remedy="install bootc, or choose another driver")
        warnings = ("all changes are gone after a reboot", "until then they take memory")
        if mode == _READ_ONLY and not knows_read_only(self):
            steps = own_overlay(self.host, self.target, mode.access, status.submounts)
            return Plan((*clean_up(self.host), *steps), warnings=warnings[:1])
        words = (tool, "usr-overlay", *(("--read-only",) if mode == _READ_ONLY else ()))
        step = MountWithTool(words, self.target, mode.access, status.submounts)
        return Plan((*clean_up(self.host), step), warnings=warnings)

    def plan_unmount(self, *, lazy: bool) -> Plan:
        return self.plan_plain_unmount(self.status(), lazy=lazy)


def knows_read_only(backend: Backend) -> bool:
    """Whether the host's bootc has ``usr-overlay --read-only``. Runs it to ask: only for plans."""
    from packaging.version import Version

    version = parse_bootc_version(backend.output_of("bootc", "--version") or "")
    return version is not None and version >= Version(READ_ONLY_SINCE)


def parse_bootc_version(text: str) -> Version | None:
    """The version in what ``bootc --version`` prints ("bootc 1.15.0"), or None."""
    from packaging.version import Version

    words = text.split()
    if len(words) < 2 or words[0] != "bootc":
        return None
    try:
        return Version(words[1])
    except ValueError:  # no version, or a number of too many digits
        return None


def parse_bootc_status(text: str) -> Mode | None:
    """The overlay in what ``bootc status --format=json`` prints (``.status.usrOverlay``), or None.

    Over ostree it repeats ostree's flag; over composefs it is whatever is mounted on /usr. bootc before February 2026
    does not have it.
    """
    import json

    try:
        found: Any = json.loads(text)
        for key in ("status", "usrOverlay"):
            found = found[key]
        access = {"readWrite": Access.READ_WRITE, "readOnly": Access.READ_ONLY}[found["accessMode"]]
        return Mode(access, Persistence(found["persistence"]))
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
