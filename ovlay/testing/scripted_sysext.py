"""A stand-in for systemd-sysext 257 and 262, as recorded with both.

It knows one hierarchy, /usr. Sources: src/sysext/sysext.c of systemd, systemd-sysext(8).
"""

from __future__ import annotations

import json
import os
import posixpath
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovlay.model import Access
from ovlay.simulated.layers import materialise, merge
from ovlay.simulated.ledger import HIDDEN
from ovlay.testing.scripted import ScriptedHost, done, failed, play_env

if TYPE_CHECKING:
    from ovlay.host import Finished
    from ovlay.kernel import Mount
    from ovlay.testing.scripted import Call

_PLACES = ("/etc/extensions", "/run/extensions", "/var/lib/extensions")
_MUTABLE = "/var/lib/extensions.mutable"
_WORKSPACE = "/run/systemd/sysext"
_MARK = "/usr/.systemd-sysext"
_MODES = ("no", "auto", "yes", "import", "ephemeral", "ephemeral-import")


@dataclass(frozen=True, slots=True)
class Sysext:
    """``systemd-sysext merge``, ``unmerge``, ``refresh`` and ``status``.

    Up to 261 nothing at all is merged where no extension is installed, and status says "none". From 260 on a refresh
    after which nothing would be another leaves the merge as it is.
    """

    host: ScriptedHost
    version: int

    def play(self, call: Call) -> Finished:
        """The tool."""
        verb = call.words[0] if call.words else "status"
        mutable = next((word.partition("=")[2] for word in call.words if word.startswith("--mutable=")), "auto")
        if mutable not in _MODES:
            return failed(f"Failed to parse --mutable= argument: {mutable}")
        hierarchies = call.environment.get("SYSTEMD_SYSEXT_HIERARCHIES", "/usr:/opt").split(":")
        if verb == "status":
            return self._status(hierarchies)
        if "/usr" not in hierarchies:
            return done()
        if verb == "merge":
            return failed("Hierarchy '/usr' is already merged.") if self._merged() else self._merge(mutable)
        if verb == "unmerge":
            return self._unmerge()
        if verb == "refresh":
            return self._refresh(mutable)
        return failed(f"Unknown command verb '{verb}'.")

    def extensions(self) -> dict[str, str]:
        """The installed extensions by name; the first place wins."""
        found: dict[str, str] = {}
        for place in _PLACES:
            for name in self.host.entries(place):
                release = f"{place}/{name}/usr/lib/extension-release.d/extension-release.{name}"
                if self.host.exists(release):
                    found.setdefault(name, f"{place}/{name}/usr")
        return dict(sorted(found.items(), reverse=True))

    def _merged(self) -> Mount | None:
        """The merge, where it is on top: what lies over it hides it from systemd-sysext too."""
        mounts = self.host.mounts_at("/usr")
        return mounts[-1] if mounts and mounts[-1].source == "sysext" else None

    def _names(self, mount: Mount) -> list[str]:
        """The extensions in a merge, by its layers."""
        start = f"{_WORKSPACE}/extensions/"
        return [layer.removeprefix(start).partition("/")[0] for layer in mount.lower if layer.startswith(start)]

    def _merge(self, mutable: str) -> Finished:
        extensions = self.extensions()
        if not extensions and (self.version < 262 or mutable == "no"):
            return done("No extensions found.\n")
        if mutable == "auto":
            mutable = "yes" if self.host.is_directory(f"{_MUTABLE}/usr") else "no"
        # systemd-sysext mounts the layers in a namespace of its own: they stay when an extension is removed.
        private = f"/{HIDDEN}/detached/{uuid.uuid4()}"
        for name in ("dev", "extensions"):
            self.host.add_file(f"{private}/meta{_MARK.removeprefix('/usr')}/{name}", "\n".join(extensions) + "\n")
        for name, tree in extensions.items():
            materialise(
                merge([self.host.path(tree)]), self.host.path(f"{private}/{name}-extension"), self.host.permissions
            )
        lower = [f"{private}/meta", *(f"{private}/{name}-extension" for name in extensions), "/usr"]
        layers = (f"{_WORKSPACE}/meta/usr", *(f"{_WORKSPACE}/extensions/{name}/usr" for name in extensions), "/usr")
        upper, name = self._upper(mutable, private)
        more = f",upperdir={name},workdir={posixpath.dirname(name)}/.systemd-usr-workdir" if upper else ""
        number = self.host.kernel.attach_overlay(
            "/usr",
            lower=lower,
            upper=upper,
            access=Access.READ_WRITE if upper else Access.READ_ONLY,
            source="sysext",
            shown=f"lowerdir={':'.join(layers)}{more},redirect_dir=on" + (",uuid=on" if upper else ""),
            options="nodev,noatime" if upper else "nodev,relatime",
        )
        mount = self.host.kernel.mounts().by_id(number)
        if upper and mount is not None:
            self.host.kernel.show_again(mount, _MARK)
        using = f"Using extensions '{', '.join(sorted(extensions))}'.\n" if extensions else ""
        return done(f"{using}Merged extensions into '/usr'.\n")

    def _upper(self, mutable: str, private: str) -> tuple[str | None, str]:
        """Where the upper is, and what the mount table calls it. An ephemeral one is in a namespace that is gone."""
        if mutable == "yes":
            for name in ("usr", ".systemd-usr-workdir"):
                os.makedirs(self.host.path(f"{_MUTABLE}/{name}"), mode=0o755, exist_ok=True)
            return f"{_MUTABLE}/usr", f"{_MUTABLE}/usr"
        if mutable.startswith("ephemeral"):
            os.makedirs(self.host.path(f"{private}/upper"), mode=0o755)
            return f"{private}/upper", f"{_WORKSPACE}/mh_workspace/usr/usr"
        return None, ""

    def _unmerge(self) -> Finished:
        """Always MNT_DETACH; where another mount is on top, nothing happens, and it exits 0."""
        mount = self._merged()
        if mount is None:
            return done()
        self.host.kernel.unmount(mount, lazy=True)
        return done("Unmerged '/usr'.\n")

    def _refresh(self, mutable: str) -> Finished:
        mount = self._merged()
        if mount is not None and self.version >= 260 and mutable != "yes":
            kept = "yes" if self.host.is_directory(f"{_MUTABLE}/usr") else "no"
            same = (mutable if mutable != "auto" else kept) == ("yes" if mount.upper == f"{_MUTABLE}/usr" else "no")
            if same and self._names(mount) == list(self.extensions()):
                return done("No changes found, skipping.\n")
        self._unmerge()
        return self._merge(mutable)

    def _status(self, hierarchies: list[str]) -> Finished:
        mount = self._merged()
        nothing: str | list[str] = [] if self.version >= 262 else "none"
        listed = []
        for hierarchy in hierarchies:
            names = sorted(self._names(mount)) if mount is not None and hierarchy == "/usr" else []
            since = 1795295575773113 if names else None
            listed.append({"hierarchy": hierarchy, "extensions": names or nothing, "since": since})
        return done(json.dumps(listed))


def sysext_host(root: str, version: int) -> ScriptedHost:
    """A host with a read-only /usr, the tree at ``root/usr``, with this version of systemd-sysext and no extension."""
    host = ScriptedHost(root)
    os.makedirs(host.path("/var/lib"), mode=0o755, exist_ok=True)
    host.add_tool("/usr/bin/env", play_env)
    host.add_tool("/usr/bin/systemd-sysext", Sysext(host, version).play)
    with host.kernel.unsealed("/usr"):
        host.add_file(f"/usr/lib/systemd/libsystemd-shared-{version}.so", "")
    return host
