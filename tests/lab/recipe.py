"""What a host of the lab is made of: Debian packages, committed to ostree and deployed on a disk image.

A host is made once and kept below ``OVLAY_LAB_CACHE`` under a name that is a hash of what it was made from. Where the
packages come from is read out of apt's own configuration. Sources for the shape of the tree: ostree's
docs/adapting-existing.md (/usr/etc, /var, the links in the root), and ostree-prepare-root(1) for composefs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

DISK_VERSION = 5
"""Counts up whenever this file makes another disk of the same packages."""

PACKAGES = ("ostree", "ostree-boot", "python3", "systemd", "util-linux", "attr", "e2fsprogs", "mount")

NEEDED = ("mmdebstrap", "ostree", "mkfs.ext4", "unshare", "nsenter", "losetup", "chattr")
"""The commands that making and entering a host takes."""

STATEROOT = "debian"


class Layout(StrEnum):
    """What the root of a host is."""

    PLAIN = "plain"  # ostree's deployment, with a read-only bind of /usr
    COMPOSEFS = "composefs"  # ostree's composefs of the deployment
    BOOTC = "bootc"  # the same composefs as bootc without ostree mounts it


@dataclass(frozen=True, slots=True)
class Recipe:
    """A host: a Debian suite, and what its root is."""

    suite: str
    layout: Layout = Layout.PLAIN

    @property
    def name(self) -> str:
        """How tests call it."""
        return self.suite if self.layout is Layout.PLAIN else f"{self.suite}-{self.layout}"

    @property
    def composefs(self) -> bool:
        """Whether the disk has a composefs image."""
        return self.layout is not Layout.PLAIN

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed in it, beyond Debian's minimal base."""
        return PACKAGES

    @property
    def options(self) -> tuple[str, ...]:
        """What mmdebstrap(1) is told beside that."""
        return ()

    @property
    def key(self) -> str:
        """A name that changes with everything that the packages of a host are made from."""
        text = "\n".join((self.suite, *self.packages, *self.options))
        return f"{self.suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Image:
    """A host that was made: its disk, the tree that plays the initramfs, and the kernel argument ``ostree=``."""

    recipe: Recipe
    disk: Path
    tree: Path
    argument: str


def cache_directory() -> Path:
    """Where made hosts are kept."""
    return Path(os.environ.get("OVLAY_LAB_CACHE", "/var/cache/ovlay-lab"))


def missing_tools() -> tuple[str, ...]:
    """Which of the commands that the lab takes are not installed."""
    return tuple(name for name in NEEDED if shutil.which(name) is None)


def made(recipe: Recipe) -> Image:
    """The host of this recipe, from the cache or made now; one process makes it, others wait."""
    with _home(recipe) as home:
        tree = _tree(recipe, home)
        name = f"{'composefs' if recipe.composefs else 'plain'}-{DISK_VERSION}"
        disk, argument = home / f"{name}.raw", home / f"{name}.karg"
        if not argument.exists():
            argument.write_text(_make_disk(recipe, tree, disk))
        return Image(recipe, disk, tree, argument.read_text())


def made_tree(recipe: Recipe) -> Path:
    """The installed packages of a recipe and nothing else, from the cache or made now."""
    with _home(recipe) as home:
        return _tree(recipe, home)


@contextmanager
def _home(recipe: Recipe) -> Iterator[Path]:
    home = cache_directory() / recipe.key
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield home


def _tree(recipe: Recipe, home: Path) -> Path:
    tree = home / "tree"
    if not (home / "tree.done").exists():
        _bootstrap(recipe, tree, home)
        (home / "tree.done").touch()
    return tree


def mirror(configuration: Path = Path("/etc/apt")) -> str:
    """Debian's main archive as this machine's apt has it, in either form of sources.list(5)."""
    found = list(_sources(configuration))
    plain = [uri for uri, suites in found if not any("security" in suite or "backports" in suite for suite in suites)]
    named = [uri for uri in plain if uri.rstrip("/").endswith("/debian")]
    if not plain:
        raise LookupError(f"no archive is configured below {configuration}")
    return (named or plain)[0]


