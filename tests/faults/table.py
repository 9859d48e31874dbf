"""What happened in each fault that was tried: the table in docs/faults.md, which the tests make and hold true.

A test says its row with `told`, after it saw that it is so; a row that docs/faults.md does not have fails the test.
``OVLAY_FAULTS=FILE`` collects the rows instead, and ``python -m tests.faults.table FILE`` puts them into the page.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- rows made by the tests -->\n", "<!-- end of the rows -->\n"


def told(fault: str, happened: str, test: str) -> None:
    """Hold a row of the table true, or collect it."""
    row = f"| {fault} | {happened} | `{test}` |"
    if collected := os.environ.get("OVLAY_FAULTS"):
        with open(collected, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
        return
    assert row in PAGE.read_text(encoding="utf-8").splitlines(), (
        f"docs/faults.md does not have this row: run the tests with OVLAY_FAULTS=FILE, then "
        f"`python -m tests.faults.table FILE`\n{row}"
    )


def main() -> None:
    """Put the rows that were collected into the page."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        rows = list(dict.fromkeys(json.loads(line) for line in stream))
    page = PAGE.read_text(encoding="utf-8")
    front, _, rest = page.partition(BEGIN)
    _, _, back = rest.partition(END)
    head = "| What goes wrong | What happens | Seen by |\n|---|---|---|\n"
    PAGE.write_text(front + BEGIN + head + "\n".join(sorted(rows)) + "\n" + END + back, encoding="utf-8")


if __name__ == "__main__":
    main()
