"""Revert, reset and salvage on real ostree: /usr is the deployment's again with no reboot, and the deployment the same.

The witness is a full comparison of /usr with the checkout of the deployment: every name, byte and attribute.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.conftest import BOOTC, FORKY, TRIXIE
from tests.lab.host import UNDER_TEST
from tests.lab.witness import sealed, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost
    from tests.lab.recipe import Recipe

CHECKOUT = "$(ls -d /sysroot/ostree/deploy/debian/deploy/*/usr)"

COMPARE = f"""
import os, stat, sys
sys.path.insert(0, "{UNDER_TEST}")
from ovlay.changes.compare import Aspect, compare_trees
for found in compare_trees(sys.argv[1], "/usr", ignore=[Aspect.HARD_LINKS]):
    # The checkout beneath ostree's overlay has links and empty files with the time of the checkout; in the composefs
    # image, which is what was on /usr before, it is 0.
    if "composefs" in sys.argv[2:] and found.aspects == (Aspect.MTIME,):
        known = os.lstat("/usr/" + found.path)
        if stat.S_ISLNK(known.st_mode) or not known.st_size:
            continue
    print(str(found).encode(errors="backslashreplace").decode())
"""

SCAN = f"""
import os, pickle, sys
sys.path.insert(0, "{UNDER_TEST}")
from ovlay.changes.compare import Aspect, compare, scan_tree
found = scan_tree("/usr")
if os.path.exists("/run/before"):
    for one in compare(pickle.load(open("/run/before", "rb")), found, ignore=[Aspect.HARD_LINKS]):
        print(one)
else:
    pickle.dump(found, open("/run/before", "wb"))
"""

EDIT = r"""
import os, shutil, socket, stat, struct
usr = "/usr"
with open(f"{usr}/bin/env", "ab") as stream:
    stream.write(b"changed")
