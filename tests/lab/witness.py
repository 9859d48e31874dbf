"""Witnesses of the state of a host: the mount table, ostree, and what ovlay says of itself."""

from __future__ import annotations

import importlib.resources
import json
from typing import TYPE_CHECKING, Any

import jsonschema

if TYPE_CHECKING:
    from tests.lab.host import LabHost

SEALED = {
    "bookworm": ("ext4 - ro",),
    "trixie": ("ext4 - ro",),
    "forky": ("ext4 - ro",),
    "forky-composefs": (),
}
"""What is mounted on /usr after a boot: a read-only bind of the deployment; a composefs root has all in one."""


def sealed(host: LabHost) -> bool:
    """Whether /usr is as after a boot: nothing on it that was not there, and nobody can write."""
    return host.stack() == SEALED[host.recipe.name] and not host.writable()


def state(host: LabHost, backend: str = "") -> Any:
    """What ``ovlay status --json`` prints, which is always what its schema says."""
    driver = ("--backend", backend) if backend else ()
    return checked_state(host.ovlay("status", "--json", *driver).json())


def checked_state(found: Any) -> Any:
    """What ``ovlay status --json`` has printed, once it is seen to be what its schema says."""
    schema = json.loads(importlib.resources.files("ovlay").joinpath("schemas/ovlay.status-1.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(found)
    return found


def kinds(host: LabHost) -> set[str]:
    """The anomalies that ``ovlay status`` names."""
    return {anomaly["kind"] for anomaly in state(host)["anomalies"]}


def strays(host: LabHost) -> str:
    """Files that ovlay was writing and never finished."""
    return host.sh("find /usr -xdev -name '.ovlay-new-*'; find /run/ovlay /var/lib/ovlay -name '*.ovlay-*' || true")


def sleepers(host: LabHost) -> list[int]:
    """What a tool has left running."""
    named = 'for each in /proc/[0-9]*; do [ "$(cat $each/comm)" != sleep ] || echo ${each#/proc/}; done'
    return [int(word) for word in host.sh(named).split()]


def fingerprint(host: LabHost) -> str:
    """All that a verb might change: mounts, ostree's flags, ovlay's directories, deployments."""
    return host.sh(
        "cat /proc/self/mountinfo; ls -laR /run/ostree /var/lib/ovlay /run/ovlay /var/tmp 2>&1 || true;"
        "ls -la /sysroot/ostree/deploy/debian/deploy /sysroot/ostree/deploy/debian/backing 2>&1 || true"
    )
