"""All cases, by name: each a change to make in a directory, and what should be said of it."""

from __future__ import annotations

from tests.changes import cases_of_content, cases_of_metadata
from tests.changes.case import CASES, NEEDS

__all__ = ["CASES", "NEEDS", "cases_of_content", "cases_of_metadata"]
