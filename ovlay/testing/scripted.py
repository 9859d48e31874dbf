"""A simulated host whose tools are played by Python: what a driver runs is answered, and written down.

    with ScriptedHost(root) as host:
        host.add_tool("/usr/bin/tool", lambda call: Finished(0, "tool 1.2\\n", ""))
        host.run(["/usr/bin/tool", "--version"])
        assert host.calls == [("/usr/bin/tool", "--version")]

The stand-ins for real tools are in `ovlay.testing.scripted_ostree` and `ovlay.testing.scripted_sysext`.
"""

from __future__ import annotations

import os
import posixpath
from typing import TYPE_CHECKING, NamedTuple

from ovlay.errors import ToolFailed
from ovlay.host import TOOL_PATH, Finished
from ovlay.simulated import SimulatedHost
from ovlay.simulated.kernel import PLAIN_TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Call(NamedTuple):
    """One run of a tool: its words after the name, and its environment."""

    host: ScriptedHost
    words: tuple[str, ...]
    environment: Mapping[str, str]


class ScriptedHost(SimulatedHost):
    """A simulated host with tools.

    ``calls`` has every command that was run, in order; ``at_boot`` what is to be done at the end of each `reboot`.
    """

    def __init__(self, root: str, *, table: str = PLAIN_TABLE) -> None:
        super().__init__(root, table=table)
        self.calls: list[tuple[str, ...]] = []
        self.at_boot: list[Callable[[], None]] = []
        self._tools: dict[str, Callable[[Call], Finished]] = {}

    def add_tool(self, path: str, play: Callable[[Call], Finished]) -> None:
        """Install a tool: an executable file that drivers see, and what plays it. For a host with no overlay."""
        with self.kernel.unsealed("/usr"):
            self.add_file(path, "#!/bin/false\n", mode=0o755)
        self._tools[path] = play

    def add_file(self, path: str, text: str, *, mode: int = 0o644) -> None:
        """Write a file of the host, and make the directories that it is in."""
        os.makedirs(posixpath.dirname(self.path(path)), mode=0o755, exist_ok=True)
        self.write(path, text, mode=mode)

    def run(self, argv: Sequence[str], *, timeout: float = 120) -> Finished:
        """Let the tool be played; `ToolFailed` where none is installed, as on a real host."""
        self.calls.append(tuple(argv))
        return self.play(tuple(argv), {"PATH": ":".join(TOOL_PATH), "LC_ALL": "C.UTF-8"})

    def play(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> Finished:
        """One tool runs another: as `run`, but not written down."""
        play = self._tools.get(argv[0])
        if play is None or not os.path.exists(self.path(argv[0])):
            raise ToolFailed(f"cannot run {argv[0]}: No such file or directory", argv=argv)
        return play(Call(self, argv[1:], environment))

    def reboot(self) -> None:
        """Boot again, and do what is to be done at boot."""
        super().reboot()
        for action in self.at_boot:
            action()


def play_env(call: Call) -> Finished:
    """env(1) with ``NAME=VALUE`` words before the command, and no options."""
    environment, words = dict(call.environment), list(call.words)
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    return call.host.play(tuple(words), environment)


def failed(message: str, status: int = 1) -> Finished:
    """How a tool ends that says an error."""
    return Finished(status, "", f"{message}\n")


def done(message: str = "") -> Finished:
    """How a tool ends that did what it was told to, or says so."""
    return Finished(0, message, "")
