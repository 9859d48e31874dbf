"""Globs that leave changes out of a list, in the notation of gitignore(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ovlay.changes.change import Change, Changes


def leave_out(changes: Changes, patterns: Sequence[str]) -> Changes:
    """The changes without those that the patterns name; the last pattern that fits decides.

    Unlike with git a pattern that begins with ``!`` also brings back what lies in a directory that is left out.
    A pattern is relative to the target, or begins with it (``/usr/share/man/`` for the target /usr). What could not
    be looked at, and is named, is left out too. Raises `InvalidInput` for what is no pattern.
    """
    if not patterns:
        return changes
    ignored = Ignored(changes.target, patterns)
    kept = tuple(change for change in changes.changes if change not in ignored)
    errors = {path: why for path, why in changes.errors.items() if not ignored.names(path)}
    complete = changes.complete or (bool(changes.errors) and not errors)
    return changes._replace(changes=kept, errors=errors, complete=complete)


class Ignored:
    """What a list of patterns names below one target."""

    def __init__(self, target: str, patterns: Iterable[str]) -> None:
        import re

        from pathspec import GitIgnoreSpec

        lines = [_relative(target, pattern) for pattern in patterns]
        try:
            self._spec = GitIgnoreSpec.from_lines(lines)
        except (ValueError, re.error) as error:
            raise InvalidInput(
                f"not a pattern: {error}", remedy="see gitignore(5) for how a pattern is written"
            ) from error

    def __contains__(self, change: Change) -> bool:
        """Whether a change is named: by its new path."""
        now = change.after or change.before
        return self.names(change.path, directory=now is not None and now.type == "directory")

    def names(self, path: str, *, directory: bool = False) -> bool:
        """Whether a path relative to the target is named, itself or by a directory that it is in."""
        # The expressions that patterns are made into stop at a newline, which no pattern can hold; no path holds a NUL.
        return self._spec.match_file(path.replace("\n", "\0") + ("/" if directory else ""))


def _relative(target: str, pattern: str) -> str:
    """A pattern that begins with the target, made into one that is relative to it."""
    sign, rest = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    return sign + rest.removeprefix(target) if rest.startswith(target + "/") else pattern
