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
from ovlay_backends.deployment import (
    BOOTED,
    FLAG_MODES,
    UNLOCK_OPTIONS,
    booted_deployment,
    origin_value,
    parse_admin_status,
    root_anomalies,
    unlocked_flag,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.host import Host
    from ovlay.kernel import Mount
    from ovlay.model import Base, Layer, Status
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step

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
        return frozenset(UNLOCK_OPTIONS)

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

    def ask_tool(self) -> str | None:
        word = parse_admin_status(self.output_of("ostree", "admin", "status") or "")
        return None if word is None else f'ostree admin status says "Unlocked: {word}"'

    def flag(self) -> str | None:
        return None if self._deployment is None else unlocked_flag(self.host, self._deployment)

    def base(self) -> Base | None:
        if self._deployment is None:
            return plain_base(self.host, "ostree")
        image = origin_value(self.host, self._deployment, "container-image-reference")
        return plain_base(self.host, "ostree", checksum=self._deployment.checksum, image=image)

    def anomalies(self, overlay: Layer | None) -> Iterator[Anomaly]:
        yield from self._of_the_flag(overlay)
        if self._deployment is not None:
            yield from root_anomalies(self.host, self.target, overlay)
        yield from self._left_over()

    def _of_the_flag(self, overlay: Layer | None) -> Iterator[Anomaly]:
        flag = self.flag()
        if flag is None:
            return
        if overlay is None:
            again = "a reboot brings it back" if flag == "hotfix" else "`ovlay enable` works all the same"
            yield Anomaly(
                AnomalyKind.STALE_FLAG,
                f'ostree says "Unlocked: {flag}", but no overlay is on {self.target}',
                f"do not run `{' '.join(self.unlock_words(FLAG_MODES[flag]))}` nor `rpm-ostree apply-live`; {again}",
            )
            return
        for mount in self.host.mounts_at(self.target):
            if mount.mount_id != overlay.mount_id:
                continue
            mode = Mode(overlay.access, self.persistence(mount))
            if mode != FLAG_MODES[flag]:
                yield Anomaly(
                    AnomalyKind.FLAG_DISAGREES,
                    f'ostree says "Unlocked: {flag}" ({FLAG_MODES[flag]}), but the overlay on {self.target} is {mode}',
                    "nothing need be done: the mount table is right, and a reboot makes both agree",
                )

    def leftover_uppers(self) -> tuple[str, ...]:
        """Also ostree's own: up to 2025.2 in /var/tmp, from then on in the backing directory of each deployment."""
        found = [f"/var/tmp/{name}" for name in self.host.entries("/var/tmp") if name.startswith("ostree-unlock-ovl.")]  # noqa: S108
        if self._deployment is not None:
            folder = posixpath.dirname(posixpath.dirname(self._deployment.backing))
            backings = (f"{folder}/{name}/usr-transient" for name in self.host.entries(folder))
            found += [path for path in backings if self.host.entries(f"{path}/upper")]
        overlays = [
            mount
            for mount in self.host.mounts_at(self.target)
            if mount.is_overlay and mount.upper is not None and self.owner(mount) in (Owner.TOOL, Owner.OVLAY)
        ]
        used = {posixpath.dirname(path) for mount in overlays for path in self.upper_candidates(mount)}
        if overlays and not used:
            return ()  # one of them is that of the overlay, and nobody knows which
        return (*(path for path in found if path not in used), *super().leftover_uppers())

    def _left_over(self) -> Iterator[Anomaly]:
        left = self.leftover_uppers()
        if left:
            yield Anomaly(
                AnomalyKind.LEFTOVER_UPPER,
                f"the upper directory of an earlier overlay is still there: {', '.join(left)}",
                "`ovlay salvage` lists its files and copies them; the next unlock, or the next boot, removes it",
            )

    # --- plans -------------------------------------------------------------------------------------------------

    def plan_enable(self, mode: Mode) -> Plan:
        from ovlay.plan.plan import Plan
        from ovlay.plan.steps import MountWithTool
        from ovlay.uppers import clean_up, own_overlay

        self.demand_mode(mode)
        self.with_path((self.tool,))
        if self._deployment is None:
            raise StateForbids(
                "this host is not booted from an ostree deployment", remedy="`ovlay backends` lists what fits it"
            )
        status = self.status()
        if status.active:
            return self.plan_change(status, mode)
        self._refuse_sysext(status)
        self.refuse_foreign(status)
        if status.flag is None:
            step = MountWithTool(self.unlock_command(mode), self.target, mode.access, status.submounts)
            return Plan((*clean_up(self.host), step), warnings=self._fate(mode))
        if mode.persistence is Persistence.PERSISTENT:
            raise StateForbids(
                f'ostree holds this boot for unlocked already ("{status.flag}"), and does not unlock it a second time',
                remedy="reboot first, then `ovlay enable --persistent`"
                if status.flag != "hotfix"
                else "reboot: the hotfix comes back with all that is in it",
            )
        # An overlay of ovlay's own, where ostree would refuse.
        steps = own_overlay(self.host, self.target, mode.access, status.submounts)
        return Plan((*clean_up(self.host), *steps), warnings=self._fate(mode))

    def plan_unmount(self, *, lazy: bool) -> Plan:
        from ovlay.plan.plan import Plan
        from ovlay.plan.steps import ClearFlag, DiscardUpper, SealBeneath, Unmount

        status = self.status()
        overlay = status.overlay
        if overlay is None or status.mode is None:
            return Plan(reason=f"no overlay is on {self.target}")
        self.refuse_covered(status)
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

    def unlock_words(self, mode: Mode) -> tuple[str, ...]:
        """The command, as one types it, that makes an overlay of this mode."""
        return ("ostree", "admin", "unlock", *UNLOCK_OPTIONS[mode])

    def unlock_command(self, mode: Mode) -> tuple[str, ...]:
        """The command with the path of the tool; raises `Unsupported` where the tool is not installed."""
        return self.with_path(self.unlock_words(mode))

    def with_path(self, words: tuple[str, ...]) -> tuple[str, ...]:
        """A command with the path of its tool in the tool's place."""
        tool = self.host.find_tool(words[0])
        if tool is None:
            raise Unsupported(f"{words[0]} is not installed", remedy=f"install {words[0]}, or choose another driver")
        return (tool, *words[1:])

    def _fate(self, mode: Mode) -> tuple[str, ...]:
        if mode.persistence is Persistence.PERSISTENT:
            return (
                "a hotfix stays after reboots, until the next upgrade",
                "ostree copies the deployment first, as the one to roll back to: that takes some seconds",
            )
        return ("all changes are gone after a reboot",)
