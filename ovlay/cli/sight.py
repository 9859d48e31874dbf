"""What a user may know of what was placed before, whose receipts are for root alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.errors import NotPermitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.manifest.document import Declared
    from ovlay.overlay import Overlay

UNSEEN = "only root can see what was placed before: what is left over of it, and what somebody changed, is not in this"


def sees(overlay: Overlay) -> bool:
    """Whether this process may see what was placed before."""
    from ovlay.receipts import may_read_receipts

    return may_read_receipts(overlay.host, overlay.status())


def demand_sight(overlay: Overlay) -> None:
    """Raise `NotPermitted` for who may not see what was placed before."""
    if not sees(overlay):
        raise NotPermitted(
            f"only root can see what was placed on {overlay.target} before",
            remedy="run it as root, for instance with sudo",
        )


def declared_as_it_is(overlay: Overlay, manifests: Sequence[str], *, user: bool) -> Declared | None:
    """What is declared, where root let it be known that all of it is so; None where that is not known."""
    from ovlay.manifest.declaring import declare
    from ovlay.manifest.notice import is_noticed

    declared = declare(overlay.backend, manifests, user=user)
    return declared if is_noticed(overlay.host, overlay.status(), declared) else None
