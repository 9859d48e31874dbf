"""A booted host of the lab: a disk of its own, entered by the image's real ostree-prepare-root in private namespaces.

Everything that is run in it sees the same boot. A reboot is leaving it and entering it again with the same disk, by
the kernel argument that the boot loader's entries now have.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ovlay.kernel.mountinfo import MountTable, parse_mountinfo
from tests.lab.recipe import Layout, prepare_root_conf

if TYPE_CHECKING:
    from tests.lab.recipe import Image, Recipe

UNDER_TEST = "/run/ovlay-under-test"
"""Where the installed project is found inside."""

STAND_INS = "/run/ovlay-lab/stand-ins"
"""Where stand-ins for host tools are put: /usr/bin of every image has links to them."""

_CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/var/roothome", "TERM": "dumb"}
_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command inside a host ended."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.stdout)

    def __str__(self) -> str:
        return f"{shlex.join(self.argv)}: status {self.status}\n{self.stdout}{self.stderr}"


@dataclass(slots=True)
class LabHost:
    """One host from its first boot to its end; a context manager."""

    image: Image
    work: Path
    under_test: Path
    _machine: subprocess.Popen[str] | None = None
    _argument: str = field(default="")

    @property
    def recipe(self) -> Recipe:
        """What the host is made of."""
        return self.image.recipe

    @property
    def disk(self) -> Path:
        """The disk of this host, a copy of the image's."""
        return self.work / "disk.raw"

    def __enter__(self) -> Self:
        self.work.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.image.disk, self.disk], check=True)
        self._argument = self.image.argument
        if self.recipe.layout is Layout.BOOTC:
            # bootc names an image by its digest, of which a boot checks nothing where fs-verity is not asked for.
            self._argument = "composefs=" + self.image.argument.split("/")[-2]
        try:
            self._boot()
        except BaseException:
            self._power_off()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._power_off()
        self.disk.unlink()

    # --- what a test does with it ------------------------------------------------------------------------------

    def run(
        self, *argv: str, check: bool = True, user: int = 0, stdin: str = "", environment: dict[str, str] | None = None
    ) -> Ran:
        """Run a command inside, to its end; a status other than 0 fails the test where ``check``."""
        entered = [*self._entrance(), *(_as_user(user) if user else ()), "/usr/bin/env", "-i"]
        entered += [f"{key}={value}" for key, value in {**_CLEAN, **(environment or {})}.items()]
        done = subprocess.run(
            [*entered, *argv], input=stdin, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        ran = Ran(argv, done.returncode, done.stdout, done.stderr)
        assert not check or ran.status == 0, ran
        return ran

    def sh(self, script: str, *, check: bool = True, user: int = 0) -> str:
        """Run a shell script inside and return what it printed."""
        return self.run("sh", "-euc", script, check=check, user=user).stdout

    def ovlay(self, *arguments: str, check: bool = True, user: int = 0) -> Ran:
        """Run the command that is under test."""
        return self.run(f"{UNDER_TEST}/launch", *arguments, check=check, user=user)

    def start(self, script: str) -> int:
        """Start a shell script in the background, and return its process id once it has said "ready"."""
        told = self.sh(
            "rm -f /tmp/ready; mkfifo /tmp/ready\n"
            f"setsid sh -euc {shlex.quote(script)} </dev/null >/tmp/ready 2>/dev/null & echo $!\n"
            "read -r said </tmp/ready; [ $said = ready ]"
        )
        return int(told)

    def hold(self, directory: str) -> int:
        """Start a process with this working directory, and return its process id."""
        return self.start(f"cd {shlex.quote(directory)}; echo ready; exec sleep 600")

    def end(self, pid: int) -> None:
        """End a process that was started, and wait until it is gone."""
        self.sh(f"kill {pid}; while [ -e /proc/{pid} ]; do sleep 0.05; done")

    def reboot(self) -> None:
        """Leave the host and boot it again from the same disk, as the boot loader's entries say."""
        if self.recipe.layout is not Layout.BOOTC:
            self._argument = self._next_argument()
        self._power_off()
        self._boot()

    def _next_argument(self) -> str:
        entries = self.sh("grep -h ^options $(ls -d /boot/loader/entries/*.conf | sort -V | tail -n 1)")
        return next(word for word in entries.split() if word.startswith("ostree="))

    def stand_in(self, name: str, *, version: str = "1.16.3") -> None:
        """Put the stand-in for a host tool where the image's /usr/bin leads to."""
        script = (Path(__file__).parent / "stand_ins" / name).read_text()
        place = shlex.quote(f"{STAND_INS}/{name}")
        put = f"mkdir -p {STAND_INS}; echo {version} >{place}.version; cat >{place}; chmod 755 {place}"
        self.run("sh", "-euc", put, stdin=script)

    def set_origin(self, key: str, value: str) -> None:
        """Set a key in the origin file of the booted deployment, as `ostree container image deploy` does."""
        script = (
            "mount -o remount,rw,bind /sysroot; cd /sysroot/ostree/deploy/debian/deploy; echo {} >>$(ls -d *.origin)"
        )
        self.run("unshare", "--mount", "sh", "-euc", script.format(shlex.quote(f"{key}={value}")))

    # --- witnesses ---------------------------------------------------------------------------------------------

    def mountinfo(self) -> MountTable:
        """The mount table inside."""
        return parse_mountinfo(self.sh("cat /proc/self/mountinfo"))

    def stack(self, target: str = "/usr") -> tuple[str, ...]:
        """What is mounted on a target, lowest first: type, source and access of each."""
        return stacked(self.mountinfo(), target)

    def ostree_status(self) -> str:
        """What ``ostree admin status`` says after "Unlocked:", or "none"."""
        text = self.sh("ostree admin status")
        return next((line.split(":", 1)[1].strip() for line in text.splitlines() if "Unlocked:" in line), "none")

    def writable(self, directory: str = "/usr") -> bool:
        """Whether a shell inside can make a file there, and remove it again."""
        script = f"touch {directory}/.probe && rm {directory}/.probe"
        return self.run("sh", "-euc", script, check=False).status == 0

    # --- how it boots ------------------------------------------------------------------------------------------

    def _boot(self) -> None:
        root = self.work / "root"
        root.mkdir(exist_ok=True)
        conf = self.work / "prepare-root.conf"
        conf.write_text(prepare_root_conf(composefs=self.recipe.composefs))
        boot = Path(__file__).parent / "boot"
        namespaces = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child=KILL", "--propagation=private")
        places = (root, self.image.tree, self.disk, conf, self.under_test, boot)
        initramfs = "bootc.sh" if self.recipe.layout is Layout.BOOTC else "initramfs.sh"
        self._machine = subprocess.Popen(
            ["unshare", *namespaces, "sh", str(boot / "machine.sh"), *map(str, places), initramfs, self._argument],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._machine.stdout is not None
        said = ""
        while line := self._machine.stdout.readline():
            if line == "booted\n":
                return
            said += line
        raise RuntimeError(f"the host {self.recipe.name} did not boot: {said}")

    def _power_off(self) -> None:
        machine, self._machine = self._machine, None
        if machine is None:
            return
        machine.kill()
        machine.communicate()
        end = time.monotonic() + 20
        # The last mount of the disk goes a moment after the last process.
        while subprocess.run(["losetup", "-j", self.disk], capture_output=True, text=True, check=True).stdout:
            if time.monotonic() > end:
                raise RuntimeError(f"{self.disk} is still mounted")
            time.sleep(0.02)

    def _entrance(self) -> tuple[str, ...]:
        machine = self._machine
        assert machine is not None
        first = Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text().split()[0]
        return (
            "nsenter",
            f"--target={first}",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            f"--root=/proc/{first}/root",
            f"--wd=/proc/{first}/root",
        )


def stacked(table: MountTable, target: str = "/usr") -> tuple[str, ...]:
    """What a mount table has on a target, lowest first: type, source and access of each."""
    found = table.stack(target)
    return tuple(f"{m.fstype} {m.source if m.is_overlay else '-'} {'ro' if m.read_only else 'rw'}" for m in found)


def _as_user(number: int) -> tuple[str, ...]:
    return ("/usr/bin/setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups")
