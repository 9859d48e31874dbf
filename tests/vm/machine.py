"""One run of QEMU, from power on to power off: the process, its deadline, and the channel to the agent inside.

Nothing here waits without a limit. QEMU is started below timeout(1) and dies with the process that started it, so a
run of the tests that is killed leaves no machine behind.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LIFE = 3600
"""Seconds after which a machine is ended whatever it does."""

BOOT = float(os.environ.get("OVLAY_VM_BOOT_SECONDS", "900"))
"""Seconds that a boot may take, or the way down: 15 are usual under emulation, and many times that on a busy host."""

# What the kernel and systemd are told in every boot. Retpolines, the entropy of a hardware that is not there, and tests
# of its ciphers only cost the kernel time. On a busy host its test of the timer fails with a panic, since no tick comes
# in time; and systemd would end what is started after 90 seconds.
ARGUMENTS = (
    "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic mitigations=off audit=0 apparmor=0 random.trust_cpu=on "
    "cryptomgr.notests no_timer_check lpj=10000000 tsc=reliable root=/dev/vda rootfstype=ext4 rw systemd.show_status=0 "
    f"systemd.default_timeout_start_sec={BOOT:.0f} systemd.default_device_timeout_sec={BOOT:.0f}"
)


class MachineFailed(AssertionError):
    """The machine did not do what a test waits for; the text has what it printed."""


class NotInTime(MachineFailed):
    """There is no answer yet."""


class PoweredOff(MachineFailed):
    """QEMU has ended, so there is no answer."""


@dataclass(slots=True)
class Machine:
    """A running QEMU."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    console: Path
    journal: Path
    booted: str = ""
    _pending: bytes = b""
    _number: int = 0
    _started: float = field(default_factory=time.monotonic)

    @classmethod
    def start(
        cls, *, work: Path, kernel: Path, initramfs: Path, disk: Path, project: Path, arguments: str, number: int
    ) -> Machine:
        """Power on. ``work`` has a short path, since that of a socket has 108 bytes (unix(7))."""
        ours, theirs = socket.socketpair()
        console, journal = work / f"console-{number}", work / f"journal-{number}"
        with theirs, (work / f"qemu-{number}").open("wb") as printed:
            process = subprocess.Popen(
                _command(
                    kernel=kernel,
                    initramfs=initramfs,
                    disk=disk,
                    project=project,
                    arguments=f"{ARGUMENTS} {arguments}",
                    prints=(console, journal),
                    channel=theirs.fileno(),
                ),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        return cls(process, ours, console, journal)

    @property
    def running(self) -> bool:
        """Whether QEMU is there."""
        return self.process.poll() is None

    @property
    def age(self) -> float:
        """Seconds since power on."""
        return time.monotonic() - self._started

    def wait_for_agent(self, seconds: float = BOOT) -> None:
        """Wait until the agent inside says that it is there."""
        self.booted = str(self._receive(time.monotonic() + seconds)["booted"])

    def send(
        self, argv: Sequence[str], *, user: int, stdin: str, environment: Mapping[str, str], seconds: float
    ) -> int:
        """Ask for a command to be run; return the number of the request."""
        self._number += 1
        request = {"id": self._number, "argv": list(argv), "user": user, "stdin": stdin, "timeout": seconds}
        try:
            self.channel.sendall(json.dumps(request | {"environment": dict(environment)}).encode() + b"\n")
        except OSError as error:
            raise PoweredOff(self.report(f"cannot ask for {shlex.join(argv)}: {error}")) from error
        return self._number

    def receive(self, number: int, seconds: float) -> dict[str, Any]:
        """Wait for the answer to a request."""
        end = time.monotonic() + seconds
        while True:
            found = self._receive(end)
            if found["id"] == number:
                return found

    def ended(self, number: int, seconds: float) -> bool:
        """Whether the answer to a request comes within this time."""
        try:
            self.receive(number, seconds)
        except NotInTime:
            return False
        return True

    def wait_for_power_off(self, seconds: float = BOOT) -> None:
        """Wait until QEMU has ended by itself: the guest went down, or wants to boot again."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            text = self.report(f"it did not go down within {seconds:.0f} s")
            self.cut()
            raise MachineFailed(text) from None
        self.channel.close()

    def cut(self) -> None:
        """Take the power away: the whole process group is killed."""
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        self.channel.close()

    def report(self, what: str) -> str:
        """What happened, with the ends of the console and of the journal as they were forwarded."""
        parts = [what]
        for name, path in (("console", self.console), ("journal", self.journal)):
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            parts += [f"--- {name}, its last lines", *lines[-80:]]
        return "\n".join(parts)

    def _receive(self, end: float) -> dict[str, Any]:
        while b"\n" not in self._pending:
            left = end - time.monotonic()
            if left <= 0:
                raise NotInTime(self.report("no answer in time"))
            if select.select([self.channel], [], [], min(left, 1))[0]:
                try:
                    got = self.channel.recv(1 << 16)
                except OSError:
                    got = b""
                if not got:
                    raise PoweredOff(self.report("QEMU ended"))
                self._pending += got
        line, self._pending = self._pending.split(b"\n", 1)
        found: dict[str, Any] = json.loads(line)
        return found


def _command(
    *, kernel: Path, initramfs: Path, disk: Path, project: Path, arguments: str, prints: tuple[Path, Path], channel: int
) -> list[str]:
    console, journal = prints
    # timeout(1) passes SIGTERM on to QEMU when its own parent is gone.
    guarded = ["setpriv", "--pdeathsig", "TERM", "timeout", "--foreground", "--kill-after=5", str(LIFE)]
    # `max` alone oopses in some boots under emulation (cmpxchg16b), and microvm hangs in some.
    accelerator, cpu = _accelerator()
    machine = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-M", "q35,usb=off,vmport=off"]
    size = ["-accel", accelerator, "-cpu", cpu, "-smp", os.environ.get("OVLAY_VM_CPUS", "1"), "-m", "1024"]
    boot = ["-kernel", str(kernel), "-initrd", str(initramfs), "-append", arguments, "-serial", f"file:{console}"]
    # What QEMU has been given is in the page cache of this machine and outlives it: power is cut, the disk is whole.
    disks = ["-drive", f"file={disk},format=raw,if=none,id=a,cache=unsafe", "-device", "virtio-blk-pci,drive=a"]
    disks += ["-drive", f"file={project},format=raw,if=none,id=b,readonly=on", "-device", "virtio-blk-pci,drive=b"]
    ports = [
        "-device",
        "virtio-serial-pci",
        "-chardev",
        f"file,id=j,path={journal}",
        "-device",
        "virtconsole,chardev=j",
    ]
    ports += ["-chardev", f"socket,id=c,fd={channel}", "-device", "virtserialport,chardev=c,name=ovlay"]
    return [*guarded, "qemu-system-x86_64", *machine, *size, *boot, *disks, *ports]


def _accelerator() -> tuple[str, str]:
    """Emulation, unless ``OVLAY_VM_ACCEL=kvm`` says that /dev/kvm works here, which its being there does not."""
    if os.environ.get("OVLAY_VM_ACCEL", "tcg") == "kvm":
        return "kvm", "host"
    return "tcg,thread=multi,tb-size=256", "max,-cx16"
