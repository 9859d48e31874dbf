"""The kernel's own overlay: where its uppers are, what is kept, and what is never used a second time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import InvalidInput, StateForbids, Unsupported
from ovlay.model import Access, AnomalyKind, Mode, Owner, Persistence
from ovlay.plan.steps import MountOverlay, MountTmpfs
from ovlay.uppers import TMPFS_LIMIT, tmpfs_size
from ovlay_backends.overlayfs import OverlayfsBackend
from tests.backends.made_up import COMPOSEFS, DIGEST, OSTREE, PLAIN_LINUX, READ_ONLY_LINUX, made_up_host

if TYPE_CHECKING:
    from pathlib import Path

RW = Mode(Access.READ_WRITE, Persistence.TRANSIENT)
RO = Mode(Access.READ_ONLY, Persistence.TRANSIENT)
KEPT = Mode(Access.READ_WRITE, Persistence.PERSISTENT)
KEPT_RO = Mode(Access.READ_ONLY, Persistence.PERSISTENT)
FILES = {"/srv/www/index": ""}
STORE = "/var/lib/ovlay/persistent"


def on(root: Path, mountinfo: str, target: str = "/usr", *, files: dict[str, str] | None = None) -> OverlayfsBackend:
    return OverlayfsBackend(made_up_host(root, mountinfo, files={**FILES, **(files or {})}), target)


def overlay_on(target: str, upper: str, *, access: str = "rw") -> str:
    return f"30 20 0:40 / {target} {access} - overlay ovlay {access},lowerdir={target},upperdir={upper},workdir=/w\n"


def kinds(backend: OverlayfsBackend, mode: Mode) -> list[str]:
    return [step.kind for step in backend.plan_enable(mode).steps]


def test_it_makes_all_modes(tmp_path: Path) -> None:
    assert on(tmp_path, PLAIN_LINUX).modes == {RW, RO, KEPT, KEPT_RO}


def test_a_transient_upper_is_on_a_tmpfs(tmp_path: Path) -> None:
    backend = on(tmp_path, PLAIN_LINUX, "/srv/www")
    plan = backend.plan_enable(RW)
    private = ["make-private-directory"] * 2
    assert [step.kind for step in plan.steps] == [*private, "mount-tmpfs", "make-upper", "mount-overlay"]
    tmpfs, mount = plan.steps[2], plan.steps[-1]
    assert isinstance(tmpfs, MountTmpfs)
    assert isinstance(mount, MountOverlay)
    assert tmpfs.path == "/run/ovlay/overlays/5dc2e9d4-0"
    assert tmpfs.size == 2 << 30, "half of the memory"
    assert mount.upper == f"{tmpfs.path}/upper"
    assert mount.lower == ("/srv/www",)
    assert plan == backend.plan_enable(RW), "a plan that is made twice is the same"
    assert "gone after a reboot" in plan.warnings[0]


@pytest.mark.parametrize(
    ("meminfo", "size"),
    [
        ("MemTotal: 4194304 kB\n", 2 << 30),
        ("MemTotal: 999999999 kB\n", TMPFS_LIMIT),
        ("MemTotal:\n", None),
        ("nonsense\n", None),
    ],
)
def test_the_limit_of_a_tmpfs(tmp_path: Path, meminfo: str, size: int | None) -> None:
    assert tmpfs_size(made_up_host(tmp_path, PLAIN_LINUX, files={"/proc/meminfo": meminfo})) == size


def test_asked_for_by_name_it_works_on_a_writable_usr(tmp_path: Path) -> None:
    backend = on(tmp_path, PLAIN_LINUX)
    assert not backend.probe().fits
    assert kinds(backend, RW)[-1] == "mount-overlay"


def test_it_fits_on_after_enabling(tmp_path: Path) -> None:
    mounted = READ_ONLY_LINUX + overlay_on("/usr", "/run/ovlay/overlays/5dc2e9d4-0/upper")
    assert on(tmp_path, mounted).probe().fits


def test_a_persistent_upper_is_named_after_its_target(tmp_path: Path) -> None:
    plan = on(tmp_path, PLAIN_LINUX, "/srv/www").plan_enable(KEPT)
    steps = ["make-private-directory", "make-private-directory", "make-upper", "write-file", "mount-overlay"]
    assert [step.kind for step in plan.steps] == steps
    assert isinstance(plan.steps[-1], MountOverlay)
    assert plan.steps[-1].upper == f"{STORE}/srv%2Fwww/upper"


def test_targets_do_not_share_an_upper(tmp_path: Path) -> None:
    targets = ("/srv/www", "/srv%2Fwww", "/srv%252Fwww", f"/{'a' * 150}/{'b' * 150}", f"/{'a' * 150}/{'c' * 150}")
    uppers = set()
    for target in targets:
        plan = on(tmp_path, PLAIN_LINUX, target, files={f"{target}/file": ""}).plan_enable(KEPT)
        assert isinstance(plan.steps[-1], MountOverlay)
        uppers.add(plan.steps[-1].upper)
        assert len(plan.steps[-1].upper.split("/")[-2]) < 256
    assert len(uppers) == len(targets)


def recorded(root: Path, mountinfo: str) -> dict[str, str]:
    """The record that the first persistent overlay of /usr writes on this host, and its upper."""
    plan = on(root, mountinfo).plan_enable(KEPT)
    step = next(step for step in plan.steps if step.kind == "write-file")
    document = step.to_json()
    return {document["path"]: document["text"], f"{STORE}/usr/upper/bin/tool": ""}


@pytest.mark.parametrize("mountinfo", [OSTREE, COMPOSEFS, READ_ONLY_LINUX], ids=["ostree", "composefs", "other"])
def test_a_persistent_upper_comes_back_over_the_same_base(tmp_path: Path, mountinfo: str) -> None:
    files = recorded(tmp_path / "first", mountinfo)
    backend = on(tmp_path / "second", mountinfo, files=files)
    assert kinds(backend, KEPT) == ["mount-overlay"]


@pytest.mark.parametrize(
    ("mounted", "remedy"),
    [
        ("", "`ovlay enable --persistent` puts"),
        (overlay_on("/usr", "/run/ovlay/overlays/5dc2e9d4-0/upper"), "`ovlay unmount` what is there now; then `ovlay "),
    ],
    ids=["no overlay", "a transient one"],
)
def test_changes_that_wait_for_their_overlay_are_told(tmp_path: Path, mounted: str, remedy: str) -> None:
    files = recorded(tmp_path / "first", READ_ONLY_LINUX)
    status = on(tmp_path / "second", READ_ONLY_LINUX + mounted, files=files).status()
    (told,) = [anomaly for anomaly in status.anomalies if anomaly.kind is AnomalyKind.LEFTOVER_UPPER]
    assert f"kept in {STORE}/usr, and do not show" in told.detail
    assert told.remedy.startswith(remedy)
    assert not status.has(AnomalyKind.BASE_CHANGED)


@pytest.mark.parametrize(
    ("before", "after"),
    [(OSTREE, OSTREE.replace("0123", "3210")), (COMPOSEFS, COMPOSEFS.replace(DIGEST, "ab" * 64)), (OSTREE, COMPOSEFS)],
    ids=["ostree", "composefs", "both"],
)
def test_an_upper_is_not_used_over_another_base(tmp_path: Path, before: str, after: str) -> None:
    backend = on(tmp_path / "second", after, files=recorded(tmp_path / "first", before))
    with pytest.raises(StateForbids, match="made over another base") as refused:
        backend.plan_enable(KEPT)
    assert f"{STORE}/usr/upper" in refused.value.remedy
    assert backend.status().has(AnomalyKind.BASE_CHANGED)
    assert kinds(backend, RW)[-1] == "mount-overlay", "a transient one is no matter of it"


def test_nor_after_an_update_of_another_system(tmp_path: Path) -> None:
    files = recorded(tmp_path / "first", READ_ONLY_LINUX)
    files["/usr/lib/os-release"] = "ID=fedora\nVERSION_ID=45\n"
    with pytest.raises(StateForbids, match="made over another base"):
        on(tmp_path / "second", READ_ONLY_LINUX, files=files).plan_enable(KEPT)


@pytest.mark.parametrize("record", [None, "", "{", "[]", json.dumps({"kind": "ostree"})])
def test_an_upper_of_an_unknown_base_is_not_used(tmp_path: Path, record: str | None) -> None:
    files = {f"{STORE}/usr/upper/file": ""}
    if record is not None:
        files[f"{STORE}/usr/base.json"] = record
    with pytest.raises(StateForbids, match="made over another base"):
        on(tmp_path, OSTREE, files=files).plan_enable(KEPT)


def test_another_directory_outlives_an_update_of_the_system(tmp_path: Path) -> None:
    backend = on(tmp_path / "first", PLAIN_LINUX, "/srv/www")
    document = next(step for step in backend.plan_enable(KEPT).steps if step.kind == "write-file").to_json()
    files = {document["path"]: document["text"], f"{STORE}/srv%2Fwww/upper/x": ""}
    files["/usr/lib/os-release"] = "ID=fedora\nVERSION_ID=45\n"
    assert kinds(on(tmp_path / "second", PLAIN_LINUX, "/srv/www", files=files), KEPT) == ["mount-overlay"]


def test_a_persistent_overlay_is_told_and_keeps_its_upper(tmp_path: Path) -> None:
    files = recorded(tmp_path / "first", READ_ONLY_LINUX)
    backend = on(tmp_path / "second", READ_ONLY_LINUX + overlay_on("/usr", f"{STORE}/usr/upper"), files=files)
    status = backend.status()
    assert status.mode == KEPT
    assert not status.has(AnomalyKind.LEFTOVER_UPPER)
    assert status.upper_path == f"{STORE}/usr/upper"
    plan = backend.plan_unmount(lazy=False)
    assert [step.kind for step in plan.steps] == ["unmount"]
    assert f"stay in {STORE}/usr" in plan.warnings[0]
    with pytest.raises(StateForbids) as refused:
        backend.plan_enable(RW)
    assert "stays on the disk" in refused.value.remedy


def test_a_transient_overlay_is_removed_with_its_tmpfs(tmp_path: Path) -> None:
    upper = "/run/ovlay/overlays/5dc2e9d4-0/upper"
    backend = on(tmp_path, READ_ONLY_LINUX + overlay_on("/usr", upper), files={f"{upper}/x": ""})
    assert backend.status().mode == RW
    assert [layer.owner for layer in backend.status().stack] == [Owner.OVLAY]
    plan = backend.plan_unmount(lazy=False)
    assert [step.kind for step in plan.steps] == ["unmount", "discard-upper"]
    assert plan.steps[1].to_json()["path"] == "/run/ovlay/overlays/5dc2e9d4-0"


def test_a_foreign_overlay_is_not_covered(tmp_path: Path) -> None:
    foreign = "30 20 0:40 / /srv/www rw - overlay podman rw,lowerdir=/a,upperdir=/b,workdir=/c\n"
    with pytest.raises(StateForbids, match="neither ovlay's nor its driver's"):
        on(tmp_path, PLAIN_LINUX + foreign, "/srv/www").plan_enable(RW)


def test_extensions_beneath_stay_in_sight(tmp_path: Path) -> None:
    merge = "25 20 0:39 / /usr ro,nodev - overlay sysext ro,lowerdir=/run/systemd/sysext/extensions/a/usr:/usr\n"
    over = overlay_on("/usr", "/run/ovlay/overlays/5dc2e9d4-0/upper").replace("30 20", "30 25")
    status = on(tmp_path, READ_ONLY_LINUX + merge + over).status()
    assert status.active
    assert not status.has(AnomalyKind.HIDES_SYSEXT), "the merged view is the lower"


def test_mounts_below_are_carried(tmp_path: Path) -> None:
    below = "25 20 0:39 / /srv/www/upload rw - tmpfs tmpfs rw\n"
    plan = on(tmp_path, PLAIN_LINUX + below, "/srv/www").plan_enable(RW)
    assert isinstance(plan.steps[-1], MountOverlay)
    assert plan.steps[-1].carry == ("/srv/www/upload",)


def test_mounts_below_that_are_covered_are_told(tmp_path: Path) -> None:
    below = "25 20 0:39 / /srv/www/upload rw - tmpfs tmpfs rw\n"
    over = overlay_on("/srv/www", "/run/ovlay/overlays/5dc2e9d4-0/upper")
    status = on(tmp_path, PLAIN_LINUX + below + over, "/srv/www").status()
    hidden = [found for found in status.anomalies if found.kind is AnomalyKind.HIDDEN_SUBMOUNTS]
    assert len(hidden) == 1
    assert "/srv/www/upload" in hidden[0].detail
    kept = "31 30 0:39 / /srv/www/upload rw - tmpfs tmpfs rw\n"
    status = on(tmp_path / "kept", PLAIN_LINUX + below + over + kept, "/srv/www").status()
    assert not status.has(AnomalyKind.HIDDEN_SUBMOUNTS)
    assert status.submounts == ("/srv/www/upload",)


def test_no_directory_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="/srv/none is not a directory"):
        on(tmp_path, PLAIN_LINUX, "/srv/none").plan_enable(RW)
    host = made_up_host(tmp_path, PLAIN_LINUX, files=FILES, overlayfs=False)
    with pytest.raises(Unsupported, match="no overlayfs"):
        OverlayfsBackend(host, "/srv/www").plan_enable(RW)
