"""The units and the triggers with the host's real tools: systemd 252, 257 and 262, ldconfig, sysusers, tmpfiles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.lab.host import UNDER_TEST

if TYPE_CHECKING:
    from tests.lab.host import LabHost, Ran

PROGRAM = "/var/lib/ovlay-program"
"""Where the project is, for what must outlive a boot."""

_LAUNCH = f"""#!/usr/bin/python3 -I
import sys
sys.path.insert(0, "{PROGRAM}")
from ovlay.cli.main import main
sys.exit(main())
"""

_TRIGGER = f"""
import sys
sys.path.insert(0, "{UNDER_TEST}")
from ovlay.host import Host
from ovlay.plan import Plan
from ovlay.plan.execute import execute
from ovlay.services.triggers import needed_triggers
host = Host()
steps = needed_triggers(host, "/usr", sys.argv[1:])
for step in steps:
    print(step.command)
for line in execute(Plan(steps), host).told:
    print("told:", line)
"""


@pytest.fixture
def lasting(host: LabHost) -> LabHost:
    """A host with the project where a boot leaves it, and where root alone can write."""
    host.sh(f"cp -r {UNDER_TEST} {PROGRAM}; chown -R 0:0 {PROGRAM}; chmod -R go-w {PROGRAM}")
    host.run("sh", "-euc", f"cat >{PROGRAM}/launch; chmod 755 {PROGRAM}/launch", stdin=_LAUNCH)
    return host


def service(host: LabHost, *words: str, check: bool = True) -> Ran:
    return host.run(f"{PROGRAM}/launch", "service", *words, check=check)


def trigger(host: LabHost, *paths: str) -> str:
    return host.run("python3", "-I", "-c", _TRIGGER, *paths).stdout


def test_systemd_takes_the_units_as_they_are(lasting: LabHost) -> None:
    """No complaint of systemd-analyze(1), and every line is known to this version: an unknown one is a complaint."""
    updater = "/run/systemd/system/bootc-fetch-apply-updates.service"
    lasting.sh(f"mkdir -p /run/systemd/system; printf '[Service]\\nExecStart=/bin/true\\n' >{updater}")
    service(lasting, "install", "--yes", "--guard")
    service(lasting, "install", "--yes", "--user")
    units = "/etc/systemd/system/ovlay-apply.service /etc/systemd/system/ovlay-unmask.service"
    checked = lasting.sh(f"systemd-analyze verify --man=no {units} {updater} 2>&1")
    assert [line for line in checked.splitlines() if "ovlay" in line or "bootc-fetch" in line] == []
    mine = lasting.sh(
        "XDG_RUNTIME_DIR=/run systemd-analyze --user verify --man=no ~/.config/systemd/user/ovlay-drift.service 2>&1"
    )
    assert [line for line in mine.splitlines() if "ovlay" in line] == []


def test_systemd_would_have_complained(lasting: LabHost) -> None:
    """The witness of the test above: it sees a mistake."""
    service(lasting, "install", "--yes")
    unit = "/etc/systemd/system/ovlay-apply.service"
    lasting.sh(f"sed -i 's/^TimeoutStartSec=.*/TimeoutStartSex=1/' {unit}")
    ran = lasting.run("systemd-analyze", "verify", "--man=no", unit, check=False)
    assert "TimeoutStartSex" in ran.stdout + ran.stderr


def test_the_boot_orders_the_unit_with_no_cycle(lasting: LabHost) -> None:
    """systemd lays the whole boot out, enabled units and all, and says where the order goes in a circle."""
    service(lasting, "install", "--yes")
    said = lasting.run("systemd-analyze", "verify", "--man=no", "default.target", "sysinit.target", check=False)
    assert "cycle" not in said.stdout + said.stderr


def test_systemctl_agrees_that_it_is_enabled(lasting: LabHost) -> None:
    service(lasting, "install", "--yes")
    assert (
        lasting.sh("systemctl --root=/ is-enabled ovlay-apply.service ovlay-unmask.service").split() == ["enabled"] * 2
    )
    lasting.sh("systemctl --root=/ disable ovlay-apply.service 2>/dev/null")
    units = service(lasting, "status", "--json").json()["units"]
    assert [unit["enabled"] for unit in units[:2]] == [False, True]
    lasting.sh("systemctl --root=/ enable ovlay-apply.service 2>/dev/null")
    assert service(lasting, "install", "--yes").stdout == "ovlay-apply.service is installed already\n"
    service(lasting, "remove", "--yes")
    assert lasting.sh("ls -R /etc/systemd/system | grep ovlay || echo none") == "none\n"


def test_a_program_that_a_boot_takes_away_is_refused(host: LabHost) -> None:
    refused = host.ovlay("service", "install", "--yes", check=False)
    assert refused.status == 2
    assert "/run, on the way to" in refused.stderr
    assert host.sh("ls /etc/systemd/system | grep ovlay || echo none") == "none\n"


def test_a_program_that_another_user_can_write_is_refused(lasting: LabHost) -> None:
    for path in ("ovlay/cli/main.py", "packaging", "launch", ""):
        lasting.sh(f"chown nobody {PROGRAM}/{path}")
        refused = service(lasting, "install", "--yes", check=False)
        assert (refused.status, "belongs to another user than root" in refused.stderr) == (2, True), path
        lasting.sh(f"chown root {PROGRAM}/{path}")
    service(lasting, "install", "--yes")


def test_a_mask_lasts_as_long_as_the_image(lasting: LabHost) -> None:
    service(lasting, "mask-until-image", "--yes", "getty@tty1.service")
    (mask,) = service(lasting, "status", "--json").json()["masks"]
    assert mask["outdated"] is False
    assert mask["image"] in lasting.sh("ls /sysroot/ostree/deploy/debian/deploy; cat /proc/cmdline")
    lasting.reboot()
    assert service(lasting, "mask-until-image", "--undo", "--outdated", "--yes").stdout.startswith("nothing is masked")
    marker = "/var/lib/ovlay/masked/getty@tty1.service"
    record = json.loads(lasting.sh(f"cat {marker}"))
    lasting.run("sh", "-euc", f"cat >{marker}", stdin=json.dumps({**record, "image": "another"}))
    service(lasting, "mask-until-image", "--undo", "--outdated", "--yes")
    assert lasting.sh(f"ls {marker} /etc/systemd/system/getty@tty1.service.d 2>/dev/null || echo gone") == "gone\n"


def test_real_tools_take_notice(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.sh(
        "printf 'u ovlay-lab - \"A user\"\\n' >/usr/lib/sysusers.d/lab.conf\n"
        "printf 'd /run/ovlay-lab-made 0755 ovlay-lab - -\\n' >/usr/lib/tmpfiles.d/lab.conf\n"
        "mkdir -p /usr/lib/lab; cp /usr/lib/*-linux-gnu/libattr.so.1 /usr/lib/lab/libovlaylab.so.1\n"
        "echo /usr/lib/lab >/etc/ld.so.conf.d/lab.conf"
    )
    said = trigger(host, "lib/tmpfiles.d/lab.conf", "lib/sysusers.d/lab.conf", "lib/lab/libovlaylab.so.1")
    assert said.splitlines() == ["ldconfig", "systemd-sysusers lab.conf", "systemd-tmpfiles --create lab.conf"]
    assert host.sh("stat -c %U /run/ovlay-lab-made") == "ovlay-lab\n"
    assert "/usr/lib/lab/lib" in host.sh("ldconfig -p")


def test_a_library_in_a_default_directory_needs_no_cache(host: LabHost) -> None:
    """What the triggers rely on: the loader finds a library that no cache knows, and passes over one that is gone."""
    folder = host.sh("dirname /usr/lib/*-linux-gnu/libc.so.6").strip()
    load = "python3 -I -c 'import ctypes; ctypes.CDLL(\"libovlaylab.so.1\")'"
    host.ovlay("enable", "--yes")
    host.sh(f"cp {folder}/libattr.so.1 {folder}/libovlaylab.so.1")
    assert trigger(host, f"{folder.removeprefix('/usr/')}/libovlaylab.so.1") == ""
    assert host.sh("ldconfig -p | grep ovlaylab || echo unknown") == "unknown\n"
    host.sh(load)
    host.sh(f"mkdir -p /usr/lib/lab; cp {folder}/libattr.so.1 /usr/lib/lab/libattr.so.1")
    host.sh("echo /usr/lib/lab >/etc/ld.so.conf.d/00-lab.conf; ldconfig; ldconfig -p | grep -q /usr/lib/lab")
    host.ovlay("unmount", "--yes", "--lazy")
    host.sh("python3 -I -c 'import ctypes; ctypes.CDLL(\"libattr.so.1\")'")


def test_nobody_is_told_where_nobody_runs(host: LabHost) -> None:
    said = trigger(host, "lib/systemd/system/a.service")
    assert said.splitlines()[0] == "systemctl daemon-reload"
    assert "told: `systemctl daemon-reload` was not run: there is no /run/systemd/system" in said
