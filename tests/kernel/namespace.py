"""A namespace of its own for a test: a child process that may mount, whose mounts nobody else ever sees."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Privilege(StrEnum):
    """How a process comes to be allowed to mount."""

    USER_NAMESPACE = "user-namespace"  # anybody: user_namespaces(7)
    ROOT = "root"


class Refused(Exception):
    """The machine does not let this user have a user namespace."""


def run_inside(privilege: Privilege, scratch: Path, body: Callable[[], None]) -> None:
    """Run ``body`` in a child in namespaces of its own; what it raises is raised here, as text.

    The directory ``scratch`` is a tmpfs there, so that an upper can lie on it; on an overlay none can.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork(2) beside threads; the child needs none of them
        pid = os.fork()
    if pid == 0:
        os.close(reading)
        said = b""
        try:
            _enter(privilege, scratch)
            body()
        except BaseException as error:
            known = isinstance(error, Refused | pytest.skip.Exception)
            said = (f"{type(error).__name__}: {error}" if known else traceback.format_exc()).encode()
        with os.fdopen(writing, "wb") as stream:
            stream.write(said)
        os._exit(0)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as stream:
            said = stream.read()
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
    text = said.decode(errors="replace")
    for kind in (Refused, pytest.skip.Exception):
        if text.startswith(f"{kind.__name__}: "):
            raise kind(text.partition(": ")[2])
    assert status == 0, f"the child ended with status {status}"
    assert not text, text


def _enter(privilege: Privilege, scratch: Path) -> None:
    from ovlay.kernel import libc

    uid, gid = os.geteuid(), os.getegid()
    if privilege is Privilege.USER_NAMESPACE:
        try:
            libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                with open(f"/proc/self/{name}", "w", encoding="ascii") as stream:
                    stream.write(text)
        except OSError as error:
            raise Refused(str(error)) from error
    else:
        libc.unshare(libc.CLONE_NEWNS)
    libc.make_private()
    context = libc.fsopen("tmpfs")
    libc.fsconfig_create(context)
    libc.move_mount(libc.fsmount(context), str(scratch))
    os.chdir(scratch)
