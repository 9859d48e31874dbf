"""A host in a scratch directory, on a simulated kernel, where every step is allowed to everyone."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Self

from ovlay.errors import InvalidInput, ToolFailed
from ovlay.host import Finished, Host
from ovlay.simulated.kernel import PLAIN_TABLE, SimulatedKernel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType


class SimulatedHost(Host):
    """The host whose files are below ``root``; it is booted with a mount ``table`` where it never was before.

    It is a context manager: on the way out its seals are lifted (`close`), so that ``root`` can be removed. Raises
    `InvalidInput` for the real root directory.
    """

    kernel: SimulatedKernel

    def __init__(self, root: str, *, table: str = PLAIN_TABLE) -> None:
        where = os.path.realpath(root)
        if where == "/":
            raise InvalidInput(
                "a simulated host cannot be in the root directory", remedy="give an empty directory as its root"
            )
        super().__init__(where, kernel=SimulatedKernel(where, table=table))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lift every seal, so that the scratch directory can be removed. The state stays."""
        self.kernel.close()

    def reboot(self) -> None:
        """Boot again: all mounts and all that is in memory are gone."""
        self.kernel.reboot()
        self.__dict__.pop("boot_id", None)

    @property
    def euid(self) -> int:
        """On this host everyone is root."""
        return 0

    def permissions(self, found: os.stat_result) -> int:
        """The true permission bits, also of what is sealed."""
        return self.kernel.permissions(found)

    def remove(self, inside: str) -> None:
        """Remove a file or an empty directory that is no mount point; nothing happens where there is none."""
        self._demand_no_mount(inside)
        super().remove(inside)

    def remove_tree(self, inside: str) -> None:
        """Remove a directory and all below it, which root may even where the directories are not writable."""
        from ovlay.simulated.layers import remove_tree

        self._demand_no_mount(inside)
        remove_tree(self.path(inside))

    def run(self, argv: Sequence[str], *, timeout: float = 120) -> Finished:
        """A simulated host has no programs: always `ToolFailed`."""
        raise ToolFailed(f"cannot run {argv[0]}: the host is simulated and has no programs", argv=argv)

    def _demand_no_mount(self, inside: str) -> None:
        """EBUSY for a mount point, as rmdir(2) has it."""
        if self.mounts_at(inside):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), inside)
