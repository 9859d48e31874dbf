"""ovlay puts a writable layer on a read-only directory such as /usr, says what is in it, and takes it away again.

    overlay = ovlay.detect()
    with overlay.enabled():
        overlay.install_file("target/release/tool", "/usr/bin/tool")
        print(overlay.status().to_json())

Everything public is here; each name is imported when it is first used, so that ``import ovlay`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ovlay.backend import Backend
    from ovlay.carrying import Outcome
    from ovlay.changes.change import Attributes, Change, ChangeKind, Changes
    from ovlay.errors import (
        Busy,
        Conflict,
        InvalidInput,
        NoDriver,
        NoSpace,
        NotActive,
        NotPermitted,
        OvlayError,
        StateForbids,
        SystemCallFailed,
        ToolFailed,
        Unsupported,
    )
    from ovlay.holders import Holders, Process
    from ovlay.host import Host
    from ovlay.kernel.holders import FileUse
    from ovlay.manifest.document import InvalidManifest, Problem
    from ovlay.manifest.drift import Deviation, Drift
    from ovlay.manifest.finding import ConflictKind, State
    from ovlay.model import (
        Access,
        Anomaly,
        AnomalyKind,
        Backing,
        Base,
        Holder,
        Layer,
        Mode,
        Owner,
        Persistence,
        Probe,
        Status,
    )
    from ovlay.overlay import Overlay, detect
    from ovlay.overlay import open_overlay as open  # noqa: A004
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step
    from ovlay.requests import InstallFile

__version__ = "0.1.0.dev0"

_HOME = {
    "ovlay.backend": ("Backend",),
    "ovlay.changes.change": ("Attributes", "Change", "ChangeKind", "Changes"),
    "ovlay.errors": (
        "Busy",
        "Conflict",
        "InvalidInput",
        "NoDriver",
        "NoSpace",
        "NotActive",
        "NotPermitted",
        "OvlayError",
        "StateForbids",
        "SystemCallFailed",
        "ToolFailed",
        "Unsupported",
    ),
    "ovlay.holders": ("Holders", "Process"),
    "ovlay.host": ("Host",),
    "ovlay.kernel.holders": ("FileUse",),
    "ovlay.manifest.document": ("InvalidManifest", "Problem"),
    "ovlay.manifest.drift": ("Deviation", "Drift"),
    "ovlay.manifest.finding": ("ConflictKind", "State"),
    "ovlay.model": (
        "Access",
        "Anomaly",
        "AnomalyKind",
        "Backing",
        "Base",
        "Holder",
        "Layer",
        "Mode",
        "Owner",
        "Persistence",
        "Probe",
        "Status",
    ),
    "ovlay.carrying": ("Outcome",),
    "ovlay.overlay": ("Overlay", "detect", "open"),
    "ovlay.plan.plan": ("Plan",),
    "ovlay.plan.step": ("Step",),
    "ovlay.requests": ("InstallFile",),
}

__all__ = [
    "Access",
    "Anomaly",
    "AnomalyKind",
    "Attributes",
    "Backend",
    "Backing",
    "Base",
    "Busy",
    "Change",
    "ChangeKind",
    "Changes",
    "Conflict",
    "ConflictKind",
    "Deviation",
    "Drift",
    "FileUse",
    "Holder",
    "Holders",
    "Host",
    "InstallFile",
    "InvalidInput",
    "InvalidManifest",
    "Layer",
    "Mode",
    "NoDriver",
    "NoSpace",
    "NotActive",
    "NotPermitted",
    "Outcome",
    "Overlay",
    "OvlayError",
    "Owner",
    "Persistence",
    "Plan",
    "Probe",
    "Problem",
    "Process",
    "State",
    "StateForbids",
    "Status",
    "Step",
    "SystemCallFailed",
    "ToolFailed",
    "Unsupported",
    "__version__",
    "detect",
    "open",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOME.items():
        if name in names:
            from importlib import import_module

            value = getattr(import_module(module), "open_overlay" if name == "open" else name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
