"""A machine within this one: users with passwords, sudo, doas and polkit, in a mount namespace that is thrown away.

The programs are the real ones of their Debian packages, and so is ovlay, which alice has installed in her home.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

NEEDED = ("unshare", "nsenter", "setpriv", "sudo", "doas", "pkexec", "dbus-daemon", "useradd", "chpasswd", "pgrep")
"""The commands that it takes: apt packages sudo, opendoas, pkexec, polkitd, dbus, passwd and procps."""

TARGET = "/opt/tools"
OVLAY = "/home/alice/.local/ovlay/bin/ovlay"
BKT = "/home/alice/.local/ovlay/bin/ovlay-bkt"
PASSWORDS = {"alice": "open-alice", "bob": "open-bob"}

_POLKITD = ("/usr/lib/polkit-1/polkitd", "/usr/libexec/polkitd")
_PROMPT = re.compile(r"\[sudo\] password for \w+: |doas \([^)]*\) password: |Password: ")
_QUESTION = re.compile(r"\[y/N\] ")
_PATIENCE = 60  # seconds
_LOST = 10  # seconds: then somebody who has pressed Ctrl-C presses it again
_CTRL_C = "\x03"
_SCRIPT = """#!/home/alice/.local/ovlay/bin/python3
import sys
from ovlay.{module} import {name}
sys.exit({name}())
"""


@dataclass(frozen=True, slots=True)
class Talk:
    """How a command ended, what it said, and how often a password was asked for."""

    status: int
    said: str
    prompts: int

    def __str__(self) -> str:
        return f"status {self.status}, {self.prompts} prompts\n{self.said}"


@dataclass(slots=True)
class Machine:
    """The machine, from its start to its end; a context manager. ``work`` is an empty directory."""

    work: Path
    under_test: Path
    _services: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @staticmethod
    def missing() -> tuple[str, ...]:
        """What is not installed that it takes."""
        return tuple(name for name in NEEDED if shutil.which(name) is None) + (() if _polkitd() else ("polkitd",))

    def __enter__(self) -> Self:
        setup = Path(__file__).with_name("setup.sh")
        words = ["unshare", "--mount", "--propagation=private", "sh", str(setup), str(self.work)]
        self._services.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        stream = self._services[0].stdout
        assert stream is not None
        said = b""
        while line := stream.readline():
            if line == b"ready\n":
                break
            said += line
        else:
            self.__exit__()
            raise RuntimeError(f"the machine did not start: {said.decode()}")
        try:
            self._install()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for service in reversed(self._services):
            service.kill()
            service.communicate()
        self._services.clear()

    # --- what a test does with it ------------------------------------------------------------------------------

    def root(self, script: str, *, check: bool = True) -> str:
        """Run a shell script as root, and return what it printed."""
        done = subprocess.run([*self._entrance(), "sh", "-euc", script], capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def user(self, script: str, *, user: str = "alice", check: bool = True) -> str:
        """Run a shell script as a user with no terminal, and return what it printed."""
        done = subprocess.run(
            [*self.entered_alone(user, {}), "sh", "-euc", script],
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def alone(self, *words: str, user: str = "alice", environment: Mapping[str, str] | None = None) -> Talk:
        """Run ovlay with no terminal at all."""
        argv = [*self.entered_alone(user, environment or {}), *self._command(words)]
        done = subprocess.run(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
        )
        return Talk(done.returncode, done.stdout.decode(errors="replace"), 0)

    def talk(
        self,
        *words: str,
        user: str = "alice",
        password: str | None = None,
        answer: str = "y\n",
        environment: Mapping[str, str] | None = None,
        when: Callable[[int, str], None] | None = None,
        before: Sequence[str] = (),
        plain: bool = False,
        target: str = TARGET,
    ) -> Talk:
        """Run ovlay on a terminal of its own, as this user: give the password when asked, and answer its question.

        ``when`` is called with the process id and what was said so far whenever something was said. ``before`` are
        words that stand before the command. Where ``plain`` neither driver nor target is named.
        """
        typed = PASSWORDS[user] + "\n" if password is None else password
        command = [OVLAY, *words] if plain else self._command(words, target)
        argv = [*self.entered(user, environment or {}), *before, *command]
        process, terminal = pty.fork()
        if process == 0:
            os.execvp(argv[0], argv)
        said, answered, prompts = "", 0, 0
        end = time.monotonic() + _PATIENCE
        again = end
        try:
            while time.monotonic() < end:
                if time.monotonic() > again:  # Ctrl-C was lost on an agent that was just setting the terminal up
                    os.write(terminal, _CTRL_C.encode())
                    again = time.monotonic() + _LOST
                ready, _, _ = select.select([terminal], [], [], 0.2)
                if ready:
                    try:
                        chunk = os.read(terminal, 1 << 14)
                    except OSError:  # EIO: everyone has closed the other side, pty(7)
                        break
                    said += chunk.decode(errors="replace")
                if when is not None:
                    when(process, said)
                for pattern, text in ((_PROMPT, typed), (_QUESTION, answer)):
                    if found := pattern.search(said, answered):
                        answered = found.end()
                        prompts += pattern is _PROMPT
                        time.sleep(0.1)  # sudo flushes what was typed before it listens
                        os.write(terminal, text.encode())
                        again = time.monotonic() + _LOST if text == _CTRL_C else end
            else:
                os.kill(process, signal.SIGKILL)
                raise AssertionError(f"it did not end:\n{said}")
        finally:
            _, status = os.waitpid(process, 0)
            os.close(terminal)
        return Talk(os.waitstatus_to_exitcode(status), said.replace("\r\n", "\n"), prompts)

    def entered(self, user: str, environment: Mapping[str, str]) -> list[str]:
        """The words that come before a command to run it as a user, in the home, with nobody else's environment."""
        clean = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": f"/home/{user}", "USER": user, "LANG": "C.UTF-8"}
        wanted = [f"{key}={value}" for key, value in {**clean, "TERM": "dumb", **environment}.items()]
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        home = ["sh", "-c", 'umask 077; cd; exec "$@"', "sh"]
        return [*self._entrance(), *become, "env", "-i", f"HOME=/home/{user}", "PATH=/usr/bin", *home, "env", *wanted]

    def entered_alone(self, user: str, environment: Mapping[str, str]) -> list[str]:
        """As `entered`, where there is no terminal."""
        return self.entered(user, environment)

    def start_polkit(self) -> None:
        """Start the message bus of the system and polkit on it."""
        polkitd = _polkitd()
        assert polkitd is not None
        self._start("dbus-daemon", "--system", "--nofork", "--nopidfile", "--nosyslog")
        self._until("test -S /run/dbus/system_bus_socket")
        self._start(polkitd, "--no-debug")
        self._until(
            "dbus-send --system --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.NameHasOwner "
            "string:org.freedesktop.PolicyKit1 | grep -q true"
        )

    def active(self) -> bool:
        """Whether an overlay is on the target."""
        return "overlay" in self.root(f"findmnt -n -o FSTYPE --mountpoint {TARGET}")

    def reset(self) -> None:
        """Everything as in the beginning, but for the users and the services."""
        self.root(
            f"while findmnt -n -t overlay --mountpoint {TARGET} >/dev/null; do umount -l {TARGET}; done; "
            "rm -f /usr/libexec/ovlay-helper /usr/share/polkit-1/actions/org.ovlay.policy /run/.containerenv; "
            "for each in $(findmnt -rn -o TARGET | grep ^/run/ovlay/ || :); do umount -l $each; done; "
            "rm -rf /run/ovlay /run/ovlay-public /var/lib/ovlay /etc/ovlay /home/alice/.config; chmod 700 /home/alice"
        )

    # --- how it is made ----------------------------------------------------------------------------------------

    @staticmethod
    def _command(words: Sequence[str], target: str = TARGET) -> list[str]:
        chosen = ("--backend", "overlayfs", "--target", target)
        return [BKT, *chosen, *words[1:]] if words[:1] == ("bkt",) else [OVLAY, *chosen, *words]

    def _entrance(self) -> list[str]:
        return ["nsenter", f"--target={self._services[0].pid}", "--mount", "--root", "--wd=/"]

    def _start(self, *argv: str) -> None:
        null = subprocess.DEVNULL
        self._services.append(subprocess.Popen([*self._entrance(), *argv], stdin=null, stdout=null, stderr=null))

    def _until(self, script: str) -> None:
        end = time.monotonic() + 20
        while subprocess.run([*self._entrance(), "sh", "-c", script], capture_output=True, check=False).returncode:
            if time.monotonic() > end:
                raise RuntimeError(f"never so: {script}")
            time.sleep(0.05)

    def _install(self) -> None:
        """As `pip install` in a virtual environment of alice's, with umask 077: nobody else can even look into it."""
        self.user("/usr/bin/python3 -m venv --without-pip ~/.local/ovlay")
        folder = self.user("echo ~/.local/ovlay/lib/python3*/site-packages").strip()
        self.root(f"cp -r {self.under_test}/. {folder}/")
        for path, module, name in ((OVLAY, "cli.main", "command"), (BKT, "bkt.main", "command")):
            text = _SCRIPT.format(module=module, name=name)
            subprocess.run([*self._entrance(), "sh", "-c", f"cat >{path}"], input=text, text=True, check=True)
        self.root(
            "chown -R alice:alice /home/alice; chmod -R u+rwX,go-rwx /home/alice; chmod u+x ~alice/.local/ovlay/bin/*"
        )


def _polkitd() -> str | None:
    return next((path for path in _POLKITD if os.access(path, os.X_OK)), None)
