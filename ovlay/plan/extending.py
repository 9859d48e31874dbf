"""Steps that add an empty system extension, so that systemd-sysext has something to merge, and take it away."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.plan.step import Step

if TYPE_CHECKING:
    from ovlay.host import Host


@dataclass(frozen=True, slots=True)
class AddExtension(Step):
    """A system extension that fits every host and holds nothing but its own mark: ``ID=_any`` in extension-release(5).

    systemd-sysext before version 262 merges nothing at all, and exits 0, where no extension is installed.
    """

    kind: ClassVar[str] = "add-extension"

    path: str

    def describe(self) -> str:
        return f"add the empty system extension {self.path}"

    def run(self, host: Host) -> str:
        place = f"{self.path}/usr/lib/extension-release.d"
        os.makedirs(host.path(place), mode=0o755, exist_ok=True)
        host.write(f"{place}/extension-release.{posixpath.basename(self.path)}", "ID=_any\n")
        return ""

    def undo(self, host: Host) -> None:
        if host.is_directory(self.path):
            host.remove_tree(self.path)


@dataclass(frozen=True, slots=True)
class RemoveExtension(Step):
    """Take the empty extension away; it stays merged until systemd-sysext runs the next time."""

    kind: ClassVar[str] = "remove-extension"
    resumes: ClassVar[bool] = True

    path: str

    def describe(self) -> str:
        return f"remove the empty system extension {self.path}"

    def run(self, host: Host) -> str:
        AddExtension(self.path).undo(host)
        return ""

    def undo(self, host: Host) -> None:
        AddExtension(self.path).run(host)
