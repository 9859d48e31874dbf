"""The booted ostree deployment, from evidence that any user may read, and where ostree keeps its own state.

Sources: src/libostree/ostree-sysroot.c, src/libostree/ostree-deployment.c and src/libotcore/otcore.h of ostree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ovlay.model import Access, Anomaly, AnomalyKind, Mode, Persistence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.host import Host
    from ovlay.model import Layer

BOOTED = "/run/ostree-booted"
RUN_STATE = "/run/ostree/deployment-state"
SYSROOT = "/sysroot/ostree/deploy"

_DEPLOYED = r"/ostree/deploy/([^/]+)/deploy/([0-9a-f]{64})\.([0-9]{1,10})(?=/|\Z)"
_COMPOSEFS_SOURCES = ("composefs:", "transient:composefs=")

FLAG_MODES = {
    "development": Mode(Access.READ_WRITE, Persistence.TRANSIENT),
    "transient": Mode(Access.READ_ONLY, Persistence.TRANSIENT),
    "hotfix": Mode(Access.READ_WRITE, Persistence.PERSISTENT),
}
"""What ostree's words for an unlocked state mean (ostree-admin-unlock(1))."""

UNLOCK_OPTIONS: dict[Mode, tuple[str, ...]] = {
    FLAG_MODES["development"]: (),
    FLAG_MODES["transient"]: ("--transient",),
    FLAG_MODES["hotfix"]: ("--hotfix",),
}
"""The options of ``ostree admin unlock`` that make an overlay of a mode."""


class Deployment(NamedTuple):
    """A deployment by its stateroot, the checksum of its commit, and its serial number."""

    stateroot: str
    checksum: str
    serial: int

    @property
    def name(self) -> str:
        """``CHECKSUM.SERIAL``, as in all of ostree's paths."""
        return f"{self.checksum}.{self.serial}"

    @property
    def directory(self) -> str:
        """The deployment's directory; its ``usr`` is the image's, and on a plain layout the files are hard links."""
        return f"{SYSROOT}/{self.stateroot}/deploy/{self.name}"

    @property
    def origin(self) -> str:
        """The deployment's origin file, which holds the hotfix flag and the container image reference."""
        return f"{self.directory}.origin"

    @property
    def backing(self) -> str:
        """Where ostree from 2025.3 keeps the upper of a transient unlock. Only root may enter it."""
        return f"{SYSROOT}/{self.stateroot}/backing/{self.name}/usr-transient"

    @property
    def run_state(self) -> str:
        """Where ostree's flags of this boot are."""
        return f"{RUN_STATE}/{self.name}"


def booted_deployment(host: Host) -> Deployment | None:
    """The deployment that this host runs from, or None.

    The root mount shows it on a plain layout, the mount of /etc on a composefs root (src/switchroot/
    ostree-prepare-root.c binds both from the deployment); else the kernel argument ``ostree=``, a link, leads to it.
    """
    table = host.kernel.mounts()
    for place in ("/", "/etc", "/usr"):
        for mount in table.stack(place):
            if (found := parse_deployment(mount.root)) is not None:
                return found
    if (karg := _kernel_argument(host, "ostree")) is not None:
        link = host.read_link("/sysroot" + karg) or ""
        return parse_deployment("/ostree/deploy/" + "/".join(link.rstrip("/").split("/")[-3:]))
    return None


def parse_deployment(path: str) -> Deployment | None:
    """The deployment whose directory is in a path, or None."""
    found = re.search(_DEPLOYED, path) if "/ostree/deploy/" in path else None
    return None if found is None else Deployment(found[1], found[2], int(found[3]))


def composefs_digest(host: Host) -> str | None:
    """The digest of the image that bootc booted over composefs alone, or None.

    After a soft reboot the root mount is right and the kernel argument is not (composefs_booted() in
    crates/lib/src/bootc_composefs/status.rs of bootc).
    """
    for mount in reversed(host.kernel.mounts().stack("/")):
        for start in _COMPOSEFS_SOURCES:
            if mount.source.startswith(start):
                return mount.source.removeprefix(start)
    digest = (_kernel_argument(host, "composefs") or "").removeprefix("?")  # "?": the image may be missing
    return digest if digest and not digest.strip("0123456789abcdefABCDEF") else None


def _kernel_argument(host: Host, name: str) -> str | None:
    """The value of the first ``name=`` among the kernel's arguments: proc_cmdline(5)."""
    words = (host.read("/proc/cmdline") or "").split()
    return next((word[len(name) + 1 :] for word in words if word.startswith(name + "=")), None)


def unlocked_flag(host: Host, deployment: Deployment) -> str | None:
    """ostree's own word for the state, from the same files and in the same order as parse_deployment() there."""
    for word in ("development", "transient"):
        if host.exists(f"{deployment.run_state}/unlocked-{word}"):
            return word
    return "hotfix" if origin_value(host, deployment, "unlocked") == "hotfix" else None


def origin_value(host: Host, deployment: Deployment, key: str) -> str | None:
    """A value of the group ``origin`` in the deployment's origin file."""
    return parse_origin(host.read(deployment.origin) or "", key)


def parse_origin(text: str, key: str) -> str | None:
    """The value of ``key`` in the group ``origin`` of an origin file, which is a GLib key file; None where none is."""
    section = ""
    for line in text.splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text
        elif section == "[origin]" and "=" in text and text.split("=", 1)[0].strip() == key:
            return text.split("=", 1)[1].strip()
    return None


def parse_admin_status(text: str) -> str | None:
    """The state of the booted deployment in what ``ostree admin status`` prints, "none" where it is locked.

    None where no deployment is marked as booted (with a star), or where this is some other text.
    """
    booted = False
    for line in text.splitlines():
        if line.startswith("* "):
            booted = True
        elif booted and not line.startswith("    "):
            break
        elif booted and line.strip().startswith("Unlocked: "):
            return line.strip().removeprefix("Unlocked: ").strip() or None
    return "none" if booted else None


def root_anomalies(host: Host, target: str, overlay: Layer | None) -> Iterator[Anomaly]:
    """What is odd about the root that a target lies on, where nothing is mounted on the target itself."""
    shown = host.kernel.mounts().covering(target)
    if overlay is not None or shown is None or shown.mount_point == target:
        return
    if shown.read_only or shown.superblock_read_only:
        return
    if shown.is_overlay:
        yield Anomaly(
            AnomalyKind.TRANSIENT_ROOT,
            f"the whole root is a writable overlay of this boot, and {target} with it",
            "root.transient in prepare-root.conf (ostree-prepare-root(1)) makes it so",
        )
    else:
        yield Anomaly(
            AnomalyKind.WRITABLE_DEPLOYMENT,
            f"{target} is the deployment itself, and writable: what is written there changes the image",
            "write nothing to it; reboot soon",
        )
