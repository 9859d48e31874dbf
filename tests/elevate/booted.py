"""A machine whose first process is a real systemd, with its logind, the message bus and polkit: for run0(1).

Users are in sessions of their own, as after a login: up to polkit 126 the agent that run0 brings along is not asked for
who has none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.elevate.machine import TARGET, Machine
from tests.lab.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

_TREES = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_PATIENCE = 90  # seconds
_SETUP = f"""
useradd --create-home --shell /bin/sh alice
echo alice:open-alice | chpasswd
echo 'polkit.addAdminRule(function() {{ return ["unix-user:alice"]; }});' >/etc/polkit-1/rules.d/00-alice.rules
mkdir {TARGET}
mount -t tmpfs -o mode=755 base {TARGET}
mkdir -p {TARGET}/bin {TARGET}/share
echo base >{TARGET}/bin/b
mount -o remount,ro {TARGET}
"""


@dataclass(frozen=True, slots=True)
class SystemdRecipe(Recipe):
    """Debian's minimal base with what run0 takes."""

    @property
    def packages(self) -> tuple[str, ...]:
        """What is installed in it."""
        return ("systemd", "dbus", "polkitd", "libpam-systemd", "python3", "util-linux", "passwd", "procps")


def control_groups() -> Path | None:
    """Where the unified hierarchy of control groups is mounted, and can be written; None where it is not."""
    for place in map(Path, _TREES):
        if (place / "cgroup.procs").exists() and (place / "cgroup.subtree_control").exists():
            return place
    return None


@dataclass(slots=True)
class BootedMachine(Machine):
    """The machine, from its boot to its end; ``tree`` is what it is booted from, and stays as it is."""

    tree: Path = Path()
    _group: Path = Path()

    @staticmethod
    def missing() -> tuple[str, ...]:
        """What is not there that it takes."""
        missing = tuple(name for name in ("unshare", "nsenter", "mmdebstrap") if shutil.which(name) is None)
        return missing if control_groups() is not None else (*missing, "the unified hierarchy of control groups")

    def __enter__(self) -> Self:
        top = control_groups()
        assert top is not None
        self._group = top / f"ovlay-{os.getpid()}-{self.work.name}"
        self._group.mkdir()
        setup = Path(__file__).with_name("boot.sh")
        kinds = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "--propagation=private")
        inside = 'echo $$ >"$1"; shift; exec "$@"'
        places = map(str, (setup, self.work, self.tree, self.under_test))
        words = ("unshare", *kinds, "--kill-child=KILL", "sh", *places)
        argv = ["sh", "-c", inside, "sh", f"{self._group}/cgroup.procs", *words]
        self._services.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL))
        try:
            self._until("systemctl is-active --quiet dbus.socket systemd-logind.service")
            self.root(_SETUP)
            self._install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        Machine.__exit__(self)  # the class of super() is another one: dataclass(slots=True) makes it anew
        end = time.monotonic() + _PATIENCE
        while self._group.exists() and time.monotonic() < end:
            for folder in sorted((path for path in self._group.rglob("*") if path.is_dir()), reverse=True):
                with suppress(OSError):
                    folder.rmdir()
            with suppress(OSError):
                self._group.rmdir()

    def entered(self, user: str, environment: Mapping[str, str]) -> list[str]:
        """The words that come before a command to run it in a session of a user's, on the terminal there is."""
        return self._session(user, environment, "--pty")

    def entered_alone(self, user: str, environment: Mapping[str, str]) -> list[str]:
        """As `entered`, with no terminal."""
        return self._session(user, environment, "--pipe")

    def _session(self, user: str, environment: Mapping[str, str], way: str) -> list[str]:
        clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "dumb", **environment}
        settings = (f"User={user}", "PAMName=login", f"WorkingDirectory=/home/{user}")
        start = ["systemd-run", "--quiet", "--wait", "--collect", way]
        start += [word for setting in settings for word in ("-p", setting)]
        start += [f"--setenv={key}={value}" for key, value in clean.items()]
        return [*self._entrance(), *start, "sh", "-c", 'umask 077; exec "$@"', "sh"]

    def _entrance(self) -> list[str]:
        process = self._services[0].pid
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
        if not children:
            return ["false"]
        root = f"/proc/{children[0]}/root"
        kinds = ("--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup")
        return ["nsenter", f"--target={children[0]}", *kinds, f"--root={root}", f"--wd={root}"]
