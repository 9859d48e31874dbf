"""What the pitfalls are made with: their register, and an overlay to fall into."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ovlay.changes.find import look
from ovlay.host import Host
from tests.changes.topologies import Scratch, Topology, make_base

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovlay.changes.change import Changes
    from ovlay.kernel import Mount, Views

PITFALLS: dict[str, Callable[[Path], None]] = {}
ROOT: set[str] = set()


def pitfall(*, root: bool = False) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    def keep(function: Callable[[Path], None]) -> Callable[[Path], None]:
        PITFALLS[function.__name__] = function
        if root:
            ROOT.add(function.__name__)
        return function

    return keep


def overlay_on(scratch: Scratch) -> Mount:
    table = Host().kernel.mounts()
    return next(mount for mount in reversed(table.stack(str(scratch.target))) if mount.upper is not None)


def seen(mount: Mount, views: Views, *, workers: int = 1) -> dict[str, Changes]:
    """The changes by each way."""
    found = {"pruned": look(Host(), mount, views._replace(upper=None), workers=workers)}
    if views.upper is not None:
        found["upper"] = look(Host(), mount, views, workers=workers)
    return found


def kinds(changes: Changes) -> dict[str, str]:
    return {change.path: str(change.kind) for change in changes.changes}


def put(path: Path, content: bytes = b"content\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def base(place: Path, fill: Callable[[Path], object], topology: Topology | None = None) -> Scratch:
    scratch = Scratch(place)
    make_base(scratch, topology or Topology(), fill)
    time.sleep(0.03)
    return scratch


def options() -> str:
    return "userxattr" if Host().in_user_namespace else ""


def expect(mount: Mount, answer: dict[str, str]) -> None:
    with Host().kernel.views(mount) as views:
        assert views.upper is not None, "the upper was not found"
        for way, changes in seen(mount, views).items():
            assert (kinds(changes), changes.errors) == (answer, {}), way
