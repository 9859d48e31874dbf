"""``ovlay revert``: some paths as in the base, and no others."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


@pytest.fixture
def edited(cli: Cli, tool: str) -> Cli:
    """An overlay with a file that was added, one that was changed, and a directory that was deleted."""
    with cli.host.kernel.unsealed("/usr") as usr:
        Path(usr, "lib/deep").mkdir(parents=True)
        Path(usr, "lib/deep/file").write_text("deep\n")
        Path(usr, "lib/deep/link").symlink_to("/nowhere")
        Path(usr, "lib64").symlink_to("lib")
    cli("enable", "--yes")
    cli("install", "--yes", tool, "/usr/bin/new")
    there(cli, "/usr/bin/old").write_text("changed\n")
    shutil.rmtree(there(cli, "/usr/lib/deep"))
    return cli


def there(cli: Cli, path: str) -> Path:
    return Path(cli.host.path(path))


def test_one_changed_file(edited: Cli) -> None:
    said = edited("revert", "--yes", "/usr/bin/old")
    assert said.status == 0
    assert said.out.startswith("reverted /usr/bin/old: as in the base again\n")
    assert "keep the old one until they are restarted: `ovlay holders`" in said.out
    assert there(edited, "/usr/bin/old").read_text() == "old\n"
    assert there(edited, "/usr/bin/new").exists()
    assert not there(edited, "/usr/lib/deep").exists()


def test_an_added_file_goes(edited: Cli) -> None:
    assert edited("revert", "--yes", "bin/new").status == 0
    assert not there(edited, "/usr/bin/new").exists()
    assert there(edited, "/usr/bin/old").read_text() == "changed\n"


def test_a_deleted_directory_comes_back_with_all_in_it(edited: Cli) -> None:
    plan = edited("revert", "--dry-run", "--json", "/usr/lib/deep").document("plan")
    assert [step["changed"] for step in plan["steps"]] == [["lib/deep"]]
    assert edited("revert", "--yes", "/usr/lib/deep").status == 0
    assert there(edited, "/usr/lib/deep/file").read_text() == "deep\n"
    assert there(edited, "/usr/lib/deep/link").is_symlink()


def test_one_file_of_a_deleted_directory_comes_back_alone(edited: Cli) -> None:
    assert edited("revert", "--yes", "/usr/lib/deep/file").status == 0
    assert [path.name for path in there(edited, "/usr/lib/deep").iterdir()] == ["file"]


def test_a_directory_means_all_below_it(edited: Cli) -> None:
    said = edited("revert", "--yes", "/usr/bin", "/usr/lib")
    assert said.out.startswith("reverted 2 paths: as in the base again\n")
    assert edited("diff").out == ""


def test_a_link_on_the_way_is_followed_inside_the_target(edited: Cli) -> None:
    assert edited("revert", "--yes", "/usr/lib64/deep").status == 0
    assert there(edited, "/usr/lib/deep/file").exists()
    assert there(edited, "/usr/lib64").is_symlink()


def test_a_path_with_no_change_says_so(edited: Cli) -> None:
    said = edited("revert", "--yes", "/usr/lib64")
    assert said == (0, "no change at /usr/lib64: it is as in the base\n", "")
    assert "note: /usr/lib64 is as in the base already" in edited("revert", "--dry-run", "/usr/lib64", "bin/old").out


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/usr/bin/never", "there is no such path, neither now nor in the base"),
        ("/etc/passwd", "/etc/passwd is not in /usr"),
        ("../etc/passwd", "../etc/passwd is not in /usr"),
        ("", "an empty path was given"),
    ],
)
def test_a_path_that_cannot_be(edited: Cli, path: str, message: str) -> None:
    said = edited("revert", "--yes", path)
    assert (said.status, message in said.err) == (2, True)


def test_what_is_in_a_directory_that_is_none_any_more(edited: Cli) -> None:
    there(edited, "/usr/lib/deep").write_text("a file now")
    said = edited("revert", "--yes", "/usr/lib/deep/file")
    assert (said.status, "restore it as a whole: `ovlay revert /usr/lib/deep`" in said.err) == (5, True)
    assert edited("revert", "--yes", "/usr/lib/deep").status == 0
    assert there(edited, "/usr/lib/deep/file").read_text() == "deep\n"


def test_without_an_overlay(cli: Cli) -> None:
    assert cli("revert", "--yes", "/usr/bin/old").status == 5
    assert cli("revert", "--yes").status == 2


def test_the_outcome_as_a_document(edited: Cli) -> None:
    document = edited("revert", "--yes", "--json", "/usr/bin/old").document("outcome")
    assert (document["verb"], document["changed"]) == ("revert", True)
