"""Keeps a state that a boot was in, in the files that the unit tests of the drivers read (tests/states/README.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.vm.host import VmHost

# What the first recordings call the hosts.
_NAMES = {"forky-composefs": "forky-cfs"}

BOOTS = Path(__file__).parents[1] / "states" / "boots"

# The headings are those of the first recordings, of which tests/states/host.py reads some.
_MISC = """
echo '# /run/ostree-booted'; od -c /run/ostree-booted | head -n 20
echo '# /run/ostree'; find /run/ostree
echo '# /run/systemd/sysext'; find /run/systemd/sysext -maxdepth 2 2>&1
echo '# deploy dir'; ls -la /sysroot/ostree/deploy/debian /sysroot/ostree/deploy/debian/deploy
echo '# backing'; find /sysroot/ostree/deploy/debian/backing -maxdepth 3 2>&1
echo '# marker: empty uppers'; find /sysroot/ostree/deploy/debian/backing -maxdepth 3 -name upper -empty
echo '# overlay dirs of hotfix'; ls -d /sysroot/ostree/deploy/debian/deploy/*/.usr-ovl* 2>&1
for origin in /sysroot/ostree/deploy/debian/deploy/*.origin; do echo "# $origin"; cat $origin; done
echo '# /var/tmp'; ls -la /var/tmp
echo '# /var/lib/extensions.mutable'; find /var/lib/extensions.mutable -maxdepth 2 2>/dev/null
echo '# cmdline'; cat /proc/cmdline
echo '# bls'; cat /boot/loader/entries/*.conf
echo '# write test'; touch /usr/.probe 2>&1 && rm /usr/.probe && echo '/usr is writable'
echo '# /run/ovlay'; find /run/ovlay /var/lib/ovlay -maxdepth 4 -type d 2>/dev/null
true
"""
_VERSIONS = "uname -r; ostree --version | head -n 5; systemctl --version | head -n 1; python3 --version"


def record(host: VmHost, state: str) -> None:
    """Write the files of the state that the machine is in now."""
    name = host.boots.recipe.name
    place = BOOTS / _NAMES.get(name, name) / state
    ostree = host.run("ostree", "admin", "status", check=False)
    files = {
        "misc.txt": host.run("sh", "-c", _MISC).stdout,  # some of it is not there in every state
        "mountinfo": host.sh("cat /proc/self/mountinfo"),
        "ostree-admin-status.txt": f"{ostree.stdout}{ostree.stderr}rc={ostree.status}\n",
        "systemd-sysext-status.json": host.run("systemd-sysext", "status", "--json=pretty", check=False).stdout,
        "ovlay-status.json": host.ovlay("status", "--json").stdout,
        "versions.txt": host.sh(_VERSIONS),
    }
    place.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (place / name).write_text(text)
