"""All steps that a plan may hold. Privileged code runs these and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.plan.capturing import KeepSource, WriteManifest
from ovlay.plan.directories import DiscardLeftover, DiscardUpper, MakePrivateDirectory, MakeUpper, WriteFile
from ovlay.plan.extending import AddExtension, RemoveExtension
from ovlay.plan.linking import PlaceLink
from ovlay.plan.mounting import MountOverlay, MountTmpfs, MountWithTool, SetAccess
from ovlay.plan.placing import MakeLeadingDirectory, PlaceFile
from ovlay.plan.removing import RemovePath, RemoveStrays
from ovlay.plan.restoring import RestorePaths
from ovlay.plan.salvaging import CopyOut
from ovlay.plan.services import SettleUnit, SettleUserUnit
from ovlay.plan.settling import AdjustAttributes, MakeDirectory, SettleReceipts
from ovlay.plan.triggering import RunTrigger
from ovlay.plan.unmounting import ClearFlag, SealBeneath, Unmount, UnmountTmpfs, UnmountWithTool

if TYPE_CHECKING:
    from ovlay.plan.step import Step

__all__ = [
    "AddExtension",
    "AdjustAttributes",
    "ClearFlag",
    "CopyOut",
    "DiscardLeftover",
    "DiscardUpper",
    "KeepSource",
    "MakeDirectory",
    "MakeLeadingDirectory",
    "MakePrivateDirectory",
    "MakeUpper",
    "MountOverlay",
    "MountTmpfs",
    "MountWithTool",
    "PlaceFile",
    "PlaceLink",
    "RemoveExtension",
    "RemovePath",
    "RemoveStrays",
    "RestorePaths",
    "RunTrigger",
    "SealBeneath",
    "SetAccess",
    "SettleReceipts",
    "SettleUnit",
    "SettleUserUnit",
    "Unmount",
    "UnmountTmpfs",
    "UnmountWithTool",
    "WriteFile",
    "WriteManifest",
    "known_steps",
]


def known_steps() -> dict[str, type[Step]]:
    """The steps by the name that they have in JSON."""
    steps: tuple[type[Step], ...] = (
        AddExtension,
        AdjustAttributes,
        ClearFlag,
        CopyOut,
        DiscardLeftover,
        DiscardUpper,
        KeepSource,
        MakeDirectory,
        MakeLeadingDirectory,
        MakePrivateDirectory,
        MakeUpper,
        MountOverlay,
        MountTmpfs,
        MountWithTool,
        PlaceFile,
        PlaceLink,
        RemoveExtension,
        RemovePath,
        RemoveStrays,
        RestorePaths,
        RunTrigger,
        SealBeneath,
        SetAccess,
        SettleReceipts,
        SettleUnit,
        SettleUserUnit,
        Unmount,
        UnmountTmpfs,
        UnmountWithTool,
        WriteFile,
        WriteManifest,
    )
    return {step.kind: step for step in steps}
