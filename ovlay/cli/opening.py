"""Which overlay the words mean: --backend, else OVLAY_BACKEND, else the configuration, else what fits best."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ovlay.cli.options import Options
    from ovlay.overlay import Overlay


class Choice(NamedTuple):
    """A driver that somebody named, and where; a name of None leaves it to the evidence. Also the target."""

    name: str | None
    by: str
    target: str


def chosen(options: Options) -> Choice:
    """What the command line, the environment and the configuration say of the driver and the target."""
    from ovlay.config import load_config
    from ovlay.overlay import DEFAULT_TARGET, checked_target

    config = load_config()
    target = checked_target(config.target or DEFAULT_TARGET if options.target is None else options.target)
    if options.backend is not None:
        return Choice(options.backend, "option", target)
    if named := os.environ.get("OVLAY_BACKEND"):
        return Choice(named, "environment", target)
    if config.backend is not None:
        return Choice(config.backend, "configuration", target)
    return Choice(None, "detection", target)


def open_chosen(options: Options) -> Overlay:
    """The overlay that the words mean."""
    from ovlay import overlay

    choice = chosen(options)
    if choice.name is not None:
        return overlay.open_overlay(choice.name, root=options.root, target=choice.target)
    return overlay.detect(root=options.root, target=choice.target)
