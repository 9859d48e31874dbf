"""The simulated kernel and the real one understand each other's uppers: random changes, in both directions."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 12

# Runs as root of a user namespace with mounts of its own.
PROGRAM = """
import os, random, shutil, sys

from ovlay.changes.compare import Aspect, compare, scan_tree
from ovlay.kernel.linux import LinuxKernel
from ovlay.model import Access
from ovlay.simulated import SimulatedHost
from ovlay.testing.tree import make_known_tree


def change(root, chance):
    "One change somewhere below the root; what cannot be done is not."
    names = [os.path.join(top, name) for top, *found in os.walk(root) for name in (*found[0], *found[1])]
    if not names:
        return
    path, other = chance.choice(names), f"{os.path.dirname(chance.choice(names))}/{chance.choice('abcde')}"
    kind = chance.randrange(10)
    try:
        if kind == 0:
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        elif kind == 1:
            with open(path, "ab") as stream:
                stream.write(b"more")
        elif kind == 2:
            os.mkdir(other, 0o751)
        elif kind == 3:
            os.rename(path, other)
        elif kind == 4:
            os.chmod(path, chance.choice([0o755, 0o600, 0o4711]))
        elif kind == 5:
            os.symlink("nowhere", other)
        elif kind == 6:
            os.link(path, other)
        elif kind == 7:
            os.setxattr(path, chance.choice(["user.one", "user.overlay.opaque"]), b"y")
        elif kind == 8:
            os.utime(path, ns=(1, chance.randrange(1 << 60)))
        elif os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
            os.mkdir(path)
            with open(f"{path}/fresh", "x"):
                pass
    except OSError:
        return


def scan(path, host=None):
    tree = scan_tree(path) if host is None else scan_tree(path, permissions=host.permissions)
    return {name: entry for name, entry in tree.items() if name != "."}


def both_ways(directory, seed):
    chance = random.Random(seed)
    make_known_tree(f"{directory}/usr")
    for name in ("upper", "work", "real-upper", "real-work"):
        os.makedirs(f"{directory}/var/{name}")
    os.makedirs(f"{directory}/real")
    kernel = LinuxKernel()

    def mount(upper, work):
        lower = [f"{directory}/usr"]
        kernel.mount_overlay(f"{directory}/real", lower=lower, upper=f"{directory}/var/{upper}",
                             work=f"{directory}/var/{work}", access=Access.READ_WRITE, source="truth")

    def unmount():
        kernel.unmount(kernel.mounts().stack(f"{directory}/real")[-1], lazy=False)

    def simulate(host, upper):
        host.kernel.mount_overlay("/usr", lower=["/usr"], upper=f"/var/{upper}", work="/var/work",
                                  access=Access.READ_WRITE, source="simulated")

    with SimulatedHost(directory) as host:
        simulate(host, "upper")
        for _ in range(25):
            change(f"{directory}/usr", chance)
        written = scan(f"{directory}/usr", host)
        host.kernel.unmount(host.mounts_at("/usr")[-1], lazy=False)
    mount("upper", "real-work")
    seen = scan(f"{directory}/real")
    unmount()
    shutil.rmtree(f"{directory}/var/real-work")
    os.mkdir(f"{directory}/var/real-work")
    mount("real-upper", "real-work")
    for _ in range(25):
        change(f"{directory}/real", chance)
    really = scan(f"{directory}/real")
    unmount()
    with SimulatedHost(directory) as host:
        simulate(host, "real-upper")
        understood = scan(f"{directory}/usr", host)
    # Without index=on the kernel copies one name of a hard link up, and shows the lower's number for it all the same.
    return compare(written, seen), compare(really, understood, ignore=[Aspect.HARD_LINKS])


for seed in range(int(sys.argv[2])):
    first, second = both_ways(f"{sys.argv[1]}/{seed}", seed)
    for word, differences in (("of the simulation", first), ("of the kernel", second)):
        for difference in differences:
            print(f"round {seed}, upper {word}: {ascii(str(difference))}")
print("done")
"""


@pytest.mark.kernel
def test_each_understands_the_others_upper(tmp_path: Path) -> None:
    enter = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system lets nobody make user namespaces")
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [*enter, sys.executable, "program.py", str(tmp_path), str(ROUNDS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
