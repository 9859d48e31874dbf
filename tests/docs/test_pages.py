"""The pages say all that there is to say, and lead where they say."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest

from ovlay import config, errors
from ovlay.cli.options import VERBS, load_verb, verb_parser
from ovlay.drivers import driver_names
from ovlay.model import Access, AnomalyKind, Mode, Persistence
from tests.cli.conftest import SCHEMAS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])


def text_of(name: str) -> str:
    return (DOCS / name).read_text()


def names_of(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


def test_the_reference_and_the_man_page_are_those_of_the_parser() -> None:
    generated = runpy.run_path(str(DOCS / "generate.py"))
    assert text_of("reference.md") == generated["reference"](), "run `python docs/generate.py`"
    assert text_of("ovlay.1") == generated["man_page"](), "run `python docs/generate.py`"


def test_every_anomaly_has_its_cause_and_remedy() -> None:
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", text_of("states.md"), re.M | re.S))
    assert set(sections) == {kind.value for kind in AnomalyKind}
    assert all("\nRemedy: " in section for section in sections.values())


def test_every_exception_is_in_the_row_of_its_exit_code() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| .*? \| ([^|]*) \|$", text_of("exit-codes.md"), re.M))
    listed = {name: int(code) for code, names in rows.items() for name in re.findall(r"`(\w+)`", names)}
    kinds = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.OvlayError)
    ]
    assert listed == {kind.__name__: kind.exit_code for kind in kinds if kind is not errors.OvlayError}


def test_every_document_of_the_command_line_is_listed() -> None:
    files = {f"ovlay.{name}-1.json" for name in SCHEMAS}
    assert files <= set(re.findall(r"`(ovlay\.[\w-]+-1\.json)`", text_of("json.md")))


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_a_page_with_all_that_only_it_takes(name: str) -> None:
    page = text_of(f"verbs/{name}.md")
    assert page.startswith(f"# ovlay {name}\n")
    own = verb_parser(name, load_verb(name))._option_string_actions
    common = verb_parser("status", load_verb("status"))._option_string_actions
    actions = {id(action): action for option, action in own.items() if option not in common}
    for action in actions.values():
        assert any(option in page for option in action.option_strings), action.option_strings


def test_every_dependency_is_explained() -> None:
    project: Any = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["fuzz"]]
    names = {re.split(r"[<>=\[; ]", line)[0] for line in wanted}
    assert names == set(re.findall(r"^\| \[([\w-]+)\]", text_of("dependencies.md"), re.M))


def test_every_key_of_the_configuration_is_explained() -> None:
    keys = {name.replace("_", "-") for name in config.Config._fields}
    page = text_of("configuration.md")
    assert keys == set(re.findall(r"^\| `([\w-]+)` \|", page, re.M))


def test_the_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    found = re.search(r"<!-- config -->\n```toml\n(.*?)```", text_of("configuration.md"), re.S)
    assert found is not None
    file = tmp_path / "config.toml"
    file.write_text(found[1])
    file.chmod(0o644)
    assert config.load_config([str(file)]) == config.Config(
        "overlayfs", "/opt/tools", 512 << 20, ("*.pyc", "share/man/"), "sudo"
    )


@pytest.mark.parametrize("page", PAGES, ids=names_of(PAGES))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https://"):
            assert (page.parent / link.partition("#")[0]).exists(), link


def test_every_page_can_be_found_from_the_index() -> None:
    linked = set(re.findall(r"\]\(([^)#]+)\)", text_of("index.md")))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"index.md"}
    assert pages <= linked


def test_the_readme_lists_every_driver_with_its_modes(tmp_path: Path) -> None:
    from ovlay.drivers import load_driver
    from ovlay.host import Host

    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| (yes|no) \| (yes|no) \| (yes|no) \| (yes|no) \|$", readme, re.M)
    assert {row[0] for row in rows} == set(driver_names())
    for name, where, *cells in rows:
        root = tmp_path / f"{name}-{where.split()[-1]}"
        (root / "proc").mkdir(parents=True)
        if where == "bootc, composefs":
            (root / "proc/cmdline").write_text(f"root=x composefs={'a' * 64}\n")
        modes = load_driver(name)(Host(str(root)), "/usr").modes
        columns = [Mode(access, persistence) for persistence in Persistence for access in Access]
        assert ["yes" if column in modes else "no" for column in columns] == cells, (name, where)


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert "\n## [Unreleased]\n" in text
    known = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (\w+)$", text, re.M)) <= known
