"""Somebody who talks to root's helper, and has other words and other files for it than ovlay has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.elevate.machine import Machine

PYTHON = "/home/alice/.local/ovlay/bin/python3"

HELPER = """
import json, os, socket, struct, subprocess, sys
from ovlay.elevate.wire import Wire
from ovlay.elevate.client import _place_of
from ovlay.overlay import open_overlay
overlay = open_overlay("overlayfs", target="/opt/tools")
START = "import sys; sys.path[:0] = %r; from ovlay.elevate import helper; " % [p for p in sys.path if p]
def helper(first=""):
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([sys.executable, "-IB", "-c", START + first + "helper.main()"], stdin=theirs.fileno())
    theirs.close()
    ours.settimeout(20)
    wire = Wire(ours)
    wire.receive()
    return ours, wire, process
def request(verb, **arguments):
    return {"verb": verb, "arguments": arguments, "driver": _place_of(type(overlay.backend)), "target": "/opt/tools",
            "tmpfs_size": None, "expected": None, "agreed": False}
def install(destination="/opt/tools/bin/x"):
    file = {"source": "/home/alice/mine", "destination": destination, "mode": 493, "owner": None, "group": None,
            "make_parents": False}
    return request("install", files=[file])
def talk(message, sources, answer=True):
    "What comes of a request, where these descriptors are given for its sources, one after another."
    ours, wire, process = helper()
    wire.send(message)
    asked = []
    while True:
        said, _ = wire.receive()
        if "open" in said:
            asked.append(said["open"])
            given = sources.pop(0)
            wire.send({"opened": True}, given if isinstance(given, list) else [given])
        elif "confirm" in said:
            wire.send({"answer": answer})
        else:
            break
    ours.close()
    process.wait(20)
    return said.get("outcome") or said["error"], asked
def file(path):
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)
"""


def scripted(machine: Machine, script: str) -> str:
    """Run a script as root that talks to the helper, which is root too; return what it printed."""
    return machine.root(f"cat >/run/script.py <<'END'\n{HELPER}\n{script}\nEND\n{PYTHON} /run/script.py")