def _sources(configuration: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    parts = configuration / "sources.list.d"
    for path in sorted(parts.glob("*.sources")):
        for stanza in path.read_text().split("\n\n"):
            lines = [line for line in stanza.splitlines() if ":" in line and not line.startswith("#")]
            fields = {key.strip().lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
            if fields.get("enabled", "yes").lower() != "no" and "deb" in fields.get("types", "").split():
                suites = tuple(fields.get("suites", "").split())
                yield from ((uri, suites) for uri in fields.get("uris", "").split())
    for path in (configuration / "sources.list", *sorted(parts.glob("*.list"))):
        for line in path.read_text().splitlines() if path.exists() else ():
            words = line.partition("#")[0].split()
            if words[:1] == ["deb"]:
                bracket = next((n for n, word in enumerate(words) if word.endswith("]")), 0)
                words = words[bracket + 1 :] if words[1].startswith("[") else words[1:]
                yield words[0], tuple(words[1:2])


def _bootstrap(recipe: Recipe, tree: Path, home: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    _run(
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        # The Release file of a suite in the making can be past its date on a mirror that is a snapshot.
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=APT::Install-Recommends "false"',
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        *recipe.options,
        f"--include={','.join(recipe.packages)}",
        recipe.suite,
        str(tree),
        mirror(),
        log=home / "mmdebstrap.log",
    )


def _make_disk(recipe: Recipe, tree: Path, disk: Path) -> str:
    """Commit and deploy the tree with its own ostree on an ext4 of its own; return the kernel argument."""
    work = disk.with_suffix(".work")
    _forget(work)
    work.mkdir()
    disk.unlink(missing_ok=True)
    try:
        content = work / "content"
        _run("cp", "-a", "--reflink=auto", str(tree), str(content))
        _shape(content, composefs=recipe.composefs)
        with disk.open("wb") as stream:
            stream.truncate(2 << 30)
        _run("mkfs.ext4", "-q", "-F", "-L", "ovlay-lab", "-O", "^has_journal,^resize_inode", "-m", "0", str(disk))
        script = Path(__file__).parent / "boot" / "deploy.sh"
        _run("unshare", "--mount", "--propagation=private", "sh", str(script), str(tree), str(content), str(disk))
        return (content / "karg").read_text().strip()
    finally:
        _forget(work)


def _shape(content: Path, *, composefs: bool) -> None:
    """Make an image's tree of an installed one: what ostree wants, and what the tests want to find."""
    for name in ("dev", "proc", "sys", "run", "tmp", "boot", "var", "home", "root", "opt", "srv", "mnt", "media"):
        shutil.rmtree(content / name, ignore_errors=True)
    for name in ("dev", "proc", "sys", "run", "tmp", "boot", "var", "sysroot"):
        (content / name).mkdir()
    for name, place in {"home": "home", "root": "roothome", "opt": "opt", "srv": "srv", "mnt": "mnt"}.items():
        (content / name).symlink_to(f"var/{place}")
    (content / "ostree").symlink_to("sysroot/ostree")
    # ostree sets every time stamp to 0: Python's compiled files must not be checked against those of their sources.
    python = ("python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "/usr/lib")
    _run("chroot", str(content), *python)
    shutil.rmtree(content / "etc/apt")  # the name of the mirror has no business in an image
    (content / "etc/machine-id").write_text("")
    shutil.move(content / "etc", content / "usr/etc")
    kernel = content / "usr/lib/modules/6.12.0"
    kernel.mkdir(parents=True)
    (kernel / "vmlinuz").write_text("kernel\n")
    (kernel / "initramfs.img").write_text("initramfs\n")
    # As Fedora's images have it: what is put below /usr/local is not in the image, nor in an overlay.
    shutil.rmtree(content / "usr/local")
    (content / "usr/local").symlink_to("../var/usrlocal")
    # A program that nothing needs, since the contract of all drivers spoils it; and one less whose name it wants.
    (content / "usr/bin/tool").write_text("#!/bin/sh\necho pristine\n")
    (content / "usr/bin/tool").chmod(0o755)
    (content / "usr/bin/link").unlink()
    # Stand-ins for host tools are put in /run by the tests that want them; else these links lead nowhere.
    for name in ("bootc", "rpm-ostree"):
        (content / "usr/bin" / name).symlink_to(f"/run/ovlay-lab/stand-ins/{name}")
    (content / "usr/lib/ostree").mkdir(exist_ok=True)
    (content / "usr/lib/ostree/prepare-root.conf").write_text(prepare_root_conf(composefs=composefs))


def prepare_root_conf(*, composefs: bool) -> str:
    """What ostree-prepare-root(1) is told, in the image and in the initramfs."""
    return f"[composefs]\nenabled={'yes' if composefs else 'no'}\n"


def _forget(directory: Path) -> None:
    if directory.exists():
        shutil.rmtree(directory)


def _run(*argv: str, log: Path | None = None) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if log is not None:
        log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        raise RuntimeError(f"{argv[0]} failed with status {done.returncode}:\n{done.stdout}{done.stderr}")
