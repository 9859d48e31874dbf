"""rpm-ostree: ``rpm-ostree usroverlay``, on an ostree host whose packages rpm-ostree can layer.

Host commands: ``rpm-ostree usroverlay [--transient | --hotfix]``, which becomes ``ostree admin unlock`` with the same
options (rust/src/builtins/usroverlay.rs of rpm-ostree): flags, uppers and dangers are ostree's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ovlay_backends.deployment import UNLOCK_OPTIONS
from ovlay_backends.ostree import OstreeBackend

if TYPE_CHECKING:
    from ovlay.model import Mode


class RpmOstreeBackend(OstreeBackend):
    """An ostree host that has rpm-ostree."""

    name: ClassVar[str] = "rpm-ostree"
    tool: ClassVar[str] = "rpm-ostree"
    score: ClassVar[int] = 80

    def unlock_words(self, mode: Mode) -> tuple[str, ...]:
        return ("rpm-ostree", "usroverlay", *UNLOCK_OPTIONS[mode])
