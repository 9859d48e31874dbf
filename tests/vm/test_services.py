"""What a real boot makes of what is placed in it: udev, sysusers, tmpfiles, drop-ins, and a mask that holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vm.conftest import TRIXIE
from tests.vm.witness import let_units_take_long

if TYPE_CHECKING:
    from tests.vm.conftest import Boot
    from tests.vm.host import VmHost

MANIFEST = """\
schema = 1
name = "lab"
[[file]]
path = "/usr/bin/lab-tool"
text = "#!/bin/sh\\necho seen at $(cut -d. -f1 /proc/uptime)\\n"
mode = "0755"
[[file]]
path = "/usr/lib/udev/rules.d/99-lab.rules"
text = 'KERNEL=="null", SUBSYSTEM=="mem", SYMLINK+="lab-null"'
[[file]]
path = "/usr/lib/sysusers.d/lab.conf"
text = 'u ovlay-lab - "A user"'
[[file]]
path = "/usr/lib/tmpfiles.d/lab.conf"
text = 'd /run/lab-made 0755 ovlay-lab - -'
[[file]]
path = "/usr/lib/systemd/system/lab-reader.service.d/10-lab.conf"
text = "[Service]\\nEnvironment=LAB=from-the-overlay\\n"
"""

READER = """\
[Unit]
Description=Uses what the manifest declares, as any service of the boot does
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c '/usr/bin/lab-tool >/var/lab-seen; echo "$LAB" >>/var/lab-seen'
[Install]
WantedBy=multi-user.target
"""


def prepare(host: VmHost) -> None:
    """Declare, let a service of the boot use it, and install the unit."""
    for path, text in (
        ("/etc/ovlay/manifest.toml", MANIFEST),
        ("/etc/systemd/system/lab-reader.service", READER),
    ):
        host.run("sh", "-euc", f"mkdir -p $(dirname {path}); cat >{path}", stdin=text)
    host.sh("systemctl enable lab-reader.service")
    let_units_take_long(host)
    host.ovlay("service", "install", "--yes")


def service(host: VmHost, name: str = "ovlay-apply.service") -> dict[str, str]:
    """What systemd says of a unit."""
    said = host.sh(f"systemctl show --property=ActiveState,Result,ConditionResult {name}")
    return dict(line.split("=", 1) for line in said.splitlines())


def test_a_boot_takes_notice_of_what_is_placed(boot: Boot) -> None:
    """apply at a boot: udev rules, users, temporary files and drop-ins count in the same boot; a mask holds"""
    host = boot(TRIXIE)
    host.quick = False  # from the next boot on
    prepare(host)
    host.run("sh", "-euc", "cat >/etc/systemd/system/masked.service", stdin=READER.replace("lab-seen", "lab-masked"))
    host.sh("systemctl enable masked.service")
    host.ovlay("service", "mask-until-image", "--yes", "masked.service")
    host.reboot()
    assert host.settle() == "running", host.journal("-u", "ovlay-apply.service")
    assert service(host) == {"ActiveState": "active", "Result": "success", "ConditionResult": "yes"}
    assert "cycle" not in host.journal("-t", "systemd").lower()
    assert host.sh("sed s/[0-9].*// /var/lab-seen") == "seen at \nfrom-the-overlay\n"
    assert host.sh("ls /dev/lab-null") == "/dev/lab-null\n"
    assert host.sh("stat -c %U /run/lab-made") == "ovlay-lab\n"
    assert host.ovlay("drift", check=False).status == 0
    assert host.ovlay("guard", "upgrade").status == 0
    assert [unit["state"] for unit in host.ovlay("service", "status", "--json").json()["units"]][:1] == ["active"]

    assert host.sh("ls /var/lab-masked 2>/dev/null || echo masked") == "masked\n"
