"""What stands around a process: its environment, its search path, its home, and the words that it prints."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from ovlay.elevate.bundle import FLAGS, INTERPRETER, LOADER
from ovlay.elevate.client import is_roots_alone
from ovlay.elevate.wire import Wire
from ovlay.host import Host
from ovlay.simulated import SimulatedHost
from tests.attacks.table import attack

if TYPE_CHECKING:
    from pathlib import Path

BUNDLE = "import sys; from ovlay.elevate.bundle import bundled_code; sys.stdout.buffer.write(bundled_code())"


@pytest.fixture(scope="module")
def code() -> bytes:
    """The code that root gets, made by a process with no test machinery in it."""
    return subprocess.run([sys.executable, "-c", BUNDLE], stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture
def loader() -> None:
    """Skip where the system's own Python is too old, or is not there."""
    script = "import sys; sys.exit(sys.version_info < (3, 11))"
    if not os.path.exists(INTERPRETER) or subprocess.run([INTERPRETER, "-c", script], check=False).returncode:
        pytest.skip(f"needs {INTERPRETER} 3.11 or newer")


def loaded(code: bytes, digest: str, environment: dict[str, str], folder: Path) -> tuple[int, str, dict[str, object]]:
    """What becomes of the helper that is started as root would be: its status, its words, its greeting."""
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.memfd_create("code"), "wb") as stream:
        stream.write(code)
        stream.flush()
        process = subprocess.Popen(
            [INTERPRETER, FLAGS, "-c", LOADER, digest],
            stdin=theirs.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            text=True,
        )
        theirs.close()
        socket.send_fds(ours, [b"\0"], [stream.fileno()])
        greeting: dict[str, object] = {}
        with contextlib.suppress(EOFError, ConnectionError):
            greeting, _ = Wire(ours).receive()
        ours.close()
        said, _ = process.communicate(timeout=20)
    return process.returncode, said, greeting


@attack("send the helper other code than what was authorised", "it is not run: its digest stands on the command line")
@pytest.mark.usefixtures("loader")
def test_other_code(code: bytes, tmp_path: Path) -> None:
    digest = hashlib.sha256(code).hexdigest()
    status, said, greeting = loaded(code + b"\0", digest, {}, tmp_path)
    assert status == 1
    assert "not the code that was authorised" in said
    assert not greeting


