"""``ovlay unmount``: gone with what was in it, or refused with the names of those who use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def test_unmount_takes_it_away(cli: Cli, tool: str) -> None:
    cli("enable", "--yes")
    cli("install", "--yes", tool, "/usr/bin/")
    said = cli("unmount", "--yes")
    assert said.status == 0
    assert said.out.startswith("the overlay is gone from /usr\n")
    assert not cli.host.exists("/usr/bin/tool")


def test_unmount_of_nothing_says_so(cli: Cli) -> None:
    assert cli("unmount") == (0, "no overlay is on /usr\n", "")
    assert cli("unmount", "--json").document("outcome")["changed"] is False


def test_nothing_is_changed_without_a_yes(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("unmount")
    assert (said.status, "say --yes" in said.err) == (2, True)
    assert cli.host.kernel.writable("/usr")


def test_busy_names_the_holder_and_the_way_out(cli: Cli) -> None:
    cli("enable", "--yes")
    with cli.host.kernel.hold("/usr/bin", command="editor"):
        said = cli("unmount", "--yes", "--json")
        document = said.document("error")
        assert said.status == document["exit_code"] == 5
        assert document["kind"] == "busy"
        assert [holder["command"] for holder in document["holders"]] == ["editor"]
        assert "is busy: used by editor" in said.err
        assert "ovlay unmount --lazy" in said.err
        assert cli.host.kernel.writable("/usr")


def test_lazy_leaves_the_holder_its_view_and_enable_works_again(cli: Cli) -> None:
    cli("enable", "--yes")
    with cli.host.kernel.hold("/usr/bin", command="editor"):
        said = cli("unmount", "--yes", "--lazy")
        assert said.status == 0
        assert "is still used by editor" in said.out
        held = cli("status")
        assert "held-after-unmount: " in held.out
        assert cli("enable", "--yes").status == 0
    assert cli("status", "--json").document("status")["active"] is True


def test_a_dry_run_changes_nothing(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("unmount", "--dry-run", "--lazy")
    assert "  1. lazily unmount the overlay on /usr" in said.out
    assert cli.host.kernel.writable("/usr")
