"""bkt's command list on real ostree: each line prints and does what bkt's RFC 0034 quotes.

bkt itself is a stand-in: a checkout that is laid out as bkt's own, and a cargo that "builds" by copying.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.bkt.conftest import FAKE_CARGO
from tests.lab.host import STAND_INS, UNDER_TEST
from tests.lab.witness import sealed

if TYPE_CHECKING:
    from tests.lab.host import LabHost, Ran

CHECKOUT = "/var/home/dev/bootc"
NOBODY = "65534"

ENABLED = """\
Development mode enabled. A writable overlayfs is now mounted on /usr.
All changes will be discarded on reboot.
"""
ACTIVE = "Overlay: active\nChanges will be discarded on reboot.\n"
INACTIVE = "Overlay: inactive\nRun 'bkt admin usroverlay enable' to enable.\n"
APPLIED = "✓ Development binaries applied (ephemeral until reboot)\n"
INSTALLED = "✓ Local bkt installed (ephemeral until reboot)\n"

_PROGRAM = (
    f"import os, sys; sys.path.insert(0, {UNDER_TEST!r}); os.chdir({CHECKOUT!r}); "
    "from ovlay.bkt.main import main; sys.exit(main())"
)

_SETUP = f"""
mkdir -p {CHECKOUT}/.git {CHECKOUT}/bkt/src {CHECKOUT}/scripts /var/roothome/.cargo/bin /var/home/dev/tools
cd {CHECKOUT}
printf '[package]\\nname = "bkt"\\nversion = "0.1.0"\\nedition = "2024"\\n' >bkt/Cargo.toml
echo 'fn main() {{}}' >bkt/src/main.rs
for name in bootc-apply bootc-bootstrap; do printf '#!/usr/bin/env bash\\n# %s\\n' $name >scripts/$name; done
printf '#!/bin/sh\\necho development\\n' >/var/roothome/.cargo/bin/bkt
cat >/var/home/dev/tools/cargo
chmod 755 /var/home/dev/tools/cargo
chown -R {NOBODY}:{NOBODY} /var/home/dev
"""


@pytest.fixture
def machine(host: LabHost) -> LabHost:
    """Each host with a checkout of bkt, that is nobody's."""
    host.run("sh", "-euc", _SETUP, stdin=FAKE_CARGO)
    return host


def bkt(host: LabHost, words: str, *more: str, user: int = 0, **environment: str) -> Ran:
    """Run ``ovlay-bkt`` in the checkout, in the locale C."""
    path = "/var/home/dev/tools:/usr/sbin:/usr/bin:/sbin:/bin"
    return host.run(
        "python3",
        "-I",
        "-c",
        _PROGRAM,
        *words.split(),
        *more,
        check=False,
        user=user,
        environment={"LC_ALL": "C", "PATH": path, **environment},
    )


def said(ran: Ran) -> tuple[int, str]:
    """The status, and what bkt shows."""
    return ran.status, ran.stdout


def test_enable_and_status(machine: LabHost) -> None:
    assert said(bkt(machine, "admin usroverlay status")) == (0, INACTIVE)
    assert said(bkt(machine, "admin usroverlay enable")) == (0, ENABLED)
    assert machine.ostree_status() == "development"
    assert machine.writable()
    assert said(bkt(machine, "admin usroverlay enable")) == (0, "Overlay already active.\n")
    assert said(bkt(machine, "admin usroverlay status")) == (0, ACTIVE + "Modified files: none\n")


def test_apply_dev_status_and_drift(machine: LabHost) -> None:
    refused = bkt(machine, "admin usroverlay apply-dev")
    assert said(refused) == (5, "")
    assert "Run 'bkt admin usroverlay enable' to enable." in refused.stderr
    assert sealed(machine)

    bkt(machine, "admin usroverlay enable")
    applied = bkt(machine, "admin usroverlay apply-dev")
    assert said(applied) == (0, "Copying ~/.cargo/bin/bkt -> /usr/bin/bkt\n" + APPLIED)
    assert machine.sh("bkt; stat -c %a:%u:%g /usr/bin/bkt") == "development\n755:0:0\n"
    applied = bkt(machine, "admin usroverlay apply-dev --with-scripts")
    assert said(applied) == (
        0,
        "Copying scripts/bootc-apply -> /usr/bin/bootc-apply\n"
        "Copying scripts/bootc-bootstrap -> /usr/bin/bootc-bootstrap\n" + APPLIED,
    )
    machine.sh("echo '# by hand' >>/usr/bin/tool")
    added = "".join(f"  /usr/bin/{name} (added)\n" for name in ("bkt", "bootc-apply", "bootc-bootstrap"))
    status = bkt(machine, "admin usroverlay status")
    assert said(status) == (0, ACTIVE + "Modified files:\n" + added + "  /usr/bin/tool (replaced)\n")

    drift = bkt(machine, "drift check")
    assert drift.status == 1
    assert "| System State:                                               |\n" in drift.stdout
    assert "|   ⚠ usroverlay active (changes ephemeral)                   |\n" in drift.stdout
    assert "|     /usr/bin/tool (modified)                                |\n" in drift.stdout
    found = bkt(machine, "drift check --format json").json()
    assert [(file["path"], file["change"], file["placed"] is not None) for file in found["files"]] == [
        ("/usr/bin/bkt", "added", True),
        ("/usr/bin/bootc-apply", "added", True),
        ("/usr/bin/bootc-bootstrap", "added", True),
        ("/usr/bin/tool", "modified", False),
    ]


