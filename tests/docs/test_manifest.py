"""The page about manifests shows manifests, and says all that one can hold."""

from __future__ import annotations

import re

import pytest

from ovlay.manifest.document import InvalidManifest, Kind
from ovlay.manifest.fields import ENTRIES, HEAD, OVERLAY, WHEN
from ovlay.manifest.load import parse_manifest
from tests.docs.test_pages import text_of

PAGE = text_of("manifest.md")


def shown(mark: str) -> list[str]:
    return re.findall(rf"<!-- {mark} -->\n```\w*\n(.*?)```", PAGE, re.S)


@pytest.mark.parametrize("text", shown("manifest"))
def test_every_example_is_a_manifest(text: str) -> None:
    assert parse_manifest(text, file="hotfix/manifest.toml", folder="/srv/hotfix").entries


def test_the_wrong_one_has_the_mistakes_that_are_shown() -> None:
    (wrong,), (mistakes,) = shown("manifest: wrong"), shown("mistakes")
    with pytest.raises(InvalidManifest) as caught:
        parse_manifest(wrong, file="hotfix/manifest.toml", folder="/srv/hotfix")
    assert f"{caught.value}\n" == mistakes


def keys_of(section: str) -> dict[str, str]:
    """The rows of the tables in a section: every key, and the cell after it."""
    text = PAGE[PAGE.index(f"\n## {section}\n") :].split("\n## ")[1]
    rows = re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", text, re.M)
    return {key: cell for names, cell in rows for key in re.findall(r"`([^`]+)`", names)}


def test_every_key_is_explained() -> None:
    assert list(keys_of("At the top")) == list(HEAD)
    assert list(keys_of("Conditions")) == list(WHEN)
    assert all(f"`{key}`" in keys_of("At the top")["overlay"] for key in OVERLAY)
    rows = keys_of("Entries")
    tables = {f"[[{kind}]]" for kind in Kind}
    assert tables <= set(rows)
    for key, where in rows.items():
        if key not in tables:
            having = {str(kind) for kind, fields in ENTRIES.items() if key in fields}
            if where.startswith("all"):
                named = {str(kind) for kind in Kind} - set(where.removeprefix("all").removeprefix(" but ").split(", "))
            else:
                named = set(where.split(", "))
            assert named == having, key
    assert {key for fields in ENTRIES.values() for key in fields} == set(rows) - tables
