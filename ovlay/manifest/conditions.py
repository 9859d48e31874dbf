"""Whether a condition of a manifest holds on a host, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ovlay.manifest.document import When
    from ovlay.model import Base

SPECIFIER_MARKS = ("<", ">", "=", "!", "~")
"""What a condition on os-release(5) begins with where it is a set of version specifiers; all else is a glob."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What conditions are about: os-release(5), the base's identity, and whether the base has an absolute path."""

    os_release: Mapping[str, str]
    base: Base | None
    has: Callable[[str], bool]


def reason_against(when: When, facts: Facts) -> str | None:
    """Why the condition does not hold, or None where it does. The base is looked at last, and no more than needed."""
    return next(_reasons(when, facts), None)


def _reasons(when: When, facts: Facts) -> Iterator[str]:
    base = facts.base
    yield from _no_glob_fits("image", when.image, None if base is None else base.image)
    yield from _no_glob_fits("checksum", when.checksum, None if base is None else base.checksum)
    for name, condition in when.os_release.items():
        yield from _release_is_other(name, condition, facts.os_release.get(name))
    for path in when.missing:
        if facts.has(path):
            yield f"the base has {path}"
    for path in when.present:
        if not facts.has(path):
            yield f"the base does not have {path}"


def _no_glob_fits(what: str, globs: tuple[str, ...], value: str | None) -> Iterator[str]:
    if not globs:
        return
    if value is None:
        yield f"the {what} of the base is not known"
    elif not any(fnmatchcase(value, glob) for glob in globs):
        yield f"the {what} of the base is {value}, not {' or '.join(globs)}"


def _release_is_other(name: str, condition: str, value: str | None) -> Iterator[str]:
    if value is None:
        yield f"os-release has no {name}"
    elif not condition.startswith(SPECIFIER_MARKS):
        if not fnmatchcase(value, condition):
            yield f"{name} is {value}, not {condition}"
    else:
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion, Version

        try:
            # An image of a coming release is told apart by its version too: PEP 440 leaves pre-releases out otherwise.
            if Version(value) not in SpecifierSet(condition, prereleases=True):
                yield f"{name} is {value}, not {condition}"
        except InvalidVersion:
            yield f"{name} is {value}, which is no version that could be compared with {condition}"
