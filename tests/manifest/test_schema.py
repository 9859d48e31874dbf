"""The committed JSON Schema accepts and refuses what the loader does."""

from __future__ import annotations

import copy
import importlib.resources
import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped, unused-ignore]
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ovlay.manifest.document import InvalidManifest, Kind, Problem
from ovlay.manifest.fields import ENTRIES, HEAD, OVERLAY, WHEN
from ovlay.manifest.load import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = json.loads(importlib.resources.files("ovlay").joinpath("schemas/ovlay.manifest-1.json").read_text())

BEYOND = re.compile(
    r"is not below /|cannot be the root directory|is declared on line|is a decimal number|is not that of the text"
    r"|is longer than 4095 bytes|has a name of more than|is no set of version specifiers|not a pattern"
    r"|must be at most 4294967294"
)
"""What the loader refuses and no schema can say."""


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[jsonschema.ValidationError]:
    """As ECMA-262 has it, and JSON Schema with it: ``$`` is the end, also before a line end."""
    if isinstance(value, str) and not re.search(pattern.replace("$", r"\Z"), value):
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern}")


_extend: Any = jsonschema.validators.extend
VALIDATOR = _extend(jsonschema.Draft202012Validator, {"pattern": _pattern})(SCHEMA)

FULL: dict[str, Any] = {
    "schema": 1,
    "name": "all there is",
    "target": "/usr",
    "overlay": {"access": "read-write", "persistence": "transient"},
    "when": {
        "image": "quay.example/*",
        "checksum": ["abc*", "def*"],
        "os-release": {"ID": "fedora", "VERSION_ID": ">=43,<44"},
        "missing": "/usr/bin/newtool",
        "present": ["/usr/bin/a", "/usr/bin/b"],
    },
    "file": [
        {"path": "/usr/bin/a", "source": "a", "sha256": "a" * 64, "mode": "0755", "replaces": "nothing"},
        {"path": "/usr/bin/b", "text": "b\n", "owner": "root", "group": 0, "label": "system_u:object_r:bin_t:s0"},
    ],
    "tree": [
        {"path": "/usr/share/t", "source": "/srv/t", "exclude": ["*.pyc", "!a"], "file-mode": "644"},
        {"path": "/usr/share/u/", "source": "../u", "directory-mode": "0o755".replace("0o", "0"), "when": {}},
    ],
    "symlink": [{"path": "/usr/bin/c", "to": "b", "replaces": "F" * 64}],
    "directory": [{"path": "/usr/share/d", "mode": "01777"}],
    "absent": [{"path": "/usr/share/e", "when": {"os-release": {"ID": "debian"}}}],
}


def toml(value: Any) -> str:
    """A value in one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)


def problems(data: dict[str, Any]) -> tuple[Problem, ...]:
    text = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in data.items())
    try:
        parse_manifest(text, file="/m.toml", folder="/")
    except InvalidManifest as error:
        return error.problems
    return ()


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$id"] == "ovlay.manifest-1.json"


def test_all_there_is_is_accepted() -> None:
    assert problems(FULL) == ()
    VALIDATOR.validate(FULL)


def test_it_has_every_table_and_key_of_the_loader() -> None:
    assert list(SCHEMA["properties"]) == [*HEAD, *Kind]
    assert list(SCHEMA["$defs"]["when"]["properties"]) == list(WHEN)
    assert list(SCHEMA["properties"]["overlay"]["properties"]) == list(OVERLAY)
    for kind, fields in ENTRIES.items():
        found = SCHEMA["$defs"][kind]
        assert list(found["properties"]) == list(fields)
        assert found["required"] == [key for key, field in fields.items() if field.required]
        assert all("description" in field for field in found["properties"].values())


TEXTS = [
    "", "/", "//", "a", "/usr", "/usr/", "/usr/x", "/usr/x/", "/usr/../x", "/opt/x", "..", "/..", "/usr/a..b", "a\0b",
    "/usr/\0", "a\n", "/usr/a\n", "755\n", "755", "0755", "7", "07777", "17777", "0o755", "888", "-1", "nothing",
    "a" * 64, "G" * 64, "a" * 64 + "\n", "x:y:z", "x:y", "x:y:z:s0-s0:c0.c1023", "x:y:z:", "root", "a:b", "1000",
    "99999999999", ">=1", "=1", ">=1,<2", "[", "*", "!", "read-write", "read-only", "persistent", "transient", "a/b",
    "é" * 200, "/usr/" + "b" * 300, "c" * 5000, "/usr/" + "é/" * 2000, "\x7f", "\t",
]  # fmt: skip
JUNK: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(TEXTS),
    st.text(max_size=5),
    st.sampled_from([0, 1, 2, -1, 0o7777, 0o10000, 4294967294, 4294967295, 1.5, True, False]),
    st.just([]),
    st.just({}),
    st.lists(st.sampled_from([*TEXTS, 1]), max_size=2),
    st.sampled_from([[{}], [[]], {"image": "x"}, {"ID": "x"}, {"id": "x"}, {"ID": 1}, {"access": "x"}, {"": ""}]),
)
KEYS = st.sampled_from(
    [*HEAD, *Kind, *WHEN, *OVERLAY, "files", "path", "source", "text", "to", "mode", "x y", ""]
) | st.text(max_size=3)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in the document with each of its keys or numbers."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from places(item)


@settings(max_examples=200)
@given(st.data())
def test_the_loader_and_the_schema_agree(data: st.DataObject) -> None:
    document = copy.deepcopy(FULL)
    for _ in range(data.draw(st.integers(1, 3))):
        found = list(places(document))
        if not found:
            break
        container, key = data.draw(st.sampled_from(found))
        match data.draw(st.sampled_from(["replace", "replace", "remove", "add"])):
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[data.draw(KEYS)] = copy.deepcopy(data.draw(JUNK))
            case _:
                container[key] = copy.deepcopy(data.draw(JUNK))
    agree(document)


def agree(document: dict[str, Any]) -> None:
    wrong = [error.message for error in VALIDATOR.iter_errors(document)]
    everything = problems(document)
    told = [problem for problem in everything if not BEYOND.search(problem.message)]
    # Of one value only the first mistake is told, and that may be one that a schema cannot see.
    assert bool(wrong) == bool(told) or (wrong and everything), (wrong, everything)


@pytest.mark.parametrize("kind", Kind)
@settings(max_examples=80)
@given(data=st.data())
def test_they_agree_on_every_key_of_an_entry(kind: Kind, data: st.DataObject) -> None:
    entry = dict(data.draw(st.sampled_from(FULL[kind])))
    entry[data.draw(st.sampled_from(list(ENTRIES[kind])))] = data.draw(JUNK)
    agree({"schema": 1, str(kind): [entry]})


@given(JUNK)
@example(1)
def test_they_agree_on_the_version(value: Any) -> None:
    agree({"schema": value})
