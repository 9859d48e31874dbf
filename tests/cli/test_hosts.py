"""A host that is not what it should be, and who may not change it: each is told, with what to do."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

import ovlay
from ovlay.host import Host
from ovlay.overlay import Overlay
from tests.cli.conftest import raising, run_script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Cli


# --- the host is not what it should be -----------------------------------------------------------------------------


def scratch(tmp_path: Path, *files: str) -> str:
    root = tmp_path / "scratch"
    for name in ("usr/bin", "run", "etc", *(os.path.dirname(file) for file in files)):
        (root / name).mkdir(parents=True, exist_ok=True)
    for file in files:
        (root / file).touch(mode=0o755)
    return str(root)


def test_a_host_that_is_not_image_based(cli: Cli, tmp_path: Path) -> None:
    said = cli.plain("status", "--root", scratch(tmp_path), "--target", "/nowhere")
    assert said.status == 3
    assert "no driver fits /nowhere on this host." in said.err
    assert "`ovlay backends --target /nowhere`" in said.err


@pytest.mark.parametrize("mark", ["run/.containerenv", ".dockerenv", "run/.toolboxenv", ".flatpak-info"])
def test_inside_a_container(cli: Cli, tmp_path: Path, mark: str) -> None:
    said = cli.plain("status", "--root", scratch(tmp_path, mark))
    assert said.status == 3
    assert "ovlay: this is inside a container (" in said.err
    assert "  next: run ovlay on the host itself: `ovlay --host` hands the command over" in said.err


def test_ostree_is_not_installed(cli: Cli, tmp_path: Path) -> None:
    root = scratch(tmp_path, "run/ostree-booted")
    document = cli.plain("backends", "--root", root, "--json").document("backends")
    reasons = {entry["name"]: entry["reason"] for entry in document["backends"]}
    assert reasons["ostree"] == "ostree is not installed"
    said = cli.plain("enable", "--yes", "--root", root, "--backend", "ostree", "--dry-run")
    assert said.status == 4
    assert said.err.startswith("ovlay: ostree is not installed\n  next: install ostree")


def test_another_root_is_for_the_driver_that_plays_a_host(cli: Cli, tmp_path: Path) -> None:
    said = cli.plain("enable", "--yes", "--root", scratch(tmp_path), "--backend", "ostree")
    assert said.status == 2
    assert "changes the running system, and nothing below" in said.err


def test_the_driver_fake_never_works_on_the_real_host(cli: Cli) -> None:
    said = cli.plain("enable", "--yes", "--backend", "fake")
    assert said.status == 2
    assert "works on a scratch directory, not on this host" in said.err


def test_one_who_is_not_root_is_told_how_to_become_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["/home/u/.local/bin/ovlay"])
    tools = {"sudo": "/usr/bin/sudo"}
    monkeypatch.setattr(Host, "find_tool", lambda _, name: tools.get(name))
    error = ovlay.NotPermitted("only root can change what is mounted", remedy="run it as root, for instance with sudo")
    monkeypatch.setattr(Overlay, "status", raising(error))
    said = cli.plain("status", "--backend", "ostree")
    assert said.status == 6
    let = "  next: let root do it, which takes a password: "
    assert f"{let}`/home/u/.local/bin/ovlay --elevate sudo status --backend ostree`\n" in said.err
    monkeypatch.setattr(shutil, "which", lambda _: "/home/u/.local/bin/ovlay")
    said = cli.plain("status", "--elevate", "none", "--backend", "ostree", "--elevate=none")
    assert f"{let}`ovlay --elevate sudo status --backend ostree`\n" in said.err
    monkeypatch.setattr(sys, "argv", ["/x/ovlay/__main__.py"])
    tools.clear()
    tools["doas"] = "/usr/bin/doas"
    said = cli.plain("status", "--backend", "ostree")
    assert f"`{sys.executable} -m ovlay --elevate doas status --backend ostree`" in said.err
    tools.clear()
    said = cli.plain("status", "--backend", "ostree")
    assert "  next: log in as root, and run an ovlay that only root can write\n" in said.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root is permitted")
def test_permission_denied_for_real(cli: Cli, tmp_path: Path) -> None:
    words = ("--backend", "overlayfs", "--target", str(tmp_path))
    said = run_script("enable", "--yes", *words)
    assert said.status == 6
    assert "ovlay: only root can change what is mounted, or write into an overlay\n  next: let root do it" in said.err
    assert f" enable --yes --backend overlayfs --target {tmp_path}`" in said.err
    assert run_script("enable", "--dry-run", "--json", *words).document("plan")["steps"]
