"""``ovlay install``: the words of install(1)."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


@pytest.fixture
def enabled(cli: Cli) -> Cli:
    assert cli("enable", "--yes").status == 0
    return cli


def there(cli: Cli, path: str) -> Path:
    return Path(cli.host.path(path))


def test_one_file_under_its_new_name(enabled: Cli, tool: str) -> None:
    said = enabled("install", "--yes", tool, "/usr/bin/new")
    assert said == (0, "installed /usr/bin/new\n", "")
    assert there(enabled, "/usr/bin/new").read_text() == Path(tool).read_text()
    assert stat.S_IMODE(there(enabled, "/usr/bin/new").stat().st_mode) == 0o755


def test_the_same_again_writes_nothing(enabled: Cli, tool: str) -> None:
    enabled("install", "--yes", tool, "/usr/bin/new")
    before = there(enabled, "/usr/bin/new").stat()
    said = enabled("install", tool, "/usr/bin/new")
    assert said == (0, "all files are there already, with the same content, mode and owner\n", "")
    after = there(enabled, "/usr/bin/new").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("destination", ["/usr/bin", "/usr/bin/"])
def test_a_directory_takes_the_base_name(enabled: Cli, tool: str, destination: str) -> None:
    assert enabled("install", "--yes", tool, destination).status == 0
    assert there(enabled, "/usr/bin/tool").is_file()


def test_several_files_go_into_a_directory(enabled: Cli, tool: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("other\n")
    said = enabled("install", "-y", "-m", "u=rw,go=r", tool, str(other), "/usr/bin")
    assert said == (0, "installed 2 files\n", "")
    assert stat.S_IMODE(there(enabled, "/usr/bin/other").stat().st_mode) == 0o644


def test_several_files_cannot_become_one(enabled: Cli, tool: str) -> None:
    said = enabled("install", "-y", tool, tool, "/usr/bin/one")
    assert (said.status, "2 files cannot all become /usr/bin/one" in said.err) == (2, True)


def test_t_names_the_directory(enabled: Cli, tool: str) -> None:
    assert enabled("install", "-y", "-D", "-t", "/usr/libexec/tool", tool).status == 0
    assert there(enabled, "/usr/libexec/tool/tool").is_file()


def test_big_t_never_means_a_directory(enabled: Cli, tool: str) -> None:
    said = enabled("install", "-y", "-T", tool, "/usr/bin")
    assert (said.status, "/usr/bin is a directory" in said.err) == (2, True)


def test_t_and_big_t_exclude_each_other(enabled: Cli, tool: str) -> None:
    assert enabled("install", "-y", "-T", "-t", "/usr/bin", tool).status == 2


def test_missing_directories_are_made_on_demand_only(enabled: Cli, tool: str) -> None:
    said = enabled("install", "-y", tool, "/usr/lib/a/b/tool")
    assert said.status == 2
    assert "there is no such directory" in said.err
    assert "-D" in said.err
    assert enabled("install", "-y", "-D", tool, "/usr/lib/a/b/tool").status == 0
    assert stat.S_IMODE(there(enabled, "/usr/lib/a").stat().st_mode) == 0o755


def test_the_owner_by_number(enabled: Cli, tool: str) -> None:
    words = ("-o", str(os.geteuid()), "-g", str(os.getegid()))
    assert enabled("install", "-y", *words, tool, "/usr/bin/new").status == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "no-such-user"), "there is no user 'no-such-user'"),
        (("-g", "no-such-group"), "there is no group 'no-such-group'"),
        (("-m", "rwx"), "'rwx' is not a file mode"),
        (("-o", "99999999999"), "99999999999 is no number of a user or a group\n  next: they go from 0 to 4294967294"),
        (("-g", "9" * 5000), "is no number of a user or a group"),
        (("-o", "4294967295"), "4294967295 is no number of a user or a group"),
        (("-o", "٣"), "there is no user '٣'"),
        (("-g", "-1"), "there is no group '-1'"),
    ],
)
def test_what_does_not_exist_is_refused(enabled: Cli, tool: str, words: tuple[str, str], message: str) -> None:
    said = enabled("install", "-y", *words, tool, "/usr/bin/new")
    assert (said.status, message in said.err) == (2, True)


@pytest.mark.parametrize(
    ("destination", "message"),
    [("/usr/bin/" + "ä" * 128, "a name of more than 255 bytes"), ("/usr" + "/deep" * 900, "longer than 4095 bytes")],
)
def test_a_name_that_no_file_can_have_is_refused(enabled: Cli, tool: str, destination: str, message: str) -> None:
    said = enabled("install", "-y", "-D", tool, destination)
    assert (said.status, message in said.err) == (2, True)


def test_the_longest_name_that_a_file_can_have(enabled: Cli, tool: str) -> None:
    assert enabled("install", "-y", tool, "/usr/bin/" + "ä" * 127).status == 0


def test_no_destination(enabled: Cli, tool: str) -> None:
    said = enabled("install", "-y", tool)
    assert (said.status, "there is no destination after" in said.err) == (2, True)


def test_a_source_that_is_not_there(enabled: Cli) -> None:
    said = enabled("install", "-y", "/nowhere/at/all", "/usr/bin/new")
    assert (said.status, "there is no such file" in said.err) == (2, True)


@pytest.mark.parametrize("destination", ["/etc/tool", "/usr/../etc/tool", "bin/tool"])
def test_a_destination_outside_is_refused(enabled: Cli, tool: str, destination: str) -> None:
    assert enabled("install", "-y", tool, destination).status == 2


def test_a_link_that_leads_out_is_refused_with_the_reason(cli: Cli, tool: str) -> None:
    there(cli, "/var").mkdir(exist_ok=True)
    there(cli, "/var/usrlocal").mkdir()
    with cli.host.kernel.unsealed("/usr") as usr:
        Path(usr, "local").symlink_to("/var/usrlocal")
    cli("enable", "--yes")
    said = cli("install", "-y", tool, "/usr/local/tool")
    assert said.status == 5
    assert "/usr/local leads to /var/usrlocal, which is not in the overlay" in said.err
    assert not any(there(cli, "/var/usrlocal").iterdir())


def test_without_an_overlay_it_says_how_to_get_one(cli: Cli, tool: str) -> None:
    said = cli("install", "-y", tool, "/usr/bin/new")
    assert said == (5, "", "ovlay: there is no overlay on /usr\n  next: enable one first: `ovlay enable`\n")
    assert cli("install", "-y", "--json", tool, "/usr/bin/new").document("error")["kind"] == "not-active"


def test_a_read_only_overlay_is_written_to_and_stays_read_only(cli: Cli, tool: str) -> None:
    cli("enable", "--yes", "--read-only")
    document = cli("install", "-y", "--json", tool, "/usr/bin/new").document("outcome")
    assert document["changed"] is True
    assert document["status"]["writable"] is False
    assert there(cli, "/usr/bin/new").is_file()


def test_a_dry_run_writes_nothing(enabled: Cli, tool: str) -> None:
    said = enabled("install", "--dry-run", tool, "/usr/bin/new")
    assert f"  1. place {tool} at /usr/bin/new (mode 0755," in said.out
    assert not there(enabled, "/usr/bin/new").exists()
    plan = enabled("install", "--dry-run", "--json", tool, "/usr/bin/new").document("plan")
    assert [step["step"] for step in plan["steps"]] == ["place-file"]
