"""``admin usroverlay``: the words of bkt's RFC 0034, and what is done at each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bkt.conftest import Bkt, Repository

ENABLED = """\
Development mode enabled. A writable overlayfs is now mounted on /usr.
All changes will be discarded on reboot.
"""
INACTIVE = "Overlay: inactive\nRun 'bkt admin usroverlay enable' to enable.\n"
APPLIED = "✓ Development binaries applied (ephemeral until reboot)\n"


@pytest.fixture
def built(home: Path) -> Path:
    """bkt as `cargo install` puts it."""
    path = home / ".cargo/bin/bkt"
    path.parent.mkdir(parents=True)
    path.write_text("new bkt\n")
    return path


def test_enable(bkt: Bkt) -> None:
    assert bkt("admin usroverlay enable") == (0, ENABLED, "")
    bkt.there("/usr/bin/new").write_text("x")
    assert bkt("admin usroverlay enable") == (0, "Overlay already active.\n", "")


def test_enable_asks_nobody_and_makes_a_read_only_one_writable(bkt: Bkt) -> None:
    from ovlay.cli.main import main

    assert main(["--backend", "fake", "--root", bkt.host.root, "enable", "--yes", "--read-only"]) == 0
    assert bkt("admin usroverlay enable") == (0, ENABLED, "")
    bkt.there("/usr/bin/new").write_text("x")


def test_enable_as_a_document_and_as_a_plan(bkt: Bkt) -> None:
    plan = bkt("admin usroverlay enable --json -n").document("plan")
    assert [step["step"] for step in plan["steps"]] != []
    assert bkt("admin usroverlay status").out == INACTIVE
    document = bkt("admin usroverlay enable --json").document("outcome")
    assert (document["verb"], document["changed"], document["status"]["active"]) == ("enable", True, True)


def test_a_persistent_overlay_is_not_called_ephemeral(bkt: Bkt, built: Path) -> None:
    from ovlay.cli.main import main

    assert main(["--backend", "fake", "--root", bkt.host.root, "enable", "--yes", "--persistent"]) == 0
    assert bkt("admin usroverlay enable").out == "Overlay already active.\n"
    assert bkt("admin usroverlay apply-dev").out.endswith(
        "✓ Development binaries applied (persistent: it stays after a reboot)\n"
    )
    assert "\nChanges are kept over reboots.\n" in bkt("admin usroverlay status").out
    assert "usroverlay active (changes persistent)" in bkt("drift check").out
    assert bkt("admin usroverlay disable").out.startswith(
        "Note: The overlay is persistent: its changes are kept over a reboot, and `ovlay enable --persistent` brings"
    )


def test_status(bkt: Bkt) -> None:
    assert bkt("admin usroverlay status") == (0, INACTIVE, "")
    bkt("admin usroverlay enable")
    assert bkt("admin usroverlay status").out == (
        "Overlay: active\nChanges will be discarded on reboot.\nModified files: none\n"
    )
    bkt.there("/usr/bin/bkt").write_text("another\n")
    bkt.there("/usr/bin/bootc-apply").unlink()
    bkt.there("/usr/bin/new").write_text("x")
    assert bkt("admin usroverlay status").out == (
        "Overlay: active\nChanges will be discarded on reboot.\nModified files:\n"
        "  /usr/bin/bkt (replaced)\n  /usr/bin/bootc-apply (deleted)\n  /usr/bin/new (added)\n"
    )
    document = bkt("admin usroverlay status --json").document("status")
    assert [change["path"] for change in document["changes"]["changes"]] == ["bin/bkt", "bin/bootc-apply", "bin/new"]


def test_apply_dev(bkt: Bkt, built: Path) -> None:
    bkt("admin usroverlay enable")
    said = bkt("admin usroverlay apply-dev")
    assert said == (0, "Copying ~/.cargo/bin/bkt -> /usr/bin/bkt\n" + APPLIED, "")
    assert bkt.there("/usr/bin/bkt").read_text() == "new bkt\n"
    assert bkt.there("/usr/bin/bkt").stat().st_mode & 0o7777 == 0o755
    assert bkt("admin usroverlay apply-dev") == (0, APPLIED, "")


def test_apply_dev_with_scripts(bkt: Bkt, built: Path, repository: Repository) -> None:
    bkt("admin usroverlay enable")
    said = bkt("admin usroverlay apply-dev --with-scripts")
    assert said.out == (
        "Copying ~/.cargo/bin/bkt -> /usr/bin/bkt\n"
        "Copying scripts/bootc-apply -> /usr/bin/bootc-apply\n"
        "Copying scripts/bootc-bootstrap -> /usr/bin/bootc-bootstrap\n" + APPLIED
    )
    script = bkt.there("/usr/bin/bootc-apply")
    assert script.read_text() == (repository.scripts / "bootc-apply").read_text()
    assert script.stat().st_mode & 0o7777 == 0o755  # in the checkout it is not executable


def test_apply_dev_needs_the_overlay(bkt: Bkt, built: Path) -> None:
    said = bkt("admin usroverlay apply-dev")
    assert (said.status, said.out) == (5, "")
    assert said.err == (
        "ovlay-bkt: there is no overlay on /usr\n  next: Run 'bkt admin usroverlay enable' to enable.\n"
    )


def test_apply_dev_needs_its_files(bkt: Bkt, repository: Repository, built: Path) -> None:
    bkt("admin usroverlay enable")
    (repository.scripts / "bootc-apply").unlink()
    (repository.scripts / "bootc-bootstrap").unlink()
    said = bkt("admin usroverlay apply-dev --with-scripts")
    assert said.status == 2
    assert "scripts/bootc-apply, " in said.err
    assert "scripts/bootc-bootstrap: there is no such file" in said.err
    built.unlink()
    said = bkt("admin usroverlay apply-dev")
    assert (said.status, "/.cargo/bin/bkt: there is no such file" in said.err) == (2, True)
    assert bkt("admin usroverlay status").out.endswith("Modified files: none\n")


def test_a_binary_for_usr_local_is_refused_where_that_leads_out(bkt: Bkt, built: Path) -> None:
    bkt("admin usroverlay enable")
    said = bkt("admin usroverlay apply-dev --binary", str(built), "/usr/local/bin/tool")
    assert (said.status, said.out) == (5, "")
    assert "/usr/local leads to ../var/usrlocal, which is not in the overlay" in said.err
    assert not bkt.there("/var/usrlocal/bin/tool").exists()


def test_a_binary_goes_where_it_is_named_to_and_bkt_stays(bkt: Bkt, built: Path) -> None:
    bkt("admin usroverlay enable")
    said = bkt("admin usroverlay apply-dev --binary", str(built), "/usr/bin/tool")
    assert said.out == f"Copying {built} -> /usr/bin/tool\n" + APPLIED
    assert bkt.there("/usr/bin/tool").read_text() == "new bkt\n"
    assert bkt.there("/usr/bin/bkt").read_text() == "old bkt\n"


def test_disable(bkt: Bkt) -> None:
    assert bkt("admin usroverlay disable").out == "Overlay: inactive\n"
    bkt("admin usroverlay enable")
    told = "Note: Overlay changes persist until reboot.\nRun 'systemctl reboot' to restore original /usr.\n"
    assert bkt("admin usroverlay disable") == (0, told, "")
    assert bkt("admin usroverlay disable --json").document("outcome")["changed"] is False
    assert bkt("admin usroverlay status").out.startswith("Overlay: active\n")


@pytest.mark.parametrize("words", ["disable", "disable --now", "disable --now --lazy", "reset", "enable"])
def test_a_dry_run_is_a_plan_for_a_program(bkt: Bkt, words: str) -> None:
    """Without --now it was told as what came of it."""
    bkt("admin usroverlay enable")
    bkt(f"admin usroverlay {words} -n --json").document("plan")
    assert bkt("admin usroverlay status --json").document("status")["active"] is True


def test_disable_now(bkt: Bkt, built: Path) -> None:
    bkt("admin usroverlay enable")
    bkt("admin usroverlay apply-dev")
    assert bkt("admin usroverlay disable --now") == (0, "Overlay disabled. The original /usr is back.\n", "")
    assert bkt.there("/usr/bin/bkt").read_text() == "old bkt\n"
    assert bkt("admin usroverlay disable --now").out == "Overlay: inactive\n"
    assert bkt("admin usroverlay disable --lazy").status == 2


def test_reset(bkt: Bkt, built: Path) -> None:
    bkt("admin usroverlay enable")
    bkt("admin usroverlay apply-dev")
    assert bkt("admin usroverlay reset") == (0, "✓ Original /usr restored (the overlay stays active)\n", "")
    assert bkt.there("/usr/bin/bkt").read_text() == "old bkt\n"
    assert bkt("admin usroverlay reset").out == "Nothing to reset: /usr is as in the image.\n"
    bkt.there("/usr/bin/bkt").write_text("still writable\n")
    bkt("admin usroverlay disable --now")
    assert bkt("admin usroverlay reset").status == 5


def test_an_error_as_a_document(bkt: Bkt) -> None:
    said = bkt("admin usroverlay apply-dev --json")
    assert (said.status, said.document("error")["kind"]) == (5, "not-active")
    assert json.loads(said.out)["remedy"] == "Run 'bkt admin usroverlay enable' to enable."
