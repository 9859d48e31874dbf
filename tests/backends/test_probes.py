"""Every driver says why it does or does not fit, from files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from ovlay_backends.bootc import BootcBackend
from ovlay_backends.ostree import OstreeBackend
from ovlay_backends.overlayfs import OverlayfsBackend
from ovlay_backends.rpm_ostree import RpmOstreeBackend
from ovlay_backends.sysext import SysextBackend
from tests.backends.made_up import (
    COMPOSEFS,
    DEPLOYED,
    OSTREE,
    PLAIN_LINUX,
    READ_ONLY_LINUX,
    TRANSIENT_COMPOSEFS,
    made_up_host,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.backend import Backend

TOOLS = ("ostree", "rpm-ostree", "bootc", "systemd-sysext", "env")
BOOTED = {"/run/ostree-booted": ""}
IMAGE = {f"/sysroot{DEPLOYED}.origin": "[origin]\ncontainer-image-reference=ostree-image-signed:docker://example/os\n"}
KARG = {"/proc/cmdline": f"quiet ostree=/ostree/boot.1/os/{'0' * 64}/0\n"}


def systemd(version: str, place: str = "/usr/lib/x86_64-linux-gnu/systemd") -> dict[str, str]:
    return {f"{place}/libsystemd-shared-{version}.so": ""}


class Case(NamedTuple):
    driver: type[Backend]
    mounts: str
    files: dict[str, str]
    score: int
    reason: str
    tools: tuple[str, ...] = TOOLS
    target: str = "/usr"
    overlayfs: bool = True


CASES = {
    "ostree fits": Case(OstreeBackend, OSTREE, BOOTED, 70, "booted from the ostree deployment 0123"),
    "ostree, not booted from it": Case(OstreeBackend, PLAIN_LINUX, {}, 0, "/run/ostree-booted is missing"),
    "ostree, no tool": Case(OstreeBackend, OSTREE, BOOTED, 0, "ostree is not installed", ("bootc",)),
    "ostree, other target": Case(OstreeBackend, OSTREE, BOOTED, 0, "unlocks /usr only, not /opt", target="/opt"),
    # A live image sets the mark, and has no deployment.
    "ostree, live": Case(OstreeBackend, READ_ONLY_LINUX, BOOTED, 0, "the booted deployment cannot be told"),
    "ostree, live with a karg": Case(OstreeBackend, READ_ONLY_LINUX, BOOTED | KARG, 0, "cannot be told"),
    "rpm-ostree fits": Case(RpmOstreeBackend, OSTREE, BOOTED, 80, "booted from the ostree deployment"),
    "rpm-ostree, no tool": Case(RpmOstreeBackend, OSTREE, BOOTED, 0, "rpm-ostree is not installed", ("ostree",)),
    "rpm-ostree, other target": Case(RpmOstreeBackend, OSTREE, BOOTED, 0, "not /srv", target="/srv"),
    "rpm-ostree, not booted from it": Case(RpmOstreeBackend, PLAIN_LINUX, {}, 0, "/run/ostree-booted is missing"),
    "bootc fits": Case(BootcBackend, OSTREE, BOOTED | IMAGE, 90, "the container image ostree-image-signed:docker"),
    "bootc, no image": Case(BootcBackend, OSTREE, BOOTED, 0, "no container-image-reference"),
    "bootc, no tool": Case(BootcBackend, OSTREE, BOOTED | IMAGE, 0, "bootc is not installed", ("ostree",)),
    "bootc, plain Linux": Case(BootcBackend, PLAIN_LINUX, {}, 0, "/run/ostree-booted is missing"),
    "bootc, other target": Case(BootcBackend, OSTREE, BOOTED | IMAGE, 0, "not /opt", target="/opt"),
    "bootc fits composefs": Case(BootcBackend, COMPOSEFS, {}, 90, "the composefs image fedcba98"),
    "bootc fits a transient root": Case(BootcBackend, TRANSIENT_COMPOSEFS, {}, 90, "the composefs image fedcba98"),
    "bootc on composefs, no tool": Case(BootcBackend, COMPOSEFS, {}, 0, "bootc is not installed", ()),
    "bootc on composefs, other target": Case(BootcBackend, COMPOSEFS, {}, 0, "not on /opt", target="/opt"),
    "sysext fits": Case(SysextBackend, READ_ONLY_LINUX, systemd("257"), 30, "systemd-sysext 257"),
    "sysext of Fedora fits": Case(SysextBackend, OSTREE, systemd("258-1.fc44", "/usr/lib64/systemd"), 30, "258"),
    "sysext of Arch fits": Case(SysextBackend, OSTREE, systemd("259.1-1", "/usr/lib/systemd"), 30, "259"),
    "sysext, too old": Case(SysextBackend, OSTREE, systemd("252"), 0, "252 has no --mutable, which came with 256"),
    "sysext, no version": Case(SysextBackend, OSTREE, {}, 0, "the version of systemd-sysext cannot be told"),
    "sysext, no tool": Case(SysextBackend, OSTREE, systemd("257"), 0, "systemd-sysext is not installed", ("env",)),
    "sysext, writable": Case(SysextBackend, PLAIN_LINUX, systemd("257"), 0, "not an image-based host"),
    "sysext, other target": Case(SysextBackend, OSTREE, systemd("257"), 0, "only for /usr", target="/opt"),
    "overlayfs fits": Case(OverlayfsBackend, READ_ONLY_LINUX, {}, 10, "the kernel has overlayfs"),
    "overlayfs fits any directory": Case(
        OverlayfsBackend, PLAIN_LINUX, {"/srv/www/index": ""}, 10, "the kernel has overlayfs", target="/srv/www"
    ),
    "overlayfs, writable": Case(OverlayfsBackend, PLAIN_LINUX, {}, 0, "take --backend overlayfs for an overlay all"),
    "overlayfs, no directory": Case(
        OverlayfsBackend, PLAIN_LINUX, {"/srv/file": ""}, 0, "/srv/file is not a directory", target="/srv/file"
    ),
    "overlayfs, missing": Case(OverlayfsBackend, PLAIN_LINUX, {}, 0, "is not a directory", target="/srv/none"),
    "overlayfs, old kernel": Case(OverlayfsBackend, OSTREE, {}, 0, "this kernel has no overlayfs", overlayfs=False),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_reason_is_told(case: Case, tmp_path: Path) -> None:
    host = made_up_host(tmp_path, case.mounts, tools=case.tools, files=case.files, overlayfs=case.overlayfs)
    probe = case.driver(host, case.target).probe()
    assert case.reason in probe.reason
    assert probe.score == case.score
    assert probe.fits is (case.score > 0)


@pytest.mark.parametrize(
    ("mark", "kind"),
    [
        ("/run/.toolboxenv", "toolbox"),
        ("/run/.containerenv", "podman"),
        ("/.dockerenv", "docker"),
        ("/.flatpak-info", "flatpak"),
        ("/run/systemd/container", "systemd-nspawn"),
    ],
)
@pytest.mark.parametrize(
    "driver",
    [BootcBackend, OstreeBackend, OverlayfsBackend, RpmOstreeBackend, SysextBackend],
    ids=lambda driver: driver.name,
)
def test_no_driver_takes_a_container_for_the_host(driver: type[Backend], mark: str, kind: str, tmp_path: Path) -> None:
    files = {**BOOTED, **IMAGE, **systemd("257"), mark: f"{kind}\n"}
    probe = driver(made_up_host(tmp_path, OSTREE, tools=TOOLS, files=files), "/usr").probe()
    assert probe.score == 0
    assert f"inside a container ({kind})" in probe.reason


def test_bootc_over_composefs_is_not_taken_in_a_container(tmp_path: Path) -> None:
    host = made_up_host(tmp_path, COMPOSEFS, tools=TOOLS, files={"/run/.containerenv": ""})
    assert "inside a container (podman)" in BootcBackend(host, "/usr").probe().reason


def test_overlayfs_serves_other_directories_of_a_container(tmp_path: Path) -> None:
    host = made_up_host(tmp_path, PLAIN_LINUX, files={"/run/.containerenv": "", "/srv/www/index": ""})
    assert OverlayfsBackend(host, "/srv/www").probe().fits


@pytest.mark.parametrize(
    "driver",
    [BootcBackend, OstreeBackend, OverlayfsBackend, RpmOstreeBackend, SysextBackend],
    ids=lambda driver: driver.name,
)
@pytest.mark.parametrize("mountinfo", ["", "garbage\n", "1 2 3\n", "20 1 0:3 / /proc rw - proc proc rw\n"])
def test_a_probe_never_raises(driver: type[Backend], mountinfo: str, tmp_path: Path) -> None:
    files = {"/run/ostree-booted": "", "/proc/cmdline": "ostree= composefs=\x00"}
    probe = driver(made_up_host(tmp_path, mountinfo, tools=TOOLS, files=files), "/usr").probe()
    assert probe.reason


def test_the_deployment_is_told_by_the_kernel_argument_too(tmp_path: Path) -> None:
    link = tmp_path / f"sysroot/ostree/boot.1/os/{'0' * 64}/0"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../../../../..{DEPLOYED}")
    host = made_up_host(tmp_path, READ_ONLY_LINUX, tools=TOOLS, files=BOOTED | KARG)
    assert OstreeBackend(host, "/usr").probe().fits
