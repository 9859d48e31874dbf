"""overlayfs: the kernel's own overlay, for any directory on any Linux, with no host tool at all.

Host commands: none. As root, or as uid 0 of a user namespace (user_namespaces(7)), where the kernel keeps its marks in
``user.overlay.*`` attributes (``userxattr``, Documentation/filesystems/overlayfs.rst).

A transient overlay has its upper on a tmpfs of its own below the state directory, limited to half of the memory and to
8 GiB. A persistent one has it in a directory named after the target, with a record of the base beside it: an upper is
never mounted over another base than it was made on, since old libraries over a new system do not boot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ovlay.advice import command
from ovlay.backend import Backend
from ovlay.errors import InvalidInput, StateForbids, Unsupported
from ovlay.model import Access, Anomaly, AnomalyKind, Base, Mode, Persistence, Probe, as_json
from ovlay.survey import image_is_read_only, plain_base
from ovlay_backends.deployment import booted_deployment, composefs_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.kernel import Mount
    from ovlay.model import Layer, Status
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step

_RECORD = "base.json"
_NAME_LIMIT = 200  # bytes; a name on a filesystem has at most 255


class OverlayfsBackend(Backend):
    """Any directory of a Linux whose kernel has overlayfs."""

    name: ClassVar[str] = "overlayfs"

    @property
    def modes(self) -> frozenset[Mode]:
        return frozenset(Mode(access, persistence) for access in Access for persistence in Persistence)

    def probe(self) -> Probe:
        if not self.host.is_directory(self.target):
            return Probe(0, f"{self.target} is not a directory")
        if not self.host.kernel.supports("overlay"):
            return Probe(0, "this kernel has no overlayfs")
        if self._of_the_system:
            if self.host.container is not None:
                return Probe(0, f"inside a container ({self.host.container}), whose {self.target} is not the host's")
            if not image_is_read_only(self.host.kernel.mounts(), self.target):
                return Probe(
                    0,
                    f"not an image-based host: {self.target} is writable; "
                    "take --backend overlayfs for an overlay all the same",
                )
        return Probe(10, "the kernel has overlayfs, and no better driver is needed for it")

    @property
    def _of_the_system(self) -> bool:
        return self.target == "/usr" or self.target.startswith("/usr/")

    # --- evidence ----------------------------------------------------------------------------------------------

    def persistence(self, mount: Mount) -> Persistence:
        kept = mount.upper == f"{self._persistent}/upper"
        return Persistence.PERSISTENT if kept else Persistence.TRANSIENT

    def base(self) -> Base:
        """The image where the target is part of one, else no more than os-release(5) tells."""
        if self._of_the_system:
            if (deployment := booted_deployment(self.host)) is not None:
                return plain_base(self.host, "ostree", checksum=deployment.checksum)
            if (digest := composefs_digest(self.host)) is not None:
                return plain_base(self.host, "composefs", checksum=digest)
        return plain_base(self.host, "directory")

    def anomalies(self, overlay: Layer | None) -> Iterator[Anomaly]:
        if self._changed():
            yield Anomaly(
                AnomalyKind.BASE_CHANGED,
                f"the persistent changes in {self._persistent} were made over another base than is there now",
                self._way_out,
            )
        elif self._waiting(overlay):
            first = "" if overlay is None else f"{command('ovlay unmount', self.target)} what is there now; then "
            again = command("ovlay enable --persistent", self.target)
            yield Anomaly(
                AnomalyKind.LEFTOVER_UPPER,
                f"the changes of a persistent overlay are kept in {self._persistent}, and do not show",
                f"{first}{again} puts an overlay with them there again; where nobody needs them, remove "
                f"{self._persistent}",
            )

    # --- plans -------------------------------------------------------------------------------------------------

    def plan_enable(self, mode: Mode) -> Plan:
        from ovlay.plan.plan import Plan
        from ovlay.uppers import clean_up, own_overlay

        self.demand_mode(mode)
        if not self.host.is_directory(self.target):
            raise InvalidInput(f"{self.target} is not a directory", remedy="choose a directory that is there")
        if not self.host.kernel.supports("overlay"):
            raise Unsupported("this kernel has no overlayfs", remedy="load the module with `modprobe overlay`")
        status = self.status()
        if status.active:
            return self.plan_change(status, mode)
        self.refuse_foreign(status)
        if mode.persistence is Persistence.PERSISTENT:
            steps = self._persistent_steps(status, mode)
            return Plan((*clean_up(self.host), *steps), warnings=("after a reboot it must be enabled again",))
        steps = own_overlay(self.host, self.target, mode.access, status.submounts, in_memory=True)
        warnings = ("all changes are gone after a reboot", "until then they take memory")
        return Plan((*clean_up(self.host), *steps), warnings=warnings)

    def plan_unmount(self, *, lazy: bool) -> Plan:
        return self.plan_plain_unmount(self.status(), lazy=lazy)

    # --- the persistent upper ----------------------------------------------------------------------------------

    @property
    def _persistent(self) -> str:
        """Where the persistent upper of this target is: named after the target, so that there is one."""
        name = self.target.strip("/").replace("%", "%25").replace("/", "%2F")
        if len(name.encode(errors="surrogateescape")) > _NAME_LIMIT:
            import hashlib

            name = hashlib.sha256(self.target.encode(errors="surrogateescape")).hexdigest()
        return f"{self.host.data_dir}/persistent/{name}"

    def _persistent_steps(self, status: Status, mode: Mode) -> tuple[Step, ...]:
        import json

        from ovlay.plan.steps import MakePrivateDirectory, MakeUpper, MountOverlay, WriteFile

        if status.has(AnomalyKind.HELD_AFTER_UNMOUNT):
            raise StateForbids(
                f"an overlay that was unmounted lazily from {self.target} is still used, and its upper with it",
                remedy=f"end the processes that {command('ovlay status', self.target)} names; or reboot",
            )
        directory = self._persistent
        make: tuple[Step, ...] = ()
        if not self.host.exists(f"{directory}/upper"):
            made = tuple(
                MakePrivateDirectory(path) for path in (self.host.data_dir, f"{self.host.data_dir}/persistent")
            )
            record = WriteFile(f"{directory}/{_RECORD}", json.dumps(self._identity()) + "\n")
            make = (*made, MakeUpper(directory, self.target), record)
        elif self._changed():
            raise StateForbids(
                f"the persistent changes in {directory} were made over another base than is there now, "
                "and over this one they could break it",
                remedy=self._way_out,
            )
        upper, work = f"{directory}/upper", f"{directory}/work"
        return (*make, MountOverlay(self.target, (self.target,), upper, work, mode.access, status.submounts))

    def _waiting(self, overlay: Layer | None) -> bool:
        """Whether there is a persistent upper that is not in the overlay on the target, as after a reboot."""
        upper = f"{self._persistent}/upper"
        return (overlay is None or overlay.upper != upper) and self.host.exists(upper)

    def _changed(self) -> bool:
        """Whether there is a persistent upper whose record of the base is another one, or missing."""
        import json

        if not self.host.exists(f"{self._persistent}/upper"):
            return False
        text = self.host.read(f"{self._persistent}/{_RECORD}") or ""
        try:
            return bool(json.loads(text) != self._identity())
        except (ValueError, RecursionError):
            return True

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a persistent upper to be used again.

        Of a directory that is no part of the system nothing is known that would tell one state of it from another.
        """
        return dict(as_json(self.base() if self._of_the_system else Base("directory")))

    @property
    def _way_out(self) -> str:
        return (
            f"boot the base that they were made on; or copy what you need out of {self._persistent}/upper, "
            f"remove {self._persistent}, and enable again"
        )
