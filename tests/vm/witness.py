"""Witnesses of the state of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.recipe import Layout

if TYPE_CHECKING:
    from tests.vm.host import VmHost


def sealed(host: VmHost) -> bool:
    """Whether /usr is as after a boot: nothing on it that was not there, and nobody can write."""
    return host.stack() == (("ext4 - ro",) if host.boots.recipe.layout is Layout.PLAIN else ()) and not host.writable()
