"""What the contract of drivers is tested on: an overlay with its host, and how a test gets at both."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import pytest

from ovlay.changes.compare import Entry, scan_tree
from ovlay.model import Access, Mode, Persistence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ovlay.overlay import Overlay

RW = Mode(Access.READ_WRITE, Persistence.TRANSIENT)
RO = Mode(Access.READ_ONLY, Persistence.TRANSIENT)

Tree = dict[str, Entry]


class Subject:
    """The fixture and the hooks that a subclass of the contract overrides, and what all its tests share."""

    existing: ClassVar[str] = "bin/tool"
    """A regular file that is in the target, below it."""

    runs_programs: ClassVar[bool] = True
    """Whether this process can run a program that is in the target."""

    # --- hooks -------------------------------------------------------------------------------------------------

    @pytest.fixture
    def overlay(self) -> Iterator[Overlay]:
        """An overlay that is not enabled, on a host of its own."""
        raise NotImplementedError("a subclass of BackendContract has the fixture `overlay`")

    def modes(self, overlay: Overlay) -> frozenset[Mode]:
        """The modes that are tested: all that the driver says it has."""
        return overlay.backend.modes

    def target_path(self, overlay: Overlay, path: str = "") -> str:
        """Where this process finds ``path``, which is below the target."""
        inside = f"{overlay.target}/{path}" if path else overlay.target
        return overlay.host.path(inside)

    def hold(self, overlay: Overlay) -> AbstractContextManager[str]:
        """Somebody else who uses the target; gives a path to that user's view, which stays when it is unmounted."""
        from ovlay.simulated import SimulatedKernel

        kernel = overlay.host.kernel
        if isinstance(kernel, SimulatedKernel):
            return kernel.hold(overlay.target)
        return _process_in(self.target_path(overlay))

    def refuses_writes(self, overlay: Overlay) -> bool:
        """Whether writes of this process to a read-only target are refused.

        A simulated kernel cannot bind root in a container, and then only what the status says is tested.
        """
        from ovlay.simulated import SimulatedKernel

        kernel = overlay.host.kernel
        return kernel.refuses_writes() if isinstance(kernel, SimulatedKernel) else True

    def scan(self, overlay: Overlay) -> Tree:
        """Everything in the target, in full. The target's own time stamp is the upper's, and is left out."""
        tree = scan_tree(self.target_path(overlay), permissions=overlay.host.permissions)
        return {path: entry for path, entry in tree.items() if path != "."}

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """A file to be installed."""
        path = tmp_path / "source"
        path.write_bytes(b"#!/bin/sh\necho new\n")
        return path

    # --- what the tests share ------------------------------------------------------------------------------------

    def _read(self, overlay: Overlay, path: str) -> bytes:
        with open(self.target_path(overlay, path), "rb") as stream:
            return stream.read()

    def _spoil(self, overlay: Overlay) -> None:
        """Change the target in each of the ways in which a tree can change."""
        there = self.target_path(overlay, self.existing)
        with open(there, "ab") as stream:
            stream.write(b"spoiled")
        os.chmod(there, 0o600)
        folder = self.target_path(overlay, "spoiled")
        os.mkdir(folder)
        os.rename(there, f"{folder}/renamed")
        os.mkdir(there)
        os.symlink("nowhere", f"{folder}/link")
        os.link(f"{folder}/renamed", f"{folder}/linked")
        os.utime(self.target_path(overlay, "lib"), ns=(1, 1))

    def _demand_sealed(self, overlay: Overlay) -> None:
        """Writes to the target are refused, whatever they try."""
        assert not overlay.status().writable
        if not self.refuses_writes(overlay):
            return
        there = self.target_path(overlay, self.existing)
        attempts: tuple[Callable[[], object], ...] = (
            lambda: open(there, "ab").close(),
            lambda: open(f"{os.path.dirname(there)}/forbidden", "xb").close(),
            lambda: os.unlink(there),
            lambda: os.rename(there, f"{there}-forbidden"),
            lambda: os.mkdir(self.target_path(overlay, "forbidden")),
        )
        for attempt in attempts:
            with pytest.raises(OSError):  # noqa: PT011 (EROFS on a kernel; EACCES or EPERM where it is played)
                attempt()


def mount_ids(overlay: Overlay) -> frozenset[int]:
    """All mounts of the host."""
    return frozenset(mount.mount_id for mount in overlay.host.kernel.mounts())


@contextmanager
def _process_in(directory: str) -> Iterator[str]:
    """A process that has its working directory there, and so keeps what is mounted busy."""
    process = subprocess.Popen(["/bin/sh", "-c", "echo; read line"], cwd=directory, stdin=-1, stdout=-1)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdout.readline()
        yield f"/proc/{process.pid}/cwd"
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
        _wait_until_gone(process.pid)


def _wait_until_gone(pid: int) -> None:
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.01)
