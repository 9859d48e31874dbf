"""``ovlay plan``: what would be done to which path, and why; nothing is changed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cli.conftest import Cli


def manifest(cli: Cli, *tables: str) -> str:
    """A manifest beside the host."""
    path = Path(cli.host.root).parent / "m.toml"
    path.write_text("schema = 1\n" + "".join(f"{table}\n" for table in tables))
    return str(path)


TOOL = '[[file]]\npath = "/usr/bin/tool"\ntext = "tool"'
OLD = '[[file]]\npath = "/usr/bin/old"\ntext = "new"'
GONE = '[[absent]]\npath = "/usr/bin/old"'


def there(cli: Cli, path: str) -> Path:
    return Path(cli.host.path(path))


def test_what_is_to_be_placed_and_why(cli: Cli) -> None:
    file = manifest(cli, TOOL, OLD)
    cli("enable", "--yes")
    said = cli("plan", file)
    assert said == (
        1,
        f"place:\n  /usr/bin/tool  (it is not there yet; {file}:2)\n"
        f"change:\n  /usr/bin/old  (it is as in the base; {file}:5)\n",
        "",
    )
    assert not there(cli, "/usr/bin/tool").exists()


def test_nothing_to_do(cli: Cli) -> None:
    file = manifest(cli, TOOL)
    cli("apply", "--yes", "--enable", file)
    assert cli("plan", file) == (0, "everything is as declared\n", "")


def test_every_group(cli: Cli) -> None:
    cli("apply", "--yes", "--enable", manifest(cli, TOOL, '[[file]]\npath = "/usr/bin/b"\ntext = "b"'))
    there(cli, "/usr/bin/b").write_text("mine")
    when = '[[file]]\npath = "/usr/bin/r"\ntext = "r"\nwhen = { present = "/usr/bin/nowhere" }'
    file = manifest(cli, GONE, '[[file]]\npath = "/usr/bin/b"\ntext = "c"', when)
    said = cli("plan", file)
    assert said.status == 5
    headings = [line for line in said.out.splitlines() if not line.startswith(" ")]
    assert headings == ["take back:", "remove:", "conflict, and kept:", "retired:"]
    assert "changed-since; somebody changed it since ovlay placed it on" in said.out
    assert "the base does not have /usr/bin/nowhere" in said.out
    assert cli("plan", "--force", file).status == 1


def test_without_an_overlay(cli: Cli) -> None:
    said = cli("plan", manifest(cli, TOOL))
    assert (said.status, "`ovlay apply --enable` puts one there" in said.err) == (1, True)


def test_the_document(cli: Cli) -> None:
    file = manifest(cli, TOOL, GONE)
    cli("enable", "--yes")
    there(cli, "/usr/bin/tool").write_text("mine")
    said = cli("plan", "--json", file)
    document = said.document("comparison")
    assert said.status == 5
    assert [(found["path"], found["state"], found["conflict"], found["line"]) for found in document["findings"]] == [
        ("bin/old", "differs", None, 5),
        ("bin/tool", "conflict", "in-the-way", 2),
    ]
    assert [step["step"] for step in document["plan"]["steps"]] == ["remove-path"]


def test_mistakes_are_all_named(cli: Cli) -> None:
    said = cli("plan", manifest(cli, '[[file]]\npath = "/usr/a"\nsource = "nowhere"', '[[file]]\npath = "/usr/b"'))
    assert said.status == 2
    cli("enable", "--yes")
    source = '[[file]]\npath = "/usr/{}"\nsource = "no-{}"'
    said = cli("plan", manifest(cli, source.format("a", "a"), source.format("b", "b")))
    assert (said.status, said.err.count("there is no such file")) == (2, 2)
