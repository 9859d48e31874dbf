"""``ovlay reset``: everything as in the base, or a new and empty overlay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def changed(cli: Cli, tool: str) -> None:
    """An overlay with a file that was added, and one that was changed."""
    cli("enable", "--yes")
    cli("install", "--yes", tool, "/usr/bin/new")
    Path(cli.host.path("/usr/bin/old")).write_text("changed\n")


def names(cli: Cli) -> set[str]:
    return {path.name for path in Path(cli.host.path("/usr/bin")).iterdir()}


def test_everything_is_as_in_the_base(cli: Cli, tool: str) -> None:
    changed(cli, tool)
    said = cli("reset", "--yes")
    assert said.status == 0
    assert said.out.startswith("/usr is as in the base again\n")
    assert "2 changes are undone and cannot be brought back: 1 added, 1 modified" in said.out
    assert names(cli) == {"old"}
    assert Path(cli.host.path("/usr/bin/old")).read_text() == "old\n"
    assert cli("diff", "--all").out == ""


def test_where_nothing_differs_it_says_so(cli: Cli, tool: str) -> None:
    cli("enable", "--yes")
    assert cli("reset", "--yes") == (0, "nothing on /usr differs from the base\n", "")
    changed(cli, tool)
    cli("reset", "--yes")
    assert cli("reset", "--json").document("outcome")["changed"] is False


def test_with_no_overlay_there_is_nothing_to_reset(cli: Cli) -> None:
    for words in (("reset",), ("reset", "--fresh")):
        said = cli(*words, "--yes")
        assert (said.status, "there is no overlay on /usr" in said.err) == (5, True)


def test_a_dry_run_says_what_and_changes_nothing(cli: Cli, tool: str) -> None:
    changed(cli, tool)
    said = cli("reset", "--dry-run")
    assert "/usr/bin/old" in said.out.partition(", and remove /usr/bin/new, which the base does not have")[0]
    assert "note: 2 changes are undone" in said.out
    step, forgotten = cli("reset", "--dry-run", "--json").document("plan")["steps"]
    assert (forgotten["step"], forgotten["paths"]) == ("settle-receipts", ["bin/new"])
    assert (step["step"], step["added"], step["changed"][0]) == ("restore-paths", ["bin/new"], "bin/old")
    assert set(step["changed"][1:]) <= {"."}  # its time stamp is that of the upper
    assert names(cli) == {"old", "new"}


def test_nothing_is_changed_without_a_yes(cli: Cli, tool: str) -> None:
    changed(cli, tool)
    assert cli("reset").status == cli("reset", "--fresh").status == 2
    assert names(cli) == {"old", "new"}


def test_a_read_only_overlay_stays_read_only(cli: Cli, tool: str) -> None:
    changed(cli, tool)
    cli("enable", "--yes", "--read-only")
    document = cli("reset", "--yes", "--json").document("outcome")
    assert (document["verb"], document["changed"], document["status"]["writable"]) == ("reset", True, False)
    assert names(cli) == {"old"}


def test_fresh_takes_another_overlay_of_the_same_mode(cli: Cli, tool: str) -> None:
    changed(cli, tool)
    before = cli("status", "--json").document("status")["overlay"]
    with cli.host.kernel.hold("/usr/bin", command="editor") as held:
        document = cli("reset", "--fresh", "--yes", "--json").document("outcome")
        assert names(cli) == {"old"}
        assert {path.name for path in Path(held).iterdir()} == {"old", "new"}
        assert any("still used by editor" in line for line in document["told"])
    after = document["status"]["overlay"]
    assert document["status"]["mode"] == {"access": "read-write", "persistence": "transient"}
    assert (after["upper"] != before["upper"], after["mount_id"] != before["mount_id"]) == (True, True)


def test_fresh_says_what_it_means(cli: Cli, tool: str) -> None:
    changed(cli, tool)
    said = cli("reset", "--fresh", "--dry-run")
    assert "note: then a fresh read-write, transient overlay is enabled, as `ovlay enable` does it" in said.out
    assert names(cli) == {"old", "new"}


def test_fresh_is_not_for_a_persistent_overlay(cli: Cli) -> None:
    cli("enable", "--yes", "--persistent")
    said = cli("reset", "--fresh", "--yes")
    assert (said.status, "undo them in place with `ovlay reset`" in said.err) == (5, True)


def test_what_was_placed_is_forgotten_with_it(cli: Cli, tool: str) -> None:
    from ovlay.overlay import open_overlay
    from ovlay.receipts import read_receipts

    def known() -> set[str]:
        return set(read_receipts(cli.host, open_overlay("fake", host=cli.host).status()))

    cli("enable", "--yes")
    for name in ("one", "two"):
        cli("install", "--yes", tool, f"/usr/bin/{name}")
    assert known() == {"bin/one", "bin/two"}
    cli("revert", "--yes", "/usr/bin/one")
    assert known() == {"bin/two"}
    cli("unmount", "--yes")
    cli("enable", "--yes")
    assert known() == set()
