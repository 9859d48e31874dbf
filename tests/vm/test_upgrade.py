"""Another image is deployed while the overlay is on: what is warned of before, and what is said after the reboot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.witness import state
from tests.vm.witness import base, gone, sealed, write

if TYPE_CHECKING:
    from tests.vm.conftest import Record
    from tests.vm.host import VmHost

MANIFEST = "/etc/ovlay/manifest.toml"
DECLARED = """schema = 1
[[file]]
path = "/usr/bin/stays"
text = "stays\\n"
[[file]]
path = "/usr/share/graduates"
text = "now in the image\\n"
mode = "0644"
[[file]]
path = "/usr/bin/yes"
text = "#!/bin/sh\\necho no\\n"
mode = "0755"
"""
# The image that follows: it has what one entry declares, and another `yes` than the one that was replaced.
NEXT = """mkdir -p /var/next/usr/share /var/next/usr/bin
echo now in the image >/var/next/usr/share/graduates
printf '#!/bin/sh\\necho newer\\n' >/var/next/usr/bin/yes
chmod 755 /var/next/usr/bin/yes
ostree --repo=/sysroot/ostree/repo commit --branch=debian/host --tree=ref=debian/host --tree=dir=/var/next \
    --owner-uid=0 --owner-gid=0 -s 'the next image'
"""


def test_an_upgrade_while_the_overlay_is_on(host: VmHost, recorded: Record) -> None:
    """ostree admin upgrade under an overlay: guard warns, then the base is new, conflict and graduation are told"""
    old = base(host)
    write(host, MANIFEST, DECLARED)
    host.ovlay("apply", "--system", "--enable", "--yes")
    host.sh("echo mine >/usr/share/unmanaged")
    warned = host.ovlay("guard", "upgrade", "--json", check=False)
    assert warned.status == 1, warned
    assert warned.json()["safe"] is False
    assert "/usr/share/unmanaged" in host.ovlay("guard", "upgrade", check=False).stdout
    host.sh(NEXT)
    host.run("ostree", "admin", "upgrade", seconds=900)
    assert host.run("yes").stdout == "no\n"  # the overlay that is on does not change
    recorded(host, "51-upgrade-pending")
    host.reboot()

    recorded(host, "52-upgraded")
    assert base(host) != old
    assert sealed(host)
    assert gone(host, "/usr/bin/stays")
    assert gone(host, "/usr/share/unmanaged")
    assert host.run("yes").stdout == "newer\n"
    drift = host.ovlay("drift", "--system", check=False)
    assert drift.status == 1, drift
    assert any(line.split()[:2] == ["graduated", "/usr/share/graduates"] for line in drift.stdout.splitlines()), drift
    applied = host.ovlay("apply", "--system", "--enable", "--yes", check=False)
    assert applied.status == 5, applied
    assert "/usr/bin/yes" in applied.stdout + applied.stderr
    assert "base-changed" in applied.stdout + applied.stderr
    assert host.sh("cat /usr/bin/stays") == "stays\n"
    assert host.run("yes").stdout == "newer\n"
    host.ovlay("apply", "--system", "--yes", "--force")
    assert host.run("yes").stdout == "no\n"
    assert state(host)["active"]
