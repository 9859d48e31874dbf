"""The driver interface: what a way of getting a writable target must be able to say and to plan.

A driver answers questions and returns plans; it never changes the host. It is a subclass of `Backend` in a
distribution of its own or of ovlay, named in the entry-point group ``ovlay.backends``. How to write one is in
docs/drivers.md; `ovlay.testing.contract` has the tests that every driver must pass.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from ovlay.advice import command
from ovlay.errors import OvlayError, StateForbids, Unsupported
from ovlay.model import AnomalyKind, Mode, Owner, Persistence

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ovlay.host import Host
    from ovlay.kernel import Mount
    from ovlay.model import Anomaly, Base, Layer, Probe, Status
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step
    from ovlay.requests import InstallFile


NOT_TO_BE_COVERED = (AnomalyKind.FOREIGN_OVERLAY, AnomalyKind.HIDDEN_BY_SYSEXT, AnomalyKind.DEPTH_LIMIT)
"""What keeps a new overlay off a target: see `Backend.refuse_foreign`."""

_ANSWER = 10  # seconds that a host tool has for an answer


class Backend(abc.ABC):
    """One way to put an overlay on a target.

    ``name`` is the entry point's name.
    """

    name: ClassVar[str]

    seals_superblock: ClassVar[bool] = True
    """Whether the superblock of a read-only overlay is read-only too, and not its mount alone."""

    def __init__(self, host: Host, target: str) -> None:
        """``target`` is an absolute, normalised path of the host."""
        self.host = host
        self.target = target

    @classmethod
    def make_host(cls, root: str) -> Host:
        """The host that this driver works on by default. Only a driver that plays a host overrides this."""
        from ovlay.host import Host

        return Host(root)

    # --- what a driver must say --------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def modes(self) -> frozenset[Mode]:
        """Exactly what `plan_enable` can do on this host."""

    @abc.abstractmethod
    def probe(self) -> Probe:
        """Whether this driver fits the host, and why. Reads files only, starts no process, never raises."""

    @abc.abstractmethod
    def plan_enable(self, mode: Mode) -> Plan:
        """How to get an overlay of this mode on the target; a plan with no steps where it is so already.

        Raises `Unsupported` for a mode that is not in ``modes``, and `StateForbids` where it cannot be done now.
        """

    @abc.abstractmethod
    def plan_unmount(self, *, lazy: bool) -> Plan:
        """How to take the overlay away; a plan with no steps where there is none.

        Raises `StateForbids` where that would harm the system, or where the overlay is not ours to take away.
        """

    # --- what a driver may know better -------------------------------------------------------------------------

    def owner(self, mount: Mount) -> Owner:
        """Who put this mount on the target."""
        if not mount.is_overlay:
            return Owner.IMAGE
        return {"ovlay": Owner.OVLAY, "sysext": Owner.SYSEXT}.get(mount.source, Owner.FOREIGN)

    def persistence(self, mount: Mount) -> Persistence:
        """Whether the changes in this overlay are there after a reboot."""
        return Persistence.TRANSIENT

    def upper_candidates(self, mount: Mount) -> Iterable[str]:
        """Paths that may lead to the overlay's upper directory, likeliest first. Each is proven before it is used."""
        return (mount.upper,) if mount.upper is not None and mount.upper.startswith("/") else ()

    def brings_files(self, mount: Mount) -> bool:
        """Whether this overlay has layers between the base and the upper with files in them that somebody wants."""
        return len(mount.lower) > 1

    def leftover_uppers(self) -> tuple[str, ...]:
        """Directories on the disk with the upper of an earlier overlay in them, which no mounted overlay uses.

        Each has the directory ``upper`` in it. Only what this user may look at is found.
        """
        from ovlay.uppers import leftovers

        return leftovers(self.host)

    def flag(self) -> str | None:
        """The host tool's own word for the state, None where it says locked or says nothing."""
        return None

    def base(self) -> Base | None:
        """What the overlay lies on."""
        from ovlay.survey import plain_base

        return plain_base(self.host, "directory")

    def anomalies(self, overlay: Layer | None) -> Iterable[Anomaly]:
        """What is odd that only this driver can know. ``overlay`` is the active one, or None."""
        return ()

    def ask_tool(self) -> str | None:
        """What the host's own tool says of the target, for people to read. Runs the tool, unlike `status`.

        None where there is no such tool, or where it failed or said nothing that can be understood.
        """
        return None

    def output_of(self, tool: str, *arguments: str) -> str | None:
        """What a host tool printed; None where it is not installed, cannot be run, or failed."""
        found = self.host.find_tool(tool)
        if found is None:
            return None
        try:
            done = self.host.run((found, *arguments), timeout=_ANSWER)
        except OvlayError:
            return None
        return done.stdout if done.status == 0 else None

    # --- what comes of it --------------------------------------------------------------------------------------

    def status(self) -> Status:
        """The evidence about the target. Changes nothing, starts no process."""
        from ovlay.survey import take_survey

        return take_survey(self)

    def plan_install(self, files: Sequence[InstallFile]) -> Plan:
        """How to put these files into the overlay; only what differs is planned.

        Raises `NotActive` where there is no overlay, `InvalidInput` for a source or destination that cannot be,
        `StateForbids` for a destination that leads out of the overlay, `NoSpace` where it would not fit.
        """
        from ovlay.files.installing import plan_files

        return plan_files(self.host, self.status(), files)

    def plan_revert(self, paths: Sequence[str]) -> Plan:
        """How to make these paths, and all below them, as in the base; a plan with no steps where they are.

        ``paths`` are absolute, or relative to the target. Raises `NotActive`, `NotPermitted`, `InvalidInput` for a
        path that is not in the target or on neither side, `StateForbids` where something lies over the overlay, and
        `NoSpace` where what comes back would not fit.
        """
        from ovlay.changes.restore import plan_restore

        return plan_restore(self, paths)

    def plan_reset(self, *, fresh: bool = False) -> Plan:
        """How to make the whole target as in the base, as `plan_revert` does.

        With ``fresh`` it is how to take the overlay away, after which `plan_enable` gives a new one of the same mode.
        Which one that is depends on who still uses the old one. Raises `StateForbids` for a persistent one.
        """
        from ovlay.changes.restore import plan_fresh, plan_restore

        return plan_fresh(self) if fresh else plan_restore(self, None)

    def demand_mode(self, mode: Mode) -> None:
        """Raise `Unsupported` where ``modes`` has not this mode."""
        if mode not in self.modes:
            can = "; ".join(sorted(str(known) for known in self.modes))
            raise Unsupported(f"the driver {self.name} cannot make a {mode} overlay", remedy=f"it can make: {can}")

    def plan_change(self, status: Status, mode: Mode) -> Plan:
        """From an active overlay to ``mode``: nothing, or a change of access that keeps what is in it.

        Raises `StateForbids` where there is no safe way.
        """
        from ovlay.plan.mounting import SetAccess
        from ovlay.plan.plan import Plan

        overlay = status.overlay
        assert overlay is not None
        assert status.mode is not None
        if status.mode.persistence is not mode.persistence:
            fate = "stays on the disk" if status.mode.persistence is Persistence.PERSISTENT else "goes"
            raise StateForbids(
                f"a {status.mode} overlay is on {self.target}, and a {mode} one was asked for",
                remedy=f"take it away with {command('ovlay unmount', self.target)} first; what is in it {fate}",
            )
        self.refuse_covered(status)
        if status.mode == mode:
            return Plan(reason=f"a {mode} overlay is on {self.target} already")
        steps: tuple[Step, ...] = (SetAccess(self.target, overlay.mount_id, mode.access),)
        return Plan(steps)

    def plan_plain_unmount(self, status: Status, *, lazy: bool) -> Plan:
        """Unmount, and remove what was in the overlay where its upper is ovlay's own and not there to stay."""
        import posixpath

        from ovlay.plan.plan import Plan
        from ovlay.plan.steps import DiscardUpper, Unmount

        overlay = status.overlay
        if overlay is None or status.mode is None:
            return Plan(reason=f"no overlay is on {self.target}")
        self.refuse_covered(status)
        steps: list[Step] = [Unmount(self.target, overlay.mount_id, lazy, status.submounts)]
        if status.mode.persistence is Persistence.PERSISTENT:
            where = posixpath.dirname(status.upper_path or overlay.upper or "")
            return Plan(
                tuple(steps), warnings=(f"the changes stay in {where}, and come back when it is enabled again",)
            )
        if overlay.owner is Owner.OVLAY and status.upper_path is not None:
            directory = posixpath.dirname(status.upper_path)
            steps.append(DiscardUpper(self.target, directory, overlay.mount_id, overlay.device))
        return Plan(tuple(steps), warnings=(f"all changes in the overlay on {self.target} are lost",))

    def refuse_covered(self, status: Status) -> None:
        """Raise `StateForbids` where the overlay is not what the target shows, because something lies over it."""
        overlay = status.overlay
        if overlay is None or (top := status.stack[-1]).mount_id == overlay.mount_id:
            return
        raise StateForbids(
            f"the {status.mode} overlay on {self.target} lies under another mount ({top.source})",
            remedy="run `systemd-sysext unmerge` first"
            if top.owner is Owner.SYSEXT
            else "take away what lies over it first",
        )

    def refuse_foreign(self, status: Status) -> None:
        """Raise `StateForbids` where something is on the target that a new overlay must not cover."""
        for anomaly in status.anomalies:
            if anomaly.kind in NOT_TO_BE_COVERED:
                raise StateForbids(anomaly.detail, remedy=anomaly.remedy)
