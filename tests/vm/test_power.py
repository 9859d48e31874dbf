"""The power goes at random moments of a verb; the next boot is clean, and `ovlay apply` converges.

QEMU is killed, so what the kernel had in memory is lost, and what it had given to the disk is not. The moments are
spread over the time that the verb was seen to take: one in each of as many parts as there are cuts, at random in it.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from ovlay.kernel.mountinfo import parse_mountinfo
from tests.lab.host import stacked
from tests.lab.witness import checked_state
from tests.vm.witness import sealed_stack, write

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

TRIES = 5
"""How often a cut is made again where the verb was quicker than its moment."""


AGAIN = {
    "mounts": "cat /proc/self/mountinfo",
    "written": "touch /usr/.probe && rm /usr/.probe",
    "status": "ovlay status --json",
    "declared": "ls -d /usr/lib/declared",
    "salvage": "ovlay salvage",
    "apply": f"{shlex.join(APPLY)}",
    "differs": SAME,
    "names": "yes; ls /usr/bin/tac",
    "apply_again": f"{shlex.join(APPLY)} --json",
    "status_applied": "ovlay status --json",
    "unmount": "ovlay unmount --yes",
}
"""What is asked of the boot that follows a cut."""


@pytest.mark.parametrize("verb", list(BEGUN))
def test_power_cuts(
    host: VmHost, verb: str, moments: Callable[[int], tuple[float, ...]], note: Callable[[str], None], recorded: Record
) -> None:
    """The power goes in the middle of a verb: the next boot is clean, and `ovlay apply` converges"""
    before, argv = BEGUN[verb]
    prepare = {f"before_{number}": shlex.join(each) for number, each in enumerate(before)}
    write(host, MANIFEST, DECLARED)
    host.sh(MAKE)
    whole = 0.0
    for _ in range(2):  # the second time is what counts: the first has to be read from the disk, and translated
        assert all(told.status == 0 for told in host.gather(**prepare).values())
        started = time.monotonic()
        host.run(*argv)
        whole = time.monotonic() - started
        host.run("ovlay", "unmount", "--yes")
    after: Counter[str] = Counter()
    late = 0
    parts = moments(CUTS[verb])
    assert all(told.status == 0 for told in host.gather(**prepare).values())
    for number, part in enumerate(parts):
        for _ in range(TRIES):
            where = f"cut {number + 1} of {len(parts)} in {verb}, after {whole * part:.2f} of {whole:.2f} s"
            begun = time.monotonic()
            over = host.machine.ended(host.begin(*argv), whole * part)
            took = time.monotonic() - begun
            host.cut()
            host.power_on()
            if number == 0:
                recorded(host, f"60-power-cut-in-{verb}")
            after[converged(host, where, prepare)] += 1
            if not over:
                break
            # It was quicker this time, so that the power went after it: a cut more, and not one that counts.
            late, whole = late + 1, took
        else:
            pytest.fail(f"{verb} was over before the power went, {TRIES} times: {where}")
    host.cut()
    checked = subprocess.run(["e2fsck", "-f", "-n", host.disk], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    told = ", ".join(f"{many} {what}" for what, many in sorted(after.items()))
    note(f"cuts within {whole:.1f} s: {len(parts)}, after the end: {late}; then: {told}")


def converged(host: VmHost, where: str, prepare: dict[str, str]) -> str:
    """See that the boot after a cut is clean and `ovlay apply` converges in it; return what the cut has left."""
    told = host.gather(**AGAIN, **prepare)
    shown = "\n".join(f"{name}: {each}" for name, each in told.items() if name != "mounts")
    failed = {name for name, each in told.items() if each.status != 0}
    assert failed == {"written", "declared", "names"}, f"{where}: {shown}"
    assert stacked(parse_mountinfo(told["mounts"].text + "\n")) == sealed_stack(host), f"{where}: {told['mounts'].text}"
    found = checked_state(json.loads(told["status"].text))
    assert not found["active"], f"{where}: {shown}"
    assert told["differs"].text == "", f"{where}: {shown}"
    assert told["names"].text == "no", f"{where}: {shown}"
    assert json.loads(told["apply_again"].text)["changed"] is False, f"{where}: {shown}"
    applied = checked_state(json.loads(told["status_applied"].text))
    assert applied["active"], f"{where}: {shown}"
    return "+".join(sorted(anomaly["kind"] for anomaly in found["anomalies"])) or "nothing odd"
