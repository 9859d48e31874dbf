"""Numbers of users and groups are those that chown(2) can give a file; every other word is a name."""

from __future__ import annotations

import pytest

from ovlay.errors import InvalidInput
from ovlay.files.accounts import MAX_ID, group_id, user_id


@pytest.mark.parametrize("given", [0, 1000, MAX_ID, "0", "1000", "007", str(MAX_ID), "0" * 20 + "5"])
def test_a_number_is_itself(given: str | int) -> None:
    assert user_id(given) == group_id(given) == int(given)


@pytest.mark.parametrize("given", [-1, MAX_ID + 1, 2**64, str(MAX_ID + 1), "9" * 5000])
def test_a_number_that_is_nobodys_is_refused(given: str | int) -> None:
    """chown(2) took -1, and what is the same in 32 bits, for "leave it"."""
    for asked in (user_id, group_id):
        with pytest.raises(InvalidInput, match="is no number of a user or a group"):
            asked(given)


@pytest.mark.parametrize("given", ["٣", "-1", "+1", "1_0", "", "no-such-name", "a\0b", "\ud800"])
def test_what_is_no_number_is_a_name(given: str) -> None:
    with pytest.raises(InvalidInput, match="there is no user"):
        user_id(given)
    with pytest.raises(InvalidInput, match="there is no group"):
        group_id(given)


def test_a_name_is_looked_up() -> None:
    assert user_id("root") == group_id("root") == 0
