"""Which overlay the words mean: --backend, else OVLAY_BACKEND, else the configuration, else what fits best."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ovlay.cli.options import Options
    from ovlay.overlay import Overlay


class Choice(NamedTuple):
    """A driver that somebody named, and where; a name of None leaves it to the evidence. Also what else is set."""

    name: str | None
    by: str
    target: str
    tmpfs_size: int | None


def chosen(options: Options) -> Choice:
    """What the command line, the environment and the configuration say of the driver and the target."""
    from ovlay.advice import DEFAULT_TARGET
    from ovlay.config import load_config
    from ovlay.target import checked_target

    config = load_config()
    target = checked_target(config.target or DEFAULT_TARGET if options.target is None else options.target)
    named = (
        (options.backend, "option"),
        (os.environ.get("OVLAY_BACKEND") or None, "environment"),
        (config.backend, "configuration"),
    )
    name, by = next((pair for pair in named if pair[0] is not None), (None, "detection"))
    return Choice(name, by, target, config.tmpfs_size)


def open_chosen(options: Options) -> Overlay:
    """The overlay that the words mean."""
    from ovlay import overlay
    from ovlay.host import Host

    choice = chosen(options)
    if choice.name is not None:
        opened = overlay.open_overlay(choice.name, root=options.root, target=choice.target)
    else:
        opened = overlay.detect(root=options.root, target=choice.target)
    opened.host.tmpfs_size = choice.tmpfs_size
    opened.host.plans_for_root = type(opened.host) is Host  # on a real host nobody else can carry it out
    return opened
