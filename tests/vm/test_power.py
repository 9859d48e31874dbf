"""The power goes at random moments of a verb; the next boot is clean, and `ovlay apply` converges.

QEMU is killed, so what the kernel had in memory is lost, and what it had given to the disk is not. The moments are
spread over the time that the verb was seen to take: one in each of as many parts as there are cuts, at random in it.
"""

from __future__ import annotations

import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.lab.witness import state
from tests.vm.witness import gone, sealed, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.vm.conftest import Record
    from tests.vm.host import VmHost

MANIFEST = "/etc/ovlay/manifest.toml"
FILES = 40
DECLARED = """schema = 1
[[tree]]
path = "/usr/lib/declared"
source = "/var/lib/declared"
[[file]]
path = "/usr/bin/yes"
text = "#!/bin/sh\\necho no\\n"
mode = "0755"
[[absent]]
path = "/usr/bin/tac"
"""
MAKE = f"""mkdir -p /var/lib/declared
for number in $(seq {FILES}); do dd if=/dev/urandom of=/var/lib/declared/$number bs=16k count=8 status=none; done
printf '#!/bin/sh\\necho works\\n' >/var/lib/tool
sync"""
SAME = "cd /var/lib/declared; for each in *; do cmp -s $each /usr/lib/declared/$each || echo differs $each; done"

CUTS = {"apply": 20, "enable": 10, "install": 10, "unmount": 10}
"""How often the power goes in each verb on each host: with two hosts 100 times."""

ENABLE = ("ovlay", "enable", "--yes")
INSTALL = ("ovlay", "install", "--yes", "-t", "/usr/libexec/mine", "-D", "/var/lib/tool")
APPLY = ("ovlay", "apply", "--system", "--enable", "--yes")
BEGUN: dict[str, tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]] = {
    "apply": ((), APPLY),
    "enable": ((), ENABLE),
    "install": ((ENABLE,), INSTALL),
    "unmount": ((ENABLE, INSTALL), ("ovlay", "unmount", "--yes")),
}
"""What is done before, and the verb in which the power goes."""


@pytest.mark.parametrize("verb", list(BEGUN))
def test_power_cuts(
    host: VmHost, verb: str, moments: Callable[[int], tuple[float, ...]], note: Callable[[str], None], recorded: Record
) -> None:
    """The power goes in the middle of a verb: the next boot is clean, and `ovlay apply` converges"""
    before, argv = BEGUN[verb]
    parts = moments(CUTS[verb])
    write(host, MANIFEST, DECLARED)
    host.sh(MAKE)
    for each in before:
        host.run(*each)
    started = time.monotonic()
    host.run(*argv)
    whole = time.monotonic() - started
    host.run("ovlay", "unmount", "--yes")
    after: dict[str, int] = {}
    for number, part in enumerate(parts):
        for each in before:
            host.run(*each)
        host.begin(*argv)
        time.sleep(whole * part)
        host.cut()
        host.power_on()
        recorded(host, f"60-power-cut-in-{verb}")
        where = f"cut {number + 1} of {len(parts)} in {verb}, after {whole * part:.2f} of {whole:.2f} s"
        assert sealed(host), where
        assert not state(host)["active"], where
        assert gone(host, "/usr/lib/declared/1"), where
        left = host.ovlay("salvage", check=False)
        assert left.status == 0, f"{where}: {left}"
        applied = host.run(*APPLY)
        assert host.sh(SAME) == "", where
        assert host.sh("yes; test -e /usr/bin/tac || echo absent") == "no\nabsent\n", where
        again = host.run(*APPLY, "--json").json()
        assert again["changed"] is False, f"{where}: {applied}"
        found = "+".join(sorted(anomaly["kind"] for anomaly in state(host)["anomalies"])) or "nothing odd"
        after[found] = after.get(found, 0) + 1
        host.ovlay("unmount", "--yes")
    host.cut()
    checked = subprocess.run(["e2fsck", "-f", "-n", host.disk], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    told = ", ".join(f"{many} {what}" for what, many in sorted(after.items()))
    note(f"{len(parts)} cuts over {whole:.1f} s; then: {told}")
