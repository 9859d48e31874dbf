"""What host tools print is understood, and no text at all makes a parser raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovlay.model import Access, Mode, Persistence
from ovlay_backends.bootc import parse_bootc_status, parse_bootc_version
from ovlay_backends.deployment import parse_admin_status, parse_origin
from ovlay_backends.sysext import parse_sysext_status

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["status", "usrOverlay", "hierarchy"]), inner),
    max_leaves=8,
)
texts = st.text() | documents.map(json.dumps)


@given(texts)
def test_bootc_status_survives_garbage(text: str) -> None:
    assert parse_bootc_status(text) is None


@given(documents, documents)
def test_bootc_status_survives_other_overlays(access: object, persistence: object) -> None:
    document = {"status": {"usrOverlay": {"accessMode": access, "persistence": persistence}}}
    assert parse_bootc_status(json.dumps(document)) is None


@pytest.mark.parametrize("access", [("readWrite", Access.READ_WRITE), ("readOnly", Access.READ_ONLY)])
@pytest.mark.parametrize("persistence", Persistence)
def test_bootc_status(access: tuple[str, Access], persistence: Persistence) -> None:
    overlay = {"accessMode": access[0], "persistence": persistence.value}
    text = json.dumps({"apiVersion": "org.containers.bootc/v1", "status": {"usrOverlay": overlay}})
    assert parse_bootc_status(text) == Mode(access[1], persistence)


@pytest.mark.parametrize("status", [{"usrOverlay": None}, {"booted": None}, None])
def test_bootc_status_without_an_overlay(status: object) -> None:
    assert parse_bootc_status(json.dumps({"status": status})) is None


def test_bootc_status_too_deep_for_the_parser() -> None:
    assert parse_bootc_status("[" * 100_000) is None


@given(st.text())
def test_bootc_version_survives_garbage(text: str) -> None:
    parse_bootc_version(text)
    assert parse_bootc_version(f"podman {text}") is None


@pytest.mark.parametrize(("text", "version"), [("bootc 1.15.0\n", "1.15.0"), ("bootc 1.1.3", "1.1.3")])
def test_bootc_version(text: str, version: str) -> None:
    assert str(parse_bootc_version(text)) == version


@pytest.mark.parametrize("text", ["", "bootc", "bootc unknown", "bootc-1.15.0"])
def test_no_bootc_version(text: str) -> None:
    assert parse_bootc_version(text) is None


@given(texts, st.text())
def test_sysext_status_survives_garbage(text: str, hierarchy: str) -> None:
    merged = parse_sysext_status(text, hierarchy)
    assert merged is None or isinstance(merged, tuple)


@given(documents)
def test_sysext_status_survives_other_extensions(extensions: object) -> None:
    merged = parse_sysext_status(json.dumps([{"hierarchy": "/usr", "extensions": extensions}]), "/usr")
    assert merged is None or all(isinstance(name, str) for name in merged)


@pytest.mark.parametrize(
    ("text", "merged"),
    [
        ('[{"hierarchy":"/opt","extensions":["a"]},{"hierarchy":"/usr","extensions":["b","c"]}]', ("b", "c")),
        ('[{"hierarchy":"/usr","extensions":"none","since":null}]', ()),  # up to systemd 261
        ('[{"hierarchy":"/usr","extensions":[],"since":null}]', ()),
        ('[{"hierarchy":"/opt","extensions":[]}]', None),
        ('[{"hierarchy":"/usr","extensions":"some"}]', None),
    ],
)
def test_sysext_status(text: str, merged: tuple[str, ...] | None) -> None:
    assert parse_sysext_status(text, "/usr") == merged


@given(st.text())
def test_ostree_status_survives_garbage(text: str) -> None:
    word = parse_admin_status(text)
    assert word is None or word


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("* os aa.0\n    Unlocked: hotfix\n    origin refspec: x\n  os bb.0 (rollback)\n", "hotfix"),
        ("* os aa.0\n    origin refspec: x\n  os bb.0 (rollback)\n    Unlocked: hotfix\n", "none"),
        ("  os bb.0 (staged)\n    Unlocked: development\n* os aa.0\n    Version: 1\n", "none"),
        ("  os bb.0\n    Unlocked: development\n", None),
        ("error: sysroot is not there\n", None),
        ("", None),
    ],
)
def test_ostree_status(text: str, word: str | None) -> None:
    assert parse_admin_status(text) == word


@given(st.text(), st.text())
def test_an_origin_survives_garbage(text: str, key: str) -> None:
    value = parse_origin(text, key)
    assert value is None or value == value.strip()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[origin]\nunlocked=hotfix\n", "hotfix"),
        ("[origin]\n# a comment\nrefspec = a/b\nunlocked = hotfix \n", "hotfix"),
        ("[boot]\nunlocked=hotfix\n[origin]\nrefspec=a=b\n", None),
        ("unlocked=hotfix\n", None),
    ],
)
def test_an_origin(text: str, value: str | None) -> None:
    assert parse_origin(text, "unlocked") == value
