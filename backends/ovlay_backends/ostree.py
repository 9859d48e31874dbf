"""ostree: ``ostree admin unlock``, with all three modes, told by their access and persistence and not by its words.

Host commands: ``ostree admin unlock [--transient | --hotfix]``.

ostree cannot lock again, and its flag outlives the overlay. So unmounting is ovlay's own, and where the flag is stale
ovlay mounts an overlay of its own with a fresh upper: unlocking again could delete the upper under those who hold it.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, ClassVar

from ovlay.backend import Backend
from ovlay.errors import StateForbids, Unsupported
from ovlay.model import Anomaly, AnomalyKind, Mode, Owner, Persistence, Probe
from ovlay.survey import plain_base
from ovlay_backends.deployment import BOOTED, FLAG_MODES, booted_deployment, origin_value, unlocked_flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.host import Host
    from ovlay.kernel import Mount
    from ovlay.model import Base, Layer, Status
    from ovlay.plan.step import Plan, Step

_FLAGS = {mode: word for word, mode in FLAG_MODES.items()}
_OPTIONS = {"development": (), "transient": ("--transient",), "hotfix": ("--hotfix",)}
_HOTFIX_UPPER = ".usr-ovl-upper"


class OstreeBackend(Backend):
    """An ostree host without one of the tools above it; also what those tools share."""

    name: ClassVar[str] = "ostree"
    tool: ClassVar[str] = "ostree"
    score: ClassVar[int] = 70

    def __init__(self, host: Host, target: str) -> None:
        super().__init__(host, target)
        self._deployment = booted_deployment(host)

    @property
    def modes(self) -> frozenset[Mode]:
        return frozenset(_FLAGS)

    def probe(self) -> Probe:
        if self.target != "/usr":
            return Probe(0, f"ostree unlocks /usr only, not {self.target}")
        if self.host.container is not None:
            return Probe(0, f"inside a container ({self.host.container})")
        if not self.host.exists(BOOTED):
            return Probe(0, f"not booted from an ostree deployment ({BOOTED} is missing)")
        if self.host.find_tool(self.tool) is None:
            return Probe(0, f"{self.tool} is not installed")
        if self._deployment is None:
            return Probe(0, "the booted deployment cannot be told from the mount table nor from the kernel arguments")
        return Probe(self.score, f"booted from the ostree deployment {self._deployment.name}")

    # --- evidence ----------------------------------------------------------------------------------------------

    def owner(self, mount: Mount) -> Owner:
        if mount.is_overlay and mount.source == "overlay" and mount.lower in (("usr",), ("/sysroot.tmp/usr",)):
            return Owner.TOOL
        return super().owner(mount)

    def persistence(self, mount: Mount) -> Persistence:
        return Persistence.PERSISTENT if mount.upper == _HOTFIX_UPPER else Persistence.TRANSIENT

    def upper_candidates(self, mount: Mount) -> Iterator[str]:
        # A relative upper is the hotfix's; /proc/self/fd/N was a descriptor of ostree's own process, never of ours.
        upper = mount.upper or ""
        if self._deployment is not None and upper == _HOTFIX_UPPER:
            yield f"{self._deployment.directory}/{_HOTFIX_UPPER}"
        elif self._deployment is not None and upper.startswith("/proc/"):
            yield f"{self._deployment.backing}/upper"
        elif upper.startswith("/"):
            yield upper

    def flag(self) -> str | None:
        return None if self._deployment is None else unlocked_flag(self.host, self._deployment)

    def base(self) -> Base | None:
        if self._deployment is None:
            return plain_base(self.host, "ostree")
        image = origin_value(self.host, self._deployment, "container-image-reference")
        return plain_base(self.host, "ostree", checksum=self._deployment.checksum, image=image)

    def anomalies(self, overlay: Layer | None) -> Iterator[Anomaly]:
        yield from self._of_the_flag(overlay)
        yield from self._of_the_root(overlay)
        yield from self._left_over(overlay)

    def _of_the_flag(self, overlay: Layer | None) -> Iterator[Anomaly]:
        flag = self.flag()
        if flag is None:
            return
        if overlay is None:
            again = "a reboot brings it back" if flag == "hotfix" else "`ovlay enable` works all the same"
            yield Anomaly(
                AnomalyKind.STALE_FLAG,
                f'ostree says "Unlocked: {flag}", but no overlay is on {self.target}',
                f"do not run `{self._command(FLAG_MODES[flag])}` nor `rpm-ostree apply-live`; {again}",
            )
            return
        mounts = [mount for mount in self.host.mounts_at(self.target) if mount.mount_id == overlay.mount_id]
        if mounts and (overlay.access, self.persistence(mounts[0])) != (
            FLAG_MODES[flag].access,
            FLAG_MODES[flag].persistence,
        ):
            yield Anomaly(
                AnomalyKind.FLAG_DISAGREES,
                f'ostree says "Unlocked: {flag}", but the overlay on {self.target} is mounted {overlay.access}',
                "nothing need be done: the mount table is right, and a reboot makes both agree",
            )

    def _of_the_root(self, overlay: Layer | None) -> Iterator[Anomaly]:
        shown = self.host.kernel.mounts().covering(self.target)
        if overlay is not None or shown is None or shown.mount_point == self.target:
            return
        if shown.read_only or shown.superblock_read_only:
            return
        if shown.is_overlay:
            yield Anomaly(
                AnomalyKind.TRANSIENT_ROOT,
                f"the whole root is a writable overlay of this boot, and {self.target} with it",
                "root.transient in prepare-root.conf (ostree-prepare-root(1)) makes it so",
            )
        else:
            yield Anomaly(
                AnomalyKind.WRITABLE_DEPLOYMENT,
                f"{self.target} is the deployment itself, and writable: what is written there changes the image",
                "write nothing to it; reboot soon",
            )

    def _left_over(self, overlay: Layer | None) -> Iterator[Anomaly]:
        found = [f"/var/tmp/{name}" for name in self.host.entries("/var/tmp") if name.startswith("ostree-unlock-ovl.")]  # noqa: S108
        if self._deployment is not None and self.host.entries(f"{self._deployment.backing}/upper"):
            found.append(self._deployment.backing)
        used = {posixpath.dirname(path) for path in self._used_uppers(overlay)}
        left = [path for path in found if path not in used]
        if left and not (overlay is not None and not used):
            yield Anomaly(
                AnomalyKind.LEFTOVER_UPPER,
                f"the upper directory of an earlier overlay is still there: {', '.join(left)}",
                "its files can be copied out of it; the next unlock, or the next boot, removes it",
            )

    def _used_uppers(self, overlay: Layer | None) -> Iterable[str]:
        for mount in self.host.mounts_at(self.target):
            if overlay is not None and mount.mount_id == overlay.mount_id:
                yield from self.upper_candidates(mount)

    # --- plans -------------------------------------------------------------------------------------------------

    def plan_enable(self, mode: Mode) -> Plan:
        from ovlay.plan.step import Plan
        from ovlay.plan.steps import MountWithTool

        self.demand_mode(mode)
        status = self.status()
        if status.active:
            return self.plan_change(status, mode)
        self.refuse_foreign(status)
        self._refuse_sysext(status)
        if status.flag is None:
            step = MountWithTool(self._argv(mode), self.target, mode.access, status.submounts)
            return Plan((step,), warnings=self._fate(mode))
        if mode.persistence is Persistence.PERSISTENT:
            raise StateForbids(
                f'ostree holds this boot for unlocked already ("{status.flag}"), and does not unlock it a second time',
                remedy="reboot first, then `ovlay enable --persistent`"
                if status.flag != "hotfix"
                else "reboot: the hotfix comes back with all that is in it",
            )
        return self._own_overlay(status, mode)

    def _own_overlay(self, status: Status, mode: Mode) -> Plan:
        """An overlay of ovlay's own, where ostree would refuse."""
        from ovlay.plan.step import Plan
        from ovlay.uppers import fresh_upper

        directory, steps = fresh_upper(self.host, self.target)
        from ovlay.plan.steps import MountOverlay

        mount = MountOverlay(
            self.target,
            (self.target,),
            f"{directory}/upper",
            f"{directory}/work",
            mode.access,
            status.submounts,
        )
        return Plan((*steps, mount), warnings=self._fate(mode))

    def plan_unmount(self, *, lazy: bool) -> Plan:
        from ovlay.plan.step import Plan
        from ovlay.plan.steps import ClearFlag, DiscardUpper, SealBeneath, Unmount

        status = self.status()
        overlay = status.overlay
        if overlay is None or status.mode is None:
            return Plan(reason=f"no overlay is on {self.target}")
        if status.stack[-1].mount_id != overlay.mount_id:
            raise StateForbids(
                f"the overlay on {self.target} lies under another mount ({status.stack[-1].source})",
                remedy="run `systemd-sysext unmerge` first"
                if status.has(AnomalyKind.HIDDEN_BY_SYSEXT)
                else "take away what lies over it first",
            )
        deployment = self._deployment
        if deployment is not None and self.host.exists(f"{deployment.run_state}/rpmostree-is-live.stamp"):
            raise StateForbids(
                "`rpm-ostree apply-live` changed the running system: without the overlay half of it would be gone",
                remedy="reboot instead",
            )
        steps: list[Step] = []
        if deployment is not None and self._exposes_the_deployment(status):
            steps.append(SealBeneath(self.target, overlay.mount_id, f"{deployment.directory}/usr"))
        steps.append(Unmount(self.target, overlay.mount_id, lazy, status.submounts))
        if overlay.owner is Owner.OVLAY and status.upper_path is not None:
            steps.append(
                DiscardUpper(self.target, posixpath.dirname(status.upper_path), overlay.mount_id, overlay.device)
            )
        if deployment is not None and status.flag in ("development", "transient") and self._may_clear(overlay):
            flag = f"{deployment.run_state}/unlocked-{status.flag}"
            steps.append(ClearFlag(self.target, flag, "/sysroot/ostree/deploy", overlay.mount_id, overlay.device))
        if status.mode.persistence is Persistence.PERSISTENT:
            warnings: tuple[str, ...] = ("this is for this boot only: a hotfix comes back at the next one",)
        else:
            warnings = (f"all changes in the overlay on {self.target} are lost",)
        return Plan(tuple(steps), warnings=warnings)

    def _may_clear(self, overlay: Layer) -> bool:
        """Whether the flag is this overlay's, or that of a view whose holders can be found.

        Of an overlay that somebody else unmounted lazily nothing is known: its upper may be in use.
        """
        from ovlay.plan.unmounting import remembered_views

        return overlay.owner is Owner.TOOL or bool(remembered_views(self.host, self.target))

    def _exposes_the_deployment(self, status: Status) -> bool:
        """Whether nothing read-only is beneath the overlay, as after the reboot of a hotfix on a plain layout."""
        if len(status.stack) > 1:
            return False
        roots = self.host.kernel.mounts().stack("/")
        return bool(roots) and not (roots[-1].read_only or roots[-1].superblock_read_only or roots[-1].is_overlay)

    def _refuse_sysext(self, status: Status) -> None:
        if any(layer.owner is Owner.SYSEXT for layer in status.stack):
            raise StateForbids(
                f"system extensions are merged on {self.target}: an unlocked /usr would hide what they bring",
                remedy="run `systemd-sysext unmerge` first, or write into them with `--backend sysext`",
            )

    def _argv(self, mode: Mode) -> tuple[str, ...]:
        """The host's command that makes an overlay of this mode."""
        tool = self.host.find_tool(self.tool)
        if tool is None:
            raise Unsupported(f"{self.tool} is not installed", remedy=f"install {self.tool}, or choose another driver")
        return (tool, *self._words(mode))

    def _words(self, mode: Mode) -> tuple[str, ...]:
        return ("admin", "unlock", *_OPTIONS[_FLAGS[mode]])

    def _command(self, mode: Mode) -> str:
        return " ".join((self.tool, *self._words(mode)))

    def _fate(self, mode: Mode) -> tuple[str, ...]:
        if mode.persistence is Persistence.PERSISTENT:
            return (
                "a hotfix stays after reboots, until the next upgrade",
                "ostree copies the deployment first, as the one to roll back to: that takes some seconds",
            )
        return ("all changes are gone after a reboot",)
