"""What the pages show is run: the Python, the shell, the files of a driver, and the transcript of the demo."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay.simulated import SimulatedHost
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(mark: str) -> Iterator[tuple[Path, str]]:
    """The code after every ``<!-- mark -->``, with its page."""
    for page in PAGES:
        for found in re.finditer(rf"<!-- {mark} -->\n```\w*\n(.*?)\n```", page.read_text(), re.S):
            yield page, found[1] + "\n"


def files(page: str) -> dict[str, str]:
    """The files that a page shows."""
    text = (ROOT / "docs" / page).read_text()
    return dict(re.findall(r"<!-- file: (\S+) -->\n```\w*\n(.*?\n)```", text, re.S))


def run(argv: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OVLAY_", "PYTEST_"))}
    kept["PYTEST_DEBUG_TEMPROOT"] = str(folder)  # else an inner pytest cleans up after all the runs before
    return subprocess.run(
        argv, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.fixture
def root(tmp_path: Path) -> Iterator[str]:
    """A scratch root, whose seals are lifted at the end."""
    make_known_tree(tmp_path / "host/usr")
    with SimulatedHost(str(tmp_path / "host")) as host:
        yield host.root


PYTHON = list(blocks("python"))


@pytest.mark.parametrize(("page", "code"), PYTHON, ids=[page.name for page, _ in PYTHON])
def test_the_python_runs(page: Path, code: str, root: str, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    exec(compile(code, str(page), "exec"), {"root": root, "tool": tool})


def test_the_shell_runs(tmp_path: Path) -> None:
    script = "set -eu\n" + "".join(code for _, code in blocks("shell"))
    assert "ovlay --backend fake --root scratch enable" in script
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        done = run(["sh", "-c", script], tmp_path, PATH=path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "\nhello\n" in done.stdout
        assert not (tmp_path / "scratch").exists()
    finally:
        if (tmp_path / "scratch").exists():
            SimulatedHost(str(tmp_path / "scratch")).close()


def test_what_is_declared_in_the_readme(tmp_path: Path) -> None:
    """Every line does what its comment says, as root on a host of the driver fake."""
    ((name, manifest),) = re.findall(r"<!-- declared: (\S+) -->\n```toml\n(.*?)```", PAGES[0].read_text(), re.S)
    ((_, commands),) = blocks("declare")
    usr = tmp_path / "scratch/usr"
    (usr / "bin").mkdir(parents=True)
    (usr / "lib").mkdir()
    (usr / "bin/goodbye").write_text("#!/bin/sh\n")
    (tmp_path / "hello").write_text("#!/bin/sh\necho hello\n")
    (tmp_path / name).write_text(manifest)

    def ovlay(line: str) -> subprocess.CompletedProcess[str]:
        verb, *words = line.partition("#")[0].removeprefix("sudo ").split()[1:]
        root = ["--backend", "fake", "--root", str(tmp_path / "scratch")]
        return run([sys.executable, "-m", "ovlay", *root, verb, "--yes", *words], tmp_path)

    try:
        for line in commands.splitlines():
            done = ovlay(line)
            assert done.returncode == (1 if "exit status 1" in line else 0), done.stdout + done.stderr
            if "--enable" in line:
                assert (usr / "lib/hello.conf").read_text() == "greeting = hello\n"
                assert (usr / "bin/hello").exists()
                assert not (usr / "bin/goodbye").exists()
            if "nothing:" in line:
                assert "everything is as declared" in done.stdout
            if "nowhere" in line:
                assert done.stdout == ""
                (usr / "lib/hello.conf").write_text("greeting = moin\n")
                assert ovlay("ovlay apply hotfix.toml").returncode == 5
        assert "hotfix.files/usr/lib/hello.conf" in (tmp_path / name).read_text()
        assert ovlay("ovlay drift hotfix.toml").returncode == 0
    finally:
        SimulatedHost(str(tmp_path / "scratch")).close()


def test_the_tests_that_use_the_fixture_pass(tmp_path: Path) -> None:
    shown = files("testing.md")
    assert shown
    for name, text in shown.items():
        (tmp_path / name).write_text(text)
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_driver_keeps_the_contract(tmp_path: Path) -> None:
    shown = files("drivers.md")
    assert set(shown) == {"ovlay_lab.py", "pyproject.toml", "test_ovlay_lab.py"}
    for name, text in shown.items():
        (tmp_path / name).write_text(text)
    project = tomllib.loads(shown["pyproject.toml"])["project"]
    info = tmp_path / "ovlay_lab-1.0.dist-info"  # as an editable install would put it on the path
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]["ovlay.backends"]
    (info / "entry_points.txt").write_text(
        "[ovlay.backends]\n" + "".join(f"{name} = {where}\n" for name, where in points.items())
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_ovlay_lab.py"]
    done = run([sys.executable, *words], tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
    listed = run([sys.executable, "-m", "ovlay", "backends"], tmp_path, PYTHONPATH=path)
    assert "/etc/lab-machine is missing" in listed.stdout


def plain(transcript: str) -> list[str]:
    """A transcript without what is different each time: names, numbers, sizes, and the machine's own words."""
    lines = []
    for line in transcript.splitlines():
        text = re.sub(r"\S*/ovlay-demo-\w+", "DIRECTORY", line)
        text = re.sub(r"\b[0-9a-f]{8}-\d+\b", "NUMBER", text)
        text = re.sub(r" of at most \d+ MiB", "", text)
        text = re.sub(r"[\d.]+ (bytes|[KMGT]iB)", "SIZE", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME", text)
        text = re.sub(r"\(\w+, in memory\)", "(in memory)", text)
        lines.append(re.sub(r"^(  base      directory).*", r"\1", text))
    return lines


def test_the_transcript_of_the_readme_is_what_the_demo_says() -> None:
    shown = list(blocks("transcript"))
    assert len(shown) == 1
    done = run([sys.executable, "-m", "ovlay", "demo"], ROOT)
    assert done.returncode == 0, done.stderr
    if done.stdout.startswith("This is a demo with the driver fake"):
        pytest.skip("the kernel's overlayfs, which the transcript shows, cannot be had in a namespace here")
    assert plain(done.stdout) == plain(shown[0][1])


def test_each_of_the_two_commands_is_one_line() -> None:
    for mark in ("demo-command", "test-command"):
        found = list(blocks(mark))
        assert len(found) == 1
        assert found[0][1].count("\n") == 1
        assert found[0][1].startswith("python3 -m venv .venv && .venv/bin/pip install ")
