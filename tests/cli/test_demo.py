"""``ovlay demo``: it does what it tells, says by what, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from ovlay.cli import demo, story
from ovlay.cli.main import main
from tests.cli.conftest import script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made: nothing may be left in it."""
    import tempfile

    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return place


def kernel_allows() -> bool:
    """Whether the kernel's overlayfs can be had here in a namespace of one's own."""
    words = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = "mount -t overlay -o userxattr,lowerdir=l,upperdir=u,workdir=w overlay m"
    script = f"mount -t tmpfs tmpfs /tmp && cd /tmp && mkdir l u w m && {mount}"
    try:
        return subprocess.run([*words, script], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


KERNEL_ALLOWS = kernel_allows()


def test_with_the_fake_driver(cli: Cli, temporary: Path) -> None:
    said = cli.plain("demo", "--backend", "fake")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("This is a demo with the driver fake: named by --backend.\n")
    told = [
        "$ ovlay enable",
        "$ ovlay install",
        "hello, I run from",
        "$ ovlay status",
        "added         /usr/bin/hello",
        "$ ovlay unm",
    ]
    positions = [said.out.index(text) for text in told]
    assert positions == sorted(positions)
    assert os.listdir(temporary) == []


@pytest.mark.kernel
@pytest.mark.skipif(not KERNEL_ALLOWS, reason="the kernel's overlayfs cannot be had in a namespace here")
def test_with_the_kernels_overlayfs(cli: Cli, temporary: Path) -> None:
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        before = stream.read()
    said = cli.plain("demo", "--json")
    document = said.document("demo")
    assert said.status == 0
    assert document["backend"] == "overlayfs"
    assert document["changes"] == [{"path": "bin/hello", "aspects": ["added"]}]
    assert any("Read-only file system" in line for step in document["steps"] for line in step["output"])
    assert os.listdir(temporary) == []
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        assert stream.read() == before


def test_where_the_kernel_refuses_the_fake_driver_plays_and_says_why(
    cli: Cli, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(directory: str) -> object:
        raise demo.Unavailable("unshare: Operation not permitted")
        yield

    monkeypatch.setattr(demo, "_on_the_kernel", refused)
    document = cli.plain("demo", "--json").document("demo")
    assert document["backend"] == "fake"
    assert document["why"] == "the kernel's overlayfs cannot be had here: unshare: Operation not permitted"
    said = cli.plain("demo", "--backend", "overlayfs")
    assert said.status == 7
    assert "next: `ovlay demo --backend fake`" in said.err
    assert os.listdir(temporary) == []


def test_a_stage_that_cannot_be_set_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    from ovlay.cli import stage

    code = (
        "import sys; from ovlay.cli import stage; from ovlay.kernel import libc\n"
        "def refuse(flags): raise PermissionError(1, 'Operation not permitted')\n"
        "libc.unshare = refuse\n"
        f"sys.exit(stage.main({str(tmp_path)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == '{"unavailable": "[Errno 1] Operation not permitted"}\n'
    assert stage.__doc__


def test_keep_leaves_the_directory(cli: Cli, temporary: Path) -> None:
    document = cli.plain("demo", "--backend", "fake", "--keep", "--json").document("demo")
    assert document["kept"] is True
    assert [str(path) for path in temporary.iterdir()] == [document["directory"]]
    with demo.temporary_directory(keep=True) as other:
        os.rmdir(other)


def test_a_dry_run_does_nothing(cli: Cli, temporary: Path) -> None:
    said = cli.plain("demo", "--dry-run")
    assert said == (0, "nothing to do: the demo changes nothing but a temporary directory\n", "")
    assert cli.plain("demo", "--dry-run", "--json").document("plan")["steps"] == []
    assert os.listdir(temporary) == []


def test_what_it_tells_must_be_so(cli: Cli, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "TOOL", "#!/bin/sh\necho something else\n")
    said = cli.plain("demo", "--backend", "fake")
    assert said.status == 7
    assert "the demo failed: the tool said 'something else'" in said.err
    assert os.listdir(temporary) == []


@pytest.mark.parametrize("backend", ["fake", "overlayfs"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(temporary: Path, backend: str, number: signal.Signals, tmp_path: Path) -> None:
    if backend == "overlayfs" and not KERNEL_ALLOWS:
        pytest.skip("the kernel's overlayfs cannot be had in a namespace here")
    argv = [*script(), "demo", "--backend", backend]
    # The reader stops in the middle: the demo is caught at a full pipe or before its next scene.
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, number) if number is signal.SIGINT else process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode in (0, 128 + number), err  # it may have ended first
    assert "Traceback" not in err
    assert os.listdir(temporary) == []


def test_an_interruption_in_the_middle_leaves_nothing_behind(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = demo._print

    def interrupt(scene: story.Scene, terminal: object) -> None:
        if scene.command == "ovlay status":
            raise KeyboardInterrupt
        real(scene, terminal)  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "_print", interrupt)
    for backend in ("fake", *(("overlayfs",) if KERNEL_ALLOWS else ())):
        started = time.monotonic()
        assert main(["demo", "--backend", backend]) == 130
        assert time.monotonic() - started < 20
        assert os.listdir(temporary) == []
        assert "Traceback" not in capsys.readouterr().err
