"""Every recorded state is told as it was, and what is planned in it is right."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ovlay.command import Finished
from ovlay.errors import StateForbids
from ovlay.model import AnomalyKind, Owner
from ovlay.plan.plan import Plan
from ovlay_backends.bootc import BootcBackend
from ovlay_backends.deployment import booted_deployment, parse_admin_status
from ovlay_backends.ostree import OstreeBackend
from ovlay_backends.rpm_ostree import RpmOstreeBackend
from ovlay_backends.sysext import SysextBackend, parse_sysext_status
from tests.states.expected import (
    DEPTH,
    FOREIGN,
    HOTFIX,
    MERGES,
    OSTREE_OWNERS,
    RO,
    RW,
    SOURCES,
    SYSEXT_OWNERS,
    SYSEXT_PLANS,
    UNREACHABLE,
    UPPERS,
    Outcome,
    ostree_plans,
    truth,
)
from tests.states.host import DATA, HOSTS, IMAGE, STATES, recorded_host, recorded_sections, recorded_writable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ovlay.backend import Backend
    from ovlay.model import Status

BOOTC: dict[tuple[str, ...], Finished] = {("/usr/bin/bootc", "--version"): Finished(0, "bootc 1.15.2\n", "")}
FAMILY = (OstreeBackend, RpmOstreeBackend, BootcBackend)

every_state = pytest.mark.parametrize(("host", "state"), [(host, state) for host in HOSTS for state in STATES])


def ostree_family(driver: type[Backend], scratch: Path, host: str, state: str) -> Backend:
    if driver is OstreeBackend:
        return driver(recorded_host(scratch, host, state), "/usr")
    tools = ("ostree", "rpm-ostree", "bootc")
    return driver(recorded_host(scratch, host, state, tools=tools, image=IMAGE, answers=BOOTC), "/usr")


def planned(make: Callable[[], Plan], expected: Outcome) -> Plan | None:
    """Check a plan against what is expected of it, and that it survives being sent."""
    if isinstance(expected, type):
        with pytest.raises(expected) as refused:
            make()
        assert type(refused.value) is expected
        assert refused.value.remedy
        return None
    plan = make()
    assert tuple(step.kind for step in plan.steps) == expected
    assert plan.steps or plan.reason
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    return plan


def test_there_are_75_of_them() -> None:
    assert len(HOSTS) * len(STATES) == 75
    assert all((DATA / host / state / "mountinfo").is_file() for host in HOSTS for state in STATES)


@every_state
def test_the_table_agrees_with_the_write_test(host: str, state: str) -> None:
    assert truth(host, state).writable is recorded_writable(host, state)


@every_state
@pytest.mark.parametrize("driver", FAMILY, ids=lambda driver: driver.name)
def test_the_ostree_family_tells_the_state(driver: type[Backend], host: str, state: str, tmp_path: Path) -> None:
    true = truth(host, state)
    backend = ostree_family(driver, tmp_path, host, state)
    status = backend.status()
    assert status.backend == driver.name
    assert status.active is ("u" in true.mounts)
    assert status.mode == true.mode
    assert status.flag == true.flag
    assert status.writable is true.writable
    assert status.depth == true.depth
    assert [layer.source for layer in status.stack] == [SOURCES[letter] for letter in true.mounts]
    assert [layer.owner for layer in status.stack] == [OSTREE_OWNERS[letter] for letter in true.mounts]
    assert {anomaly.kind for anomaly in status.anomalies} == true.odd
    assert len(status.anomalies) == len(true.odd), "no anomaly is told twice"
    assert all(anomaly.detail and anomaly.remedy for anomaly in status.anomalies)
    assert status.submounts == ()
    assert status.upper_path == expected_upper(backend, host, state)
    assert status.base is not None
    assert status.base.image == (None if driver is OstreeBackend else IMAGE)
    assert status.base.checksum == recorded_checksum(host, state)


def expected_upper(backend: Backend, host: str, state: str) -> str | None:
    true = truth(host, state)
    deployment = booted_deployment(backend.host)
    assert deployment is not None
    if not true.mounts.endswith("u"):
        return None  # there is none, or it is covered and nothing can be proven of it
    if true.mode == HOTFIX:
        return f"{deployment.directory}/.usr-ovl-upper"
    if host == "trixie":
        return f"/var/tmp/{UPPERS[state[:2]]}/upper"
    return f"{deployment.backing}/upper"


def recorded_checksum(host: str, state: str) -> str:
    """The commit of the booted deployment, as ``ostree admin status`` marked it with a star."""
    text = (DATA / host / state / "ostree-admin-status.txt").read_text()
    booted = next(line for line in text.splitlines() if line.startswith("* "))
    return booted.split()[2].split(".")[0]


@every_state
def test_the_flag_is_what_ostree_itself_said(host: str, state: str) -> None:
    said = parse_admin_status((DATA / host / state / "ostree-admin-status.txt").read_text())
    assert said == (truth(host, state).flag or "none")


@every_state
@pytest.mark.parametrize("driver", FAMILY, ids=lambda driver: driver.name)
def test_the_ostree_family_plans(driver: type[Backend], host: str, state: str, tmp_path: Path) -> None:
    expected = ostree_plans(host, state)
    backend = ostree_family(driver, tmp_path, host, state)
    before = backend.status()
    planned(lambda: backend.plan_enable(RW), expected.read_write)
    planned(lambda: backend.plan_enable(RO), expected.read_only)
    planned(lambda: backend.plan_enable(HOTFIX), expected.persistent)
    for lazy in (False, True):
        planned(lambda lazy=lazy: backend.plan_unmount(lazy=lazy), expected.unmount)  # type: ignore[misc]
    assert backend.status() == before


@every_state
def test_sysext_tells_the_state(host: str, state: str, tmp_path: Path) -> None:
    true, merge = truth(host, state), MERGES.get(state[:2])
    status = SysextBackend(recorded_host(tmp_path, host, state), "/usr").status()
    assert status.active is (merge is not None)
    assert status.mode == (merge.mode if merge else None)
    assert status.upper_path == (merge.upper if merge else None)
    assert status.flag is None
    assert status.writable is true.writable
    assert status.depth == true.depth
    assert [layer.source for layer in status.stack] == [SOURCES[letter] for letter in true.mounts]
    assert [layer.owner for layer in status.stack] == [SYSEXT_OWNERS[letter] for letter in true.mounts]
    assert status.submounts == ()
    odd = {FOREIGN} if "u" in true.mounts else set()
    odd |= {DEPTH} if true.depth == 2 else set()
    odd |= {UNREACHABLE} if merge and merge.upper is None else set()
    assert {anomaly.kind for anomaly in status.anomalies} == odd


@every_state
def test_sysext_plans(host: str, state: str, tmp_path: Path) -> None:
    enable, unmount = SYSEXT_PLANS[state[:2]]
    backend = SysextBackend(recorded_host(tmp_path, host, state), "/usr")
    before = backend.status()
    plan = planned(lambda: backend.plan_enable(RW), enable)
    if plan:
        verb = "refresh" if "s" in truth(host, state).mounts else "merge"
        assert f"/usr/bin/systemd-sysext {verb} --mutable=yes" in plan.describe()[-1]
    plan = planned(lambda: backend.plan_unmount(lazy=True), unmount)
    if plan:  # the extension that somebody else merged stays merged
        assert "/usr/bin/systemd-sysext refresh --mutable=no" in plan.describe()[-1]
    assert backend.status() == before


@every_state
def test_sysext_itself_says_what_is_merged(host: str, state: str) -> None:
    merged = parse_sysext_status((DATA / host / state / "systemd-sysext-status.json").read_text(), "/usr")
    # It looks at the topmost mount only: an overlay of ostree over a merge makes it say "none".
    assert merged == (("ovtest",) if truth(host, state).mounts.endswith(("s", "S")) else ())


@every_state
@pytest.mark.parametrize("driver", [*FAMILY, SysextBackend], ids=lambda driver: driver.name)
def test_detection_does_not_change_with_the_state(driver: type[Backend], host: str, state: str, tmp_path: Path) -> None:
    """A driver that fitted before an overlay was mounted fits after it, or status would ask another one."""
    tools = ("ostree", "rpm-ostree", "bootc", "systemd-sysext", "env")
    probe = driver(recorded_host(tmp_path, host, state, tools=tools, image=IMAGE), "/usr").probe()
    # Where a hotfix came back after a reboot, nothing read-only is beneath it on a plain layout.
    sealed = host == "forky-cfs" or state[:2] not in ("40", "41", "42")
    score = {"ostree": 70, "rpm-ostree": 80, "bootc": 90, "sysext": 30 if sealed else 0}[driver.name]
    assert probe.score == score, probe.reason


@every_state
def test_a_user_may_look(host: str, state: str, tmp_path: Path) -> None:
    """Without the backing directory, which only root may enter, nothing else of the status changes."""
    recorded = recorded_host(tmp_path, host, state)
    seen = OstreeBackend(recorded, "/usr").status()
    for name in recorded.entries("/sysroot/ostree/deploy/debian/backing"):
        (tmp_path / "root/sysroot/ostree/deploy/debian/backing" / name).rename(tmp_path / name)
    hidden = OstreeBackend(recorded, "/usr").status()

    def rest(status: Status) -> Status:
        odd = (AnomalyKind.UNREACHABLE_UPPER, AnomalyKind.LEFTOVER_UPPER)
        kept = tuple(anomaly for anomaly in status.anomalies if anomaly.kind not in odd)
        return status._replace(upper_path=None, anomalies=kept)

    assert rest(hidden) == rest(seen)


def test_the_older_bootc_reads_only_by_ostree(tmp_path: Path) -> None:
    answers: dict[tuple[str, ...], Finished] = {("/usr/bin/bootc", "--version"): Finished(0, "bootc 1.14.1\n", "")}
    host = recorded_host(tmp_path, "forky-plain", "01-locked", tools=("bootc", "ostree"), image=IMAGE, answers=answers)
    backend = BootcBackend(host, "/usr")
    assert "`/usr/bin/ostree admin unlock --transient`" in backend.plan_enable(RO).describe()[0]
    assert "`/usr/bin/bootc usr-overlay`" in backend.plan_enable(RW).describe()[0]
    assert "`/usr/bin/ostree admin unlock --hotfix`" in backend.plan_enable(HOTFIX).describe()[0]


def test_the_newer_bootc_reads_only_itself(tmp_path: Path) -> None:
    host = recorded_host(tmp_path, "forky-plain", "01-locked", tools=("bootc", "ostree"), image=IMAGE, answers=BOOTC)
    plan = BootcBackend(host, "/usr").plan_enable(RO)
    assert "`/usr/bin/bootc usr-overlay --read-only`" in plan.describe()[0]


def test_rpm_ostree_is_asked_with_its_own_words(tmp_path: Path) -> None:
    host = recorded_host(tmp_path, "trixie", "01-locked", tools=("ostree", "rpm-ostree"))
    backend = RpmOstreeBackend(host, "/usr")
    assert "`/usr/bin/rpm-ostree usroverlay`" in backend.plan_enable(RW).describe()[0]
    assert "`/usr/bin/rpm-ostree usroverlay --transient`" in backend.plan_enable(RO).describe()[0]
    assert "`/usr/bin/rpm-ostree usroverlay --hotfix`" in backend.plan_enable(HOTFIX).describe()[0]


@pytest.mark.parametrize("driver", FAMILY, ids=lambda driver: driver.name)
def test_a_stale_flag_is_no_reason_to_unlock_again(driver: type[Backend], tmp_path: Path) -> None:
    status = ostree_family(driver, tmp_path, "forky-plain", "11-unlocked-umounted").status()
    stale = next(anomaly for anomaly in status.anomalies if anomaly.kind is AnomalyKind.STALE_FLAG)
    command = {"ostree": "ostree admin unlock", "rpm-ostree": "rpm-ostree usroverlay", "bootc": "bootc usr-overlay"}
    assert f"do not run `{command[driver.name]}`" in stale.remedy
    assert "apply-live" in stale.remedy


def test_live_changes_of_rpm_ostree_are_not_torn_away(tmp_path: Path) -> None:
    host = recorded_host(tmp_path, "forky-plain", "06-unlocked")
    deployment = booted_deployment(host)
    assert deployment is not None
    (tmp_path / "root" / deployment.run_state.lstrip("/") / "rpmostree-is-live.stamp").write_text("")
    backend = OstreeBackend(host, "/usr")
    with pytest.raises(StateForbids, match="apply-live"):
        backend.plan_unmount(lazy=True)


def test_a_writable_merge_over_the_overlay_takes_the_writes(tmp_path: Path) -> None:
    hidden = {}
    for state in ("08-unlocked-sysext", "10-unlocked-sysext-ephemeral"):
        status = OstreeBackend(recorded_host(tmp_path / state, "trixie", state), "/usr").status()
        hidden[state[:2]] = next(found for found in status.anomalies if found.kind is AnomalyKind.HIDDEN_BY_SYSEXT)
    assert "cannot be written" in hidden["08"].detail
    assert "goes to them" in hidden["10"].detail


def test_uppers_are_named_that_were_left(tmp_path: Path) -> None:
    status = OstreeBackend(recorded_host(tmp_path, "trixie", "21-transient"), "/usr").status()
    left = next(found for found in status.anomalies if found.kind is AnomalyKind.LEFTOVER_UPPER)
    assert "ostree-unlock-ovl.4YB4Y3" in left.detail
    assert "ostree-unlock-ovl.FAKE2" in left.detail
    assert "ostree-unlock-ovl.1ML5Y3" not in left.detail, "that one is in use"


def test_the_recorded_flags_are_where_ostree_keeps_them() -> None:
    assert "/unlocked-development" in recorded_sections("forky-cfs", "06-unlocked")["/run/ostree"]


def test_a_merge_without_an_upper_is_not_the_drivers(tmp_path: Path) -> None:
    status = SysextBackend(recorded_host(tmp_path, "trixie", "02-locked-sysext"), "/usr").status()
    assert status.stack[-1].owner is Owner.SYSEXT
    assert not status.active
