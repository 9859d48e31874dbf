"""The booted ostree deployment, from evidence that any user may read, and where ostree keeps its own state.

Sources: src/libostree/ostree-sysroot.c, src/libostree/ostree-deployment.c and src/libotcore/otcore.h of ostree.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ovlay.model import Access, Mode, Persistence

if TYPE_CHECKING:
    from ovlay.host import Host

BOOTED = "/run/ostree-booted"
RUN_STATE = "/run/ostree/deployment-state"
SYSROOT = "/sysroot/ostree/deploy"

_DEPLOYED = re.compile(r"/ostree/deploy/([^/]+)/deploy/([0-9a-f]{64})\.(\d+)(?=/|$)")
_KARG = re.compile(r"(?:^|\s)ostree=(\S+)")

FLAG_MODES = {
    "development": Mode(Access.READ_WRITE, Persistence.TRANSIENT),
    "transient": Mode(Access.READ_ONLY, Persistence.TRANSIENT),
    "hotfix": Mode(Access.READ_WRITE, Persistence.PERSISTENT),
}
"""What ostree's words for an unlocked state mean (ostree-admin-unlock(1))."""


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
            if found := _DEPLOYED.search(mount.root):
                return Deployment(found[1], found[2], int(found[3]))
    if found := _KARG.search(host.read("/proc/cmdline") or ""):
        link = host.read_link("/sysroot" + found[1]) or ""
        if led := re.search(r"([^/]+)/deploy/([0-9a-f]{64})\.(\d+)/?$", link):
            return Deployment(led[1], led[2], int(led[3]))
    return None


def unlocked_flag(host: Host, deployment: Deployment) -> str | None:
    """ostree's own word for the state, from the same files and in the same order as parse_deployment() there."""
    for word in ("development", "transient"):
        if host.exists(f"{deployment.run_state}/unlocked-{word}"):
            return word
    return "hotfix" if origin_value(host, deployment, "unlocked") == "hotfix" else None


def origin_value(host: Host, deployment: Deployment, key: str) -> str | None:
    """A value of the group ``origin`` in the deployment's origin file: ostree(5) calls the format a key file."""
    section = ""
    for line in (host.read(deployment.origin) or "").splitlines():
        text = line.strip()
        if text.startswith("["):
            section = text
        elif section == "[origin]" and "=" in text and text.split("=", 1)[0].strip() == key:
            return text.split("=", 1)[1].strip()
    return None
