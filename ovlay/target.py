"""The directory that an overlay is for, as drivers take it: absolute, normalised, and with no link on the way to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ovlay.errors import InvalidInput
from ovlay.paths import normal

if TYPE_CHECKING:
    from ovlay.host import Host


def checked_target(target: str | os.PathLike[str]) -> str:
    """A target in its plain form; raises `InvalidInput` where it is not absolute, or is the root."""
    text = os.fspath(target)
    plain = normal(text) if text.startswith("/") else ""
    if not plain or "\0" in text:
        raise InvalidInput(f"the target {text!r} is not an absolute path")
    if plain == "/":
        raise InvalidInput("the target cannot be the root directory", remedy="choose a directory such as /usr")
    return plain


def target_on(host: Host, target: str | os.PathLike[str]) -> str:
    """As `checked_target`, for this host; raises `InvalidInput` too where a link is on the way.

    The mount table has the names of directories and never of links (proc_pid_mountinfo(5)), and so have manifests and
    receipts to have them: one directory must not be known by two names.
    """
    plain = checked_target(target)
    real = host.resolved(plain)
    if real != plain:
        raise InvalidInput(f"{plain} leads through a link to {real}", remedy=f"say --target {real}")
    return plain
