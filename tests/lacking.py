"""What a test needs and has not got: a skip with its reason, and in CI, where it must be there, a failure."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def lacking(reason: str) -> NoReturn:
    """Skip the test, or fail it where ``OVLAY_LAB_REQUIRED=1`` says that everything must be there."""
    if os.environ.get("OVLAY_LAB_REQUIRED") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
