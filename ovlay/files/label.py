"""The SELinux label of a new file: that of the file it replaces, else the policy's, else its directory's."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ctypes

ATTRIBUTE = "security.selinux"

_SELABEL_CTX_FILE = 0  # selinux/label.h


def label_for(path: str, mode: int, *, replaced: int | str | None, inherited: bytes | None) -> bytes | None:
    """The label for a file at ``path`` with this type and mode (``st_mode``), or None where the system has none.

    ``replaced`` is what is there now (its label is kept), ``inherited`` the label of the directory.
    """
    if replaced is not None and (kept := read_label(replaced)) is not None:
        return kept
    return (_from_policy(path, mode) or inherited) if selinux_is_on() else inherited


def read_label(where: int | str) -> bytes | None:
    """The label of a file, by path (a link is not followed) or by descriptor; None where it has none."""
    try:
        return (
            os.getxattr(where, ATTRIBUTE)
            if isinstance(where, int)
            else os.getxattr(where, ATTRIBUTE, follow_symlinks=False)
        )
    except OSError:
        return None


@cache
def selinux_is_on() -> bool:
    """Whether a policy is loaded: selinuxfs has the file ``enforce`` (selinux_enabled(3))."""
    return os.path.exists("/sys/fs/selinux/enforce")


def _from_policy(path: str, mode: int) -> bytes | None:
    """selabel_lookup_raw(3), which restorecon(8) uses, straight from libselinux."""
    import ctypes

    opened = _open_policy()
    if opened is None:
        return None
    library, handle = opened
    found = ctypes.c_char_p()
    if library.selabel_lookup_raw(handle, ctypes.byref(found), os.fsencode(path), mode) != 0 or found.value is None:
        return None
    label = found.value + b"\0"
    library.freecon(found)
    return label


@cache
def _open_policy() -> tuple[ctypes.CDLL, ctypes.c_void_p] | None:
    import ctypes

    try:
        library = ctypes.CDLL("libselinux.so.1")
    except OSError:
        return None
    library.selabel_open.restype = ctypes.c_void_p
    library.selabel_open.argtypes = (ctypes.c_uint, ctypes.c_void_p, ctypes.c_uint)
    library.selabel_lookup_raw.argtypes = (
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_char_p),
        ctypes.c_char_p,
        ctypes.c_int,
    )
    library.freecon.argtypes = (ctypes.c_char_p,)
    handle = library.selabel_open(_SELABEL_CTX_FILE, None, 0)
    return (library, ctypes.c_void_p(handle)) if handle else None
