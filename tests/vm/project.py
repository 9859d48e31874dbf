"""The project as a user would install it, with all that it needs, on a read-only disk of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.vm.recipe import MachineImage

_PLACE = "/project"

_LAUNCH = f"""#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{_PLACE}/packages")
from ovlay.cli.main import command
sys.exit(command())
"""


def install_project(place: Path) -> None:
    """Install the checkout and what it depends on below ``place``, with the command and the agent beside it."""
    checkout = Path(__file__).parents[2]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile"]
    target = ["--target", str(place / "packages"), "--root-user-action=ignore"]
    subprocess.run([*pip, *target, str(checkout)], check=True)
    (place / "ovlay").write_text(_LAUNCH)
    (place / "ovlay").chmod(0o755)
    shutil.copy(Path(__file__).parent / "guest" / "agent.py", place)
    place.chmod(0o755)


def make_project_disk(installed: Path, image: MachineImage, place: Path) -> Path:
    """Make the disk for a machine, with the modules compiled by its own Python: emulation would take seconds."""
    work, disk = place / f"{image.recipe.name}.tree", place / f"{image.recipe.name}.raw"
    shutil.copytree(installed, work, symlinks=True)
    # The tree of packages is not written to: its /mnt is a tmpfs, in a namespace of its own.
    script = 'tree=$1 work=$2; shift 2; mount -t tmpfs work "$tree/mnt"; mkdir "$tree/mnt/project"\n'
    script += 'mount --bind "$work" "$tree/mnt/project"\n'
    script += 'exec chroot "$tree" python3 -m compileall -q -f -s /mnt --invalidation-mode unchecked-hash /mnt/project'
    subprocess.run(
        ["unshare", "--mount", "--propagation=private", "sh", "-euc", script, "sh", image.tree, work], check=True
    )
    with disk.open("wb") as stream:
        stream.truncate(64 << 20)
    options = ["-O", "^has_journal,^resize_inode", "-m", "0", "-E", "root_owner=0:0"]
    subprocess.run(["mkfs.ext4", "-q", "-F", *options, "-d", work, disk], check=True)
    shutil.rmtree(work)
    return disk
