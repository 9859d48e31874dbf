"""What an overlay leaves behind is removed by the next one, and never while it is mounted or held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.errors import Busy, ToolFailed
from ovlay.host import Finished
from ovlay.model import Holder
from ovlay.plan.steps import AddExtension, DiscardLeftover, DiscardUpper, RemoveExtension, UnmountWithTool
from ovlay.uppers import clean_up
from tests.backends.made_up import PLAIN_LINUX, MadeUpKernel, made_up_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ovlay.kernel import Mount
    from tests.states.host import RecordedHost

NOW, BEFORE = "5dc2e9d4", "0badcafe"
OVERLAYS = "/var/lib/ovlay/overlays"
SLEEP = Holder(42, "sleep", ("cwd",))
OVERLAY = "30 20 0:40 / /usr rw - overlay ovlay rw,lowerdir=/usr,upperdir={0}/upper,workdir={0}/work\n"
DISCARD = DiscardUpper("/usr", f"{OVERLAYS}/{NOW}-0", 30, "0:40")


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> set[Holder]:
    """Who uses the overlay with the device 0:40, as the kernel tells; to be filled and emptied."""
    users: set[Holder] = set()

    def holders(self: MadeUpKernel, mounts: Iterable[Mount]) -> tuple[Holder, ...]:
        return tuple(users) if any(mount.device == "0:40" for mount in mounts) else ()

    monkeypatch.setattr(MadeUpKernel, "holders", holders)
    return users


def host_with(root: Path, *uppers: str, mounts: str = "") -> RecordedHost:
    return made_up_host(root, PLAIN_LINUX + mounts, files={f"{upper}/upper/bin/tool": "" for upper in uppers})


def test_nothing_to_clean(tmp_path: Path) -> None:
    assert clean_up(host_with(tmp_path)) == ()


def test_uppers_of_an_earlier_boot_go(tmp_path: Path) -> None:
    host = host_with(tmp_path, f"{OVERLAYS}/{BEFORE}-0", f"{OVERLAYS}/{BEFORE}-1", f"{OVERLAYS}/{NOW}-0")
    steps = clean_up(host)
    assert steps == (DiscardLeftover(f"{OVERLAYS}/{BEFORE}-0"), DiscardLeftover(f"{OVERLAYS}/{BEFORE}-1"))
    assert [step.run(host) for step in steps] == ["", ""]
    assert host.entries(OVERLAYS) == (f"{NOW}-0",)
    assert clean_up(host) == ()


def test_what_is_mounted_stays(tmp_path: Path) -> None:
    path = f"{OVERLAYS}/{BEFORE}-0"
    host = host_with(tmp_path, path, mounts=OVERLAY.format(path))
    assert clean_up(host) == ()
    assert "stays" in DiscardLeftover(path).run(host)
    assert host.is_directory(f"{path}/upper")


def test_what_is_not_named_like_an_upper_stays(tmp_path: Path) -> None:
    assert clean_up(host_with(tmp_path, f"{OVERLAYS}/mine")) == ()


def test_without_a_boot_id_nothing_is_old(tmp_path: Path) -> None:
    host = host_with(tmp_path, f"{OVERLAYS}/{BEFORE}-0")
    (tmp_path / "proc/sys/kernel/random/boot_id").unlink()
    assert clean_up(host) == ()


def test_an_upper_is_kept_for_its_users_and_removed_after_them(tmp_path: Path, held: set[Holder]) -> None:
    host = host_with(tmp_path, DISCARD.path)
    held.add(SLEEP)
    assert "is kept for sleep (pid 42)" in DISCARD.run(host)
    assert host.is_directory(f"{DISCARD.path}/upper")
    assert clean_up(host) == (), "somebody uses it still"
    held.clear()
    assert clean_up(host) == (DISCARD,)
    assert DISCARD.run(host) == ""
    assert not host.exists(DISCARD.path)
    assert clean_up(host) == ()
    assert DISCARD.run(host) == "", "what is gone need not go"


def test_a_kept_upper_that_is_mounted_again_stays(tmp_path: Path, held: set[Holder]) -> None:
    held.add(SLEEP)
    DISCARD.run(host_with(tmp_path, DISCARD.path))
    held.clear()
    assert clean_up(host_with(tmp_path, mounts=OVERLAY.format(DISCARD.path))) == ()


@pytest.mark.parametrize("record", ["", "{", "[]", "null", "5", '{"step": "discard-upper", "path": 5}'])
def test_a_broken_record_is_passed_over(tmp_path: Path, record: str) -> None:
    host = made_up_host(tmp_path, PLAIN_LINUX, files={"/run/ovlay/kept/broken.json": record})
    assert clean_up(host) == ()


# --- the steps around systemd-sysext ------------------------------------------------------------------------------

UNMERGE = ("/usr/bin/systemd-sysext", "unmerge")
MERGED = "30 20 0:40 / /usr rw - overlay sysext rw,lowerdir=/usr,upperdir=/u,workdir=/w\n"


def unmerging(root: Path, monkeypatch: pytest.MonkeyPatch, done: Finished, *, unmerges: bool) -> RecordedHost:
    """A host whose systemd-sysext ends like this, and takes its overlay off /usr or does not."""
    host = made_up_host(root, PLAIN_LINUX + MERGED)
    after = made_up_host(root / "after", PLAIN_LINUX).kernel.mounts()

    def run(argv: Sequence[str], *, timeout: float = 120) -> Finished:
        assert tuple(argv) == UNMERGE
        if unmerges:
            monkeypatch.setattr(host.kernel, "mounts", lambda: after)
        return done

    monkeypatch.setattr(host, "run", run)
    return host


@pytest.mark.usefixtures("held")
def test_the_tool_takes_it_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = unmerging(tmp_path, monkeypatch, Finished(0, "", ""), unmerges=True)
    assert UnmountWithTool(UNMERGE, "/usr", 30, lazy=False).run(host) == ""
    assert host.mounts_at("/usr") == ()


@pytest.mark.usefixtures("held")
def test_exit_status_0_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = unmerging(tmp_path, monkeypatch, Finished(0, "", ""), unmerges=False)
    with pytest.raises(ToolFailed, match="exited 0, but its overlay is still on /usr"):
        UnmountWithTool(UNMERGE, "/usr", 30, lazy=True).run(host)


def test_its_users_are_asked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: set[Holder]) -> None:
    host = unmerging(tmp_path, monkeypatch, Finished(0, "", ""), unmerges=True)
    held.add(SLEEP)
    with pytest.raises(Busy, match=r"used by sleep \(pid 42\)") as busy:
        UnmountWithTool(UNMERGE, "/usr", 30, lazy=False).run(host)
    assert busy.value.holders == (SLEEP,)
    assert len(host.mounts_at("/usr")) == 1, "nothing was done"


def test_a_copy_in_another_namespace_is_no_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: set[Holder]
) -> None:
    host = unmerging(tmp_path, monkeypatch, Finished(0, "", ""), unmerges=True)
    held.add(Holder(7, "service", ("mount namespace",)))
    assert "service (pid 7)" in UnmountWithTool(UNMERGE, "/usr", 30, lazy=False).run(host)


def test_lazily_it_leaves_the_view_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: set[Holder]
) -> None:
    host = unmerging(tmp_path, monkeypatch, Finished(0, "", ""), unmerges=True)
    held.add(SLEEP)
    assert "still used by sleep (pid 42)" in UnmountWithTool(UNMERGE, "/usr", 30, lazy=True).run(host)
    assert len(host.entries("/run/ovlay/detached")) == 1


def test_a_tool_that_failed_leaves_no_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: set[Holder]) -> None:
    host = unmerging(tmp_path, monkeypatch, Finished(1, "", "Failed to unmerge"), unmerges=False)
    held.add(SLEEP)
    with pytest.raises(ToolFailed, match="status 1: Failed to unmerge"):
        UnmountWithTool(UNMERGE, "/usr", 30, lazy=True).run(host)
    assert host.entries("/run/ovlay/detached") == ()


def test_the_empty_extension_comes_and_goes(tmp_path: Path) -> None:
    host = made_up_host(tmp_path, PLAIN_LINUX)
    path = "/run/extensions/ovlay"
    AddExtension(path).run(host)
    assert host.read(f"{path}/usr/lib/extension-release.d/extension-release.ovlay") == "ID=_any\n"
    RemoveExtension(path).run(host)
    assert not host.exists(path)
    RemoveExtension(path).undo(host)
    assert host.exists(f"{path}/usr/lib/extension-release.d/extension-release.ovlay")
    AddExtension(path).undo(host)
    AddExtension(path).undo(host)
    assert not host.exists(path)
