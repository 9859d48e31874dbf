"""What is struck at: for each verb how the host is prepared, and the command. Copied into a host of the lab."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

UNDER_TEST = "/run/ovlay-under-test"
OVLAY = f"{UNDER_TEST}/launch"
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = "/tmp/walk"  # in a host that is ours alone
OWN = "/usr/share/walk"
BASE = "/usr/share/base-files"
KEPT = "/usr/share/doc"

_OLD = f"""
schema = 1
name = "walk"
[[file]]
path = "{BASE}/dot.bashrc"
text = "old bashrc"
[[file]]
path = "{OWN}/replaced"
source = "{SOURCES}/old"
[[file]]
path = "{OWN}/retired/deep/file"
text = "retired"
[[symlink]]
path = "{OWN}/link"
to = "old"
[[file]]
path = "{BASE}/motd"
text = "taken back"
"""

_NEW = f"""
schema = 1
name = "walk"
[[file]]
path = "{BASE}/dot.bashrc"
text = "new bashrc"
mode = "0600"
[[file]]
path = "{OWN}/replaced"
source = "{SOURCES}/new"
[[file]]
path = "{OWN}/fresh"
source = "{SOURCES}/new"
mode = "0755"
[[symlink]]
path = "{OWN}/link"
to = "new"
[[symlink]]
path = "{OWN}/fresh-link"
to = "fresh"
[[absent]]
path = "{BASE}/dot.profile"
[[directory]]
path = "{OWN}/directory"
mode = "0750"
"""

HELPER = f"""
import sys
sys.path.insert(0, {UNDER_TEST!r})
import ovlay
from ovlay.elevate.calls import Call
from ovlay.elevate.client import carry_out_as_root
from ovlay.elevate.tools import Elevator
common = {{"source": {SOURCES!r} + "/new", "mode": 0o644, "owner": None, "group": None, "make_parents": False}}
files = [{{**common, "destination": {BASE!r} + "/" + name}} for name in ("dot.profile", "added")]
asking = Elevator("pkexec", "/usr/bin/env", can_ask=False)  # env(1) asks for no password, and starts the helper
try:
    carry_out_as_root(Call("install", {{"files": files}}), ovlay.detect(), asking, expected=None, confirm=None)
except ovlay.OvlayError as error:
    sys.stderr.write(f"ovlay: {{error}}\\n")
    sys.exit(error.exit_code)
except KeyboardInterrupt as error:
    sys.stderr.write(f"ovlay: interrupted: {{error}}\\n")
    sys.exit(130)
"""
"""The user's side of the elevation, with nobody to ask in between."""


class Scenario(NamedTuple):
    """One command, and what makes the host as it is to be before it."""

    name: str
    prepare: Callable[[], None]
    argv: tuple[str, ...]


def _nothing() -> None:
    return


def unlocked(*options: str) -> None:
    """An overlay of ostree's own on /usr."""
    run("ostree", "admin", "unlock", *options)


def _stale() -> None:
    unlocked()
    run("umount", "-l", "/usr")


def _own() -> None:
    _stale()
    ovlay("enable", "--yes")


def _to_install() -> None:
    unlocked()
    with open(f"{BASE}/replaced", "w") as stream:
        stream.write("old in the overlay\n" * 100)


def _to_install_sealed() -> None:
    unlocked("--transient")


def _to_apply() -> None:
    unlocked()
    with open(f"{SOURCES}/walk.toml", "w") as stream:
        stream.write(_OLD)
    ovlay("apply", "--yes", "--system", f"{SOURCES}/walk.toml")
    with open(f"{SOURCES}/walk.toml", "w") as stream:
        stream.write(_NEW)


def _edited() -> None:
    unlocked()
    with open(f"{BASE}/dot.bashrc", "a") as stream:
        stream.write("edited\n")
    os.unlink(f"{BASE}/dot.profile")
    os.unlink(f"{BASE}/motd")
    os.symlink("/etc/motd", f"{BASE}/motd")
    os.makedirs(f"{OWN}/deep/deeper")
    for name in ("one", "deep/two", "deep/deeper/three"):
        with open(f"{OWN}/{name}", "w") as stream:
            stream.write(name)
    run("chattr", "+i", f"{OWN}/deep")
    run("chattr", "+i", BASE)


def _keeping(prepare: Callable[[], None]) -> Callable[[], None]:
    """The same, with a mount below the target that has to be kept in sight."""

    def prepared() -> None:
        prepare()
        run("mount", "-t", "tmpfs", "kept", KEPT)
        with open(f"{KEPT}/of-somebody", "w") as stream:
            stream.write("precious")

    return prepared


def _held() -> None:
    unlocked()
    subprocess.Popen(["/usr/bin/sleep", "600"], cwd="/usr/share")


def _installed(*words: str) -> tuple[str, ...]:
    return (OVLAY, "install", "--yes", "--mode", "0644", *words)


_SOURCES = tuple(f"{SOURCES}/{name}" for name in ("dot.profile", "replaced", "added"))

