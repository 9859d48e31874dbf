"""Witnesses of the state of a machine, and what somebody else does to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.recipe import Layout

if TYPE_CHECKING:
    from tests.vm.host import VmHost


def sealed(host: VmHost) -> bool:
    """Whether /usr is as after a boot: nothing on it that was not there, and nobody can write."""
    return host.stack() == sealed_stack(host) and not host.writable()


def sealed_stack(host: VmHost) -> tuple[str, ...]:
    """What is mounted on /usr after a boot: a read-only bind of the deployment; a composefs root has all in one."""
    return ("ext4 - ro",) if host.recipe.layout is Layout.PLAIN else ()


def gone(host: VmHost, path: str) -> bool:
    """Whether nothing is there."""
    return (
        host.run("test", "-e", path, check=False).status == 1 and host.run("test", "-L", path, check=False).status == 1
    )


def base(host: VmHost) -> str:
    """The checksum of the deployment that is booted, as the kernel's command line leads to it."""
    return host.sh("basename $(readlink -f /$(sed 's/.*ostree=.\\([^ ]*\\).*/\\1/' /proc/cmdline))").strip()


def merge_extension(host: VmHost, place: str = "/run/extensions") -> None:
    """Install somebody's system extension, a directory, and merge it."""
    tree = f"{place}/other/usr"
    host.sh(
        f"mkdir -p {tree}/lib/extension-release.d {tree}/share;"
        f"echo ID=_any >{tree}/lib/extension-release.d/extension-release.other; echo ext >{tree}/share/ext;"
        "systemd-sysext merge"
    )


def write(host: VmHost, path: str, text: str) -> None:
    """Put a file, with the directories on the way."""
    host.run("sh", "-euc", 'mkdir -p "$(dirname "$1")"; cat >"$1"; sync', "sh", path, stdin=text)


def let_units_take_long(host: VmHost) -> None:
    """Give ovlay's unit more than its three minutes, which emulation on a busy machine can take."""
    write(host, "/etc/systemd/system/ovlay-apply.service.d/slow.conf", "[Service]\nTimeoutStartSec=15min\n")
