"""Stand-ins for ostree, rpm-ostree and bootc, and the layouts of the hosts that they run on.

They do to the simulated host what the real tools do to a real one, as recorded with ostree 2025.2 and 2026.4, and as
their sources say: ostree_sysroot_deployment_unlock() in src/libostree/ostree-sysroot.c of ostree, usroverlay.rs of
rpm-ostree, usroverlay() in cli.rs and composefs_usr_overlay() in bootc_composefs/state.rs of bootc.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovlay.model import Access
from ovlay.simulated.layers import materialise, merge
from ovlay.simulated.ledger import HIDDEN
from ovlay.testing.scripted import ScriptedHost, done, failed

if TYPE_CHECKING:
    from ovlay.host import Finished
    from ovlay.testing.scripted import Call

CHECKSUM = "1861709909f8844e625dc5a733a35e307ec3b1e1286687c9158b76b75de1941a"
"""The commit of the deployment."""

IMAGE = "ostree-unverified-registry:registry.example/os:42"
"""The container image of a deployment that bootc made."""

_STATEROOT = "/sysroot/ostree/deploy/debian"
_NAME = f"{CHECKSUM}.0"
_DEPLOYMENT = f"{_STATEROOT}/deploy/{_NAME}"
_RUN_STATE = f"/run/ostree/deployment-state/{_NAME}"
_IN_DEPLOYMENT = f"/ostree/deploy/debian/deploy/{_NAME}"

PLAIN_LAYOUT = f"""\
23 28 0:22 / /proc rw,relatime shared:5 - proc proc rw
26 28 0:24 / /run rw,relatime shared:15 - tmpfs run rw,mode=755,inode64
27 28 254:0 / /sysroot rw,relatime shared:4 - ext4 /dev/vda rw
28 1 254:0 {_IN_DEPLOYMENT} / rw,relatime shared:1 - ext4 /dev/vda rw
30 28 254:0 {_IN_DEPLOYMENT}/usr /usr ro,relatime shared:3 - ext4 /dev/vda rw
40 28 254:0 /ostree/deploy/debian/var /var rw,relatime shared:18 master:4 - ext4 /dev/vda rw
"""
"""The mount table of a host whose root is the deployment's directory, as recorded."""

COMPOSEFS_LAYOUT = f"""\
25 34 0:23 / /proc rw,relatime shared:5 - proc proc rw
28 34 0:25 / /run rw,relatime shared:15 - tmpfs run rw,mode=755,inode64
34 2 0:28 / / ro,relatime shared:1 - overlay composefs ro,lowerdir+=/run/ostree/.private/cfsroot-lower,datadir+=/sysroot/ostree/repo/objects,redirect_dir=on,metacopy=on
31 34 254:0 {_IN_DEPLOYMENT}/etc /etc rw,relatime shared:2 - ext4 /dev/vda rw
35 34 254:0 / /sysroot ro,relatime shared:3 - ext4 /dev/vda rw
44 34 254:0 /ostree/deploy/debian/var /var rw,relatime shared:16 master:4 - ext4 /dev/vda rw
"""  # noqa: E501 (as recorded)
"""The mount table of a host whose root is a composefs image that ostree made, as recorded."""

BOOTC_COMPOSEFS_LAYOUT = f"""\
25 34 0:23 / /proc rw,relatime shared:5 - proc proc rw
28 34 0:25 / /run rw,relatime shared:15 - tmpfs run rw,mode=755,inode64
34 2 0:28 / / ro,relatime shared:1 - overlay composefs:{"5e" * 64} ro,lowerdir+=/,datadir+=/composefs/objects,redirect_dir=on,metacopy=on
31 34 254:0 /state/deploy/{"5e" * 64}/etc /etc rw,relatime shared:2 - ext4 /dev/vda rw
35 34 254:0 / /sysroot ro,relatime shared:3 - ext4 /dev/vda rw
"""  # noqa: E501 (as mountinfo has it)
"""The mount table of a host whose root is a composefs image that bootc mounted with no ostree."""


