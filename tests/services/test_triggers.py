"""Triggers: which tools are run after which change, and only those that are needed and there."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import ToolFailed
from ovlay.plan import Plan
from ovlay.plan.execute import execute
from ovlay.plan.triggering import RunTrigger
from ovlay.services.triggers import derived_globs, needed_triggers, notes_on
from ovlay.testing.scripted import Call, ScriptedHost, done, failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOOLS = (
    "/usr/bin/systemctl",
    "/usr/bin/udevadm",
    "/usr/bin/systemd-hwdb",
    "/usr/bin/systemd-sysusers",
    "/usr/bin/systemd-tmpfiles",
    "/usr/lib/systemd/systemd-sysctl",
    "/usr/lib/systemd/systemd-binfmt",
    "/usr/lib/systemd/systemd-modules-load",
    "/usr/sbin/ldconfig",
    "/usr/sbin/depmod",
    "/usr/bin/glib-compile-schemas",
    "/usr/bin/gtk4-update-icon-cache",
    "/usr/bin/update-desktop-database",
    "/usr/bin/update-mime-database",
    "/usr/bin/busctl",
)


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[ScriptedHost]:
    """A host with no tools."""
    with ScriptedHost(str(tmp_path)) as host:
        yield host


@pytest.fixture
def host(bare: ScriptedHost) -> ScriptedHost:
    """A host with all of them, on which systemd, udevd and a bus run."""
    for tool in TOOLS:
        bare.add_tool(tool, lambda _: done())
    with bare.kernel.unsealed("/usr"):
        bare.add_file("/usr/share/icons/hicolor/icon-theme.cache", "")
    for mark in ("/run/systemd/system/x", "/run/udev/control", "/run/dbus/system_bus_socket"):
        bare.add_file(mark, "")
    return bare


@pytest.mark.parametrize(
    ("path", "commands"),
    [
        ("lib/systemd/system/a.service", ["systemctl daemon-reload"]),
        ("lib/systemd/system/multi-user.target.wants/a.service", ["systemctl daemon-reload"]),
        ("lib/systemd/system-generators/mine", ["systemctl daemon-reload"]),
        ("local/lib/systemd/system/a.service", ["systemctl daemon-reload"]),
        ("lib/udev/rules.d/60-a.rules", ["udevadm control --reload", "udevadm trigger --action=change"]),
        ("lib/systemd/network/10-a.link", ["udevadm control --reload", "udevadm trigger --action=change"]),
        (
            "lib/udev/hwdb.d/60-a.hwdb",
            ["systemd-hwdb update --usr", "udevadm control --reload", "udevadm trigger --action=change"],
        ),
        ("lib/sysusers.d/a.conf", ["systemd-sysusers a.conf"]),
        ("lib/tmpfiles.d/a.conf", ["systemd-tmpfiles --create a.conf"]),
        ("lib/sysctl.d/a.conf", ["systemd-sysctl a.conf"]),
        ("lib/binfmt.d/a.conf", ["systemd-binfmt a.conf"]),
        ("lib/modules-load.d/a.conf", ["systemd-modules-load a.conf"]),
        ("lib/modules/6.12.0/extra/a.ko.zst", ["depmod 6.12.0"]),
        ("share/glib-2.0/schemas/a.gschema.xml", ["glib-compile-schemas /usr/share/glib-2.0/schemas"]),
        (
            "share/icons/hicolor/48x48/apps/a.png",
            ["gtk4-update-icon-cache --quiet --force /usr/share/icons/hicolor"],
        ),
        ("share/applications/a.desktop", ["update-desktop-database --quiet /usr/share/applications"]),
        ("share/mime/packages/a.xml", ["update-mime-database /usr/share/mime"]),
        (
            "share/dbus-1/system.d/a.conf",
            ["busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig"],
        ),
        ("bin/tool", []),
        ("lib64/libfoo.so.1", []),  # ld.so looks there of itself
        ("share/icons/other/a.png", []),  # a theme with no cache
        ("lib/systemd/user/a.service", []),
        ("share/fonts/a.ttf", []),
    ],
)
def test_each_class_of_paths(host: ScriptedHost, path: str, commands: list[str]) -> None:
    assert [step.command for step in needed_triggers(host, "/usr", [path])] == commands


@pytest.mark.parametrize("path", ["lib/systemd/system/a.service", "lib/sysctl.d/a.conf", "lib/modules/6/a.ko"])
def test_a_tool_that_is_not_there_is_not_run(bare: ScriptedHost, path: str) -> None:
    assert needed_triggers(bare, "/usr", [path]) == ()


def test_many_paths_make_one_trigger(host: ScriptedHost) -> None:
    (step,) = needed_triggers(host, "/usr", [f"lib/systemd/system/{n}.service" for n in range(3)])
    assert step.paths == 3
    assert step.describe() == "run `systemctl daemon-reload`: 3 system units changed"


def test_users_come_before_what_is_theirs_and_the_manager_last(host: ScriptedHost) -> None:
    paths = [
        "lib/systemd/system/a.service",
        "lib/tmpfiles.d/a.conf",
        "share/dbus-1/system.d/a",
        "lib/sysusers.d/a.conf",
    ]
    tools = [step.command.split()[0] for step in needed_triggers(host, "/usr", paths)]
    assert tools == ["systemd-sysusers", "systemd-tmpfiles", "busctl", "systemctl"]


def test_another_target_has_no_such_classes(host: ScriptedHost) -> None:
    assert needed_triggers(host, "/opt/tools", ["lib/systemd/system/a.service"]) == ()
    (step,) = needed_triggers(host, "/usr/lib", ["systemd/system/a.service"])
    assert step.command == "systemctl daemon-reload"


def test_a_library_where_only_the_cache_leads(host: ScriptedHost) -> None:
    """A default directory needs no cache; one of ld.so.conf does, and that outlives the overlay."""
    host.add_file("/etc/ld.so.conf", "include ld.so.conf.d/*.conf\n# /usr/lib64/comment\n")
    host.add_file("/etc/ld.so.conf.d/a.conf", "/usr/lib64/mysql\n/usr/lib/x86_64-linux-gnu\n")
    host.add_file("/etc/ld.so.conf.d/a.rpmsave", "/usr/lib64/old\n")
    paths = ["lib64/mysql/liba.so.1", "lib64/old/libb.so", "lib/x86_64-linux-gnu/libc.so.6", "lib64/libd.so"]
    (step,) = needed_triggers(host, "/usr", paths)
    assert (step.command, step.paths) == ("ldconfig", 1)
    assert "/etc/ld.so.cache outlives the overlay" in step.describe()


def test_configuration_that_includes_itself_ends(host: ScriptedHost) -> None:
    host.add_file("/etc/ld.so.conf", "include /etc/ld.so.conf\ninclude ld.d/*\n")
    host.add_file("/etc/ld.d/a", "include /etc/ld.d/a\ninclude /etc/ld.so.conf\n/usr/lib64/x\n")
    assert len(needed_triggers(host, "/usr", ["lib64/x/liba.so"])) == 1


def test_the_hardware_database_of_etc_is_left_alone(host: ScriptedHost) -> None:
    host.add_file("/etc/udev/hwdb.bin", "")
    steps = needed_triggers(host, "/usr", ["lib/udev/hwdb.d/a.hwdb"])
    assert not any("systemd-hwdb" in step.command for step in steps)
    (note,) = notes_on(host, "/usr", ["lib/udev/hwdb.d/a.hwdb"])
    assert note.startswith("/etc/udev/hwdb.bin hides")


def test_user_units_are_noted(host: ScriptedHost) -> None:
    (note,) = notes_on(host, "/usr", ["lib/systemd/user/a.service", "bin/tool"])
    assert "systemctl --user daemon-reload" in note
    assert notes_on(host, "/usr", ["lib/systemd/system/a.service"]) == ()


def test_what_outlives_the_overlay_is_said(host: ScriptedHost) -> None:
    (users, files) = needed_triggers(host, "/usr", ["lib/sysusers.d/a.conf", "lib/tmpfiles.d/a.conf"])
    assert "stay in /etc" in users.describe()
    assert "stays when the overlay is gone" in files.describe()


def test_files_that_are_gone_are_left_out(host: ScriptedHost) -> None:
    with host.kernel.unsealed("/usr"):
        host.add_file("/usr/lib/sysctl.d/there.conf", "")
    steps = needed_triggers(host, "/usr", ["lib/sysctl.d/there.conf", "lib/sysctl.d/gone.conf"])
    assert execute(Plan(steps), host).told == ()
    assert host.calls == [("/usr/lib/systemd/systemd-sysctl", "there.conf")]
    host.calls.clear()
    assert execute(Plan(needed_triggers(host, "/usr", ["lib/sysctl.d/gone.conf"])), host).told == ()
    assert host.calls == []


def test_nobody_to_be_told(host: ScriptedHost) -> None:
    host.remove("/run/udev/control")
    told = execute(Plan(needed_triggers(host, "/usr", ["lib/udev/rules.d/a.rules"])), host).told
    assert told[0] == "`udevadm control --reload` was not run: there is no /run/udev/control"
    assert host.calls == []


def test_a_failure_is_told_and_stops_nothing(host: ScriptedHost) -> None:
    def hangs(call: Call) -> object:
        raise ToolFailed(f"{call.words} did not end within 90 seconds and was killed")

    host.add_tool("/usr/sbin/depmod", lambda _: failed("depmod: ERROR: no such version"))
    host.add_tool("/usr/bin/systemctl", hangs)  # type: ignore[arg-type]
    steps = needed_triggers(host, "/usr", ["lib/modules/6/a.ko", "lib/systemd/system/a.service"])
    first, second = execute(Plan(steps), host).told
    assert "depmod: ERROR: no such version; what was placed stays" in first
    assert "did not end within 90 seconds" in second


def test_what_triggers_write_into_the_overlay_is_known() -> None:
    paths = ["share/mime/packages/a.xml", "lib/modules/6.12.0/a.ko", "lib/udev/hwdb.d/a.hwdb", "bin/tool"]
    globs = derived_globs("/usr", paths)

    def derived(path: str) -> bool:
        return any(fnmatchcase(path, glob) for glob in globs)

    assert derived("lib/modules/6.12.0/modules.dep.bin")
    assert derived("lib/udev/hwdb.bin")
    assert derived("share/mime/mime.cache")
    assert derived("share/mime/application/x-a.xml")
    assert not derived("share/mime/packages/a.xml")
    assert not derived("lib/modules/6.12.0/a.ko")
    assert not derived("bin/tool")
    assert derived_globs("/usr/lib", paths) == ()
    assert derived_globs("/usr/lib", ["udev/hwdb.d/a.hwdb"]) == ("udev/hwdb.bin",)
    assert derived_globs("/opt", paths) == ()


def test_the_step_in_json() -> None:
    step = RunTrigger(("/usr/sbin/depmod", "6"), "1 kernel module changed", 1, "", (), "", ("/usr/lib/modules/6/*",))
    assert RunTrigger.from_json(step.to_json()) == step
