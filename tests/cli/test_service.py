"""``ovlay service``: units, masks and the guard's drop-ins, on a simulated host."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

APPLY = "/etc/systemd/system/ovlay-apply.service"
WANTS = "/etc/systemd/system/sysinit.target.wants/ovlay-apply.service"


def there(cli: Cli, path: str) -> Path:
    return Path(cli.host.path(path))


def image(cli: Cli, version: str) -> None:
    """Boot another image, as far as os-release(5) tells."""
    os.makedirs(cli.host.path("/etc"), exist_ok=True)
    there(cli, "/etc/os-release").write_text(f"ID=lab\nVERSION_ID={version}\n")
    cli.host.__dict__.pop("os_release", None)


def status(cli: Cli) -> dict[str, Any]:
    return cli("service", "status", "--json").document("service")


def test_install_twice_and_remove(cli: Cli) -> None:
    said = cli("service", "install", "--yes")
    assert (said.status, said.out) == (0, "installed: the manifests are applied at every boot\n")
    text = there(cli, APPLY).read_text()
    assert "apply --system --enable --yes --triggers\n" in text
    assert "DefaultDependencies=no\n" in text
    assert os.readlink(there(cli, WANTS)) == "../ovlay-apply.service"
    unit = status(cli)["units"][0]
    assert (unit["name"], unit["installed"], unit["enabled"]) == ("ovlay-apply.service", True, True)
    assert cli("service", "install", "--yes").out == "ovlay-apply.service is installed already\n"
    assert cli("service", "remove", "--yes").out == "removed\n"
    assert not there(cli, "/etc/systemd/system/sysinit.target.wants").exists()
    assert list(there(cli, "/etc/systemd/system").iterdir()) == []
    assert cli("service", "remove", "--yes").out == "ovlay-apply.service is not installed\n"


def test_a_dry_run_changes_nothing(cli: Cli) -> None:
    plan = cli("service", "install", "--dry-run", "--json").document("plan")
    assert [step["step"] for step in plan["steps"]] == ["settle-unit"] * 4
    assert not there(cli, APPLY).exists()
    assert f"write {APPLY}" in cli("service", "install", "--dry-run").out


def test_what_somebody_edited_is_written_anew_and_disabled_is_enabled(cli: Cli) -> None:
    cli("service", "install", "--yes")
    there(cli, APPLY).write_text("[Unit]\n")
    there(cli, WANTS).unlink()
    assert status(cli)["units"][0]["enabled"] is False
    assert cli("service", "install", "--yes").status == 0
    assert "Description=" in there(cli, APPLY).read_text()
    assert there(cli, WANTS).is_symlink()


def test_a_link_of_systemctl_is_as_good(cli: Cli) -> None:
    cli("service", "install", "--yes")
    there(cli, WANTS).unlink()
    there(cli, WANTS).symlink_to(APPLY)
    assert cli("service", "install", "--yes").out == "ovlay-apply.service is installed already\n"
    assert cli("service", "remove", "--yes").status == 0
    assert not there(cli, WANTS).is_symlink()


def test_the_unit_of_the_user(cli: Cli) -> None:
    assert cli("service", "install", "--user", "--yes").status == 0
    text = there(cli, "/root/.config/systemd/user/ovlay-drift.service").read_text()
    assert "plan\n" in text
    assert "PYTHONNOUSERSITE" not in text  # ovlay may be there
    assert "WantedBy=default.target" in text
    units = {unit["name"]: unit for unit in status(cli)["units"]}
    assert units["ovlay-drift.service"]["enabled"] is True
    assert units["ovlay-apply.service"]["installed"] is False
    assert cli("service", "remove", "--user", "--yes").out == "removed\n"
    assert cli("service", "remove", "--user", "--yes").out == "ovlay-drift.service is not installed\n"


def program(cli: Cli, first: str = "#!/opt/python\n") -> None:
    for name, text in (("ovlay", first), ("python", "")):
        path = there(cli, f"/opt/{name}")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    there(cli, "/opt").chmod(0o755)


def test_a_named_program(cli: Cli) -> None:
    program(cli)
    assert cli("service", "install", "--yes", "--program", "/opt/ovlay").status == 0
    assert "\nExecStart=/opt/ovlay apply " in there(cli, APPLY).read_text()
    assert status(cli)["units"][0]["program"] == "/opt/ovlay"


@pytest.mark.parametrize("path", ["/opt", "/opt/ovlay", "/opt/python"])
def test_a_program_that_others_can_write_is_refused(cli: Cli, path: str) -> None:
    program(cli)
    there(cli, path).chmod(0o775)
    said = cli("service", "install", "--yes", "--program", "/opt/ovlay")
    assert said.status == 2
    assert f"{path}" in said.err
    assert "can be written by others than root" in said.err
    assert not there(cli, APPLY).exists()


def test_a_program_through_a_link_that_others_can_move(cli: Cli) -> None:
    program(cli)
    there(cli, "/loose").mkdir()
    there(cli, "/loose/ovlay").symlink_to("/opt/ovlay")
    there(cli, "/loose").chmod(0o777)
    there(cli, "/bin").symlink_to("loose")
    said = cli("service", "install", "--yes", "--program", "/bin/ovlay")
    assert (said.status, "/loose, on the way to /bin/ovlay which is run, can be written" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("first", "path", "message"),
    [
        ("#!/usr/bin/env python3\n", "/opt/ovlay", "whatever python3 the search path has"),
        ("#!/gone/python\n", "/opt/ovlay", "/gone, on the way to /gone/python which is run, cannot be looked at"),
        ("", "ovlay", "is not an absolute path"),
        ("", "/opt/none", "cannot be looked at"),
    ],
)
def test_a_program_that_cannot_be(cli: Cli, first: str, path: str, message: str) -> None:
    program(cli, first)
    said = cli("service", "install", "--yes", "--program", path)
    assert (said.status, message in said.err) == (2, True)


def test_a_program_in_the_overlay_is_gone_after_a_boot(cli: Cli) -> None:
    program(cli)
    cli("enable", "--yes")
    for path in ("/usr", "/usr/bin"):
        there(cli, path).chmod(0o755)
    new = there(cli, "/usr/bin/ovlay")
    new.write_text("#!/opt/python\n")
    new.chmod(0o755)
    said = cli("service", "install", "--yes", "--program", "/usr/bin/ovlay")
    assert (said.status, "/usr/bin/ovlay is in the overlay" in said.err) == (2, True)
    assert cli("service", "install", "--yes", "--program", "/opt/ovlay").status == 0


def test_a_mask_and_back(cli: Cli) -> None:
    image(cli, "1")
    said = cli("service", "mask-until-image", "--yes", "bootc-apply")
    assert said.status == 0
    assert "there is no unit bootc-apply.service on this host now" in said.out
    assert "only with `ovlay service install`" in said.out
    marker = "/var/lib/ovlay/masked/bootc-apply.service"
    drop_in = there(cli, "/etc/systemd/system/bootc-apply.service.d/50-ovlay-mask.conf")
    assert f"[Unit]\nConditionPathExists=!{marker}\n" in drop_in.read_text()
    assert there(cli, marker).exists()
    assert there(cli, "/var/lib/ovlay").stat().st_mode & 0o777 == 0o700
    (mask,) = status(cli)["masks"]
    assert (mask["unit"], mask["image"], mask["outdated"]) == ("bootc-apply.service", "lab 1", False)
    assert cli("service", "mask-until-image", "--yes", "bootc-apply").out.startswith("bootc-apply: masked already\n")
    assert cli("service", "mask-until-image", "--undo", "--yes", "bootc-apply").out == "the mask is taken back\n"
    assert status(cli)["masks"] == []
    assert not drop_in.parent.exists()


def test_another_image_outdates_a_mask(cli: Cli) -> None:
    image(cli, "1")
    cli("service", "mask-until-image", "--yes", "a.service", "b.timer")
    outdated = ("service", "mask-until-image", "--undo", "--outdated", "--yes")
    assert cli(*outdated).out == "nothing is masked for another image\n"
    image(cli, "2")
    assert [mask["outdated"] for mask in status(cli)["masks"]] == [True, True]
    assert "the image has changed since, the mask can go" in cli("service", "status").out
    cli("service", "mask-until-image", "--yes", "b.timer")  # meant for this image too
    assert cli(*outdated).out == "the mask is taken back\n"
    assert [mask["unit"] for mask in status(cli)["masks"]] == ["b.timer"]


def test_an_image_that_has_no_name(cli: Cli) -> None:
    said = cli("service", "mask-until-image", "--yes", "a.service")
    assert (said.status, "neither a checksum nor a version" in said.err) == (4, True)


def test_a_drop_in_of_somebody_else_stays(cli: Cli) -> None:
    image(cli, "1")
    cli("service", "mask-until-image", "--yes", "a.service")
    theirs = there(cli, "/etc/systemd/system/a.service.d/10-mine.conf")
    theirs.write_text("[Unit]\n")
    cli("service", "mask-until-image", "--undo", "--yes", "a.service")
    assert list(theirs.parent.iterdir()) == [theirs]


def test_update_services_are_guarded(cli: Cli) -> None:
    assert cli("service", "install", "--guard", "--yes").status == 0
    assert status(cli)["guarded"] == []
    os.makedirs(cli.host.path("/run/systemd/system"), exist_ok=True)
    there(cli, "/run/systemd/system/bootc-fetch-apply-updates.service").write_text("[Service]\n")
    assert "not guarded: bootc-fetch-apply-updates.service" in cli("service", "status").out
    assert cli("service", "install", "--guard", "--yes").status == 0
    drop_in = there(cli, "/etc/systemd/system/bootc-fetch-apply-updates.service.d/50-ovlay-guard.conf")
    (line,) = [line for line in drop_in.read_text().splitlines() if line.startswith("ExecStartPre")]
    assert line.startswith("ExecStartPre=-/")
    assert line.endswith(" guard upgrade")
    assert status(cli)["guarded"] == status(cli)["updaters"] == ["bootc-fetch-apply-updates.service"]
    cli("service", "install", "--guard", "--block", "--yes")
    assert "ExecStartPre=/" in drop_in.read_text()
    cli("service", "remove", "--yes")
    assert not drop_in.parent.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("install", "a.service"),
        ("mask-until-image",),
        ("mask-until-image", "../a.service"),
        ("mask-until-image", "a b"),
        ("mask-until-image", "--undo", "a.service"),
        ("mask-until-image", "--outdated"),
        ("mask-until-image", "--undo", "--outdated", "a.service"),
        ("mask-until-image", "--user", "a.service"),
        ("install", "--undo"),
        ("install", "--block"),
        ("status", "--guard"),
        ("remove", "--program", "/opt/ovlay"),
        ("unknown",),
        (),
    ],
)
def test_words_that_mean_nothing(cli: Cli, words: tuple[str, ...]) -> None:
    image(cli, "1")
    assert cli("service", *words, "--yes").status == 2


def test_only_what_is_missing_is_named(cli: Cli) -> None:
    said = cli("service")
    assert (said.status, "arguments are required: ACTION\n" in said.err) == (2, True)


def test_half_a_mark_is_outdated(cli: Cli) -> None:
    image(cli, "1")
    cli("service", "mask-until-image", "--yes", "a.service")
    there(cli, "/var/lib/ovlay/masked/a.service").write_text('{"unit"')
    assert status(cli)["masks"][0]["outdated"] is True


def test_somebody_writes_the_unit_at_the_same_time(cli: Cli) -> None:
    from ovlay.errors import Conflict
    from ovlay.plan.services import SettleUnit

    step = SettleUnit("/etc/systemd/system/a.service", None, "[Unit]\n", link=False)
    there(cli, "/etc/systemd/system").mkdir(parents=True)
    there(cli, "/etc/systemd/system/a.service").write_text("theirs\n")
    with pytest.raises(Conflict):
        step.run(cli.host)
    assert there(cli, "/etc/systemd/system/a.service").read_text() == "theirs\n"