@dataclass(frozen=True, slots=True)
class Ostree:
    """``ostree admin unlock`` and ``ostree admin status``.

    ``by_descriptor`` is whether the mount table shows the upper as /proc/self/fd, as it does from version 2025.3.
    ``plain`` is whether a hotfix is mounted in place of the read-only /usr at the next boot.
    """

    host: ScriptedHost
    by_descriptor: bool = False
    plain: bool = True

    def play(self, call: Call) -> Finished:
        """The tool."""
        if call.words[:2] == ("admin", "unlock"):
            return self.unlock(call.words[2:])
        if call.words == ("admin", "status"):
            return done(self._status())
        return failed("error: Unknown command")

    def unlock(self, options: tuple[str, ...]) -> Finished:
        """What rpm-ostree and bootc run too."""
        if set(options) - {"--transient", "--hotfix"} or len(options) > 1:
            return failed(f"error: Unknown option {options[-1]}")
        if (state := self.state()) is not None:
            return failed(f"error: Deployment is already in unlocked state: {state}")
        access = Access.READ_ONLY if "--transient" in options else Access.READ_WRITE
        if "--hotfix" in options:
            self._add_overlay(f"{_DEPLOYMENT}/.usr-ovl-upper", f"{_DEPLOYMENT}/.usr-ovl-work", "", access)
            self.host.write(f"{_DEPLOYMENT}.origin", "[origin]\nrefspec=debian/stable\nunlocked=hotfix\n")
            return done("Hotfix mode enabled.  A writable overlayfs is now mounted on /usr\n")
        if self.by_descriptor:
            backing = f"{_STATEROOT}/backing/{_NAME}/usr-transient"
            if self.host.is_directory(backing):
                self.host.remove_tree(backing)
            self._add_overlay(f"{backing}/upper", f"{backing}/work", "/proc/self/fd/13", access)
        else:
            backing = f"/var/tmp/ostree-unlock-ovl.{uuid.uuid4().hex[:6].upper()}"  # noqa: S108 (ostree's own place)
            self._add_overlay(f"{backing}/upper", f"{backing}/work", backing, access)
        self.host.add_file(f"{_RUN_STATE}/unlocked-{'transient' if options else 'development'}", "")
        os.utime(self.host.path("/sysroot/ostree/deploy"))
        return done("Development mode enabled.  A writable overlayfs is now mounted on /usr.\n")

    def state(self) -> str | None:
        """ostree's own word for it, from its flags."""
        for word in ("development", "transient"):
            if self.host.exists(f"{_RUN_STATE}/unlocked-{word}"):
                return word
        return "hotfix" if "unlocked=hotfix" in (self.host.read(f"{_DEPLOYMENT}.origin") or "") else None

    def boot(self) -> None:
        """What ostree-prepare-root does: the flag that says booted, and a hotfix in its place."""
        self.host.add_file("/run/ostree-booted", "")
        if self.state() != "hotfix":
            return
        if self.plain:
            self.host.kernel.unmount(self.host.mounts_at("/usr")[-1], lazy=True)
        self.host.kernel.attach_overlay(
            "/usr",
            lower=[self.host.kernel.pristine("/usr")],
            upper=f"{_DEPLOYMENT}/.usr-ovl-upper",
            access=Access.READ_WRITE,
            source="overlay",
            shown="lowerdir=/sysroot.tmp/usr,upperdir=.usr-ovl-upper,workdir=.usr-ovl-work",
        )

    def _add_overlay(self, upper: str, work: str, shown: str, access: Access) -> None:
        for path in (upper, work):
            os.makedirs(self.host.path(path), mode=0o755)
        names = (".usr-ovl-upper", ".usr-ovl-work") if not shown else (f"{shown}/upper", f"{shown}/work")
        self.host.kernel.attach_overlay(
            "/usr",
            lower=[self.host.kernel.pristine("/usr")],  # lowerdir=usr is the deployment's own, whatever lies over it
            upper=upper,
            access=access,
            source="overlay",
            shown=f"lowerdir=usr,upperdir={names[0]},workdir={names[1]},uuid=on",
        )

    def _status(self) -> str:
        unlocked = f"    Unlocked: {self.state()}\n" if self.state() is not None else ""
        return f"* debian {_NAME}\n{unlocked}    origin refspec: debian/stable\n"


