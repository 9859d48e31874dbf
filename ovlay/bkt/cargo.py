"""bkt as cargo makes it: built by the calling user, never by root on their behalf.

A build runs the project's own build scripts and those of all that it depends on. Run by root they could do anything;
and what root wrote into ``target/`` the user's next build could not replace.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ovlay.bkt.repository import manifest_of
from ovlay.errors import InvalidInput, ToolFailed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Sequence

    from ovlay.bkt.caller import Caller

_THEIR_TOOLS = (".cargo/bin", ".local/bin", ".local/bin/distrobox")
"""Where a user has cargo: rustup's place, and bkt's shim of the one in a distrobox (scripts/install-bkt)."""


class Cargo(NamedTuple):
    """The caller's cargo, for one repository."""

    program: str
    path: str
    caller: Caller
    repository: str

    def build_words(self) -> tuple[str, ...]:
        """The command that builds bkt. What was built it says in JSON, its own messages go to standard error."""
        crate = manifest_of(self.repository)
        return (
            self.program,
            "build",
            "--release",
            "--manifest-path",
            crate,
            "--message-format=json-render-diagnostics",
        )

    def build(self) -> str:
        """Build bkt in release mode, and return the path of the program; raises `ToolFailed` where that fails."""
        words = self.build_words()
        built: str | None = None
        with self._running(words) as process:
            assert process.stdout is not None
            for line in process.stdout:
                built = _program_of(line) or built
        if process.returncode != 0:
            raise ToolFailed(
                "Build failed",
                remedy="nothing was changed; mend what cargo says above, then try again",
                argv=words,
                status=process.returncode,
            )
        return built or find_built(self.repository, self)

    def target_directory(self) -> str | None:
        """Where cargo puts what it builds, which a workspace, a configuration or a variable can move; None if unknown.

        See "Build cache" in the Cargo book.
        """
        words = ("metadata", "--format-version=1", "--no-deps", "--manifest-path", manifest_of(self.repository))
        with self._running((self.program, *words), quiet=True) as process:
            assert process.stdout is not None
            text = process.stdout.read()
        try:
            found = json.loads(text)["target_directory"]
        except (ValueError, KeyError, TypeError):
            return None
        return found if isinstance(found, str) else None

    @contextmanager
    def _running(self, words: Sequence[str], *, quiet: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """A run of cargo as the caller, to its end; an interruption ends it too."""
        import subprocess

        as_caller: dict[str, Any] = {}
        if self.caller.borrowed:
            as_caller = {"user": self.caller.uid, "group": self.caller.gid, "extra_groups": self.caller.groups()}
        try:
            process = subprocess.Popen(
                words,
                cwd=self.repository,  # where .cargo/config.toml is
                env=self.caller.environment(self.path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if quiet else None,
                **as_caller,
            )
        except OSError as error:
            raise ToolFailed(f"cannot run {self.program}: {error.strerror}", argv=words) from error
        with process:
            try:
                yield process
            except BaseException:
                process.terminate()
                raise


def find_cargo(repository: str, caller: Caller) -> Cargo | None:
    """The caller's cargo; None where there is none."""
    import shutil

    theirs = [f"{caller.home}/{place}" for place in _THEIR_TOOLS]
    ours = os.environ.get("PATH", os.defpath).split(os.pathsep)
    # sudo's PATH is not the caller's, and has nothing of theirs.
    path = os.pathsep.join([*theirs, *ours] if caller.borrowed else [*ours, *theirs])
    program = shutil.which("cargo", path=path)
    return None if program is None else Cargo(program, path, caller, repository)


def demand_cargo(repository: str, caller: Caller) -> Cargo:
    """The caller's cargo; raises `ToolFailed` where there is none."""
    found = find_cargo(repository, caller)
    if found is None:
        raise ToolFailed(
            f"cargo is not installed for {caller.name}: it is neither in PATH nor in {caller.home}/.cargo/bin",
            remedy="install it, or build bkt elsewhere and say --no-build",
        )
    return found


def find_built(repository: str, cargo: Cargo | None) -> str:
    """The program of an earlier build; raises `InvalidInput` where there is none.

    Without cargo, which would know, the crate's own directory is looked into, and that of a workspace around it.
    """
    told = cargo.target_directory() if cargo is not None else None
    named = os.environ.get("CARGO_TARGET_DIR")
    guesses = ([named] if named else []) + [f"{repository}/bkt/target", f"{repository}/target"]
    places = [f"{os.path.join(repository, place)}/release/bkt" for place in ([told] if told else guesses)]
    built = next((place for place in places if os.path.isfile(place)), None)
    if built is None:
        raise InvalidInput(f"{places[0]}: there is no such file", remedy="build it first: leave --no-build away")
    return built


def _program_of(line: bytes) -> str | None:
    """The path in cargo's message that bkt's program is made: "Artifact Messages" in the Cargo book."""
    try:
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "bkt":
            made = message["executable"] if "bin" in message["target"]["kind"] else None
            return made if isinstance(made, str) else None
    except (ValueError, KeyError, TypeError):
        pass  # a line of another program's, or of a later cargo
    return None
