"""Runs in the machine: reads one request a line from the virtio-serial port, and answers each with a line.

A request is {"id", "argv", "user", "stdin", "environment", "timeout"}; the answer {"id", "status", "stdout", "stderr"}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Run one command to its end, and say how it ended."""
    user = request["user"]
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/var/roothome", "TERM": "dumb"}
    try:
        done = subprocess.run(
            request["argv"],
            input=request["stdin"].encode("utf-8", "surrogateescape"),
            capture_output=True,
            timeout=request["timeout"],
            env={**clean, **request["environment"]},
            cwd="/",
            start_new_session=True,
            check=False,
            **({"user": user, "group": user, "extra_groups": []} if user else {}),
        )
    except subprocess.TimeoutExpired as error:
        return {"status": None, "stdout": text(error.stdout), "stderr": text(error.stderr)}
    except OSError as error:
        return {"status": 127, "stdout": "", "stderr": f"{error}\n"}
    return {"status": done.returncode, "stdout": text(done.stdout), "stderr": text(done.stderr)}


def text(output: bytes | None) -> str:
    """What a command printed, with what is no UTF-8 replaced."""
    return (output or b"").decode("utf-8", "replace")


def port_named(name: str) -> str:
    """The device of the virtio-serial port of this name; it needs no udev (virtio_console.c of the kernel)."""
    while True:
        for port in Path("/sys/class/virtio-ports").glob("*"):
            if (port / "name").exists() and (port / "name").read_text().strip() == name:
                return f"/dev/{port.name}"
        time.sleep(0.1)


def serve(name: str) -> None:
    """Answer until the machine goes down."""
    port = os.open(port_named(name), os.O_RDWR)
    with open(port, "rb", buffering=0, closefd=False) as requests:
        say(port, {"id": 0, "booted": Path("/proc/sys/kernel/random/boot_id").read_text().strip()})
        pending = b""
        while True:
            got = requests.read(65536)
            if not got:  # nobody is at the other end
                time.sleep(0.1)
                continue
            pending += got
            while b"\n" in pending:
                line, pending = pending.split(b"\n", 1)
                request = json.loads(line)
                say(port, {"id": request["id"], **answer(request)})


def say(port: int, message: dict[str, Any]) -> None:
    """Write a whole line, however many writes it takes."""
    left = json.dumps(message).encode() + b"\n"
    while left:
        left = left[os.write(port, left) :]


if __name__ == "__main__":
    serve(sys.argv[1])
