"""The user who calls: under sudo not root, but the one who typed it."""

from __future__ import annotations

import os
import pwd
from typing import NamedTuple

_SAID_BY = ("SUDO_UID", "PKEXEC_UID", "DOAS_USER")
"""How sudo(8) and run0(1), pkexec(1) and doas(1) name who asked."""

_KEPT = ("TERM", "LANG", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_KEPT_PREFIXES = ("LC_", "CARGO", "RUST")


class Caller(NamedTuple):
    """A user; ``borrowed`` is whether this process is root on behalf of them."""

    uid: int
    gid: int
    name: str
    home: str
    borrowed: bool

    def environment(self, path: str) -> dict[str, str]:
        """What a program of theirs is run with, ``path`` being its PATH: nothing of root's is in it."""
        if not self.borrowed:
            return {**os.environ, "PATH": path}
        kept = {key: value for key, value in os.environ.items() if key in _KEPT or key.startswith(_KEPT_PREFIXES)}
        runtime = f"/run/user/{self.uid}"
        session = {"XDG_RUNTIME_DIR": runtime} if os.path.isdir(runtime) else {}
        return {**kept, **session, "HOME": self.home, "USER": self.name, "LOGNAME": self.name, "PATH": path}

    def groups(self) -> list[int]:
        """All their groups."""
        return os.getgrouplist(self.name, self.gid)


def find_caller() -> Caller:
    """Who calls. Root is only who is root with nobody behind it."""
    if os.geteuid() == 0:
        for key in _SAID_BY:
            entry = _entry(os.environ.get(key, ""))
            if entry is not None and entry.pw_uid != 0:
                return Caller(entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir, borrowed=True)
    entry = _entry(str(os.geteuid()))
    name = entry.pw_name if entry is not None else str(os.geteuid())
    return Caller(os.geteuid(), os.getegid(), name, os.path.expanduser("~"), borrowed=False)


def _entry(said: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(int(said)) if said.isdecimal() else pwd.getpwnam(said)
    except KeyError:
        return None
