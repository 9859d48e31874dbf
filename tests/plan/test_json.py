"""Plans go to the privileged helper as JSON: every step comes back the same, and nothing else is taken."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovlay.errors import InvalidInput
from ovlay.model import Access
from ovlay.plan import Plan
from ovlay.plan.steps import known_steps

# Bytes that are no UTF-8 are surrogates (PEP 383) and come through; other halves of characters are in no file.
_TEXT = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF), max_size=20)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": _TEXT,
    "int": st.integers(),
    "bool": st.booleans(),
    "int | None": st.none() | st.integers(),
    "tuple[int, ...]": st.lists(st.integers(), max_size=5).map(tuple),
    "str | None": st.none() | _TEXT,
    "Access": st.sampled_from(Access),
    "tuple[str, ...]": st.lists(_TEXT, max_size=3).map(tuple),
}


@st.composite
def steps(draw: st.DrawFn) -> Any:
    """Any step with any values of the right types."""
    kind = draw(st.sampled_from(sorted(known_steps())))
    step = known_steps()[kind]
    return step(**{field.name: draw(_VALUES[str(field.type)]) for field in fields(step)})  # type: ignore[arg-type]


@given(st.lists(steps(), max_size=4), _TEXT, st.lists(_TEXT, max_size=2))
def test_every_plan_survives_json(listed: list[Any], reason: str, warnings: list[str]) -> None:
    plan = Plan(tuple(listed), reason, tuple(warnings))
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def a_plan() -> dict[str, Any]:
    return {
        "schema": "ovlay.plan/1",
        "reason": "",
        "warnings": [],
        "steps": [{"step": "unmount", "target": "/usr", "mount_id": 7, "lazy": False, "carry": []}],
    }


def test_the_sample_is_a_plan() -> None:
    (step,) = Plan.from_json(a_plan()).steps
    assert step.to_json() == a_plan()["steps"][0]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "ovlay.plan/2"),
        ("schema", None),
        ("reason", None),
        ("warnings", "none"),
        ("warnings", [1]),
        ("steps", {}),
        ("steps", ["unmount"]),
        ("steps", [{}]),
        ("steps", [{"step": "run-anything", "argv": ["sh"]}]),
        ("steps", [{"step": "unmount", "target": "/usr", "mount_id": 7, "lazy": False}]),
        ("steps", [{"step": "unmount", "target": "/usr", "mount_id": 7, "lazy": False, "carry": [], "more": 1}]),
        ("steps", [{"step": "unmount", "target": "/usr", "mount_id": "7", "lazy": False, "carry": []}]),
        ("steps", [{"step": "unmount", "target": "/usr", "mount_id": True, "lazy": False, "carry": []}]),
        ("steps", [{"step": "unmount", "target": "/usr", "mount_id": 7, "lazy": 0, "carry": []}]),
        ("steps", [{"step": "unmount", "target": "/usr", "mount_id": 7, "lazy": False, "carry": [7]}]),
        ("steps", [{"step": "set-access", "target": "/usr", "mount_id": 7, "access": "any"}]),
    ],
)
def test_what_is_no_plan_is_refused(key: str, value: object) -> None:
    with pytest.raises(InvalidInput):
        Plan.from_json({**a_plan(), key: value})


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | _TEXT, lambda x: st.lists(x) | st.dictionaries(_TEXT, x))
)
def test_garbage_is_refused_and_never_crashes(document: Any) -> None:
    with pytest.raises(InvalidInput):
        Plan.from_json(document)