def test_reset_and_disable(machine: LabHost) -> None:
    bkt(machine, "admin usroverlay enable")
    machine.sh("echo changed >/usr/bin/tool")
    assert said(bkt(machine, "admin usroverlay reset")) == (
        0,
        "✓ Original /usr restored (the overlay stays active)\n",
    )
    assert machine.sh("tool") == "pristine\n"
    assert machine.writable()
    assert said(bkt(machine, "admin usroverlay disable")) == (
        0,
        "Note: Overlay changes persist until reboot.\nRun 'systemctl reboot' to restore original /usr.\n",
    )
    assert machine.writable()
    gone = bkt(machine, "admin usroverlay disable --now")
    assert said(gone) == (0, "Overlay disabled. The original /usr is back.\n")
    assert sealed(machine)
    assert said(bkt(machine, "drift check"))[0] == 0


def test_install_local_builds_as_the_user_enables_and_installs(machine: LabHost) -> None:
    installed = bkt(machine, "dev install-local --with-scripts", SUDO_UID=NOBODY)
    assert said(installed) == (
        0,
        "Building bkt in release mode...\nEnabling usroverlay...\nInstalling to /usr/bin/bkt...\n"
        "Installing to /usr/bin/bootc-apply...\nInstalling to /usr/bin/bootc-bootstrap...\n" + INSTALLED,
    )
    assert machine.ostree_status() == "development"
    assert machine.sh("cat /usr/bin/bkt; stat -c %a:%u:%g /usr/bin/bkt") == "built\nfn main() {}\n755:0:0\n"
    assert machine.sh("cut -d'|' -f2 /var/home/dev/tools/log") == NOBODY + "\n"
    assert machine.sh(f"stat -c %u {CHECKOUT}/bkt/target/release/bkt") == NOBODY + "\n"
    machine.reboot()
    assert said(bkt(machine, "admin usroverlay status")) == (0, INACTIVE)
    assert machine.sh("ls /usr/bin/bkt 2>/dev/null || echo gone") == "gone\n"
    again = bkt(machine, "dev install-local --no-build", SUDO_UID=NOBODY)
    assert said(again) == (0, "Enabling usroverlay...\nInstalling to /usr/bin/bkt...\n" + INSTALLED)


def test_a_failed_build_and_a_refusal_change_nothing(machine: LabHost) -> None:
    refused = bkt(machine, "dev install-local --no-enable", SUDO_UID=NOBODY)
    assert said(refused) == (5, "")
    machine.sh("touch /var/home/dev/tools/fails")
    failed = bkt(machine, "dev install-local", SUDO_UID=NOBODY)
    assert said(failed) == (7, "Building bkt in release mode...\n")
    assert "ovlay-bkt: Build failed\n" in failed.stderr
    assert sealed(machine)


def test_a_binary_for_usr_local_would_leave_the_overlay(machine: LabHost) -> None:
    bkt(machine, "admin usroverlay enable")
    refused = bkt(machine, "admin usroverlay apply-dev --binary /usr/bin/tool /usr/local/bin/tool")
    assert said(refused) == (5, "")
    assert "/usr/local leads to ../var/usrlocal, which is not in the overlay" in refused.stderr
    assert machine.sh("ls /var/usrlocal/bin") == ""


def test_a_user_may_ask(machine: LabHost) -> None:
    bkt(machine, "admin usroverlay enable")
    machine.sh("echo changed >/usr/bin/tool")
    status = bkt(machine, "admin usroverlay status", user=int(NOBODY))
    assert status.status == 0
    assert status.stdout.startswith(ACTIVE + "Modified files:")
    refused = bkt(machine, "admin usroverlay disable --now", user=int(NOBODY))
    assert (refused.status, machine.writable()) == (6, True)


def test_bootc_upgrade_warns_and_runs_bootc(machine: LabHost) -> None:
    bkt(machine, "admin usroverlay enable")
    bkt(machine, "admin usroverlay apply-dev")
    machine.sh(f"mkdir -p {STAND_INS}; printf '#!/bin/sh\\necho \"$@\"; exit 9\\n' >{STAND_INS}/bootc")
    machine.sh(f"chmod 755 {STAND_INS}/bootc")
    upgraded = bkt(machine, "--backend ostree admin bootc upgrade --yes --check")
    assert said(upgraded) == (9, "upgrade --check\n")
    assert "⚠ usroverlay active" in upgraded.stderr
    assert "/usr/bin/bkt" in upgraded.stderr


def test_systemctl_override(machine: LabHost) -> None:
    condition = "ConditionPathExists=!/var/lib/bkt/disable-bootc-apply"
    words = "admin systemctl override systemd-tmpfiles-clean.service"
    assert said(bkt(machine, words, "--condition", condition)) == (
        0,
        f"✓ systemd-tmpfiles-clean.service starts only where {condition}\n",
    )
    machine.sh("systemd-analyze verify --man=no --recursive-errors=no systemd-tmpfiles-clean.service")
    place = "/etc/systemd/system/systemd-tmpfiles-clean.service.d"
    assert condition in machine.sh(f"cat {place}/*.conf").splitlines()
    assert said(bkt(machine, words, "--remove"))[0] == 0
    assert machine.sh(f"ls {place} 2>/dev/null || true") == ""