@attack(
    "PYTHONPATH, PYTHONHOME, PYTHONSTARTUP, a working directory, a home with `.pth`, `sitecustomize` and an `ovlay` "
    "of one's own, XDG_CACHE_HOME with a planted stevedore cache",
    "the helper reads none of it",
)
@pytest.mark.usefixtures("loader")
def test_python_is_poisoned(code: bytes, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = f"open({str(mark)!r}, 'a').write(__name__)\n"
    version = subprocess.run(
        [INTERPRETER, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], stdout=subprocess.PIPE, text=True,
        check=True,
    ).stdout.strip()  # fmt: skip
    site = tmp_path / f".local/lib/python{version}/site-packages"
    cache = tmp_path / ".cache/python-entrypoints"
    for folder in (site, cache, tmp_path / "ovlay"):
        folder.mkdir(parents=True)
    (site / "evil.pth").write_text(f"import sys; exec({evil!r})\n")
    for name in ("sitecustomize.py", "usercustomize.py", "json.py", "socket.py", "ovlay/__init__.py", "zipimport.py"):
        (tmp_path / name).write_text(evil)
    poison = {
        "HOME": str(tmp_path),
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "sitecustomize.py"),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "sitecustomize.breakpoint",
        "PYTHONUSERBASE": str(tmp_path / ".local"),
        "XDG_CACHE_HOME": str(tmp_path / ".cache"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "LC_ALL": "tr_TR.UTF-8",
        "PATH": str(tmp_path),
    }
    digest = hashlib.sha256(code).hexdigest()
    status, said, greeting = loaded(code, digest, poison, tmp_path)
    assert (status, said) == (0, "")
    assert greeting["uid"] == os.geteuid()
    assert not mark.exists()


@attack("name a configuration of OpenSSL, which can load modules, in OPENSSL_CONF", "the helper never opens it")
@pytest.mark.usefixtures("loader")
def test_openssl_is_poisoned(code: bytes, tmp_path: Path) -> None:
    """hashlib brings OpenSSL in, and that reads its configuration when it is first asked: openssl.cnf(5)."""
    fifo = tmp_path / "openssl.cnf"
    os.mkfifo(fifo)
    ended, opened = threading.Event(), []

    def watch() -> None:
        while not ended.wait(0.001):
            with contextlib.suppress(OSError):  # ENXIO: nobody has it open for reading, fifo(7)
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
                opened.append(True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        status, said, greeting = loaded(code, hashlib.sha256(code).hexdigest(), {"OPENSSL_CONF": str(fifo)}, tmp_path)
    finally:
        ended.set()
        watcher.join()
    assert (status, said, greeting["uid"]) == (0, "", os.geteuid())
    assert not opened


@attack("put one's own `sudo`, `mount`, `ostree` and `flatpak-spawn` first on PATH", "they are never looked at")
def test_the_search_path_is_poisoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sudo", "pkexec", "doas", "run0", "mount", "ostree", "flatpak-spawn", "systemctl", "nothing-else"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in os.listdir(tmp_path):
        found = Host().find_tool(name)
        assert found is None or found.startswith(("/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"))
    assert Host().find_tool("nothing-else") is None


@attack("own the helper's file, or a directory or a link on the way to it", "it is not run")
def test_a_helper_that_others_can_write(tmp_path: Path) -> None:
    assert is_roots_alone("/usr/bin/env")
    for mode in (0o777, 0o775, 0o757):
        program = tmp_path / f"helper-{mode:o}"
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
        assert not is_roots_alone(str(program))
    link = tmp_path / "link"
    link.symlink_to("/usr/bin/env")
    tmp_path.chmod(0o777)
    assert not is_roots_alone(str(link))  # whoever can write the directory can lead the link elsewhere
    assert not is_roots_alone(str(tmp_path / "missing"))
    assert not is_roots_alone("/usr/bin")


@attack(
    "give a FIFO, a device, a directory, a socket, /proc/self/mem as the source",
    "refused at once; nothing waits for the other end of a FIFO",
)
def test_a_source_that_is_no_file(tmp_path: Path) -> None:
    from ovlay.errors import OvlayError
    from ovlay.files.source import OpenedSource

    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(tmp_path / "socket"))
        (tmp_path / "loop").symlink_to("loop")
        for path in ("fifo", "socket", "loop", ".", "missing"):
            with pytest.raises(OvlayError), OpenedSource(str(tmp_path / path)):
                pass
    for device in ("/dev/zero", "/dev/null", "/dev/tty", "/proc/self/fd"):
        with pytest.raises(OvlayError), OpenedSource(device):
            pass


@attack("name a file so that it plays the terminal: escape sequences, carriage returns, right-to-left marks",
        "they are shown as escapes, never sent")  # fmt: skip
def test_a_path_that_plays_the_terminal(tmp_path: Path) -> None:
    name = "\x1b[2J\x1b]0;owned\x07\r\u202egnp.exe\x9b31m"
    source = tmp_path / name
    source.write_text("x")
    attempts = (
        ("install", str(source), "/usr/bin/" + name),
        ("revert", "/usr/" + name),
        ("--target", "/" + name, "status"),
        ("--backend", name, "status"),
        ("apply", str(source)),
        (name,),
    )
    for words in attempts:
        environment = {**os.environ, "OVLAY_ELEVATE": "none", "LC_ALL": "C.UTF-8"}
        for json in ((), ("--json",)):
            done = subprocess.run(
                [sys.executable, "-m", "ovlay", *json, *words, *(("--dry-run",) if len(words) > 1 else ())],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False, cwd=tmp_path,
            )  # fmt: skip
            assert done.returncode != 0 or "status" in words
            said = done.stdout.decode()
            for bad in ("\x1b", "\x07", "\r", "\u202e", "\x9b"):
                assert bad not in said, (words, said)


@attack("print secrets: run with passwords and tokens in the environment, and with -vv", "the log has none of them")
def test_secrets_in_a_log(tmp_path: Path) -> None:
    secrets = {"API_TOKEN": "hunter2-token", "PGPASSWORD": "hunter2-password"}
    environment = {**os.environ, "OVLAY_ELEVATE": "none", **secrets}
    (tmp_path / "usr/bin").mkdir(parents=True)
    with SimulatedHost(str(tmp_path)):
        for words in (("status",), ("enable", "--dry-run"), ("enable", "--yes"), ("unmount", "--yes"), ("nothing",)):
            argv = [sys.executable, "-m", "ovlay", "-vv", "--backend", "fake", "--root", str(tmp_path), *words]
            done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False)
            assert done.returncode == (2 if words == ("nothing",) else 0), done.stdout
            assert b"hunter2" not in done.stdout
