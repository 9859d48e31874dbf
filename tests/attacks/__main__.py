"""python -m tests.attacks [--write FILE]: print the page of all attacks, or write it."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.attacks.table import page


def main(words: list[str]) -> None:
    """Print or write."""
    if words[:1] == ["--write"]:
        Path(words[1]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


main(sys.argv[1:])
