"""``admin systemctl override``: bkt's way to keep a service from starting until the image is mended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.bkt.conftest import Bkt

CONDITION = "ConditionPathExists=!/var/lib/bkt/disable-bootc-apply"
DROP_IN = "/etc/systemd/system/bootc-apply.service.d/50-ovlay-override.conf"


@pytest.fixture
def unit(bkt: Bkt) -> Bkt:
    """A host that has the service."""
    with bkt.host.kernel.unsealed("/usr") as usr:
        from pathlib import Path

        Path(usr, "lib/systemd/system").mkdir(parents=True)
        Path(usr, "lib/systemd/system/bootc-apply.service").write_text("[Service]\nExecStart=/usr/bin/bootc-apply\n")
    return bkt


def test_the_drop_in(unit: Bkt) -> None:
    said = unit("admin systemctl override bootc-apply.service --condition", CONDITION)
    assert said == (0, f"✓ bootc-apply.service starts only where {CONDITION}\n", "")
    assert unit.there(DROP_IN).read_text().endswith(f"[Unit]\n{CONDITION}\n")
    again = unit("admin systemctl override bootc-apply --confirm --condition", CONDITION)
    assert again == (0, "bootc-apply.service has this override already\n", "")


def test_it_is_taken_back(unit: Bkt) -> None:
    unit("admin systemctl override bootc-apply.service --condition", CONDITION)
    said = unit("admin systemctl override bootc-apply.service --remove")
    assert said == (0, "✓ bootc-apply.service: override removed\n", "")
    assert not unit.there(DROP_IN).exists()
    assert unit("admin systemctl override bootc-apply.service --remove").status == 0


def test_a_dry_run_writes_nothing(unit: Bkt) -> None:
    said = unit("admin systemctl override bootc-apply -n --condition", CONDITION)
    assert (said.status, DROP_IN in said.out) == (0, True)
    assert not unit.there(DROP_IN).exists()


def test_a_unit_that_is_not_there_is_told_of(bkt: Bkt) -> None:
    said = bkt("admin systemctl override no-such --condition", CONDITION)
    assert (said.status, "there is no unit no-such.service" in said.err) == (0, True)


@pytest.mark.parametrize(
    "words",
    [
        ["x.service", "--condition", "ExecStart=/bin/sh"],
        ["x.service", "--condition", "ConditionPathExists=!/x\n[Service]"],
        ["../x.service", "--condition", CONDITION],
        ["x.service"],
        ["x.service", "--remove", "--condition", CONDITION],
        ["--condition", CONDITION],
    ],
)
def test_what_is_no_override_is_refused(bkt: Bkt, words: list[str]) -> None:
    said = bkt("admin systemctl override", *words)
    assert (said.status, said.out) == (2, "")
    assert not bkt.there("/etc/systemd/system").exists()
