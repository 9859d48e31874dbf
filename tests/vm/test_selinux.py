"""On a host with SELinux every file that ovlay places has the label that the policy has for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.vm.conftest import SELINUX
from tests.vm.witness import gone, write

if TYPE_CHECKING:
    from tests.vm.conftest import Boot

DECLARED = """schema = 1
[[file]]
path = "/usr/sbin/declared"
text = "#!/bin/sh\\n"
mode = "0755"
[[file]]
path = "/usr/lib/x86_64-linux-gnu/libdeclared.so.1"
text = "no library"
[[symlink]]
path = "/usr/bin/led"
to = "../sbin/declared"
[[directory]]
path = "/usr/lib/declared"
"""


def test_placed_files_have_their_labels(boot: Boot) -> None:
    """SELinux permissive with Debian's policy: placed files, links and directories are clean for matchpathcon -V"""
    host = boot(SELINUX)
    assert host.run("getenforce").stdout == "Permissive\n"
    host.sh("printf '#!/bin/sh\\necho works\\n' >/var/lib/tool; echo two >/var/lib/two")
    for access in ((), ("--read-only",)):
        host.ovlay("enable", "--yes", *access)
        host.ovlay("install", "--yes", "/var/lib/tool", "/usr/bin/mine")
        host.ovlay("install", "--yes", "/var/lib/tool", "/usr/bin/yes")
        host.ovlay("install", "--yes", "-D", "/var/lib/two", "/usr/lib/modules-load.d/two.conf")
        host.ovlay("install", "--yes", "-D", "/var/lib/tool", "/usr/libexec/mine/tool")
        placed = ["/usr/bin/mine", "/usr/bin/yes", "/usr/lib/modules-load.d/two.conf", "/usr/libexec/mine/tool"]
        write(host, "/etc/ovlay/manifest.toml", DECLARED)
        host.ovlay("apply", "--system", "--yes")
        placed += ["/usr/sbin/declared", "/usr/lib/x86_64-linux-gnu/libdeclared.so.1", "/usr/bin/led"]
        placed += ["/usr/lib/declared", "/usr/libexec/mine", "/usr"]
        checked = host.run("matchpathcon", "-V", *placed, check=False)
        assert checked.status == 0, checked
        assert len(checked.stdout.splitlines()) == len(placed)
        assert all(line.endswith("verified.") for line in checked.stdout.splitlines()), checked
        host.ovlay("revert", "--yes", "/usr/bin/yes")
        assert host.run("matchpathcon", "-V", "/usr/bin/yes").stdout.endswith("verified.\n")
        host.ovlay("unmount", "--yes", "--lazy")
        assert gone(host, "/usr/bin/mine")
