"""One process of a campaign: atheris drives one target, guided by the coverage of its modules.

python -m tests.fuzz.campaign PARSER CRASHES [LIBFUZZER-OPTION...] [CORPUS...]

It is a process of its own since libFuzzer ends the process that it runs in, and since the modules must be
instrumented while they are imported.
"""

from __future__ import annotations

import hashlib
import importlib
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any


def campaign(name: str, folder: str | Path) -> list[str]:
    """The command of a campaign, to which libFuzzer's options and the directories of inputs are added."""
    return [sys.executable, "-m", "tests.fuzz.campaign", name, str(folder)]


class Crashes:
    """What was found, one for each place that raised: the input in a file, and the traceback beside it."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._seen: set[str] = set()

    def add(self, data: bytes, error: BaseException) -> None:
        """Write a crash down, if it is a new one."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"
        if isinstance(error, RecursionError):  # it has no one place
            place = f"RecursionError {frames[1].name}"
        if place in self._seen:
            return
        self._seen.add(place)
        key = hashlib.sha256(place.encode()).hexdigest()[:12]
        (self._folder / f"crash-{self._name}-{key}").write_bytes(data)
        story = "".join(traceback.format_exception(error))
        (self._folder / f"crash-{self._name}-{key}.txt").write_text(story[-20_000:], errors="backslashreplace")


def main(words: list[str]) -> None:
    """Fuzz until libFuzzer has enough."""
    name, folder, *options = words
    atheris: Any = importlib.import_module("atheris")
    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=["ovlay", "ovlay_backends", "tomllib", "packaging", "json", "tests.fuzz"]):
        target = importlib.import_module("tests.fuzz.targets").TARGETS[name]
        for module in target.modules:
            importlib.import_module(module)
    crashes = Crashes(Path(folder), name)

    def run(data: bytes) -> None:
        try:
            target.check(data)
        except Exception as error:  # whatever is not documented
            crashes.add(data, error)

    # To merge, libFuzzer starts itself anew, and gives its first word and the others to a shell.
    atheris.Setup([shlex.join(campaign(name, folder)), *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