@dataclass(frozen=True, slots=True)
class RpmOstree:
    """``rpm-ostree usroverlay``, which becomes ``ostree admin unlock`` with the same options."""

    ostree: Ostree

    def play(self, call: Call) -> Finished:
        """The tool."""
        if call.words[:1] == ("usroverlay",):
            return self.ostree.unlock(call.words[1:])
        return failed(f"error: Unknown command '{' '.join(call.words)}'")


@dataclass(frozen=True, slots=True)
class Bootc:
    """``bootc usr-overlay``, over ostree where there is one, else by itself over composefs."""

    host: ScriptedHost
    ostree: Ostree | None
    version: str = "1.15.0"
    knows_read_only: bool = True

    def play(self, call: Call) -> Finished:
        """The tool."""
        if call.words == ("--version",):
            return done(f"bootc {self.version}\n")
        if call.words[:1] == ("status",):
            return done(json.dumps({"status": {"usrOverlay": self._overlay()}}))
        if call.words[:1] in (("usr-overlay",), ("usroverlay",)):
            return self._enable(call.words[1:])
        return failed(f"error: unrecognized subcommand '{' '.join(call.words)}'", 2)

    def _enable(self, options: tuple[str, ...]) -> Finished:
        if set(options) - ({"--read-only"} if self.knows_read_only else set()):
            return failed(f"error: unexpected argument '{options[0]}' found", 2)
        if self.ostree is not None:
            return self.ostree.unlock(("--transient",) if options else ())
        if self.host.mounts_at("/usr"):
            return done("An overlayfs is already mounted on /usr\n")
        place = f"/{HIDDEN}/detached/{uuid.uuid4()}"  # a detached tmpfs: no path of the host leads to it
        for name in ("upper", "work"):
            os.makedirs(self.host.path(f"{place}/{name}"), mode=0o755)
        self.host.kernel.attach_overlay(
            "/usr",
            lower=["/usr"],
            upper=f"{place}/upper",
            access=Access.READ_ONLY if options else Access.READ_WRITE,
            superblock=Access.READ_WRITE,
            source="transient",
            shown="lowerdir+=/usr,upperdir=/upper,workdir=/work",
        )
        return done("A writeable overlayfs is now mounted on /usr.\n")

    def _overlay(self) -> dict[str, str] | None:
        state = self.ostree.state() if self.ostree is not None else None
        if self.ostree is None and (mounts := self.host.mounts_at("/usr")):
            state = "transient" if mounts[-1].read_only else "development"
        if state is None:
            return None
        access = "readOnly" if state == "transient" else "readWrite"
        return {"accessMode": access, "persistence": "persistent" if state == "hotfix" else "transient"}


def ostree_host(
    root: str, *, composefs: bool = False, by_descriptor: bool = False, image: bool = False
) -> ScriptedHost:
    """A host that is booted from a deployment whose /usr is the tree at ``root/usr``, with ostree installed.

    ``image`` is whether the deployment is of a container image, so that bootc fits.
    """
    host = ScriptedHost(root, table=COMPOSEFS_LAYOUT if composefs else PLAIN_LAYOUT)
    ostree = Ostree(host, by_descriptor=by_descriptor, plain=not composefs)
    host.add_tool("/usr/bin/ostree", ostree.play)
    host.add_tool("/usr/bin/rpm-ostree", RpmOstree(ostree).play)
    host.add_tool("/usr/bin/bootc", Bootc(host, ostree).play)
    for path in (_DEPLOYMENT, f"{_STATEROOT}/backing/{_NAME}", "/var/tmp"):  # noqa: S108 (the host's)
        os.makedirs(host.path(path), mode=0o755, exist_ok=True)
    materialise(merge([host.path("/usr")]), host.path(f"{_DEPLOYMENT}/usr"), host.permissions)
    origin = f"container-image-reference={IMAGE}" if image else "refspec=debian/stable"
    host.add_file(f"{_DEPLOYMENT}.origin", f"[origin]\n{origin}\n")
    host.at_boot.append(ostree.boot)
    ostree.boot()
    return host


def bootc_composefs_host(root: str) -> ScriptedHost:
    """A host that bootc booted from a composefs image, with no ostree."""
    host = ScriptedHost(root, table=BOOTC_COMPOSEFS_LAYOUT)
    host.add_tool("/usr/bin/bootc", Bootc(host, None).play)
    return host
