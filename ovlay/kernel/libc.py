"""The system calls that Python has no name for, through one libc; each raises OSError with the call and the path.

Numbers from 424 on are the same on every architecture (the kernel's include/uapi/asm-generic/unistd.h), so they go
through syscall(2); older calls go through the libc's own functions.
"""

from __future__ import annotations

import ctypes
import errno
import os

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.name_to_handle_at.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_libc.open_by_handle_at.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)

AT_FDCWD = -100
AT_HANDLE_FID = 0x200
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

# include/uapi/linux/mount.h
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_BENEATH = 0x200
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSPICK_CLOEXEC = 1
FSPICK_EMPTY_PATH = 0x8
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_SET_FD = 5
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7
MOUNT_ATTR_RDONLY = 1
MS_PRIVATE = 1 << 18
MS_REC = 1 << 14
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

# include/uapi/linux/sched.h
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000

# include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08

_OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSCONFIG, _FSMOUNT, _FSPICK = 428, 429, 430, 431, 432, 433
_OPENAT2, _MOUNT_SETATTR = 437, 442


class _MountAttr(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class FileHandle(ctypes.Structure):
    """struct file_handle of open_by_handle_at(2), with the room that MAX_HANDLE_SZ asks for."""

    _fields_ = (("handle_bytes", ctypes.c_uint), ("handle_type", ctypes.c_int), ("f_handle", ctypes.c_ubyte * 128))

    @property
    def content(self) -> bytes:
        """The part of ``f_handle`` that is used."""
        return bytes(self.f_handle[: self.handle_bytes])


def _fail(call: str, path: str = "", detail: str = "") -> OSError:
    number = ctypes.get_errno()
    what = f"{call}: {os.strerror(number)}" + (f" ({detail})" if detail else "")
    return OSError(number, what, path) if path else OSError(number, what)


def _call(number: int, name: str, path: str, *arguments: int | bytes | ctypes._Pointer[ctypes.Structure] | None) -> int:
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    while True:
        result: int = _libc.syscall(ctypes.c_long(number), *converted)
        if result >= 0:
            return result
        if ctypes.get_errno() != errno.EINTR:  # Python's own calls are made again too: PEP 475
            raise _fail(name, path)


def open_tree(path: str, *, recursive: bool = False, clone: bool = True, directory: int = AT_FDCWD) -> int:
    """open_tree(2): a descriptor on the mount at ``path``; with ``clone`` on a detached copy of it."""
    flags = OPEN_TREE_CLOEXEC | (OPEN_TREE_CLONE if clone else 0) | (AT_RECURSIVE if recursive else 0)
    flags |= AT_EMPTY_PATH if not path else 0
    return _call(_OPEN_TREE, "open_tree", path, directory, os.fsencode(path), flags)


def move_mount(descriptor: int, path: str, *, beneath: bool = False) -> None:
    """move_mount(2): attach a detached mount at ``path``, on top of or (Linux 6.5) beneath what is mounted there."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | (MOVE_MOUNT_BENEATH if beneath else 0)
    _call(_MOVE_MOUNT, "move_mount", path, descriptor, b"", AT_FDCWD, os.fsencode(path), flags)


def fsopen(fstype: str) -> int:
    """fsopen(2): a context in which a filesystem is put together."""
    return _call(_FSOPEN, "fsopen", fstype, fstype.encode(), FSOPEN_CLOEXEC)


def fspick(descriptor: int) -> int:
    """fspick(2): a context in which the superblock of a mounted filesystem is changed."""
    return _call(_FSPICK, "fspick", "", descriptor, b"", FSPICK_CLOEXEC | FSPICK_EMPTY_PATH)


def fsconfig_string(context: int, key: str, value: str) -> None:
    """fsconfig(2) with FSCONFIG_SET_STRING; the kernel takes at most 255 bytes of value."""
    try:
        _call(_FSCONFIG, "fsconfig", "", context, FSCONFIG_SET_STRING, key.encode(), os.fsencode(value), 0)
    except OSError as error:
        raise OSError(error.errno, f"fsconfig {key}={value}: {_context_message(context) or error.strerror}") from None


def fsconfig_descriptor(context: int, key: str, descriptor: int) -> None:
    """fsconfig(2) with FSCONFIG_SET_FD; overlayfs takes it for its directories from Linux 6.13 on, EINVAL before."""
    _call(_FSCONFIG, f"fsconfig {key}", "", context, FSCONFIG_SET_FD, key.encode(), None, descriptor)


def fsconfig_flag(context: int, key: str) -> None:
    """fsconfig(2) with FSCONFIG_SET_FLAG."""
    _call(_FSCONFIG, f"fsconfig {key}", "", context, FSCONFIG_SET_FLAG, key.encode(), None, 0)


def fsconfig_create(context: int) -> None:
    """fsconfig(2) with FSCONFIG_CMD_CREATE: make the superblock. The kernel's own message is in the error."""
    _command(context, FSCONFIG_CMD_CREATE, "create")


def fsconfig_reconfigure(context: int) -> None:
    """fsconfig(2) with FSCONFIG_CMD_RECONFIGURE: change the superblock."""
    _command(context, FSCONFIG_CMD_RECONFIGURE, "reconfigure")


def _command(context: int, command: int, name: str) -> None:
    try:
        _call(_FSCONFIG, f"fsconfig {name}", "", context, command, None, None, 0)
    except OSError as error:
        message = _context_message(context)
        raise OSError(error.errno, f"{error.strerror}: {message}" if message else error.strerror) from None


def _context_message(context: int) -> str:
    """What the kernel wrote about the last failure: the context's descriptor can be read, a message at a time."""
    messages: list[str] = []
    while len(messages) < 16:
        try:
            messages.append(os.read(context, 4096).decode("utf-8", "replace").strip().removeprefix("e ").strip())
        except OSError:
            break
    return "; ".join(message for message in messages if message)


def fsmount(context: int, *, read_only: bool = False) -> int:
    """fsmount(2): a detached mount of the filesystem that the context made."""
    return _call(_FSMOUNT, "fsmount", "", context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY if read_only else 0)


def mount_set_read_only(descriptor: int, read_only: bool, *, recursive: bool = False) -> None:  # noqa: FBT001
    """mount_setattr(2) with MOUNT_ATTR_RDONLY on the mount that the descriptor is on."""
    attributes = _MountAttr(MOUNT_ATTR_RDONLY if read_only else 0, 0 if read_only else MOUNT_ATTR_RDONLY, 0, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    size = ctypes.sizeof(attributes)
    _call(_MOUNT_SETATTR, "mount_setattr", "", descriptor, b"", flags, ctypes.pointer(attributes), size)


def openat2(directory: int, path: str, flags: int, *, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2): open with rules for the walk; EXDEV where it would leave ``directory`` or its mount."""
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return _call(_OPENAT2, "openat2", path, directory, os.fsencode(path), ctypes.pointer(how), ctypes.sizeof(how))


def name_to_handle_at(directory: int, path: str = "", *, identify: bool = False) -> FileHandle:
    """name_to_handle_at(2): what a filesystem knows a file by; a link at the end of the path is not followed.

    With ``identify`` (AT_HANDLE_FID, Linux 6.6) it is one that need not be usable to open the file: overlayfs has one
    of these in any case. EOPNOTSUPP where the filesystem has none.
    """
    handle, mount_id = FileHandle(128), ctypes.c_int()
    flags = (AT_HANDLE_FID if identify else 0) | (0 if path else AT_EMPTY_PATH)
    at = ctypes.byref(handle)
    if _libc.name_to_handle_at(directory, os.fsencode(path), at, ctypes.byref(mount_id), flags) < 0:
        raise _fail("name_to_handle_at", path)
    return handle


def open_by_handle_at(mount: int, handle_type: int, content: bytes, flags: int) -> int:
    """open_by_handle_at(2): ``mount`` is any descriptor on the handle's filesystem; needs CAP_DAC_READ_SEARCH."""
    handle = FileHandle(len(content), handle_type, (ctypes.c_ubyte * 128)(*content))
    descriptor: int = _libc.open_by_handle_at(mount, ctypes.byref(handle), flags | os.O_CLOEXEC)
    if descriptor < 0:
        raise _fail("open_by_handle_at")
    return descriptor


def umount(path: str, *, lazy: bool = False) -> None:
    """umount2(2), with MNT_DETACH where lazy; a link at the end of the path is not followed."""
    if _libc.umount2(os.fsencode(path), UMOUNT_NOFOLLOW | (MNT_DETACH if lazy else 0)) < 0:
        raise _fail("umount2", path)


def make_private(path: str = "/") -> None:
    """mount(2) with MS_REC and MS_PRIVATE: what is mounted below ``path`` from now on stays in this namespace."""
    if _libc.mount(b"none", os.fsencode(path), None, MS_REC | MS_PRIVATE, None) < 0:
        raise _fail("mount", path, "MS_PRIVATE")


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _libc.unshare(flags) < 0:
        raise _fail("unshare")


def die_with_parent() -> None:
    """Let this process be killed as soon as the one that made it ends: PR_SET_PDEATHSIG in prctl(2)."""
    import signal

    if _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        raise _fail("prctl")


def is_denied(error: OSError) -> bool:
    """Whether the kernel refused for lack of privilege."""
    return error.errno in (errno.EPERM, errno.EACCES)
