"""The committed schemas say exactly what the code can say."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped, unused-ignore]
import pytest

import ovlay
from ovlay import errors, model
from ovlay.changes.change import CHANGES_SCHEMA, Change, ChangeKind, Changes
from ovlay.cli import changing, failure
from ovlay.holders import HOLDERS_SCHEMA, Holders, Process
from ovlay.kernel.holders import FileUse
from ovlay.manifest.document import InvalidManifest, Problem
from ovlay.plan.steps import known_steps
from tests.cli.conftest import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import StrEnum


def enum_at(name: str, *path: str) -> set[Any]:
    found: Any = SCHEMAS[name]
    for part in path:
        found = found[part]
    return set(found["enum"])


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMAS[name]["$id"] == f"ovlay.{name}-1.json"
    assert SCHEMAS[name]["properties"]["schema"] == {"const": f"ovlay.{name}/1"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_is_added_later_is_allowed(name: str) -> None:
    assert "'additionalProperties': False" not in str(SCHEMAS[name])


@pytest.mark.parametrize(
    ("enum", "path"),
    [
        (model.Access, ("mode", "properties", "access")),
        (model.Persistence, ("mode", "properties", "persistence")),
        (model.Access, ("layer", "properties", "access")),
        (model.Access, ("layer", "properties", "superblock")),
        (model.Owner, ("layer", "properties", "owner")),
        (model.AnomalyKind, ("anomaly", "properties", "kind")),
    ],
)
def test_the_enumerations_of_a_status(enum: type[StrEnum], path: tuple[str, ...]) -> None:
    assert enum_at("status", "$defs", *path) == {member.value for member in enum}


def test_the_kinds_of_a_change() -> None:
    assert enum_at("changes", "$defs", "change", "properties", "kind") == {member.value for member in ChangeKind}


def test_the_enumerations_of_a_driver() -> None:
    assert enum_at("backends", "$defs", "mode", "properties", "access") == {member.value for member in model.Access}
    names = {member.value for member in model.Persistence}
    assert enum_at("backends", "$defs", "mode", "properties", "persistence") == names


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        ("mode", model.Mode),
        ("layer", model.Layer),
        ("backing", model.Backing),
        ("base", model.Base),
        ("anomaly", model.Anomaly),
    ],
)
def test_every_member_of_a_status_is_described(definition: str, value: Any) -> None:
    schema = SCHEMAS["status"]["$defs"][definition]
    assert set(schema["properties"]) == set(schema["required"]) == set(value._fields)


def test_every_member_of_the_documents_is_described() -> None:
    with_changes = {"changes", "changes_size"}  # only where they are asked for
    assert set(SCHEMAS["status"]["properties"]) == {"schema", *model.Status._fields} | with_changes
    assert set(SCHEMAS["status"]["required"]) == {"schema", *model.Status._fields}
    assert set(SCHEMAS["error"]["$defs"]["holder"]["properties"]) == set(model.Holder._fields)
    assert list(SCHEMAS["error"]["$defs"]["problem"]["properties"]) == list(Problem._fields)
    for name, value in (("changes", Changes), ("holders", Holders)):
        more = {"schema", "complete"}
        assert set(SCHEMAS[name]["properties"]) == set(SCHEMAS[name]["required"]) == {*value._fields} | more
    assert set(SCHEMAS["changes"]["$defs"]["change"]["properties"]) == set(Change._fields)
    assert set(SCHEMAS["holders"]["$defs"]["process"]["properties"]) == set(Process._fields)
    assert set(SCHEMAS["holders"]["$defs"]["file"]["properties"]) == set(FileUse._fields)


def test_every_step_is_known() -> None:
    assert enum_at("plan", "$defs", "step", "properties", "step") == set(known_steps())


def every_error(kind: type[ovlay.OvlayError] = errors.OvlayError) -> Iterator[type[ovlay.OvlayError]]:
    yield kind
    for subclass in kind.__subclasses__():
        if subclass.__module__ == errors.__name__:
            yield from every_error(subclass)


def test_every_error_is_known_with_its_exit_code() -> None:
    kinds = {failure.kind_of(kind) for kind in (*every_error(), InvalidManifest)}
    assert enum_at("error", "properties", "kind") == kinds | {"interrupted", "unexpected"}
    codes = {kind.exit_code for kind in every_error()}
    assert enum_at("error", "properties", "exit_code") == codes | {failure.INTERRUPTED, failure.UNEXPECTED}


def test_every_document_has_a_schema() -> None:
    import ovlay.bkt
    import ovlay.cli

    named = {
        value
        for package in (ovlay.cli, ovlay.bkt)
        for info in pkgutil.iter_modules(package.__path__)
        if isinstance(value := getattr(import_module(f"{package.__name__}.{info.name}"), "SCHEMA", None), str)
    }
    assert changing.SCHEMA in named
    known = {f"ovlay.{name}/1" for name in SCHEMAS}
    assert named | {model.STATUS_SCHEMA, CHANGES_SCHEMA, HOLDERS_SCHEMA, "ovlay.plan/1"} == known
