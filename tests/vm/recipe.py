"""What a machine boots: a disk with a deployment, a kernel, and an initramfs, made once of Debian packages.

It builds on the lab's recipe: the same bootstrap, the same commit and deployment by the image's own ostree, the same
cache (``OVLAY_LAB_CACHE``), with a kernel, systemd as PID 1 and udev. The disk is one ext4 with a journal and without a
partition table; its boot loader is QEMU, which is given what the newest entry of the Boot Loader Specification says.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.lab import recipe as lab
from tests.vm.initramfs import make_initramfs
from tests.vm.kernel import unpacked

GUEST = Path(__file__).parent / "guest"
"""What is put into every image: units, and the script of the initramfs."""

PACKAGES = (
    *("ostree", "ostree-boot", "python3", "util-linux", "attr", "acl", "e2fsprogs", "mount", "procps"),
    *("systemd", "systemd-sysv", "udev", "dbus", "kmod", "linux-image-cloud-amd64", "dracut", "busybox-static"),
)
SELINUX_PACKAGES = ("selinux-policy-default", "selinux-utils", "policycoreutils")

NEEDED = (*lab.NEEDED, "qemu-system-x86_64", "debugfs", "e2fsck", "setpriv", "zstd")
"""The commands that making and booting a machine takes."""

_MASKED = (
    *("e2scrub_reap.service", "systemd-timesyncd.service", "apt-daily.timer", "apt-daily-upgrade.timer"),
    *("fstrim.timer", "e2scrub_all.timer", "dpkg-db-backup.timer"),
    *("systemd-logind.service", "getty.target", "systemd-hostnamed.socket", "systemd-user-sessions.service"),
    *(
        "systemd-binfmt.service",
        "proc-sys-fs-binfmt_misc.automount",
        "dracut-shutdown.service",
        "systemd-pstore.service",
    ),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount"),
    *("sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "systemd-random-seed.service"),
    # Caches that are made again in the first boot; under emulation that is most of a minute.
    *("systemd-hwdb-update.service", "ldconfig.service", "systemd-journal-catalog-update.service"),
)
"""Units that have no part in what is tested, and take time."""


@dataclass(frozen=True, slots=True)
class MachineRecipe(lab.Recipe):
    """A machine: a Debian suite, what its root is, and whether SELinux is on (permissive, Debian's policy)."""

    selinux: bool = False

    @property
    def name(self) -> str:
        """How tests call it."""
        plain = self.suite if self.layout is lab.Layout.PLAIN else f"{self.suite}-{self.layout}"
        return f"{plain}-selinux" if self.selinux else plain

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed in it, beyond Debian's minimal base."""
        return (*PACKAGES, *(("composefs",) if self.composefs else ()), *(SELINUX_PACKAGES if self.selinux else ()))

    @property
    def options(self) -> tuple[str, ...]:
        """The package of a kernel has dracut make an initramfs; nothing uses it, so let it be a small one."""
        place = '"$1/etc/dracut.conf.d"'
        return (f"--setup-hook=mkdir -p {place}; echo dracutmodules=base compress=cat >{place}/lab.conf",)


@dataclass(frozen=True, slots=True)
class MachineImage(lab.Image):
    """A machine that was made: beside what the lab's hosts have, a kernel and an initramfs."""

    recipe: MachineRecipe
    kernel: Path
    initramfs: Path


def missing_tools() -> tuple[str, ...]:
    """Which of the commands that the machines take are not installed."""
    return tuple(name for name in NEEDED if shutil.which(name) is None)


def made(recipe: MachineRecipe) -> MachineImage:
    """The machine of this recipe, from the cache or made now; one process makes it, others wait."""
    home = lab.cache_directory() / f"vm-{recipe.key}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        tree = home / "tree"
        if not (home / "tree.done").exists():
            lab._bootstrap(recipe, tree, home)
            (home / "tree.done").touch()
        place = home / _disk_key(recipe)
        image = MachineImage(recipe, place / "disk.raw", tree, "", place / "vmlinux", place / "initramfs")
        argument = place / "argument"
        if not argument.exists():
            for older in home.glob("disk-*"):
                shutil.rmtree(older)
            place.mkdir()
            argument.write_text(_make_disk(image))
        return dataclasses.replace(image, argument=argument.read_text())


def _disk_key(recipe: MachineRecipe) -> str:
    """A name that changes with everything that the disk is made from, beside the packages."""
    digest = hashlib.sha256(f"{recipe.layout} {recipe.selinux}".encode())
    makers = map(Path(__file__).with_name, ("recipe.py", "initramfs.py", "kernel.py"))
    for path in sorted([*makers, *GUEST.iterdir()]):
        if path.is_file() and path.name != "agent.py":  # the agent is on the project's own disk
            digest.update(path.read_bytes())
    return f"disk-{digest.hexdigest()[:12]}"


def _make_disk(image: MachineImage) -> str:
    """Commit and deploy the tree with its own ostree; return the kernel argument."""
    tree, work = image.tree, image.disk.with_suffix(".work")
    release = next((tree / "usr/lib/modules").iterdir()).name
    work.mkdir()
    try:
        content = work / "content"
        lab._run("cp", "-a", "--reflink=auto", str(tree), str(content))
        kernel = content / f"usr/lib/modules/{release}/vmlinuz"
        if not kernel.exists():  # newer packages have it here, and a link in /boot
            shutil.move(content / f"boot/vmlinuz-{release}", kernel)
        image.kernel.write_bytes(unpacked(kernel.read_bytes()))
        configuration = lab.prepare_root_conf(composefs=image.recipe.composefs)
        make_initramfs(tree, release, configuration, image.initramfs)
        shutil.copyfile(image.initramfs, content / f"usr/lib/modules/{release}/initramfs.img")
        _shape(content, image.recipe)
        with image.disk.open("wb") as stream:
            stream.truncate(3 << 30)
        # 4 MB of journal are enough, and are less to copy. fs-verity is what ostree's composefs can ask for.
        features = ("-O", "verity,^resize_inode", "-J", "size=4", "-m", "0", "-i", "8192")
        lab._run("mkfs.ext4", "-q", "-F", "-L", "ovlay-lab", *features, str(image.disk))
        script = Path(lab.__file__).parent / "boot" / "deploy.sh"
        arguments = (str(tree), str(content), str(image.disk))
        lab._run("unshare", "--mount", "--propagation=private", "sh", str(script), *arguments)
        return (content / "karg").read_text().strip()
    finally:
        lab._forget(work)


def _shape(content: Path, recipe: MachineRecipe) -> None:
    """Make an image's tree of an installed one: what ostree wants, and what a boot of it takes."""
    for name in ("dev", "proc", "sys", "run", "tmp", "boot", "var", "home", "root", "opt", "srv", "mnt", "media"):
        shutil.rmtree(content / name, ignore_errors=True)
    for name in ("dev", "proc", "sys", "run", "tmp", "boot", "var", "sysroot", "project"):
        (content / name).mkdir()
    for name, place in {"home": "home", "root": "roothome", "opt": "opt", "srv": "srv", "mnt": "mnt"}.items():
        (content / name).symlink_to(f"var/{place}")
    (content / "ostree").symlink_to("sysroot/ostree")
    # ostree sets every time stamp to 0: Python's compiled files must not be checked against those of their sources.
    python = ("python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", "/usr/lib")
    lab._run("chroot", str(content), *python)
    (content / "etc/dracut.conf.d/lab.conf").unlink()
    shutil.rmtree(content / "etc/apt")  # the name of the mirror has no business in an image
    (content / "etc/machine-id").write_text("")
    (content / "etc/hostname").write_text("ovlay-vm\n")
    (content / "etc/fstab").unlink(missing_ok=True)
    if recipe.selinux:
        _label(content)
    units = content / "usr/lib/systemd/system"
    for source in GUEST.glob("*.service"):
        shutil.copy(source, units)
    (units / "multi-user.target.wants/ovlay-vm.service").symlink_to("../ovlay-vm.service")
    for unit in _MASKED:
        (content / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (content / "etc/systemd/system" / unit).symlink_to("/dev/null")
    # Generators cost 1.5 seconds under emulation; what these machines need is made by ostree's alone.
    masks = content / "etc/systemd/system-generators"
    masks.mkdir(exist_ok=True)
    for generator in (content / "usr/lib/systemd/system-generators").iterdir():
        if "ostree" not in generator.name:
            (masks / generator.name).symlink_to("/dev/null")
    configuration = content / "usr/lib/systemd/journald.conf.d"
    configuration.mkdir(exist_ok=True)
    shutil.copy(GUEST / "journald.conf", configuration / "ovlay-vm.conf")
    (content / "usr/bin/ovlay").symlink_to("/project/ovlay")
    (content / "usr/lib/udev/hwdb.bin").unlink(missing_ok=True)
    (content / "usr/lib/ostree").mkdir(exist_ok=True)
    (content / "usr/lib/ostree/prepare-root.conf").write_text(lab.prepare_root_conf(composefs=recipe.composefs))
    shutil.move(content / "etc", content / "usr/etc")
    # As Fedora's images have it: what is put below /usr/local is not in the image, nor in an overlay.
    shutil.rmtree(content / "usr/local")
    (content / "usr/local").symlink_to("../var/usrlocal")


def _label(content: Path) -> None:
    """Give every file its label, and the policy's own word for permissive; it works where SELinux is off."""
    configuration = content / "etc/selinux/config"
    configuration.write_text("SELINUX=permissive\nSELINUXTYPE=default\n")
    contexts = "/etc/selinux/default/contexts/files/file_contexts"
    lab._run("chroot", str(content), "setfiles", "-F", "-q", contexts, "/usr", "/etc", "/var")