SCENARIOS = (
    Scenario("enable", _nothing, (OVLAY, "enable", "--yes")),
    Scenario("enable-own", _stale, (OVLAY, "enable", "--yes")),
    Scenario("enable-read-only", _nothing, (OVLAY, "enable", "--yes", "--read-only")),
    Scenario("enable-in-place", unlocked, (OVLAY, "enable", "--yes", "--read-only")),
    Scenario("enable-keeping", _keeping(_stale), (OVLAY, "enable", "--yes")),
    Scenario("install", _to_install, _installed("--target-directory", BASE, *_SOURCES)),
    Scenario("install-deep", unlocked, _installed("--make-parents", f"{SOURCES}/new", f"{OWN}/a/b/new")),
    Scenario("install-sealed", _to_install_sealed, _installed("--target-directory", BASE, *_SOURCES)),
    Scenario("apply", _to_apply, (OVLAY, "apply", "--yes", "--system", f"{SOURCES}/walk.toml")),
    Scenario("revert", _edited, (OVLAY, "revert", "--yes", BASE, f"{OWN}/deep/deeper")),
    Scenario("reset", _edited, (OVLAY, "reset", "--yes")),
    Scenario("reset-fresh", _edited, (OVLAY, "reset", "--yes", "--fresh")),
    Scenario("unmount", unlocked, (OVLAY, "unmount", "--yes")),
    Scenario("unmount-own", _own, (OVLAY, "unmount", "--yes")),
    Scenario("unmount-keeping", _keeping(_own), (OVLAY, "unmount", "--yes")),
    Scenario("unmount-lazy", _held, (OVLAY, "unmount", "--yes", "--lazy")),
    Scenario("helper", unlocked, ("/usr/bin/python3", "-I", f"{HERE}/helper.py")),
)


def run(*argv: str) -> None:
    """Run a command of the host."""
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


class Ended(NamedTuple):
    """How an ovlay ended: its exit status, and what it said."""

    status: int
    stdout: str
    stderr: str


def ovlay(*words: str) -> None:
    """Run ovlay, and demand that it does what it was asked for."""
    if (ended := called(*words)).status != 0:
        raise RuntimeError(f"ovlay {' '.join(words)}: {ended}")


def called(*words: str, user: int = 0, kill_after: float | None = None, patience: float = 120) -> Ended:
    """Run ovlay in a fork of this process, which has it loaded: that takes a tenth of the time.

    It is killed after so many seconds, and waits no longer than ``patience`` for another one.
    """
    if UNDER_TEST not in sys.path:
        sys.path.insert(0, UNDER_TEST)
    from ovlay.cli.main import main
    from ovlay.host import Host

    said = [os.memfd_create(name) for name in ("out", "err")]
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(said[0], 1)
            os.dup2(said[1], 2)
            sys.argv = ["ovlay", *words]
            Host.patience = patience
            if user:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            status = main() or 0
            sys.stdout.flush()
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else 1
        except BaseException:  # it is what a test looks for
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for each in said:
        os.lseek(each, 0, os.SEEK_SET)
        with os.fdopen(each, encoding="utf-8", errors="replace") as stream:
            texts.append(stream.read())
    return Ended(status, *texts)


def make_sources() -> None:
    """The files that are installed and applied."""
    os.makedirs(SOURCES, exist_ok=True)
    content = {"old": "old\n", "new": "new content\n" * 20_000, "dot.profile": "new profile\n" * 500}
    for name, text in {**content, "replaced": "replaced\n" * 1000, "added": "added\n"}.items():
        with open(f"{SOURCES}/{name}", "w") as stream:
            stream.write(text)
    with open(f"{HERE}/helper.py", "w") as stream:
        stream.write(HELPER)


def start_over() -> None:
    """Make the host as it was after its boot, by no means of ovlay's."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) not in (1, os.getpid()):
            with contextlib.suppress(OSError):
                with open(f"/proc/{name}/cmdline", "rb") as stream:
                    words = stream.read()
                if words.startswith((b"/usr/bin/sleep\0", b"/usr/bin/python3\0-I\0" + OVLAY.encode())):
                    os.kill(int(name), 9)
    while len(points := _mounts_on("/usr")) > AT_FIRST:
        run("umount", "-l", points[-1])
    for point in _mounts_on(KEPT):
        run("umount", "-l", point)
    for place in ("/run/ovlay", "/run/ovlay-public", "/var/lib/ovlay"):
        for point in [mount for mount in _mount_points() if mount.startswith(place + "/")]:
            run("umount", "-l", point)
        shutil.rmtree(place, ignore_errors=True)
    for flag in glob.glob("/run/ostree/deployment-state/*/unlocked-*"):
        os.unlink(flag)
    for left in glob.glob("/var/tmp/ostree-unlock-ovl.*"):
        subprocess.run(["chattr", "-R", "-f", "-i", left], check=False, capture_output=True)
        shutil.rmtree(left, ignore_errors=True)
    backing = "/sysroot/ostree/deploy/*/backing/*/usr-transient"  # ostree from 2025.3 on removes it, if it can
    script = f"mount -o remount,rw,bind /sysroot; chattr -R -f -i {backing} || true"
    run("unshare", "--mount", "sh", "-c", script)


def _mount_points() -> list[str]:
    with open("/proc/self/mountinfo") as stream:
        return [line.split()[4] for line in stream]


def _mounts_on(point: str) -> list[str]:
    return [found for found in _mount_points() if found == point]


AT_FIRST = len(_mounts_on("/usr"))
