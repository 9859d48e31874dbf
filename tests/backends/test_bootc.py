"""bootc over composefs alone: its overlay is told for what it is, and nothing is planned that would do nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import StateForbids, Unsupported
from ovlay.host import Finished
from ovlay.model import Access, AnomalyKind, Backing, Mode, Owner, Persistence
from ovlay_backends.bootc import BootcBackend
from ovlay_backends.deployment import composefs_digest
from tests.backends.made_up import (
    BOOTC_OVERLAY,
    COMPOSEFS,
    DIGEST,
    OSTREE,
    PLAIN_LINUX,
    TRANSIENT_COMPOSEFS,
    MadeUpKernel,
    made_up_host,
)

if TYPE_CHECKING:
    from pathlib import Path

RW = Mode(Access.READ_WRITE, Persistence.TRANSIENT)
RO = Mode(Access.READ_ONLY, Persistence.TRANSIENT)
HOTFIX = Mode(Access.READ_WRITE, Persistence.PERSISTENT)
IMAGE = "ostree-unverified-image:docker://registry.example/os:42"
ORIGIN = {f"/sysroot/state/deploy/{DIGEST}/{DIGEST}.origin": f"[origin]\ncontainer-image-reference={IMAGE}\n"}
SYSEXT = "40 20 0:50 / /usr ro,nodev - overlay sysext ro,lowerdir=/run/systemd/sysext/extensions/a/usr:/usr\n"


def bootc(root: Path, mountinfo: str, *, version: str = "1.16.6", files: dict[str, str] | None = None) -> BootcBackend:
    answers: dict[tuple[str, ...], Finished] = {("/usr/bin/bootc", "--version"): Finished(0, f"bootc {version}\n", "")}
    host = made_up_host(root, mountinfo, tools=("bootc",), files={**ORIGIN, **(files or {})}, answers=answers)
    return BootcBackend(host, "/usr")


def test_a_locked_host(tmp_path: Path) -> None:
    status = bootc(tmp_path, COMPOSEFS).status()
    assert (status.backend, status.active, status.mode, status.flag) == ("bootc", False, None, None)
    assert status.anomalies == ()
    assert status.depth == 1
    assert status.base is not None
    assert (status.base.kind, status.base.checksum, status.base.image) == ("composefs", DIGEST, IMAGE)


@pytest.mark.parametrize(("flag", "mode"), [("rw", RW), ("ro", RO)])
def test_its_overlay_is_the_tools(tmp_path: Path, flag: str, mode: Mode) -> None:
    status = bootc(tmp_path, COMPOSEFS + BOOTC_OVERLAY.format(flag)).status()
    assert status.active
    assert status.mode == mode
    assert [layer.owner for layer in status.stack] == [Owner.TOOL]
    assert status.upper_path is None
    # A read-only one has a writable superblock, always; that is not odd here.
    assert {found.kind for found in status.anomalies} == {AnomalyKind.UNREACHABLE_UPPER, AnomalyKind.DEPTH_LIMIT}
    assert status.depth == 2


def test_its_upper_is_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Backing("overlay", in_memory=False, total=100, used=10, free=90)
    monkeypatch.setattr(MadeUpKernel, "backing", lambda self, path: told)
    status = bootc(tmp_path, COMPOSEFS + BOOTC_OVERLAY.format("rw")).status()
    assert status.backing == told._replace(fstype="tmpfs", in_memory=True)


def test_a_writable_root_of_this_boot(tmp_path: Path) -> None:
    status = bootc(tmp_path, TRANSIENT_COMPOSEFS).status()
    assert status.has(AnomalyKind.TRANSIENT_ROOT)
    assert status.base is not None
    assert status.base.checksum == DIGEST


def test_it_has_no_persistent_mode(tmp_path: Path) -> None:
    backend = bootc(tmp_path, COMPOSEFS)
    assert backend.modes == {RW, RO}
    with pytest.raises(Unsupported, match="cannot make a read-write, persistent overlay"):
        backend.plan_enable(HOTFIX)


def test_over_ostree_it_has(tmp_path: Path) -> None:
    assert bootc(tmp_path, OSTREE, files={"/run/ostree-booted": ""}).modes == {RW, RO, HOTFIX}


@pytest.mark.parametrize(("mode", "command"), [(RW, "usr-overlay"), (RO, "usr-overlay --read-only")])
def test_enabling_runs_it(tmp_path: Path, mode: Mode, command: str) -> None:
    plan = bootc(tmp_path, COMPOSEFS).plan_enable(mode)
    assert [step.kind for step in plan.steps] == ["mount-with-tool"]
    assert f"`/usr/bin/bootc {command}`" in plan.describe()[0]


@pytest.mark.parametrize("version", ["1.14.1", "1.13.0", "nonsense"])
def test_before_it_could_be_read_only_ovlay_mounts(tmp_path: Path, version: str) -> None:
    backend = bootc(tmp_path, COMPOSEFS, version=version)
    assert [step.kind for step in backend.plan_enable(RO).steps][-2:] == ["make-upper", "mount-overlay"]
    assert [step.kind for step in backend.plan_enable(RW).steps] == ["mount-with-tool"]


def test_it_does_not_say_already_mounted(tmp_path: Path) -> None:
    """bootc exits 0 without a word about the mode that was asked for, whatever is on /usr."""
    with pytest.raises(StateForbids) as refused:
        bootc(tmp_path, COMPOSEFS + SYSEXT).plan_enable(RW)
    assert "systemd-sysext unmerge" in refused.value.remedy
    bind = "40 20 254:0 /usr /usr ro - ext4 /dev/vda rw\n"
    with pytest.raises(StateForbids, match="source /dev/vda") as refused:
        bootc(tmp_path, COMPOSEFS + bind).plan_enable(RW)
    assert "findmnt /usr" in refused.value.remedy


def test_another_access_is_a_change_of_the_mount(tmp_path: Path) -> None:
    backend = bootc(tmp_path, COMPOSEFS + BOOTC_OVERLAY.format("ro"))
    assert [step.kind for step in backend.plan_enable(RW).steps] == ["set-access"]
    same = backend.plan_enable(RO)
    assert not same
    assert "already" in same.reason


def test_unmounting_is_ours(tmp_path: Path) -> None:
    plan = bootc(tmp_path, COMPOSEFS + BOOTC_OVERLAY.format("rw")).plan_unmount(lazy=True)
    assert [step.kind for step in plan.steps] == ["unmount"]
    assert not bootc(tmp_path, COMPOSEFS).plan_unmount(lazy=True)


def test_unmounting_beneath_a_merge_is_refused(tmp_path: Path) -> None:
    over = "40 30 0:50 / /usr ro,nodev - overlay sysext ro,lowerdir=/run/systemd/sysext/extensions/a/usr:/usr\n"
    backend = bootc(tmp_path, COMPOSEFS + BOOTC_OVERLAY.format("rw") + over)
    with pytest.raises(StateForbids, match="lies under another mount") as refused:
        backend.plan_unmount(lazy=True)
    assert "systemd-sysext unmerge" in refused.value.remedy


def test_bootc_missing(tmp_path: Path) -> None:
    backend = BootcBackend(made_up_host(tmp_path, COMPOSEFS), "/usr")
    with pytest.raises(Unsupported, match="bootc is not installed"):
        backend.plan_enable(RW)


@pytest.mark.parametrize(
    ("mountinfo", "karg", "digest"),
    [
        (COMPOSEFS, "", DIGEST),
        (TRANSIENT_COMPOSEFS, "", DIGEST),
        (COMPOSEFS, "composefs=0123", DIGEST),  # a soft reboot into another image
        (PLAIN_LINUX, "quiet composefs=0123 ro", "0123"),
        (PLAIN_LINUX, "composefs=?0123", "0123"),  # images without fs-verity
        (PLAIN_LINUX, "nocomposefs=0123", None),
        (PLAIN_LINUX, "composefs=", None),
        (OSTREE, "", None),
    ],
)
def test_the_digest(tmp_path: Path, mountinfo: str, karg: str, digest: str | None) -> None:
    host = made_up_host(tmp_path, mountinfo, files={"/proc/cmdline": karg + "\n"})
    assert composefs_digest(host) == digest


def asked(root: Path, answer: Finished) -> str | None:
    answers: dict[tuple[str, ...], Finished] = {("/usr/bin/bootc", "status", "--format=json"): answer}
    return BootcBackend(made_up_host(root, COMPOSEFS, tools=("bootc",), answers=answers), "/usr").ask_tool()


def test_asking_it(tmp_path: Path) -> None:
    text = json.dumps({"status": {"usrOverlay": {"accessMode": "readOnly", "persistence": "transient"}}})
    assert (
        asked(tmp_path, Finished(0, text, "")) == "bootc status says that the overlay on /usr is read-only, transient"
    )
    assert asked(tmp_path, Finished(1, text, "error: this command must be run as root")) is None
    assert asked(tmp_path, Finished(0, "{}", "")) is None


def test_asking_what_is_not_there(tmp_path: Path) -> None:
    assert BootcBackend(made_up_host(tmp_path, COMPOSEFS), "/usr").ask_tool() is None
