"""Random edits of random trees, on one topology, in this process's own namespaces.

unshare --user --map-root-user --mount python -m tests.changes.fuzz TOPOLOGY SCRATCH EXAMPLES
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import sys
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from ovlay.changes.find import look
from ovlay.host import Host
from tests.changes.inside import truth
from tests.changes.topologies import TOPOLOGIES, Scratch, make_base, mount_overlay, run

# No link leads out of the tree: edits go through links.
# Few names, so that edits meet; one is a prefix of another, one is no UTF-8.
NAMES = st.sampled_from(["a", "b", "ab", "d", "d.x", os.fsdecode(b"\xff")])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
CONTENTS = st.sampled_from([b"", b"x", b"y", b"one\n", b"two\n", b"x" * 5000, b"x" * 4999 + b"y", b"z" * 70_000])
MODES = st.sampled_from([0o600, 0o644, 0o755, 0o4755])

PLANTS = st.one_of(
    st.tuples(st.just("write"), PATHS, CONTENTS),
    st.tuples(st.just("mkdir"), PATHS, st.none()),
    st.tuples(st.just("link"), PATHS, PATHS),
    st.tuples(st.just("symlink"), PATHS, st.sampled_from(["a", "b", "nowhere"])),
    st.tuples(st.just("fifo"), PATHS, MODES),
)
EDITS = st.one_of(
    PLANTS,
    st.tuples(st.just("remove"), PATHS, st.none()),
    st.tuples(st.just("move"), PATHS, PATHS),
    st.tuples(st.just("exchange"), PATHS, PATHS),
    st.tuples(st.just("chmod"), PATHS, MODES),
    st.tuples(st.just("touch"), PATHS, st.none()),
    st.tuples(st.just("append"), PATHS, CONTENTS),
    st.tuples(st.just("attribute"), PATHS, st.sampled_from([b"one", b"two"])),
    st.tuples(st.just("again"), PATHS, st.none()),
)
Edit = tuple[str, str, object]


def carry_out(top: Path, edit: Edit) -> None:
    """One edit; what cannot be done is not."""
    verb, name, more = edit
    path = top / name
    if path.is_fifo() and verb in ("write", "append"):
        return  # nobody reads from it
    with contextlib.suppress(OSError, shutil.Error):
        if verb in ("write", "mkdir", "symlink", "fifo", "link", "move"):
            path.parent.mkdir(parents=True, exist_ok=True)
        if verb == "write":
            path.write_bytes(more)  # type: ignore[arg-type]
        elif verb == "append":
            with open(path, "ab") as stream:
                stream.write(more)  # type: ignore[arg-type]
        elif verb == "mkdir":
            path.mkdir()
        elif verb == "link":
            os.link(top / str(more), path, follow_symlinks=False)
        elif verb == "symlink":
            path.symlink_to(str(more))
        elif verb == "fifo":
            os.mkfifo(path)
        elif verb == "remove":
            remove(path)
        elif verb == "move":
            shutil.move(top / str(more), path)
        elif verb == "exchange":
            spare = top / "spare"
            os.rename(path, spare)
            os.rename(top / str(more), path)
            os.rename(spare, top / str(more))
        elif verb == "chmod":
            enter = 0o700 if path.is_dir() else 0  # nobody but root could go on in it
            path.chmod(int(str(more)) | enter, follow_symlinks=path.is_fifo())
        elif verb == "touch":
            os.utime(path, follow_symlinks=False)
        elif verb == "attribute":
            os.setxattr(path, "user.note", more, follow_symlinks=False)  # type: ignore[arg-type]
        elif verb == "again":
            copy = top / "copy"
            run("cp", "-a", path, copy)
            remove(path)
            os.rename(copy, path)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def check(name: str, place: Path, plants: list[Edit], edits: list[Edit]) -> None:
    topology, scratch = TOPOLOGIES[name], Scratch(place)
    place.mkdir()

    def fill(base: Path) -> None:
        for plant in plants:
            carry_out(base, plant)

    make_base(scratch, topology, fill)
    try:
        time.sleep(0.012)
        (topology.mount or mount_overlay)(scratch, topology)
        for edit in edits:
            carry_out(scratch.target, edit)
        mount = Host().kernel.mounts().stack(str(scratch.target))[-1]
        with Host().kernel.views(mount) as views:
            expected = truth(views)
            for side in (views, views._replace(upper=None)):
                found = look(Host(), mount, side, workers=1)
                assert found.errors == {}
                assert {change.path: change.kind for change in found.changes} == expected, side
        run("umount", scratch.target)
    finally:
        run("umount", "-l", scratch.target)
        run("umount", "-l", scratch.work)
        shutil.rmtree(place)


def main(name: str, place: Path, examples: int) -> None:
    place.mkdir()
    numbers = itertools.count()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    @given(plants=st.lists(PLANTS, max_size=25), edits=st.lists(EDITS, max_size=25))
    @example(plants=[("write", "d/a", b"x")], edits=[("move", "ab", "d"), ("write", "d/a", b"x")])
    def each(plants: list[Edit], edits: list[Edit]) -> None:
        check(name, place / str(next(numbers)), plants, edits)

    each()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
