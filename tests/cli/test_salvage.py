"""``ovlay salvage``: what an earlier overlay left on the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

LEFT = "/var/lib/ovlay/overlays/00000000-0"


@pytest.fixture
def left(cli: Cli) -> Path:
    """An upper of an earlier boot, over a base that has more in it."""
    with cli.host.kernel.unsealed("/usr") as usr:
        for name in ("lib/a", "lib/b", "share/doc/one", "share/doc/two"):
            Path(usr, name).parent.mkdir(parents=True, exist_ok=True)
            Path(usr, name).write_text(f"{name}\n")
            Path(usr, name).chmod(0o644)
    upper = Path(cli.host.path(f"{LEFT}/upper"))
    for folder in ("bin", "lib", "share/doc", "new/deep"):
        (upper / folder).mkdir(parents=True)
    (upper / "bin/old").write_text("changed\n")
    (upper / "bin/old").chmod(0o4750)
    os.utime(upper / "bin/old", ns=(7_000, 7_000))
    (upper / "lib/a").write_text("lib/a\n")  # written again with the same content
    (upper / "lib/a").chmod(0o644)
    (upper / "new/deep/file").write_text("new\n")
    (upper / "new/link").symlink_to("/etc/passwd")
    (upper / "share/doc/only").write_text("only\n")
    try:
        os.setxattr(upper / "share/doc", "user.overlay.opaque", b"y")
        (upper / "lib/b").write_text("")
        os.setxattr(upper / "lib/b", "user.overlay.whiteout", b"")
        (upper / "lib/nothing").write_text("")
        os.setxattr(upper / "lib/nothing", "user.overlay.whiteout", b"")
        os.setxattr(upper / "bin/old", "user.overlay.origin", b"handle")
        os.setxattr(upper / "bin/old", "user.note", b"kept")
    except OSError:
        pytest.skip("the filesystem of the scratch directory has no user attributes")
    return upper


def there(cli: Cli, path: str) -> Path:
    return Path(cli.host.path(path))


def test_nothing_is_left(cli: Cli) -> None:
    assert cli("salvage") == (0, "nothing is left of an earlier overlay on /usr\n", "")
    assert cli("salvage", "--json").document("salvage")["uppers"] == []
    assert cli("salvage", "--to", "/saved").out == "nothing is left of an earlier overlay on /usr\n"
    assert not there(cli, "/saved").exists()


def test_the_list_is_a_comparison_with_the_base(cli: Cli, left: Path) -> None:
    (found,) = cli("salvage", "--json").document("salvage")["uppers"]
    assert (found["path"], found["errors"]) == (LEFT, {})
    assert {change["path"]: change["kind"] for change in found["changes"]} == {
        "bin/old": "modified",
        "lib/b": "deleted",
        "new": "added",
        "new/deep": "added",
        "new/deep/file": "added",
        "new/link": "added",
        "share/doc/one": "deleted",
        "share/doc/only": "added",
        "share/doc/two": "deleted",
    }


def test_the_list_for_a_person(cli: Cli, left: Path) -> None:
    said = cli("salvage")
    assert said.out.startswith(f"{LEFT}: 9 changes against the base that is there now\n")
    assert "\n  deleted      /usr/lib/b\n" in said.out
    assert "\n  added        /usr/new/\n" in said.out
    assert "`ovlay salvage --to DIR` copies it" in said.out


def test_all_of_it_is_copied(cli: Cli, left: Path) -> None:
    said = cli("salvage", "--yes", "--to", "/saved")
    assert said.status == 0
    assert said.out.startswith("copied to /saved\n")
    saved = there(cli, "/saved")
    copied = {str(path.relative_to(saved)) for path in saved.rglob("*") if not path.is_dir() or path.is_symlink()}
    assert copied == {"bin/old", "new/deep/file", "new/link", "share/doc/only"}
    old = (saved / "bin/old").stat()
    assert (stat.S_IMODE(old.st_mode), old.st_mtime_ns) == (0o4750, 7_000)
    assert os.listxattr(saved / "bin/old") == ["user.note"]
    assert (saved / "new/link").readlink() == Path("/etc/passwd")
    assert not any(name.startswith("user.overlay") for name in os.listxattr(saved / "share/doc"))


def test_one_path_alone(cli: Cli, left: Path) -> None:
    assert cli("salvage", "--yes", "--to", "/saved", "/usr/new").status == 0
    assert sorted(path.name for path in there(cli, "/saved").rglob("*")) == ["deep", "file", "link", "new"]


def test_nothing_is_overwritten(cli: Cli, left: Path) -> None:
    there(cli, "/saved/bin").mkdir(parents=True)
    there(cli, "/saved/bin/old").write_text("mine\n")
    said = cli("salvage", "--yes", "--to", "/saved")
    assert (said.status, "/saved/bin/old is there already, and nothing is overwritten" in said.err) == (5, True)
    assert there(cli, "/saved/bin/old").read_text() == "mine\n"
    assert [path.name for path in there(cli, "/saved").iterdir()] == ["bin"]


def test_no_link_in_the_destination_is_followed(cli: Cli, left: Path, tmp_path: Path) -> None:
    there(cli, "/saved").mkdir()
    (tmp_path / "elsewhere").mkdir()
    there(cli, "/saved/bin").symlink_to(tmp_path / "elsewhere")
    assert cli("salvage", "--yes", "--to", "/saved").status != 0
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_dry_run_copies_nothing(cli: Cli, left: Path) -> None:
    said = cli("salvage", "--dry-run", "--to", "/saved")
    assert f"  1. copy bin/old, new, share/doc/only out of {LEFT} to /saved" in said.out
    assert not there(cli, "/saved").exists()
    (step,) = cli("salvage", "--dry-run", "--json", "--to", "/saved").document("plan")["steps"]
    assert (step["step"], step["paths"]) == ("copy-out", ["bin/old", "new", "share/doc/only"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("/usr/bin/old",), "there is no directory to copy to"),
        (("--to", "/usr/saved"), "/usr/saved is in /usr itself"),
        (("--to", "/saved", "/etc/passwd"), "/etc/passwd is not in /usr"),
        (("--to", "/saved", "/usr/bin/never"), f"/usr/bin/never: {LEFT} has no such change"),
        (("--to", "/saved", "--upper", "/nowhere"), "/nowhere is not what an earlier overlay left"),
        (("--to", "/no/such/directory"), "there is no such directory"),
    ],
)
def test_what_cannot_be_is_refused(cli: Cli, left: Path, words: tuple[str, ...], message: str) -> None:
    said = cli("salvage", "--yes", *words)
    assert (said.status, message in said.err) == (2, True)


def test_several_are_told_apart_by_their_path(cli: Cli, left: Path) -> None:
    other = there(cli, "/var/lib/ovlay/overlays/11111111-0/upper")
    other.mkdir(parents=True)
    (other / "second").write_text("second\n")
    said = cli("salvage", "--yes", "--to", "/saved")
    assert (said.status, f"say which with --upper: {LEFT}, " in said.err) == (2, True)
    assert cli("salvage", "--yes", "--to", "/saved", "--upper", "/var/lib/ovlay/overlays/11111111-0").status == 0
    assert [path.name for path in there(cli, "/saved").iterdir()] == ["second"]


def test_what_is_in_use_is_no_leftover(cli: Cli, tool: str) -> None:
    cli("enable", "--yes")
    cli("install", "--yes", tool, "/usr/bin/new")
    assert cli("salvage", "--json").document("salvage")["uppers"] == []
