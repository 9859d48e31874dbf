"""systemd-sysext: what is ours in a merge, and that nobody else's upper is mixed with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.errors import StateForbids, Unsupported
from ovlay.host import Finished
from ovlay.model import Access, Mode, Owner, Persistence
from ovlay_backends.sysext import EXTENSION, MUTABLE, SysextBackend
from tests.backends.made_up import READ_ONLY_LINUX, made_up_host

if TYPE_CHECKING:
    from pathlib import Path

RW = Mode(Access.READ_WRITE, Persistence.TRANSIENT)
VERSION = "/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so"
TMPFS = f"29 20 0:60 / {MUTABLE} rw - tmpfs ovlay rw,size=1024k\n"
OURS = {f"{EXTENSION}/usr/lib/extension-release.d/extension-release.ovlay": "ID=_any\n"}
EMPTY_UPPER = {f"{MUTABLE}/usr/.keep": ""}


def merge(*extensions: str, writable: bool) -> str:
    lower = ":".join((*(f"/run/systemd/sysext/extensions/{name}/usr" for name in extensions), "/usr"))
    if not writable:
        return f"30 20 0:40 / /usr ro,nodev - overlay sysext ro,lowerdir={lower},redirect_dir=on\n"
    options = f"rw,lowerdir={lower},upperdir={MUTABLE}/usr,workdir={MUTABLE}/.systemd-usr-workdir"
    return (
        f"30 20 0:40 / /usr rw,nodev,noatime - overlay sysext {options}\n"
        f"31 30 0:40 /.systemd-sysext /usr/.systemd-sysext ro,nodev,noatime - overlay sysext {options}\n"
    )


def sysext(root: Path, mountinfo: str, *files: dict[str, str]) -> SysextBackend:
    given = {VERSION: ""}
    for some in files:
        given |= some
    host = made_up_host(root, READ_ONLY_LINUX + mountinfo, tools=("systemd-sysext", "env"), files=given)
    return SysextBackend(host, "/usr")


def commands(backend: SysextBackend) -> tuple[list[str], list[str]]:
    """The kinds of the steps of an unmount, and what systemd-sysext is told."""
    plan = backend.plan_unmount(lazy=False)
    argv = [step.to_json()["argv"] for step in plan.steps if step.kind == "unmount-with-tool"]
    return [step.kind for step in plan.steps], [" ".join(words[3:]) for words in argv]


def test_a_merge_of_ours(tmp_path: Path) -> None:
    backend = sysext(tmp_path, TMPFS + merge("ovlay", writable=True), OURS, EMPTY_UPPER)
    status = backend.status()
    assert status.mode == RW
    assert [layer.owner for layer in status.stack] == [Owner.TOOL]
    assert status.upper_path == f"{MUTABLE}/usr"
    assert status.submounts == (), "systemd's second mount is a part of the merge"
    assert status.anomalies == ()
    assert not backend.plan_enable(RW)
    assert commands(backend) == (["remove-extension", "unmount-with-tool", "unmount-tmpfs"], ["unmerge"])


def test_extensions_of_others_stay_merged(tmp_path: Path) -> None:
    backend = sysext(tmp_path, TMPFS + merge("ovlay", "other", writable=True), OURS, EMPTY_UPPER)
    assert commands(backend)[1] == ["refresh --mutable=no"]


def test_after_a_refresh_by_somebody_else(tmp_path: Path) -> None:
    """It made the merge read-only; the upper is still there, and comes back."""
    backend = sysext(tmp_path, TMPFS + merge("ovlay", writable=False), OURS, EMPTY_UPPER)
    assert not backend.status().active
    plan = backend.plan_enable(RW)
    assert [step.kind for step in plan.steps] == ["mount-with-tool"]
    assert "systemd-sysext refresh --mutable=yes" in plan.describe()[0]
    assert commands(backend) == (["remove-extension", "unmount-with-tool", "unmount-tmpfs"], ["unmerge"])


def test_only_usr_is_merged_and_it_shows(tmp_path: Path) -> None:
    plan = sysext(tmp_path, "").plan_enable(RW)
    assert "`/usr/bin/env SYSTEMD_SYSEXT_HIERARCHIES=/usr /usr/bin/systemd-sysext merge" in plan.describe()[-1]


@pytest.mark.parametrize("name", ["usr", ".systemd-usr-workdir"])
def test_an_upper_of_somebody_else_is_left_alone(tmp_path: Path, name: str) -> None:
    with pytest.raises(StateForbids, match="would get mixed with ours"):
        sysext(tmp_path, "", {f"{MUTABLE}/{name}/file": ""}).plan_enable(RW)


def test_a_mount_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(StateForbids, match=f"something is mounted on {MUTABLE}"):
        sysext(tmp_path, TMPFS.replace("tmpfs ovlay", "tmpfs tmpfs")).plan_enable(RW)


def test_an_overlay_of_ovlay_is_not_given_to_systemd(tmp_path: Path) -> None:
    """systemd-sysext unmerges nothing that lies under another mount, and exits 0."""
    upper = "/var/lib/ovlay/overlays/5dc2e9d4-0/upper"
    own = f"30 20 0:40 / /usr rw - overlay ovlay rw,lowerdir=/usr,upperdir={upper},workdir=/w\n"
    assert commands(sysext(tmp_path, own, {f"{upper}/x": ""})) == (["unmount", "discard-upper"], [])


def test_it_has_one_mode(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="cannot make a read-only, transient overlay"):
        sysext(tmp_path, "").plan_enable(Mode(Access.READ_ONLY, Persistence.TRANSIENT))


def test_it_refuses_a_systemd_that_cannot(tmp_path: Path) -> None:
    old = {"/usr/lib/systemd/libsystemd-shared-255.so": ""}
    host = made_up_host(tmp_path, READ_ONLY_LINUX, tools=("systemd-sysext", "env"), files=old)
    with pytest.raises(Unsupported, match="255 has no --mutable"):
        SysextBackend(host, "/usr").plan_enable(RW)


@pytest.mark.parametrize("missing", ["systemd-sysext", "env"])
def test_it_says_which_tool_is_missing(tmp_path: Path, missing: str) -> None:
    tools = {"systemd-sysext", "env"} - {missing}
    host = made_up_host(tmp_path, READ_ONLY_LINUX, tools=tuple(tools), files={VERSION: ""})
    with pytest.raises(Unsupported, match=f"^{missing} is not installed"):
        SysextBackend(host, "/usr").plan_enable(RW)


def asked(root: Path, answer: Finished) -> str | None:
    answers: dict[tuple[str, ...], Finished] = {("/usr/bin/systemd-sysext", "status", "--json=short"): answer}
    host = made_up_host(root, READ_ONLY_LINUX, tools=("systemd-sysext",), answers=answers)
    return SysextBackend(host, "/usr").ask_tool()


def test_asking_it(tmp_path: Path) -> None:
    merged = '[{"hierarchy":"/usr","extensions":["a","ovlay"],"since":1}]'
    assert asked(tmp_path, Finished(0, merged, "")) == "systemd-sysext status says that a, ovlay is merged into /usr"
    none = '[{"hierarchy":"/usr","extensions":"none","since":null}]'
    assert asked(tmp_path, Finished(0, none, "")) == "systemd-sysext status says that nothing is merged into /usr"
    assert asked(tmp_path, Finished(1, merged, "")) is None
    assert asked(tmp_path, Finished(0, "Usage: …", "")) is None
