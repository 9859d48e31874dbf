"""The configuration: a small TOML file of the administrator's, and one of the user's.

    backend = "overlayfs"      # the driver that is taken where neither --backend nor OVLAY_BACKEND says
    target = "/opt/tools"      # instead of /usr
    tmpfs-size = "2G"          # the limit of an overlay in memory, for drivers that mount a tmpfs themselves
    ignore = ["*.pyc"]         # what `ovlay diff` leaves out, as in gitignore(5)
    elevate = "pkexec"         # how a user becomes root for a plan: sudo, run0, doas, pkexec, or none

The user's file is read after the administrator's and wins key by key. Root reads the administrator's alone: privileged
code trusts nothing that another user can write. No file says "yes" for the user.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYSTEM_FILE = "/etc/ovlay/config.toml"

WAYS_TO_ROOT = ("sudo", "run0", "doas", "pkexec", "none")
"""What a user may become root by; "none" is not to ask for a password."""

LIMIT = 64 << 10
"""The most bytes that a file may have."""

_SIZES = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_LONGEST_SIZE = 18  # digits


class Config(NamedTuple):
    """What the files say; None where they say nothing. ``tmpfs_size`` is in bytes."""

    backend: str | None = None
    target: str | None = None
    tmpfs_size: int | None = None
    ignore: tuple[str, ...] = ()
    elevate: str | None = None


def config_files() -> tuple[str, ...]:
    """The files that are read, if they are there: the later one wins."""
    if os.geteuid() == 0:
        return (SYSTEM_FILE,)
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    if not os.path.isdir(f"{folder}/ovlay"):  # what platformdirs would say, and its import is not for nothing
        return (SYSTEM_FILE,)
    import platformdirs

    return (SYSTEM_FILE, os.path.join(platformdirs.user_config_dir("ovlay", appauthor=False), "config.toml"))


def load_config(files: Sequence[str] | None = None) -> Config:
    """What the files say; raises `ovlay.errors.InvalidInput` with every mistake in a file, and `NotPermitted`."""
    config = Config()
    for path in config_files() if files is None else files:
        data = _read(path)
        if data is not None:
            config = config._replace(**parse_config(path, data))
    return config


def parse_size(text: str) -> int | None:
    """``"512M"`` in bytes, with K, M, G and T for powers of 1024; None for what is no size."""
    digits = text.rstrip("KMGT")
    unit = text[len(digits) :]
    if not digits.isascii() or not digits.isdecimal() or len(digits) > _LONGEST_SIZE or unit not in _SIZES:
        return None
    return int(digits) << _SIZES[unit]


def parse_config(path: str, data: bytes) -> dict[str, Any]:
    """What a file says, as fields of a `Config`; raises `ovlay.errors.InvalidInput` with every mistake in it."""
    from ovlay.errors import InvalidInput
    from ovlay.notation import parse_toml

    if len(data) > LIMIT:
        raise InvalidInput(f"{path}: longer than {LIMIT >> 10} KiB, which is more than a configuration may be")
    try:
        document = parse_toml(data.decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error
    found: dict[str, Any] = {}
    mistakes = list(_check(document, found))
    if mistakes:
        raise InvalidInput(f"{path}: {'; '.join(mistakes)}", remedy=f"mend {path}")
    return found


def _read(path: str) -> bytes | None:
    from ovlay.errors import InvalidInput, NotPermitted

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise NotPermitted(f"{path}: may not be read", remedy="let everybody read it (mode 0644)") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise InvalidInput(f"{path} is not a regular file", remedy="move it away")
    with os.fdopen(descriptor, "rb") as stream:
        if os.geteuid() == 0 and (found.st_uid != 0 or found.st_mode & 0o022):
            raise InvalidInput(
                f"{path} can be written by others than root, and is not trusted",
                remedy=f"chown root {path}; chmod go-w {path}",
            )
        return stream.read(LIMIT + 1)


def _check(document: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Every mistake in the document; what is right goes into ``found``."""
    from ovlay.notation import is_plain, shown

    known = tuple(name.replace("_", "-") for name in Config._fields)
    for key, value in document.items():
        if key not in known:
            import difflib

            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
            yield f"unknown key {shown(key)}, {hint}"
        elif key == "ignore":
            found["ignore"] = tuple(value) if isinstance(value, list) else ()
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                yield f"ignore must be a list of texts, not {shown(value)}"
        elif not isinstance(value, str) or not value:
            yield f"{key} must be a text, not {shown(value)}"
        elif not is_plain(value):
            yield f"{key} has a null character in it"
        elif key == "target" and not value.startswith("/"):
            yield f"target must be an absolute path, not {shown(value)}"
        elif key == "elevate" and value not in WAYS_TO_ROOT:
            yield f"elevate must be one of {', '.join(WAYS_TO_ROOT)}, not {shown(value)}"
        elif key == "tmpfs-size":
            found["tmpfs_size"] = parse_size(value)
            if not found["tmpfs_size"]:
                yield f'tmpfs-size must be a number of bytes such as "512M" or "2G", not {shown(value)}'
        else:
            found[key] = value
