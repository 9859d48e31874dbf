"""A condition holds or says why not; a version that is none is a reason and no crash."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovlay.manifest.conditions import Facts, reason_against
from ovlay.manifest.document import When
from ovlay.model import Base

BASE = Base("ostree", checksum="abc123", image="quay.example/org/os:43")


def facts(base: Base | None = BASE, **os_release: str) -> Facts:
    return Facts({"ID": "fedora", "VERSION_ID": "43", **os_release}, base, lambda path: path == "/usr/bin/there")


@pytest.mark.parametrize(
    "when",
    [
        When(),
        When(image=("quay.example/org/os:*",)),
        When(image=("nothing", "*/os:43")),
        When(checksum=("abc*",)),
        When(os_release={"ID": "fedora", "VERSION_ID": ">=43,<44"}),
        When(os_release={"ID": "fed*"}),
        When(os_release={"VERSION_ID": "~=43.0"}),
        When(os_release={"VERSION_ID": "!=42"}),
        When(missing=("/usr/bin/tool",), present=("/usr/bin/there",)),
    ],
)
def test_what_holds(when: When) -> None:
    assert reason_against(when, facts()) is None


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        (When(image=("quay.example/org/os:42",)), "the image of the base is quay.example/org/os:43, not quay.exam"),
        (
            When(image=("QUAY.example/*", "x")),
            "the image of the base is quay.example/org/os:43, not QUAY.example/* or x",
        ),
        (When(checksum=("d*",)), "the checksum of the base is abc123, not d*"),
        (When(os_release={"VERSION_ID": ">=44"}), "VERSION_ID is 43, not >=44"),
        (When(os_release={"ID": "Fedora"}), "ID is fedora, not Fedora"),
        (When(os_release={"VARIANT_ID": "*"}), "os-release has no VARIANT_ID"),
        (When(missing=("/usr/bin/there",)), "the base has /usr/bin/there"),
        (When(present=("/usr/bin/there", "/usr/bin/tool")), "the base does not have /usr/bin/tool"),
        (When(image=("*",), checksum=("z",)), "the checksum of the base"),
    ],
)
def test_what_does_not_hold_says_why(when: When, reason: str) -> None:
    assert (reason_against(when, facts()) or "").startswith(reason)


def test_what_is_not_known_does_not_hold() -> None:
    assert reason_against(When(image=("*",)), facts(None)) == "the image of the base is not known"
    assert reason_against(When(checksum=("*",)), facts(Base("directory"))) == "the checksum of the base is not known"


@pytest.mark.parametrize("version", ["rawhide", "12/sid", "", "43 (forty-three)"])
def test_a_version_that_is_none_cannot_be_compared(version: str) -> None:
    reason = reason_against(When(os_release={"VERSION_ID": ">=1"}), facts(VERSION_ID=version))
    assert reason == f"VERSION_ID is {version}, which is no version that could be compared with >=1"


def test_a_coming_release_is_compared_too() -> None:
    assert reason_against(When(os_release={"VERSION_ID": ">=43"}), facts(VERSION_ID="44rc1")) is None


def test_the_base_is_not_looked_at_where_the_rest_says_no() -> None:
    def never(path: str) -> bool:
        raise AssertionError(path)

    when = When(os_release={"ID": "other"}, missing=("/usr/x",))
    assert reason_against(when, Facts({"ID": "fedora"}, None, never)) == "ID is fedora, not other"


@given(st.text(), st.sampled_from([">=1", "==1.*", "fedora", "[a-z]*", "*", "<2!0", "===x"]))
def test_no_version_crashes_it(version: str, condition: str) -> None:
    reason = reason_against(When(os_release={"VERSION_ID": condition}), facts(VERSION_ID=version))
    assert reason is None or reason.startswith("VERSION_ID is ")
