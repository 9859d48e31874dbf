"""The step that copies files out of the upper directory of an overlay that is gone."""

from __future__ import annotations

import contextlib
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import Conflict, InvalidInput, StateForbids
from ovlay.files.copying import DIRECTORY, Copier, demand_plain, is_whiteout, look, remove_whole, settle
from ovlay.plan.directories import is_mounted_upper
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ovlay.host import Host

PRIVATE = ("trusted.overlay.", "user.overlay.")
"""The prefixes of the attributes in an upper that belong to the overlay. Of one that is not mounted it is not known
which of them it was mounted with."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class CopyOut(Step):
    """Copy names out of an upper directory, with mode, owner and time stamps, into a directory of the caller's.

    ``upper`` is the directory that holds ``upper`` and ``work``; ``paths`` are relative to the upper, each with all
    that is in it. Nothing is overwritten, no link is followed, and the overlay's own marks stay behind. A file of which
    only the attributes were changed (``metacopy``) has no content there, and is left out.
    """

    kind: ClassVar[str] = "copy-out"

    upper: str
    destination: str
    paths: tuple[str, ...]

    def describe(self) -> str:
        shown = ", ".join(self.paths[:_SHOWN])
        more = f" and {len(self.paths) - _SHOWN} more" if len(self.paths) > _SHOWN else ""
        return f"copy {shown}{more} out of {self.upper} to {self.destination}"

    def run(self, host: Host) -> str:
        demand_plain(self.paths)
        if is_mounted_upper(host, self.upper):
            raise Conflict(f"{self.upper} is in use", remedy="look at `ovlay status`; what is in use is on the target")
        left_out: list[str] = []
        made = self._make_destination(host)
        try:
            with opened_upper(host, self.upper) as upper, _opened(host.path(self.destination)) as destination:
                self._demand_free(destination)
                self._copy(host, upper, destination, left_out)
        except BaseException:
            if made:
                with contextlib.suppress(OSError):
                    os.rmdir(host.path(self.destination))
            raise
        if left_out:
            more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
            return f"left out, since only attributes were changed or it was deleted: {left_out[0]}{more}"
        return ""

    def _make_destination(self, host: Host) -> bool:
        try:
            os.mkdir(host.path(self.destination), 0o700)
        except FileExistsError:
            return False
        except FileNotFoundError as error:
            raise InvalidInput(
                f"{posixpath.dirname(self.destination)}: there is no such directory", remedy="make it first"
            ) from error
        return True

    def _demand_free(self, destination: int) -> None:
        for path in self.paths:
            folder, _, name = path.rpartition("/")
            with contextlib.suppress(FileNotFoundError), _below(destination, folder) as parent:
                if look(name, parent) is not None:
                    raise StateForbids(
                        f"{self.destination}/{path} is there already, and nothing is overwritten",
                        remedy="choose an empty directory",
                    )

    def _copy(self, host: Host, upper: int, destination: int, left_out: list[str]) -> None:
        def skip(directory: int, name: str, found: os.stat_result) -> bool:
            if hollow := is_whiteout(found) or is_marked(directory, name, ("whiteout", "metacopy")):
                left_out.append(name)
            return hollow

        copier = Copier(destination, private=PRIVATE, permissions=host.permissions, skip=skip, flags=False)
        done: list[str] = []
        try:
            for path in self.paths:
                folder, _, name = path.rpartition("/")
                with _below(upper, folder) as source:
                    found = os.stat(name, dir_fd=source, follow_symlinks=False)
                    if skip(source, name, found):
                        continue
                    _make_parents(upper, destination, folder, host.permissions)
                    with _below(destination, folder) as parent:
                        done.append(path)
                        copier.copy(source, name, parent, name, path)
        except BaseException:
            for path in done:
                folder, _, name = path.rpartition("/")
                with contextlib.suppress(OSError), _below(destination, folder) as parent:
                    remove_whole(parent, name)
            raise


@contextlib.contextmanager
def opened_upper(host: Host, path: str) -> Iterator[int]:
    """A descriptor on the upper in a directory that is root's own: anyone can make one in /var/tmp.

    Raises `StateForbids` for somebody else's, and ``OSError`` where there is none.
    """
    with _opened(host.path(path)) as above:
        if os.fstat(above).st_uid != os.geteuid():
            raise StateForbids(f"{path} belongs to somebody else", remedy="look into it yourself, with care")
        descriptor = os.open("upper", DIRECTORY, dir_fd=above)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def is_marked(directory: int, name: str, marks: tuple[str, ...]) -> bool:
    """Whether overlayfs put one of these marks on a name: Documentation/filesystems/overlayfs.rst."""
    try:
        found = os.listxattr(f"/proc/self/fd/{directory}/{name}", follow_symlinks=False)
    except OSError:
        return False
    return any(prefix + mark in found for prefix in PRIVATE for mark in marks)


def _make_parents(upper: int, destination: int, folder: str, permissions: Callable[[os.stat_result], int]) -> None:
    """The directories on the way, as they are in the upper; those that are there stay as they are."""
    parts = folder.split("/") if folder else []
    for count in range(len(parts)):
        above = "/".join(parts[:count])
        with (
            _below(upper, above) as source,
            _below(destination, above) as target,
            contextlib.suppress(FileExistsError),
        ):
            os.mkdir(parts[count], 0o700, dir_fd=target)
            settle(source, parts[count], target, parts[count], private=PRIVATE, permissions=permissions)


@contextlib.contextmanager
def _below(root: int, path: str) -> Iterator[int]:
    from ovlay.files.copying import descend

    descriptor = descend(root, path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[int]:
    descriptor = os.open(path, DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
