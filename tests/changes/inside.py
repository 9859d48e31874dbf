"""Run all cases on one topology, in this process's own namespaces, and print what each way to see changes said.

    unshare --mount python -m tests.changes.inside TOPOLOGY SCRATCH

The output is JSON: by case and way, what was answered and what the full comparison says.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ovlay.changes import workers
from ovlay.changes.compare import Aspect, Difference, compare, scan_tree
from ovlay.changes.find import look
from ovlay.host import Host
from tests.changes.cases import CASES, NEEDS
from tests.changes.topologies import TOPOLOGIES, Scratch, make_base, mount_overlay

if TYPE_CHECKING:
    from collections.abc import Generator

    from ovlay.changes.change import Changes
    from ovlay.kernel import Mount, Views

KINDS = ((Aspect.ADDED, "added"), (Aspect.REMOVED, "deleted"), (Aspect.KIND, "type-changed"))
CONTENT = {Aspect.CONTENT, Aspect.TARGET, Aspect.DEVICE}
IGNORED = (Aspect.MTIME, Aspect.HARD_LINKS)


def kind_of(difference: Difference) -> str:
    for aspect, kind in KINDS:
        if aspect in difference.aspects:
            return kind
    return "modified" if CONTENT & set(difference.aspects) else "metadata"


def truth(views: Views) -> dict[str, str]:
    """By path, what the full comparison of both sides says."""
    before, after = (scan_tree(f"/proc/self/fd/{view}/.") for view in (views.lower, views.merged))
    return {found.path: kind_of(found) for found in compare(before, after, ignore=IGNORED)}


def brought(scratch: Scratch) -> list[str]:
    """The paths that a layer between the base and the upper has, and the upper has not."""
    layer, upper = scratch.work / "extension", scratch.work / "upper"
    paths = [path.relative_to(layer) for path in layer.rglob("*")] if layer.exists() else []
    return [str(path) for path in paths if not os.path.lexists(upper / path)]


def ways(views: Views, mount: Mount) -> dict[str, Any]:
    """Every way that there is: each gives the same."""
    host = Host()
    blind = views._replace(upper=None)
    found = {
        "pruned": look(host, mount, blind, workers=1),
        "pruned by workers": look(host, mount, blind, workers=3),
        "pruned, everything": look(host, mount, blind, workers=1, everything=True),
        "in full": look(host, mount, blind._replace(own_inodes=False), workers=1),
    }
    if views.upper is not None:
        found |= {
            "upper": look(host, mount, views, workers=1),
            "upper by workers": look(host, mount, views, workers=3),
            "upper, everything": look(host, mount, views, workers=1, everything=True),
        }
    return found


def main(name: str, place: str) -> None:
    topology = TOPOLOGIES[name]
    scratch = Scratch(Path(place))
    running: dict[str, Generator[None, None, dict[str, str] | None]] = {}
    with_root = os.geteuid() == 0 and not Host().in_user_namespace

    def fill(base: Path) -> None:
        for key, case in CASES.items():
            if NEEDS[key] <= topology.can:
                (base / key).mkdir()
                running[key] = case(base / key)
                next(running[key])

    make_base(scratch, topology, fill)
    time.sleep(0.03)  # change times have the granularity of the kernel's tick
    (topology.mount or mount_overlay)(scratch, topology)
    expected = {}
    for key, case in running.items():
        try:
            next(case)
        except StopIteration as end:
            expected[key] = end.value
        except OSError as error:
            expected[key] = f"{key} could not be done: {error}"
    if topology.after is not None:
        topology.after(scratch)
    table = Host().kernel.mounts()
    mount = next(m for m in reversed(table.stack(str(scratch.target))) if m.upper is not None or "fuse" in m.fstype)
    workers._ALONE = 0.0
    with Host().kernel.views(mount) as views:
        report = {
            "reached": views.upper is not None,
            "truth": truth(views),
            "brought": brought(scratch),
            "expected": expected,
            "ways": {way: plain(changes) for way, changes in ways(views, mount).items()},
            "root": with_root,
        }
    with contextlib.suppress(OSError):
        os.sync()
    json.dump(report, sys.stdout)


def plain(changes: Changes) -> dict[str, Any]:
    return {
        "changes": {change.path: change.kind for change in changes.changes},
        "renamed": {change.path: change.renamed_from for change in changes.changes if change.renamed_from},
        "errors": dict(changes.errors),
        "sorted": [change.path for change in changes.changes] == sorted(change.path for change in changes.changes),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
