"""A host that really boots: the lab's host, with QEMU where the lab has namespaces."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.lab.host import LabHost, Ran
from tests.vm.machine import Machine, MachineFailed

if TYPE_CHECKING:
    from tests.vm.recipe import MachineImage

SECONDS = 900.0
"""What a command inside may take."""

_VERSIONS = (
    "echo Linux $(uname -r); ostree --version | sed -n \"s/^ Version: '\\(.*\\)'/ostree \\1/p\";"
    "systemctl --version | sed -n 's/^\\(systemd [0-9]*\\).*/\\1/p'; python3 --version"
)

_SELINUX = {True: "security=selinux selinux=1 enforcing=0", False: "selinux=0"}


# In a subshell and not in a shell of its own, whose program would be a user of the overlay that is on then.
_TOLD = """told() { status=0; printf '%s\\0' "$1" >&2; text=$(eval "$2") || status=$?
    printf '\\0' >&2; printf '%s\\0%s\\0%s\\0' "$1" "$status" "$text"; }
"""


class Told(NamedTuple):
    """How one of several commands ended, and what it printed, without the last newlines."""

    status: int
    text: str
    complaint: str


@dataclass(slots=True, kw_only=True)
class VmHost(LabHost):
    """One machine from its first boot to its end; a context manager."""

    boots: MachineImage
    quick: bool = False  # boot to what ostree and systemd-tmpfiles need, and no further
    argument: str = ""  # more for the kernel, in every boot from now on
    evidence: list[str] = field(default_factory=list)  # what the boots that are over have printed
    versions: str = ""  # of what was booted, for the table of the results
    boot_seconds: list[float] = field(default_factory=list)
    _qemu: Machine | None = None
    _short: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        self.work.mkdir(parents=True, exist_ok=True)
        self._short = tempfile.TemporaryDirectory(prefix="ovlay-vm-")
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", self.boots.disk, self.disk], check=True)
        self._argument = self.boots.argument
        try:
            self.power_on()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def machine(self) -> Machine:
        """The run of QEMU that is now."""
        assert self._qemu is not None, "the machine is off"
        return self._qemu

    # --- what a test does with it ------------------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        check: bool = True,
        user: int = 0,
        stdin: str = "",
        environment: dict[str, str] | None = None,
        seconds: float = SECONDS,
    ) -> Ran:
        """Run a command inside, to its end; a status other than 0 fails the test where ``check``."""
        number = self.machine.send(argv, user=user, stdin=stdin, environment=environment or {}, seconds=seconds)
        found = self.machine.receive(number, seconds + 30)
        ran = Ran(argv, -1 if found["status"] is None else found["status"], found["stdout"], found["stderr"])
        assert found["status"] is not None, f"not ended after {seconds:.0f} s: {ran}"
        assert not check or ran.status == 0, ran
        return ran

    def ovlay(self, *arguments: str, check: bool = True, user: int = 0) -> Ran:
        """Run the command that is under test, by the name that a user types."""
        return self.run("ovlay", *arguments, check=check, user=user)

    def gather(self, **asked: str) -> dict[str, Told]:
        """Run shell commands inside one after the other, by one shell, and return how each ended, by its name."""
        script = "".join(f"told {name} {shlex.quote(command)}\n" for name, command in asked.items())
        ran = self.run("sh", "-euc", _TOLD + script)
        words, complaints = iter(ran.stdout.split("\0")[:-1]), iter(ran.stderr.split("\0")[:-1])
        complained = dict(zip(complaints, complaints, strict=True))
        return {
            name: Told(int(status), text, complained[name])
            for name, status, text in zip(words, words, words, strict=True)
        }

    def begin(self, *argv: str) -> int:
        """Start a command inside and do not wait for it; `Machine.ended` is asked with the number of it."""
        return self.machine.send(argv, user=0, stdin="", environment={}, seconds=SECONDS)

    def settle(self) -> str:
        """Wait until systemd has done what the boot asks for, and return what it says: "running", or "degraded"."""
        return self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()

    def journal(self, *arguments: str) -> str:
        """The journal of this boot."""
        return self.run("journalctl", "--boot", "--no-pager", "--output=short-monotonic", *arguments).stdout

    # --- power -------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Boot, and wait for the agent."""
        assert self._short is not None
        number = len(self.boot_seconds)
        unit = "systemd.unit=ovlay-vm-quick.service" if self.quick else ""
        arguments = f"{self._argument} {_SELINUX[self.boots.recipe.selinux]} {unit} {self.argument}"
        self._qemu = Machine.start(
            work=Path(self._short.name),
            kernel=self.boots.kernel,
            initramfs=self.boots.initramfs,
            disk=self.disk,
            project=self.under_test,
            arguments=arguments,
            number=number,
        )
        self._qemu.wait_for_agent()
        self.boot_seconds.append(self._qemu.age)
        if not self.versions:
            self.versions = ", ".join(self.sh(_VERSIONS).splitlines())

    def reboot(self) -> None:
        """Reboot from within; QEMU then loads what the boot loader's entries say."""
        before = self.machine.booted
        self.begin("systemctl", "reboot")
        self.machine.wait_for_power_off()
        self._over()
        self.power_on()
        assert self.machine.booted != before

    def cut(self) -> None:
        """Take the power away, now."""
        self.machine.cut()
        self._over()

    def _over(self) -> None:
        self.evidence.append(self.machine.report(f"boot {len(self.boot_seconds)}"))
        self._qemu = None
        # What the kernel will do when it mounts the disk: entries that are only in the file system's journal count.
        done = subprocess.run(
            ["e2fsck", "-y", "-E", "journal_only", self.disk], capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1):
            raise MachineFailed(f"the journal of the disk cannot be replayed: {done.stdout}{done.stderr}")
        self._argument = self._next_argument()

    def _next_argument(self) -> str:
        """The argument ``ostree=`` of the entry that a boot loader would take."""
        names = (line.split("/")[5] for line in self._debugfs("ls -p /boot/loader/entries").splitlines() if line)
        # The highest version is the first in the menu (ostree's docs/bootloaders: the order is by version).
        newest = sorted(name for name in names if name.endswith(".conf"))[-1]
        options = self._debugfs(f"cat /boot/loader/entries/{newest}")
        return next(word for word in options.split() if word.startswith("ostree="))

    def _debugfs(self, request: str) -> str:
        done = subprocess.run(["debugfs", "-R", request, self.disk], capture_output=True, text=True, check=True)
        return done.stdout

    def report(self) -> str:
        """What every boot has printed, for a failure."""
        now = [self._qemu.report(f"boot {len(self.boot_seconds)}, now")] if self._qemu is not None else []
        return "\n".join([*self.evidence[-2:], *now])

    def _end(self) -> None:
        if self._qemu is not None:
            self._qemu.cut()
            self.evidence.append(self._qemu.report("the last boot"))
            self._qemu = None
        if self._short is not None:
            self._short.cleanup()
        self.disk.unlink(missing_ok=True)
