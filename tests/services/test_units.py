"""Units, masks and overrides: what is written, what systemd is told, and what it says."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import Conflict, InvalidInput, Unsupported
from ovlay.host import Finished, Host
from ovlay.model import Base
from ovlay.plan import Plan
from ovlay.plan.execute import execute
from ovlay.plan.services import SettleUnit, SettleUserUnit
from ovlay.services.masks import (
    find_overrides,
    image_name,
    plan_drop_override,
    plan_mask,
    plan_override,
    plan_unmask,
    unit_name,
)
from ovlay.services.programs import Program, demand_trusted, running_program
from ovlay.services.unit_texts import APPLY, UNMASK, apply_unit, exec_line, program_of, unmask_unit
from ovlay.services.units import applies_at_boot, find_units, is_unit, plan_install, plan_remove
from ovlay.testing.scripted import Call, ScriptedHost

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = ("/opt/ovlay/bin/ovlay",)
SYSTEMCTL = "/usr/bin/systemctl"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ScriptedHost]:
    """A host that systemd runs, and says that the unit failed."""

    def systemctl(call: Call) -> Finished:
        return Finished(0, "Result=exit-code\nActiveState=failed\n" if call.words[0] == "show" else "", "")

    with ScriptedHost(str(tmp_path)) as host:
        host.add_tool(SYSTEMCTL, systemctl)
        host.add_file("/run/systemd/system/x", "")
        yield host


def test_systemd_reads_its_units_again_once(host: ScriptedHost) -> None:
    execute(plan_install(host, PROGRAM), host)
    assert host.calls == [(SYSTEMCTL, "daemon-reload")]
    assert applies_at_boot(host)
    execute(plan_remove(host), host)
    assert host.calls == [(SYSTEMCTL, "daemon-reload")] * 2
    assert not applies_at_boot(host)


def test_how_it_ended_is_asked_of_systemd(host: ScriptedHost) -> None:
    assert {unit.state for unit in find_units(host)} == {None}  # nothing is installed, so nothing is asked
    execute(plan_install(host, PROGRAM), host)
    unit = find_units(host)[0]
    assert (unit.name, unit.program, unit.state, unit.result) == (APPLY, PROGRAM[0], "failed", "exit-code")


def test_the_unit_stops_no_boot() -> None:
    lines = apply_unit(PROGRAM).splitlines()
    assert "DefaultDependencies=no" in lines
    assert "WantedBy=sysinit.target" in lines
    assert not any(line.startswith(("RequiredBy=", "Requires=", "FailureAction=")) for line in lines)
    assert any(line.startswith("TimeoutStartSec=") for line in lines)
    before = next(line for line in lines if line.startswith("Before="))
    # Each of these comes before local-fs.target, after which the unit is: a circle, of which systemd drops a part.
    assert not {"systemd-udevd.service", "systemd-sysusers.service", "local-fs-pre.target"} & set(
        before.split("=")[1].split()
    )


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("/bin/a", "b"), "/bin/a b"),
        (("/opt/my tools/a",), '"/opt/my tools/a"'),
        (("/opt/100%/a", "$HOME"), "/opt/100%%/a $$HOME"),
        (("/opt/a'b", 'c"d', "e\\f", ""), '"/opt/a\'b" "c\\"d" "e\\\\f" ""'),
        (("/opt/a$b", "a$b"), "/opt/a$b a$$b"),  # no variables in the path of the program
    ],
)
def test_a_command_is_quoted_for_systemd(argv: tuple[str, ...], line: str) -> None:
    assert exec_line(argv) == line


def test_the_program_of_a_unit() -> None:
    assert program_of(apply_unit(("/opt/100% mine/ovlay",))) == "/opt/100% mine/ovlay"
    assert program_of("[Unit]\n") is None


def test_masks_are_taken_back_before_anything_is_applied() -> None:
    """They share the one lock, and what takes a mask back would not outwait a long apply."""
    before = next(line for line in unmask_unit(PROGRAM).splitlines() if line.startswith("Before="))
    assert APPLY in before
    assert UNMASK not in apply_unit(PROGRAM)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/usr/lib/systemd/system/getty@.service", "getty@tty1.service"),
        ("/usr/lib/systemd/system/getty@.service", "getty@.service"),
        ("/etc/systemd/system/getty@tty1.service", "getty@tty1.service"),
        ("/run/systemd/generator/home-my\\x2ddir.mount", "home-my\\x2ddir.mount"),
    ],
)
def test_a_unit_that_is_there(host: ScriptedHost, file: str, name: str) -> None:
    assert not is_unit(host, name)
    with host.kernel.unsealed("/usr"):
        host.add_file(file, "")
    assert is_unit(host, name)
    assert not is_unit(host, name.replace("getty", "other").replace("home", "other"))
    assert unit_name(name) == name


def test_an_override_and_back(host: ScriptedHost) -> None:
    execute(plan_override(host, "bootc-apply", ["ConditionPathExists=!/var/lib/bkt/disable"]), host)
    (found,) = find_overrides(host)
    assert (found.unit, found.conditions) == ("bootc-apply.service", ("ConditionPathExists=!/var/lib/bkt/disable",))
    assert not plan_override(host, "bootc-apply.service", found.conditions)
    execute(plan_drop_override(host, "bootc-apply"), host)
    assert find_overrides(host) == ()
    assert not plan_drop_override(host, "bootc-apply")


@pytest.mark.parametrize(
    "condition",
    [
        "PathExists=/x",
        "ConditionPathExists=/x\n[Service]",
        "ConditionPathExists=/x\r[Service]\rExecStartPre=/bin/x",
        "ConditionPathExists=/x\\",
        "",
        "Condition=/x",
        "[Unit]",
    ],
)
def test_what_is_no_condition_is_refused(host: ScriptedHost, condition: str) -> None:
    with pytest.raises(InvalidInput):
        plan_override(host, "a.service", [condition])


@pytest.mark.parametrize("name", ["", "../a", "a/b.service", "a b", ".service", "a%i.service", "a\n.service"])
def test_what_is_no_unit_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        unit_name(name)


def test_units_are_completed() -> None:
    assert [unit_name(name) for name in ("a", "a.timer", "getty@tty1.service")] == [
        "a.service",
        "a.timer",
        "getty@tty1.service",
    ]


def test_the_image_by_what_tells_it_from_others() -> None:
    assert image_name(Base("ostree", "abc", "quay.example/os:1", "lab", "1")) == "abc"
    assert image_name(Base("directory", None, None, "lab", "1")) == "lab 1"
    assert image_name(Base("directory", None, None, "lab", None)) == ""
    assert image_name(None) == ""


def test_masks_by_the_image(host: ScriptedHost) -> None:
    old, new = Base("ostree", "old"), Base("ostree", "new")
    execute(plan_mask(host, ["a.service"], old), host)
    assert not plan_mask(host, ["a.service"], old)
    assert not plan_unmask(host, base=old)
    assert not plan_unmask(host, base=None)  # not known to be another image
    assert len(plan_unmask(host, base=new).steps) == 3
    with pytest.raises(InvalidInput):
        plan_unmask(host, ["b.service"], base=new)
    with pytest.raises(Unsupported):
        plan_mask(host, ["a.service"], Base("directory"))


def test_a_step_that_failed_later_is_taken_back(host: ScriptedHost) -> None:
    host.add_file("/etc/systemd/system/a.service", "theirs\n")
    steps = (
        SettleUnit("/etc/systemd/system/a.service", "theirs\n", "ours\n", link=False),
        SettleUnit("/etc/systemd/system/x.target.wants/a.service", None, "../a.service", link=True),
        SettleUnit("/etc/systemd/system/b.service", "was there\n", None, link=False),
    )
    with pytest.raises(Conflict):
        execute(Plan(steps), host)
    assert host.read("/etc/systemd/system/a.service") == "theirs\n"
    assert not host.exists("/etc/systemd/system/x.target.wants")


def test_a_units_step_in_words_and_json() -> None:
    step = SettleUserUnit("/home/u/a.service", None, "x", link=False)
    assert (step.describe(), step.privileged) == ("write /home/u/a.service", False)
    assert SettleUserUnit.from_json(step.to_json()) == step
    assert SettleUnit("/a", "x", None, link=True).describe() == "remove /a"
    assert SettleUnit("/a", None, "x", link=True).describe() == "link /a to x"


def test_this_very_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "ovlay"
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert running_program().argv == (str(script),)
    assert os.path.realpath(sys.executable) in running_program().own
    monkeypatch.setattr(sys, "argv", ["/x/ovlay/__main__.py"])
    assert running_program().argv == (sys.executable, "-I", "-m", "ovlay")
    assert running_program(own=True).argv == (sys.executable, "-P", "-m", "ovlay")


def test_a_link_that_says_two_slashes_leads_somewhere(tmp_path: Path) -> None:
    (tmp_path / "ovlay").write_text("#!/bin/sh\n")
    (tmp_path / "link").symlink_to(f"/{tmp_path}/ovlay")
    link = f"/{tmp_path}/link"
    with pytest.raises(InvalidInput):  # it is in /tmp
        demand_trusted(Host(), Program((link,), (link,), ()))


def test_what_is_in_memory_is_no_program_for_a_boot() -> None:
    with pytest.raises(InvalidInput, match="does not outlive a reboot"):
        demand_trusted(Host(), Program(("/proc/self/exe",), ("/proc/self/exe",), ()))
