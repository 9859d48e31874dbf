"""The entry points of one group, straight from the files in which installers write them down.

`importlib.metadata` finds the same, and takes longer to import (it has a mail parser) than ``ovlay status`` takes for
all else. The files: https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any, NamedTuple

_FILE = "entry_points.txt"
_INFO = (".dist-info", ".egg-info")


class Point(NamedTuple):
    """An entry point: a name, and where its object is (``module:attribute``)."""

    name: str
    value: str

    def load(self) -> Any:
        """The object; raises what its import raises."""
        import importlib

        module, _, attributes = self.value.partition("[")[0].strip().partition(":")
        found: Any = importlib.import_module(module.strip())
        for attribute in filter(None, attributes.strip().split(".")):
            found = getattr(found, attribute)
        return found


def read_points(group: str) -> tuple[Point, ...] | None:
    """The entry points of a group, in the order of ``sys.path``; of one distribution the first that is found counts.

    None where a distribution may be somewhere else than in a plain directory: in an archive, or with a finder of its
    own. Then only `importlib.metadata` knows.
    """
    if any(hasattr(finder, "find_distributions") for finder in sys.meta_path if not _is_standard(finder)):
        return None
    seen: set[str] = set()
    points: list[Point] = []
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except FileNotFoundError:
            continue
        except NotADirectoryError:
            return None
        except OSError:
            continue
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() == ".egg":
                return None
            if suffix.lower() not in _INFO:
                continue
            distribution = stem.partition("-")[0].lower().replace("-", "_").replace(".", "_")
            if distribution not in seen:
                seen.add(distribution)
                points += _read(os.path.join(folder or ".", name, _FILE), group)
    return tuple(points)


def _is_standard(finder: object) -> bool:
    return getattr(finder, "__name__", "") == "PathFinder" and getattr(finder, "__module__", "").startswith(
        "_frozen_importlib"
    )


def _read(file: str, group: str) -> list[Point]:
    points: list[Point] = []
    inside = False
    with suppress(OSError, UnicodeDecodeError), open(file, encoding="utf-8") as stream:
        for raw in stream:
            line = raw.strip()
            if line.startswith("["):
                inside = line == f"[{group}]"
            elif inside and "=" in line and not line.startswith("#"):
                name, _, value = line.partition("=")
                points.append(Point(name.strip(), value.strip()))
    return points
