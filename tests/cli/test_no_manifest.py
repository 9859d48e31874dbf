"""Where there is no manifest, or one that is not read for its name: it is said, and no success of nothing is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Cli

TEXT = 'schema = 1\n[[file]]\npath = "/usr/bin/tool"\ntext = "tool"\n'
NONE = "no manifest was found: neither manifest.toml nor manifest.d/*.toml in {0}/usr/lib/ovlay or {0}/etc/ovlay\n"


@pytest.fixture
def enabled(cli: Cli) -> Cli:
    cli("enable", "--yes")
    return cli


def put(cli: Cli, name: str, text: str = TEXT) -> Path:
    path = Path(cli.host.path(f"/etc/ovlay/{name}"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("verb", [("plan",), ("apply", "--yes"), ("apply", "--yes", "--enable")], ids=" ".join)
@pytest.mark.parametrize("elsewhere", [None, "x.toml"])
def test_it_is_said_that_there_is_none_and_where_it_was_looked_for(
    enabled: Cli, verb: tuple[str, ...], elsewhere: str | None
) -> None:
    if elsewhere is not None:
        put(enabled, elsewhere)
    assert enabled(*verb, "--system") == (0, NONE.format(enabled.host.root), "")


def test_it_is_in_the_document(enabled: Cli) -> None:
    document = enabled("plan", "--json", "--system").document("comparison")
    assert document["plan"]["reason"].startswith("no manifest was found: ")
    document = enabled("apply", "--yes", "--json", "--system").document("outcome")
    assert document["plan"]["reason"].startswith("no manifest was found: ")


def test_with_no_overlay_either(cli: Cli) -> None:
    said = cli("plan", "--system")
    assert said.status == 1  # `ovlay apply --enable` would put one there
    assert "no manifest was found: " in said.err
    assert "no manifest was found, and so nothing is declared" in cli("apply", "--yes", "--enable", "--system").out


def test_one_that_declares_nothing_here_is_one(enabled: Cli) -> None:
    put(enabled, "manifest.toml", 'schema = 1\nwhen = { os-release = { ID = "another" } }\n')
    assert "everything is as declared\n" in enabled("plan", "--system").out


@pytest.mark.parametrize("verb", [("plan",), ("apply", "--yes"), ("drift",)], ids=" ".join)
@pytest.mark.parametrize("name", ["x.tml", "x", "x.toml.txt", "x.TOML", "x.conf"])
def test_what_looks_like_one_and_is_not_read_is_named(enabled: Cli, verb: tuple[str, ...], name: str) -> None:
    path = put(enabled, f"manifest.d/{name}")
    said = enabled(*verb, "--system")
    assert said.status == 0
    assert f"not read: {path}, since its name does not end in .toml\n" in said.err
    assert "not read" not in enabled(*verb, str(put(enabled, "named.toml", "schema = 1\n"))).err


@pytest.mark.parametrize(
    "name",
    [
        *("x.toml~", ".x.toml.swp", "#x.toml#", ".#x.toml", "x.toml.bak", "x.toml.orig", "x.toml.dpkg-old"),
        *("x.toml.rpmsave", "x.toml.off", "x.toml.disabled", "README", "README.txt", "notes.md"),
    ],
)
def test_backups_and_what_was_put_aside_annoy_nobody(enabled: Cli, name: str) -> None:
    put(enabled, f"manifest.d/{name}")
    assert enabled("plan", "--system").err == ""


def test_nor_do_sources_that_lie_there(enabled: Cli) -> None:
    put(enabled, "manifest.d/tool", "#!/bin/sh\n")
    put(enabled, "manifest.d/captured.files/x", TEXT)
    Path(enabled.host.path("/etc/ovlay/manifest.d/link")).symlink_to("nowhere")
    assert enabled("plan", "--system").err == ""