os.chmod(f"{usr}/bin/ls", 0o700)
os.setxattr(f"{usr}/bin/cat", "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
os.setxattr(f"{usr}/bin/touch", "user.note", b"new")
os.chown(f"{usr}/bin/mkdir", 12, 34)
shutil.rmtree(f"{usr}/share/doc")
shutil.rmtree(f"{usr}/share/bash-completion", ignore_errors=True)
shutil.move(f"{usr}/share/misc", f"{usr}/share/misc-renamed")
os.unlink(f"{usr}/bin/tac")
os.symlink("/etc/passwd", f"{usr}/bin/tac")
os.unlink(f"{usr}/bin/sort")
os.mkdir(f"{usr}/bin/sort")
with open(f"{usr}/bin/sort/inner", "w") as stream:
    stream.write("x")
os.rename(f"{usr}/bin/head", f"{usr}/bin/tail")
os.makedirs(f"{usr}/lib/new/tree")
with open(f"{usr}/lib/new/tree/file", "w") as stream:
    stream.write("new")
os.mkfifo(f"{usr}/lib/new/fifo")
os.mknod(f"{usr}/lib/new/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
with socket.socket(socket.AF_UNIX) as bound:
    bound.bind(f"{usr}/lib/new/socket")
with open(b"/usr/lib/new/no\xffutf8\n", "w"):
    pass
os.chmod(f"{usr}/share", 0o711)
os.setxattr(f"{usr}/lib", "user.note", b"of a directory")
os.utime(f"{usr}/bin/wc", ns=(7, 7))
"""

STAMPS = f"find {CHECKOUT} -printf '%p %i %C@ %T@ %m %U:%G %s\\n' | sort | sha256sum"


def differences(host: LabHost) -> list[str]:
    """In what /usr differs from the deployment."""
    layout = "composefs" if host.recipe.composefs else "plain"
    said = host.sh(f'python3 -I - {CHECKOUT} {layout} <<"END"\n{COMPARE}\nEND')
    return said.splitlines()


def edit(host: LabHost) -> None:
    host.run("python3", "-I", "-", stdin=EDIT)


def planned(host: LabHost, *words: str) -> Any:
    return json.loads(host.ovlay(*words, "--dry-run", "--json").stdout)


def test_reset_makes_usr_the_deployment_again(host: LabHost) -> None:
    before = host.sh(STAMPS)
    host.ovlay("enable", "--yes")
    edit(host)
    assert len(differences(host)) > 20
    (step,) = planned(host, "reset")["steps"]
    assert step["step"] == "restore-paths"
    assert "share/doc" in step["changed"]
    assert not [path for path in step["changed"] if path.startswith("share/doc/")]
    host.ovlay("reset", "--yes")
    assert differences(host) == []
    assert host.sh(STAMPS) == before
    assert host.stack()[-1] == "overlay overlay rw"
    assert "nothing on /usr differs" in host.ovlay("reset", "--yes").stdout
    host.ovlay("unmount", "--yes")
    assert sealed(host)


def test_revert_undoes_what_it_is_told_and_no_more(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    edit(host)
    host.ovlay("revert", "--yes", "/usr/bin", "share/doc", "lib/new/tree")
    left = {line.split(":")[0] for line in differences(host)}
    assert not [path for path in left if path.startswith(("bin/", "share/doc", "lib/new/tree"))]
    assert {"lib/new/fifo", "share", "share/misc"} <= left
    assert host.sh("/usr/bin/env echo works") == "works\n"
    assert "no change at /usr/bin/env" in host.ovlay("revert", "--yes", "/usr/bin/env").stdout
    host.ovlay("reset", "--yes")
    assert differences(host) == []


def test_a_read_only_overlay_is_reset_and_stays_read_only(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    edit(host)
    host.ovlay("enable", "--yes", "--read-only")
    host.ovlay("reset", "--yes")
    assert differences(host) == []
    assert not host.writable()
    assert host.mountinfo().stack("/usr")[-1].superblock_read_only


def test_a_holder_of_the_old_file_keeps_it(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.sh("echo changed >/usr/bin/tac")
    pid = host.start("exec 3</usr/bin/tac; echo ready; exec sleep 600")
    said = host.ovlay("revert", "--yes", "/usr/bin/tac")
    assert "keep the old one until they are restarted" in said.stdout
    assert host.sh(f"cat /proc/{pid}/fd/3") == "changed\n"
    assert differences(host) == []
    host.end(pid)


def test_reset_fresh_leaves_the_holder_its_view(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    edit(host)
    pid = host.hold("/usr/lib/new")
    host.ovlay("reset", "--fresh", "--yes")
    assert host.stack()[-1] == "overlay ovlay rw"  # ostree would remove the files under the holder
    assert host.sh(f"cat /proc/{pid}/cwd/tree/file") == "new"
    assert [line for line in differences(host) if line != ".: mtime"] == []
    host.end(pid)
    host.ovlay("reset", "--fresh", "--yes")
    assert state(host)["active"]
    assert host.writable()


def test_an_upper_that_no_path_leads_to_is_reset(boot: Callable[[Recipe], LabHost]) -> None:
    """bootc over composefs: the upper is on a detached tmpfs."""
    host = boot(BOOTC)
    host.stand_in("bootc")
    host.run("python3", "-I", "-", stdin=SCAN)
    host.ovlay("enable", "--yes")
    assert state(host)["upper_path"] is None
    edit(host)
    assert len(host.run("python3", "-I", "-", stdin=SCAN).stdout.splitlines()) > 20
    host.ovlay("reset", "--yes")
    assert host.run("python3", "-I", "-", stdin=SCAN).stdout == ""
    assert state(host)["active"]
    edit(host)
    host.ovlay("reset", "--fresh", "--yes")
    assert host.run("python3", "-I", "-", stdin=SCAN).stdout in ("", ".: mtime\n")


@pytest.mark.usefixtures("sources")
def test_a_hotfix_is_reset_for_good(host: LabHost) -> None:
    """On a plain layout nothing but the writable deployment is beneath it after a reboot."""
    host.run("python3", "-I", "-", stdin=SCAN)
    host.sh("cp /run/before /var/before")
    host.ovlay("enable", "--yes", "--persistent")
    edit(host)
    host.ovlay("revert", "--yes", "bin/sort", "bin/head", "bin/tail", "bin/ls")  # a boot needs them
    host.reboot()
    stamps = host.sh(STAMPS)
    host.ovlay("reset", "--yes")
    for _ in range(2):
        host.sh("cp /var/before /run/before")
        left = host.run("python3", "-I", "-", stdin=SCAN).stdout.splitlines()
        assert [line for line in left if not line.endswith(": mtime") or host.recipe.layout.value == "plain"] == []
        assert host.sh(STAMPS) == stamps
        host.reboot()
    assert host.ovlay("reset", "--fresh", "--yes", check=False).status == 5


@pytest.mark.parametrize("recipe", [TRIXIE, FORKY], ids=["trixie", "forky"])
def test_what_an_extension_brings_is_no_change_to_be_undone(boot: Callable[[Recipe], LabHost], recipe: Recipe) -> None:
    host = boot(recipe)
    host.ovlay("enable", "--yes", "--backend", "sysext")
    before = host.run("python3", "-I", "-", stdin=SCAN)
    edit(host)
    host.ovlay("reset", "--yes", "--backend", "sysext")
    left = host.run("python3", "-I", "-", stdin=SCAN).stdout.splitlines()
    assert (before.stdout, [line for line in left if not line.endswith(": mtime")]) == ("", [])
    extension = "/run/extensions/other/usr"
    host.sh(
        f"mkdir -p {extension}/lib/extension-release.d {extension}/share; echo ext >{extension}/share/ext;"
        f"echo ID=_any >{extension}/lib/extension-release.d/extension-release.other; echo x >/usr/share/x"
    )
    host.run("systemd-sysext", "refresh", "--mutable=yes")
    refused = host.ovlay("reset", "--yes", "--backend", "sysext", check=False)
    assert refused.status == 4
    assert "`ovlay reset --fresh`" in refused.stderr
    host.ovlay("reset", "--fresh", "--yes", "--backend", "sysext")
    assert host.sh("cat /usr/share/ext; ls /usr/share/x 2>/dev/null || echo gone") == "ext\ngone\n"


@pytest.mark.usefixtures("sources")
def test_what_the_last_boot_left_is_salvaged(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "-m", "0640", "/tmp/one", "/usr/share/one")
    host.sh(
        "rm -r /usr/share/misc; mkdir /usr/lib/new; echo kept >/usr/lib/new/file; ln -s /etc/shadow /usr/lib/new/link"
    )
    assert "nothing is left" in host.ovlay("salvage").stdout  # what is in use is no leftover
    host.reboot()
    found = json.loads(host.ovlay("salvage", "--json").stdout)
    assert found["schema"] == "ovlay.salvage/1"
    (left,) = found["uppers"]
    kinds = {change["path"]: change["kind"] for change in left["changes"]}
    assert kinds == {
        "lib/new": "added",
        "lib/new/file": "added",
        "lib/new/link": "added",
        "share/misc": "deleted",
        "share/one": "added",
    }
    host.ovlay("salvage", "--yes", "--to", "/var/saved")
    assert host.sh("cd /var/saved; cat share/one lib/new/file; readlink lib/new/link; stat -c %a share/one") == (
        "one\nkept\n/etc/shadow\n640\n"
    )
    assert host.sh("ls -A /var/saved/share") == "one\n"
    again = host.ovlay("salvage", "--yes", "--to", "/var/saved", check=False)
    assert again.status == 5
    host.ovlay("salvage", "--yes", "--to", "/var/part", "/usr/share/one")
    assert host.sh("find /var/part -type f") == "/var/part/share/one\n"
    refused = host.ovlay("salvage", check=False, user=65534)
    assert refused.status == 6
