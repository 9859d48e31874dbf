"""``ovlay disable``: what a reboot does, and an offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.cli.disable import fate
from ovlay.model import Layer, Mode, Owner, Persistence, Status

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_with_no_overlay_there_is_nothing_to_disable(cli: Cli) -> None:
    assert cli("disable") == (0, "no overlay is on /usr: there is nothing to disable\n", "")


def test_a_transient_overlay_is_gone_after_a_reboot(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("disable")
    assert said.status == 0
    assert "a reboot takes the overlay off /usr, and what is in it is lost" in said.out
    assert "`ovlay unmount`" in said.out
    cli.host.reboot()
    assert cli("status", "--json").document("status")["active"] is False


def test_a_persistent_overlay_is_told_apart(cli: Cli) -> None:
    cli("enable", "--yes", "--persistent")
    assert cli("disable").out.startswith(
        "the overlay on /usr is persistent: a reboot takes it away and keeps what is in it; "
        "`ovlay enable --persistent` puts it there again\n"
    )


def test_a_hotfix_is_there_again_by_itself() -> None:
    mode = Mode(persistence=Persistence.PERSISTENT)
    layer = Layer(30, Owner.TOOL, "overlay", "overlay", "0:40", mode.access, mode.access, ("usr",), "/x/upper")
    status = Status(backend="ostree", target="/usr", active=True, writable=True, mode=mode, overlay=layer)
    assert fate(status) == "the overlay on /usr is persistent: it is there again after a reboot, with what is in it"


def test_nothing_is_unmounted_where_nobody_can_be_asked(cli: Cli) -> None:
    cli("enable", "--yes")
    document = cli("disable", "--json").document("outcome")
    assert (document["verb"], document["changed"], document["status"]["active"]) == ("disable", False, True)


def test_yes_unmounts(cli: Cli) -> None:
    cli("enable", "--yes")
    document = cli("disable", "--yes", "--json").document("outcome")
    assert (document["changed"], document["status"]["active"]) == (True, False)


def test_a_dry_run_shows_the_plan(cli: Cli) -> None:
    assert cli("disable", "--dry-run", "--json").document("plan")["steps"] == []
    cli("enable", "--yes")
    assert "  1. unmount the overlay on /usr" in cli("disable", "--dry-run").out
    assert cli.host.kernel.writable("/usr")
