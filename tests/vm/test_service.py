"""The manifests are applied at a boot, before ordinary services; and whatever is wrong with them, the boot goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.lab.witness import state
from tests.vm.witness import gone, let_units_take_long, write

if TYPE_CHECKING:
    from tests.vm.conftest import Record
    from tests.vm.host import VmHost

UNIT = "ovlay-apply.service"
MANIFEST = "/etc/ovlay/manifest.toml"
GOOD = """schema = 1
[[file]]
path = "/usr/bin/placed"
text = "#!/bin/sh\\necho placed\\n"
mode = "0755"
"""
USES = """[Unit]
Description=needs what the manifest declares
[Service]
Type=oneshot
ExecStart=/bin/sh -c '/usr/bin/placed >/run/used'
"""


class Wrong(NamedTuple):
    """Something that is wrong at a boot: how it is made so, and a word of what the journal then says."""

    manifest: str
    said: str
    before: str = "true"
    after: str = "true"


WRONG = {
    "a broken manifest": Wrong("schema = 1\n[[file]\npath=\n", "manifest.toml"),
    "a missing source": Wrong(
        'schema = 1\n[[file]]\npath = "/usr/bin/placed"\nsource = "/var/lib/not-there"\n', "/var/lib/not-there"
    ),
    "a full disk": Wrong(
        'schema = 1\n[[file]]\npath = "/usr/bin/placed"\nsource = "/var/lib/large"\nmode = "0755"\n',
        "space",
        before="fallocate -l 64M /var/lib/large; fallocate -l $(df --output=avail -B1 /var | tail -n 1) /var/lib/fill"
        " || dd if=/dev/zero of=/var/lib/fill bs=1M 2>/dev/null || true; sync",
        after="rm -f /var/lib/fill /var/lib/large",
    ),
    "a manifest for another image": Wrong(GOOD.replace("[[file]]", '[when]\nchecksum = "ffff*"\n[[file]]'), ""),
}


def test_the_service_brings_the_files_back_and_never_harms_a_boot(host: VmHost, recorded: Record) -> None:
    """service install: applied again before sysinit.target, a boot service uses the file; four broken boots go on"""
    host.quick = False  # from the next boot on
    write(host, MANIFEST, GOOD)
    write(host, "/etc/systemd/system/uses.service", USES)
    host.sh("mkdir -p /etc/systemd/system/multi-user.target.wants")
    host.sh("ln -s ../uses.service /etc/systemd/system/multi-user.target.wants/uses.service")
    let_units_take_long(host)
    host.ovlay("service", "install", "--yes")
    host.reboot()
    assert host.settle() == "running"
    assert host.sh("cat /run/used") == "placed\n"
    applied = int(host.run("systemctl", "show", "-P", "ExecMainExitTimestampMonotonic", UNIT).stdout)
    reached = int(host.run("systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "sysinit.target").stdout)
    assert 0 < applied < reached
    assert state(host)["active"]
    recorded(host, "50-applied-at-boot")

    for name, wrong in WRONG.items():
        write(host, MANIFEST, wrong.manifest)
        host.sh(wrong.before)
        host.reboot()
        told = host.settle()
        journal = host.journal("--unit", UNIT)
        host.sh(wrong.after)
        assert told in ("running", "degraded"), (name, told)
        assert host.run("systemctl", "is-active", "multi-user.target").stdout == "active\n", name
        assert wrong.said in journal, (name, journal)
        assert "ovlay" in journal, (name, journal)
        assert gone(host, "/usr/bin/placed"), name

    write(host, MANIFEST, GOOD)
    host.argument = "ovlay.apply=no"
    host.reboot()
    host.settle()
    assert gone(host, "/usr/bin/placed")
    host.argument = ""
    host.ovlay("apply", "--system", "--enable", "--yes")
    assert host.run("placed").stdout == "placed\n"
    host.ovlay("service", "remove", "--yes")
    host.reboot()
    host.settle()
    assert gone(host, "/usr/bin/placed")
