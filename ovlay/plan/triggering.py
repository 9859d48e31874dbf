"""A step that tells the rest of the system of a change: it runs a host tool, and its failure is told and not fatal."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ovlay.errors import ToolFailed
from ovlay.plan.mounting import run_tool
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from ovlay.host import Host

TIMEOUT = 90.0
"""Seconds that a trigger may take; a boot must never wait for longer."""


@dataclass(frozen=True, slots=True)
class RunTrigger(Step):
    """One host tool that takes notice of what changed.

    ``reason`` is why it is run, and ``paths`` how many changed paths are behind it. ``needs`` is a path without which
    there is nobody to be told ("" where nothing is needed). ``files`` are configuration files that the tool is run
    for, by their names alone, so that one in /etc still overrides them; those that are gone are left out.
    ``lasting`` says what the tool changes that outlives the overlay, and ``writes`` has globs of what it writes into
    the target, both empty where there is nothing of that kind.
    """

    kind: ClassVar[str] = "run-trigger"

    argv: tuple[str, ...]
    reason: str
    paths: int
    needs: str
    files: tuple[str, ...]
    lasting: str
    writes: tuple[str, ...]

    def describe(self) -> str:
        lasting = f"; {self.lasting}" if self.lasting else ""
        return f"run `{self.command}`: {self.reason}{lasting}"

    @property
    def command(self) -> str:
        """The command as a person types it."""
        tool = map(posixpath.basename, self.argv[:1])
        return " ".join((*tool, *self.argv[1:], *map(posixpath.basename, self.files)))

    def run(self, host: Host) -> str:
        if self.needs and not host.exists(self.needs):
            return f"`{self.command}` was not run: there is no {self.needs}"
        argv = self.argv
        if self.files:
            names = tuple(posixpath.basename(path) for path in self.files if host.exists(path))
            if not names:
                return ""
            argv = (*argv, *names)
        try:
            run_tool(host, argv, timeout=TIMEOUT)
        except ToolFailed as error:
            return f"{error}; what was placed stays, and the command can be run again"
        return ""
