"""Steps that write, link and remove what a service manager reads, each knowing what was there before it."""

from __future__ import annotations

import contextlib
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import Conflict
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from ovlay.host import Host


@dataclass(frozen=True, slots=True)
class SettleUnit(Step):
    """One unit file, drop-in or marker, from what it was (``before``) to what it is to be (``after``).

    Each is the text of a file, with ``link`` the text of a symbolic link, and None where there is nothing. Missing
    directories are made; an empty directory of drop-ins (``UNIT.d``) or of links (``.wants``) goes with the last.
    """

    kind: ClassVar[str] = "settle-unit"

    path: str
    before: str | None
    after: str | None
    link: bool

    def describe(self) -> str:
        if self.after is None:
            return f"remove {self.path}"
        if self.link:
            return f"link {self.path} to {self.after}"
        return f"write {self.path}"

    def run(self, host: Host) -> str:
        self._demand(host, self.before)
        self._put(host, self.after)
        self._demand(host, self.after)
        return ""

    def undo(self, host: Host) -> None:
        self._put(host, self.before)

    def _demand(self, host: Host, text: str | None) -> None:
        """Raise `Conflict` where something else is there."""
        if unit_text(host, self.path, link=self.link) != text or (text is None and host.exists(self.path)):
            raise Conflict(
                f"{self.path} is not what it was when the plan was made", remedy="look at it, then try again"
            )

    def _put(self, host: Host, text: str | None) -> None:
        folder = posixpath.dirname(self.path)
        if text is None:
            host.remove(self.path)
            if folder.endswith((".d", ".wants")):
                with contextlib.suppress(OSError):  # somebody else's drop-ins are in it
                    host.remove(folder)
            return
        os.makedirs(host.path(folder), mode=0o755, exist_ok=True)
        if not self.link:
            host.write(self.path, text)
            return
        host.remove(self.path)
        os.symlink(text, host.path(self.path))


@dataclass(frozen=True, slots=True)
class SettleUserUnit(SettleUnit):
    """The same for the units of the user who asks: nothing that needs root."""

    kind: ClassVar[str] = "settle-user-unit"
    privileged: ClassVar[bool] = False


def unit_text(host: Host, path: str, *, link: bool) -> str | None:
    """What is at ``path``: with ``link`` the text of a symbolic link, else that of a file; None where it is neither."""
    found = host.read_link(path)
    return found if link else host.read(path) if found is None else None
