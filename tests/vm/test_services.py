"""A real boot applies the manifests, early enough for what starts in it; and one that fails stops nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.lab.witness import state
from tests.vm.conftest import TRIXIE
from tests.vm.witness import sealed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.host import VmHost
    from tests.vm.recipe import MachineRecipe

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
    host.ovlay("service", "install", "--yes")


def service(host: VmHost, name: str = "ovlay-apply.service") -> dict[str, str]:
    """What systemd says of a unit."""
    said = host.sh(f"systemctl show --property=ActiveState,Result,ConditionResult {name}")
    return dict(line.split("=", 1) for line in said.splitlines())


def test_a_boot_applies_what_is_declared(boot: Callable[[MachineRecipe], VmHost]) -> None:
    host = boot(TRIXIE)
    host.settle()
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

    # The mask held, on the image that it was made on; another one takes it back before the unit would start.
    assert host.sh("ls /var/lab-masked 2>/dev/null || echo masked") == "masked\n"
    marker = "/var/lib/ovlay/masked/masked.service"
    record = json.loads(host.sh(f"cat {marker}"))
    host.run("sh", "-euc", f"cat >{marker}", stdin=json.dumps({**record, "image": "another"}))

    # A manifest that cannot be used is in the journal, and the system comes up without it.
    host.sh("echo 'schema = 2' >/etc/ovlay/manifest.toml")
    host.sh("systemctl disable lab-reader.service 2>/dev/null; rm /var/lab-seen")
    host.reboot()
    assert host.settle() == "degraded"
    assert host.sh("systemctl --failed --plain --no-legend | cut -d' ' -f1") == "ovlay-apply.service\n"
    assert "/etc/ovlay/manifest.toml" in host.journal("-u", "ovlay-apply.service")
    assert "failed at the last boot" in host.ovlay("service", "status").stdout
    assert sealed(host)
    assert not state(host)["active"]
    assert host.sh(f"ls {marker} 2>/dev/null || echo gone; cut -c1-4 /var/lab-masked") == "gone\nsh: \n" or host.sh(
        "ls /var/lab-masked"
    )
