"""``ovlay guard upgrade``: what another image takes away, and what the manifests bring back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

MANIFEST = """\
schema = 1
[[file]]
path = "/usr/lib/mine/a.conf"
text = "a\\n"
mode = "0644"
owner = {owner}
group = {group}
"""


def there(cli: Cli, path: str) -> Path:
    return Path(cli.host.path(path))


@pytest.fixture
def declared(cli: Cli) -> Cli:
    """An overlay with one file that is declared, in a directory on the way to it."""
    manifest(cli, MANIFEST)
    cli("enable", "--yes")
    place(cli, "/usr/lib/mine/a.conf", "a\n")
    return cli


def manifest(cli: Cli, text: str, name: str = "/etc/ovlay/manifest.toml") -> None:
    file = there(cli, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.format(owner=os.geteuid(), group=os.getegid()))
    file.chmod(0o644)
    file.parent.chmod(0o755)


def place(cli: Cli, path: str, text: str) -> None:
    file = there(cli, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o644)


def forecast(cli: Cli, *words: str) -> dict[str, Any]:
    return cli("guard", "upgrade", "--json", *words).document("guard")


def fates(cli: Cli, *words: str) -> dict[str, str]:
    return {loss["path"]: loss["fate"] for loss in forecast(cli, *words)["changes"]}


def test_no_overlay(cli: Cli) -> None:
    said = cli("guard", "upgrade")
    assert said == (0, "no overlay is on /usr: an upgrade takes nothing away\n", "")
    found = forecast(cli)
    assert (found["active"], found["mode"], found["safe"]) == (False, None, True)


def test_an_empty_overlay(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("guard", "upgrade")
    assert said.status == 0
    assert said.out == "the read-write, transient overlay on /usr is empty: an upgrade takes nothing away\n"


def test_what_nobody_declared_is_lost(cli: Cli, tool: str) -> None:
    cli("enable", "--yes")
    cli("install", "--yes", tool, "/usr/bin/new")
    there(cli, "/usr/bin/old").write_text("changed\n")
    said = cli("guard", "upgrade")
    assert said.status == 1
    assert "lost for good: 2 paths, which no manifest of the system declares\n" in said.out
    assert "  /usr/bin/new (added)\n" in said.out
    assert "  /usr/bin/old (modified)\n" in said.out
    assert "`sudo ovlay capture`" in said.out
    assert fates(cli) == {"bin/new": "lost", "bin/old": "lost"}
    assert fates(cli, "--ignore", "bin/*") == {}


def test_what_is_declared_comes_back(declared: Cli) -> None:
    said = declared("guard", "upgrade")
    assert said.status == 0, said
    assert "brought back with `sudo ovlay apply --enable` after the boot: " in said.out
    assert "`sudo ovlay service install`" in said.out
    assert set(fates(declared).values()) == {"returns"}
    assert "lib/mine/a.conf" in fates(declared)
    declared("service", "install", "--yes")
    found = forecast(declared)
    assert (found["safe"], found["applied_at_boot"]) == (True, True)
    assert "brought back at the next boot: " in declared("guard", "upgrade").out


def test_an_edit_of_what_is_declared_is_lost(declared: Cli) -> None:
    place(declared, "/usr/lib/mine/a.conf", "edited\n")
    said = declared("guard", "upgrade")
    assert said.status == 1
    assert "of which a manifest says something else" in said.out
    assert fates(declared)["lib/mine/a.conf"] == "conflict"


def test_a_manifest_that_is_in_the_overlay_itself(cli: Cli) -> None:
    cli("enable", "--yes")
    manifest(cli, MANIFEST, "/usr/lib/ovlay/manifest.toml")
    place(cli, "/usr/lib/mine/a.conf", "a\n")
    found = {loss["path"]: loss for loss in forecast(cli)["changes"]}
    assert found["lib/mine/a.conf"]["fate"] == "lost"
    assert "is in the overlay itself" in found["lib/mine/a.conf"]["detail"]


FROM_A_SOURCE = MANIFEST.replace('text = "a\\n"', 'source = "/usr/share/mine/a.conf"')


def test_what_is_declared_from_a_source_in_the_overlay_is_lost_until_it_is_captured(cli: Cli) -> None:
    """It was told as what no manifest declares, and to be kept by a capture that leaves out what one declares."""
    manifest(cli, FROM_A_SOURCE)
    cli("enable", "--yes")
    place(cli, "/usr/share/mine/a.conf", "a\n")
    place(cli, "/usr/lib/mine/a.conf", "a\n")
    said = cli("guard", "upgrade")
    assert said.status == 1
    assert "lost for good: 1 path, whose manifest or source is not there after a boot\n" in said.out
    assert f"  /usr/lib/mine/a.conf (added): {there(cli, '/usr/share/mine/a.conf')} is in the overlay" in said.out
    assert "or `sudo ovlay capture --all` takes it there\n" in said.out
    (found,) = (loss for loss in forecast(cli)["changes"] if loss["vanishing"])
    assert (found["path"], found["fate"]) == ("lib/mine/a.conf", "lost")
    captured = str(there(cli, "/etc/ovlay/manifest.d/captured.toml"))
    cli("capture", "--yes", "--to", captured)
    assert fates(cli)["lib/mine/a.conf"] == "lost"
    cli("capture", "--yes", "--all", "--to", captured)
    assert set(fates(cli).values()) == {"returns"}
    cli("unmount", "--yes")
    assert cli("apply", "--yes", "--enable", "--system").status == 0
    assert there(cli, "/usr/lib/mine/a.conf").read_text() == "a\n"


def test_what_a_trigger_makes_comes_back(cli: Cli) -> None:
    manifest(cli, MANIFEST.replace("/usr/lib/mine/a.conf", "/usr/lib/udev/hwdb.d/a.hwdb"))
    cli("enable", "--yes")
    place(cli, "/usr/lib/udev/hwdb.d/a.hwdb", "a\n")
    place(cli, "/usr/lib/udev/hwdb.bin", "made\n")
    place(cli, "/usr/lib/udev/other", "mine\n")
    found = fates(cli)
    assert (found["lib/udev/hwdb.bin"], found["lib/udev/other"]) == ("returns", "lost")


def test_a_directory_that_is_declared_absent(cli: Cli) -> None:
    with cli.host.kernel.unsealed("/usr") as usr:
        Path(usr, "share/doc").mkdir(parents=True)
        Path(usr, "share/doc/x").write_text("x\n")
    manifest(cli, 'schema = 1\n[[absent]]\npath = "/usr/share/doc"\n')
    cli("enable", "--yes")
    there(cli, "/usr/share/doc/x").unlink()
    there(cli, "/usr/share/doc").rmdir()
    assert set(fates(cli).values()) == {"returns"}
    assert cli("guard", "upgrade").status == 0


def test_a_broken_manifest_brings_nothing_back(declared: Cli) -> None:
    manifest(declared, "schema = 1\n[[file]]\npath = 7\n")
    said = declared("guard", "upgrade")
    assert said.status == 1
    assert "a manifest cannot be used, and brings nothing back: " in said.out
    assert forecast(declared)["problems"]


def test_many_paths_are_counted(cli: Cli) -> None:
    cli("enable", "--yes")
    for number in range(25):
        place(cli, f"/usr/bin/{number:02}", "x")
    assert "  and 5 more: -v lists them\n" in cli("guard", "upgrade").out
    assert "  /usr/bin/24 (added)\n" in cli("guard", "upgrade", "-v").out


@pytest.mark.parametrize("words", [(), ("downgrade",), ("upgrade", "more")])
def test_words_that_mean_nothing(cli: Cli, words: tuple[str, ...]) -> None:
    assert cli("guard", *words).status == 2
