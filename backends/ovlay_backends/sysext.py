"""systemd-sysext: a merge with an upper of our own under it, on a host where /usr is read-only and no better tool is.

Host commands: ``systemd-sysext merge``, ``refresh`` and ``unmerge``, with ``--mutable=`` (since systemd 256), through
env(1), which limits them to /usr (``SYSTEMD_SYSEXT_HIERARCHIES``, docs/ENVIRONMENT.md of systemd).

An empty extension of ovlay's own gives systemd-sysext something to merge where nothing is installed, and marks the
merge as ours. The upper is in /var/lib/extensions.mutable, where ovlay mounts a tmpfs: so it is gone after a reboot,
can be reached, and survives a ``systemd-sysext refresh`` by somebody else. With ``--mutable=ephemeral`` that would
throw it away. Exit status 0 says nothing here, so the mount table is asked; mounts below /usr systemd carries itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ovlay.advice import command
from ovlay.backend import Backend
from ovlay.errors import StateForbids, Unsupported
from ovlay.model import Access, Anomaly, AnomalyKind, Mode, Owner, Persistence, Probe
from ovlay.survey import image_is_read_only, plain_base

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ovlay.kernel import Mount
    from ovlay.model import Base, Layer, Status
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step

EXTENSION = "/run/extensions/ovlay"
"""The empty extension; /run is empty after a reboot."""

MUTABLE = "/var/lib/extensions.mutable"
"""Where systemd-sysext looks for the upper of a hierarchy."""

MUTABLE_SINCE = 256
"""The first systemd whose systemd-sysext has ``--mutable=``."""

_MERGED = "/run/systemd/sysext/extensions/"
_LIBRARY = "libsystemd-shared-"


class SysextBackend(Backend):
    """A host with systemd-sysext 256 or later and a read-only /usr."""

    name: ClassVar[str] = "sysext"

    @property
    def modes(self) -> frozenset[Mode]:
        return frozenset({Mode(Access.READ_WRITE, Persistence.TRANSIENT)})

    def probe(self) -> Probe:
        if self.target != "/usr":
            return Probe(0, f"system extensions for {self.target} are not what ovlay makes: only for /usr")
        if self.host.container is not None:
            return Probe(0, f"inside a container ({self.host.container})")
        if self.host.find_tool("systemd-sysext") is None:
            return Probe(0, "systemd-sysext is not installed")
        version = self._version()
        if version is None:
            return Probe(0, "the version of systemd-sysext cannot be told: no libsystemd-shared is where it belongs")
        if version < MUTABLE_SINCE:
            return Probe(0, f"systemd-sysext {version} has no --mutable, which came with {MUTABLE_SINCE}")
        if not image_is_read_only(self.host.kernel.mounts(), self.target):
            return Probe(0, f"not an image-based host: {self.target} is writable")
        return Probe(30, f"systemd-sysext {version} can merge a writable /usr")

    def _version(self) -> int | None:
        """systemd's version, from the name of the library that comes with each."""
        places = ["/usr/lib/systemd", "/usr/lib64/systemd"]
        places += [f"/usr/lib/{name}/systemd" for name in self.host.entries("/usr/lib") if "-linux-" in name]
        for place in places:
            for name in self.host.entries(place):
                number = name.removeprefix(_LIBRARY).partition(".")[0].partition("-")[0]
                if name.startswith(_LIBRARY) and number.isdecimal():
                    return int(number)
        return None

    # --- evidence ----------------------------------------------------------------------------------------------

    def owner(self, mount: Mount) -> Owner:
        if mount.is_overlay and mount.source == "sysext" and mount.upper is not None:
            return Owner.TOOL
        return super().owner(mount)

    def persistence(self, mount: Mount) -> Persistence:
        on_disk = mount.upper is not None and mount.upper.startswith(MUTABLE + "/") and not self._has_tmpfs()
        return Persistence.PERSISTENT if on_disk else Persistence.TRANSIENT

    def upper_candidates(self, mount: Mount) -> Iterable[str]:
        if mount.source == "sysext" and not (mount.upper or "").startswith(MUTABLE + "/"):
            return ()  # below mh_workspace, in a mount namespace that is gone
        return super().upper_candidates(mount)

    def brings_files(self, mount: Mount) -> bool:
        # systemd-sysext's own layer, and ovlay's empty extension, hold nothing but marks.
        return super().brings_files(mount) and merged_extensions(mount) != ("ovlay",)

    def base(self) -> Base | None:
        return plain_base(self.host, "directory")

    def anomalies(self, overlay: Layer | None) -> Iterable[Anomaly]:
        if overlay is None and self._was_unmerged():
            yield Anomaly(
                AnomalyKind.LEFTOVER_UPPER,
                f"somebody took the overlay on {self.target} away (systemd-sysext unmerge): what was in it is still in "
                f"memory, at {MUTABLE}{self.target}",
                f"copy from there what is needed; {command('ovlay unmount', self.target)} removes it, and "
                f"{command('ovlay enable', self.target)} begins anew",
            )

    def ask_tool(self) -> str | None:
        merged = parse_sysext_status(self.output_of("systemd-sysext", "status", "--json=short") or "", self.target)
        if merged is None:
            return None
        return f"systemd-sysext status says that {', '.join(merged) or 'nothing'} is merged into {self.target}"

    # --- plans -------------------------------------------------------------------------------------------------

    def plan_enable(self, mode: Mode) -> Plan:
        from ovlay.plan.plan import Plan
        from ovlay.plan.steps import AddExtension, MountTmpfs, MountWithTool, UnmountTmpfs
        from ovlay.uppers import tmpfs_size

        self.demand_mode(mode)
        version = self._version()
        if version is not None and version < MUTABLE_SINCE:
            raise Unsupported(
                f"systemd-sysext {version} has no --mutable, which came with {MUTABLE_SINCE}",
                remedy="update systemd, or choose another driver",
            )
        status = self.status()
        if status.active:
            return self.plan_change(status, mode)
        if not merged_alone(status):  # a merge that is there already counts for the depth, but a refresh replaces it
            self.refuse_foreign(status)
        steps: list[Step] = []
        if not self.host.exists(EXTENSION):
            steps.append(AddExtension(EXTENSION))
        warnings = ["all changes are gone after a reboot", "until then they take memory"]
        if not self._has_tmpfs():
            self._refuse_used_place()
            steps.append(MountTmpfs(MUTABLE, tmpfs_size(self.host)))
        elif self._was_unmerged():
            # An unmerge is always lazy: who uses that view writes to this upper, which is no other overlay's then.
            steps += (UnmountTmpfs(MUTABLE), MountTmpfs(MUTABLE, tmpfs_size(self.host)))
            warnings.append(self._lost())
        verb = "refresh" if status.stack and status.stack[-1].owner is Owner.SYSEXT else "merge"
        steps.append(MountWithTool(self._command(verb, "--mutable=yes"), self.target, mode.access, ()))
        return Plan(tuple(steps), warnings=tuple(warnings))

    def plan_unmount(self, *, lazy: bool) -> Plan:
        from ovlay.plan.plan import Plan
        from ovlay.plan.steps import RemoveExtension, UnmountTmpfs, UnmountWithTool

        status = self.status()
        top = status.stack[-1] if status.stack else None
        if status.overlay is not None and status.overlay.owner is Owner.OVLAY:
            return self.plan_plain_unmount(status, lazy=lazy)
        # After somebody else's refresh the merge is read-only, and ours all the same: our extension is in it.
        ours = status.overlay or (top if top is not None and "ovlay" in merged_extensions(top) else None)
        steps: list[Step] = [RemoveExtension(EXTENSION)] if self.host.exists(EXTENSION) else []
        if ours is None and self._was_unmerged():
            return Plan((*steps, UnmountTmpfs(MUTABLE)), warnings=(self._lost(),))
        if ours is None:
            return Plan(reason=f"no overlay is on {self.target}")
        self.refuse_covered(status)
        others = [name for name in merged_extensions(ours) if name != "ovlay"]
        words = self._command("refresh", "--mutable=no") if others else self._command("unmerge")
        steps.append(UnmountWithTool(words, self.target, ours.mount_id, lazy))
        if self._has_tmpfs():
            steps.append(UnmountTmpfs(MUTABLE))
        if status.mode is not None and status.mode.persistence is Persistence.PERSISTENT:
            return Plan(tuple(steps), warnings=(f"the changes stay in {MUTABLE}/usr",))
        return Plan(tuple(steps), warnings=(f"all changes in the overlay on {self.target} are lost",))

    def _refuse_used_place(self) -> None:
        found = next((name for name in ("usr", ".systemd-usr-workdir") if self.host.exists(f"{MUTABLE}/{name}")), None)
        if found is not None or self.host.mounts_at(MUTABLE):
            what = f"there is {MUTABLE}/{found}" if found is not None else f"something is mounted on {MUTABLE}"
            raise StateForbids(
                f"{what}: changes that systemd-sysext merges itself would get mixed with ours",
                remedy=f"if nobody needs it, remove it; `systemd-sysext merge --mutable=yes` is what uses {MUTABLE}",
            )

    def _has_tmpfs(self) -> bool:
        """Whether ovlay's tmpfs is where systemd-sysext looks for an upper."""
        mounts = self.host.mounts_at(MUTABLE)
        return bool(mounts) and (mounts[-1].fstype, mounts[-1].source) == ("tmpfs", "ovlay")

    def _was_unmerged(self) -> bool:
        """Whether somebody took our merge away with systemd-sysext, which leaves the tmpfs with the upper."""
        return self._has_tmpfs() and not any(mount.source == "sysext" for mount in self.host.mounts_at(self.target))

    def _lost(self) -> str:
        return f"all changes in the overlay that somebody took away from {self.target} are lost"

    def _command(self, verb: str, *options: str) -> tuple[str, ...]:
        env, tool = self.host.find_tool("env"), self.host.find_tool("systemd-sysext")
        if env is None or tool is None:
            missing = "systemd-sysext" if tool is None else "env"
            raise Unsupported(f"{missing} is not installed", remedy=f"install {missing}, or choose another driver")
        return (env, f"SYSTEMD_SYSEXT_HIERARCHIES={self.target}", tool, verb, *options)


def merged_alone(status: Status) -> bool:
    """Whether there is a merge on the target, and nothing else but the image."""
    owners = {layer.owner for layer in status.stack}
    return Owner.SYSEXT in owners and owners <= {Owner.IMAGE, Owner.SYSEXT}


def merged_extensions(layer: Layer | Mount) -> tuple[str, ...]:
    """The names of the extensions in a merge, from its lower layers as the mount table shows them."""
    return tuple(path[len(_MERGED) :].partition("/")[0] for path in layer.lower if path.startswith(_MERGED))


def parse_sysext_status(text: str, hierarchy: str) -> tuple[str, ...] | None:
    """The extensions merged into a hierarchy, in what ``systemd-sysext status --json=short`` prints; None where it
    does not say. For no extension it prints the text "none" up to version 261, and an empty list from 262."""
    import json

    try:
        listed: Any = json.loads(text)
        for item in listed:
            if item["hierarchy"] == hierarchy:
                names = item["extensions"]
                if names == "none":
                    return ()
                return tuple(str(name) for name in names) if isinstance(names, list) else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return None
