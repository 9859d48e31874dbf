"""What is true of /usr in each recorded state, and what each driver may plan there, written from README.md.

The mounts of a state are spelled as letters, lowest first: ``b`` the image's read-only bind of /usr (there is none on
a composefs root, and none under a hotfix after a reboot), ``u`` ostree's overlay, ``s`` a read-only merge of system
extensions, ``S`` a writable one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ovlay.errors import StateForbids
from ovlay.model import Access, AnomalyKind, Mode, Owner, Persistence

if TYPE_CHECKING:
    from ovlay.errors import OvlayError

RW = Mode(Access.READ_WRITE, Persistence.TRANSIENT)
RO = Mode(Access.READ_ONLY, Persistence.TRANSIENT)
HOTFIX = Mode(Access.READ_WRITE, Persistence.PERSISTENT)

STALE = AnomalyKind.STALE_FLAG
DISAGREES = AnomalyKind.FLAG_DISAGREES
FOREIGN = AnomalyKind.FOREIGN_OVERLAY
HIDDEN = AnomalyKind.HIDDEN_BY_SYSEXT
HIDES = AnomalyKind.HIDES_SYSEXT
UNREACHABLE = AnomalyKind.UNREACHABLE_UPPER
LEFTOVER = AnomalyKind.LEFTOVER_UPPER
SUPERBLOCK = AnomalyKind.WRITABLE_SUPERBLOCK
DEPLOYMENT = AnomalyKind.WRITABLE_DEPLOYMENT
DEPTH = AnomalyKind.DEPTH_LIMIT


class Truth(NamedTuple):
    """A state as the mount table, the files and the write test of the recording have it."""

    mounts: str
    writable: bool
    depth: int
    mode: Mode | None = None
    flag: str | None = None
    odd: frozenset[AnomalyKind] = frozenset()


def _truth(
    mounts: str,
    *odd: AnomalyKind,
    writable: bool,
    depth: int,
    mode: Mode | None = None,
    flag: str | None = None,
) -> Truth:
    return Truth(mounts, writable, depth, mode, flag, frozenset(odd))


# On the plain hosts nothing is stacked on a locked /usr; ostree's own overlay is one, a merge over it the second.
PLAIN: dict[str, Truth] = {
    "00": _truth("b", writable=False, depth=0),
    "01": _truth("b", writable=False, depth=0),
    "02": _truth("bs", writable=False, depth=1),
    "03": _truth("b", writable=False, depth=0),
    "04": _truth("bS", writable=True, depth=1),
    "05": _truth("bS", writable=True, depth=1),
    "06": _truth("bu", writable=True, depth=1, mode=RW, flag="development"),
    "07": _truth("bu", writable=True, depth=1, mode=RW, flag="development"),
    "08": _truth("bus", HIDDEN, DEPTH, writable=False, depth=2, mode=RW, flag="development"),
    "09": _truth("bu", writable=True, depth=1, mode=RW, flag="development"),
    "10": _truth("buS", HIDDEN, DEPTH, writable=True, depth=2, mode=RW, flag="development"),
    "11": _truth("b", STALE, LEFTOVER, writable=False, depth=0, flag="development"),
    # ostree's lower is the deployment's directory, not the merge: the merge is hidden, and not a layer.
    "12": _truth("bsu", HIDES, writable=True, depth=1, mode=RW, flag="development"),
    "13": _truth("bsu", HIDES, writable=True, depth=1, mode=RW, flag="development"),
    "20": _truth("b", LEFTOVER, writable=False, depth=0),
    "21": _truth("bu", LEFTOVER, writable=False, depth=1, mode=RO, flag="transient"),
    "22": _truth("bu", DISAGREES, LEFTOVER, writable=True, depth=1, mode=RW, flag="transient"),
    "23": _truth("bus", HIDDEN, DEPTH, SUPERBLOCK, LEFTOVER, writable=False, depth=2, mode=RO, flag="transient"),
    "24": _truth("bu", SUPERBLOCK, LEFTOVER, writable=False, depth=1, mode=RO, flag="transient"),
    "30": _truth("b", LEFTOVER, writable=False, depth=0),
    "31": _truth("bu", LEFTOVER, writable=True, depth=1, mode=HOTFIX, flag="hotfix"),
    "32": _truth("bu", LEFTOVER, writable=True, depth=1, mode=HOTFIX, flag="hotfix"),
    "40": _truth("u", LEFTOVER, writable=True, depth=1, mode=HOTFIX, flag="hotfix"),
    "41": _truth("us", HIDDEN, DEPTH, LEFTOVER, writable=False, depth=2, mode=HOTFIX, flag="hotfix"),
    "42": _truth("", STALE, DEPLOYMENT, LEFTOVER, writable=True, depth=0, flag="hotfix"),
}

# A composefs root is one filesystem already. ostree's unlock takes the deployment's checkout on ext4 for its lower, and
# so starts at one again; the hotfix that ostree-prepare-root mounts at boot has the composefs for its lower.
COMPOSEFS: dict[str, Truth] = {
    "00": _truth("", writable=False, depth=1),
    "01": _truth("", writable=False, depth=1),
    "02": _truth("s", DEPTH, writable=False, depth=2),
    "03": _truth("", writable=False, depth=1),
    "04": _truth("S", DEPTH, writable=True, depth=2),
    "05": _truth("S", DEPTH, writable=True, depth=2),
    "06": _truth("u", writable=True, depth=1, mode=RW, flag="development"),
    "07": _truth("u", writable=True, depth=1, mode=RW, flag="development"),
    "08": _truth("us", HIDDEN, DEPTH, writable=False, depth=2, mode=RW, flag="development"),
    "09": _truth("u", writable=True, depth=1, mode=RW, flag="development"),
    "10": _truth("uS", HIDDEN, DEPTH, writable=True, depth=2, mode=RW, flag="development"),
    "11": _truth("", STALE, LEFTOVER, writable=False, depth=1, flag="development"),
    "12": _truth("su", HIDES, writable=True, depth=1, mode=RW, flag="development"),
    "13": _truth("su", HIDES, writable=True, depth=1, mode=RW, flag="development"),
    "20": _truth("", LEFTOVER, writable=False, depth=1),
    "21": _truth("u", LEFTOVER, writable=False, depth=1, mode=RO, flag="transient"),
    "22": _truth("u", DISAGREES, LEFTOVER, writable=True, depth=1, mode=RW, flag="transient"),
    "23": _truth("us", HIDDEN, DEPTH, SUPERBLOCK, LEFTOVER, writable=False, depth=2, mode=RO, flag="transient"),
    "24": _truth("u", SUPERBLOCK, LEFTOVER, writable=False, depth=1, mode=RO, flag="transient"),
    "30": _truth("", LEFTOVER, writable=False, depth=1),
    "31": _truth("u", LEFTOVER, writable=True, depth=1, mode=HOTFIX, flag="hotfix"),
    "32": _truth("u", LEFTOVER, writable=True, depth=1, mode=HOTFIX, flag="hotfix"),
    "40": _truth("u", DEPTH, LEFTOVER, writable=True, depth=2, mode=HOTFIX, flag="hotfix"),
    "41": _truth("u", DEPTH, LEFTOVER, writable=True, depth=2, mode=HOTFIX, flag="hotfix"),  # the merge failed
    "42": _truth("", STALE, LEFTOVER, writable=False, depth=1, flag="hotfix"),
}

# Where the upper of ostree's overlay is, below the deployment's own directories, or in /var/tmp for 2025.2.
UPPERS: dict[str, str] = {
    **dict.fromkeys(("06", "07", "09"), "ostree-unlock-ovl.4YB4Y3"),
    **dict.fromkeys(("12", "13"), "ostree-unlock-ovl.9I95Y3"),
    **dict.fromkeys(("21", "22", "24"), "ostree-unlock-ovl.1ML5Y3"),
}

SOURCES = {"b": "/dev/vda", "u": "overlay", "s": "sysext", "S": "sysext"}

# Who mounted what, for the drivers of the ostree family, and for sysext, to which ostree's overlay is foreign.
OSTREE_OWNERS = {"b": Owner.IMAGE, "u": Owner.TOOL, "s": Owner.SYSEXT, "S": Owner.SYSEXT}
SYSEXT_OWNERS = {"b": Owner.IMAGE, "u": Owner.FOREIGN, "s": Owner.SYSEXT, "S": Owner.TOOL}


class Merge(NamedTuple):
    """The writable merge of a state, as the driver sysext has it."""

    mode: Mode
    upper: str | None


# An ephemeral merge has its upper in a mount namespace that is gone; the other one has it on the disk, where it stays.
MERGES: dict[str, Merge] = {
    "04": Merge(RW, None),
    "05": Merge(HOTFIX, "/var/lib/extensions.mutable/usr"),
    "10": Merge(RW, None),
}

Outcome = tuple[str, ...] | type["OvlayError"]
"""The kinds of the steps, () where there is nothing to do, or the error."""

NOTHING: Outcome = ()
UNLOCK: Outcome = ("mount-with-tool",)
OWN: Outcome = ("make-private-directory", "make-private-directory", "make-upper", "mount-overlay")
ACCESS: Outcome = ("set-access",)
CLOSE: Outcome = ("unmount", "clear-flag")
MERGE: Outcome = ("add-extension", "mount-tmpfs", "mount-with-tool")
NO: Outcome = StateForbids


class Plans(NamedTuple):
    """What may be planned in a state: the three modes, and unmounting."""

    read_write: Outcome
    read_only: Outcome
    persistent: Outcome
    unmount: Outcome


_LOCKED = Plans(UNLOCK, UNLOCK, UNLOCK, NOTHING)
_MERGED = Plans(NO, NO, NO, NOTHING)  # an unlocked /usr would hide the extensions
_UNLOCKED = Plans(NOTHING, ACCESS, NO, CLOSE)
_COVERED = Plans(NO, NO, NO, NO)
_STALE = Plans(OWN, OWN, NO, NOTHING)  # ostree would say "already in unlocked state"
_READ_ONLY = Plans(ACCESS, NOTHING, NO, CLOSE)
_HOTFIX = Plans(NO, NO, NOTHING, ("unmount",))

OSTREE_PLANS: dict[str, Plans] = {
    **dict.fromkeys(("00", "01", "03", "20", "30"), _LOCKED),
    **dict.fromkeys(("02", "04", "05"), _MERGED),
    **dict.fromkeys(("06", "07", "09", "12", "13", "22"), _UNLOCKED),
    **dict.fromkeys(("08", "10", "23"), _COVERED),
    **dict.fromkeys(("11", "42"), _STALE),
    **dict.fromkeys(("21", "24"), _READ_ONLY),
    **dict.fromkeys(("31", "32"), _HOTFIX),
    # On a plain layout the writable deployment is beneath: it is sealed before the hotfix goes.
    "40": Plans(NO, NO, NOTHING, ("seal-beneath", "unmount")),
    "41": _COVERED,
}
OSTREE_PLANS_ON_COMPOSEFS = OSTREE_PLANS | {"40": _HOTFIX, "41": _HOTFIX}

SYSEXT_PLANS: dict[str, tuple[Outcome, Outcome]] = {
    **dict.fromkeys(("00", "01", "02", "03", "11", "20", "30", "42"), (MERGE, NOTHING)),
    "04": (NOTHING, ("unmount-with-tool",)),
    "05": (NO, ("unmount-with-tool",)),
    "10": (NOTHING, ("unmount-with-tool",)),
    # Over ostree's overlay a merge would work, and hide it from those who enabled it.
    **dict.fromkeys(
        ("06", "07", "08", "09", "12", "13", "21", "22", "23", "24", "31", "32", "40", "41"), (NO, NOTHING)
    ),
}


def truth(host: str, state: str) -> Truth:
    """What is true of a host in a state."""
    return (COMPOSEFS if host == "forky-cfs" else PLAIN)[state[:2]]


def ostree_plans(host: str, state: str) -> Plans:
    """What the drivers of the ostree family may plan."""
    return (OSTREE_PLANS_ON_COMPOSEFS if host == "forky-cfs" else OSTREE_PLANS)[state[:2]]
