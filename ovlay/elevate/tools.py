"""The programs that make a user root after a password: which of them there are, and how they say no.

What each does with its descriptors and its exit status was seen with sudo 1.9, doas (opendoas) 6.8, polkit 126 and
run0 of systemd 257. All keep descriptor 0, which may be a socket, and close those above 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ovlay.config import WAYS_TO_ROOT
from ovlay.errors import InvalidInput, NotPermitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.host import Host

*_NAMES, _NONE = WAYS_TO_ROOT  # in the order of fitness where there is a terminal


@dataclass(frozen=True, slots=True)
class Elevator:
    """One such program, by its absolute path. ``can_ask`` is whether it has a terminal to ask on.

    ``agent`` is what asks there for it, which pkexec needs. ``confined`` is whether we may not gain privileges.
    ``otherwise`` is what may need no password, where this one could ask nobody.
    """

    name: str
    path: str
    can_ask: bool
    agent: str | None = None
    confined: bool = False
    otherwise: Elevator | None = None

    def argv(self, command: Sequence[str]) -> tuple[str, ...]:
        """The command line that runs ``command`` as root."""
        if self.name == "run0":  # --pipe: our descriptors and no terminal of its own, run0(1)
            return (self.path, "--pipe", "--background=", "--", *command)
        if self.name == "pkexec":
            return (self.path, *command)
        quiet = () if self.can_ask else ("-n",)  # fail instead of asking nobody: sudo(8), doas(1)
        return (self.path, *quiet, *(("--",) if self.name == "sudo" else ()), *command)

    def next_after(self, status: int) -> Elevator | None:
        """What is tried after a refusal with this exit status: nothing where somebody was asked, and said no."""
        return None if status == _DISMISSED else self.otherwise

    def refusal(self, status: int, said: str) -> NotPermitted:
        """Why nothing was started, from the exit status and what was said on standard error."""
        reason = next((text for words, text in _SAID if words in said), None)
        if reason is None and self.name == "pkexec":
            reason = _PKEXEC.get(status)
        if self.confined:  # run0 gains nothing itself, but polkit's agent on a terminal has to
            reason = f"{reason or 'no'}; {_CONFINED}"
        detail = said.strip().splitlines()[-1] if said.strip() else f"exit status {status}"
        return NotPermitted(
            f"{self.name} did not give root's rights: {reason or detail}; nothing was changed",
            remedy="try again, or choose another program with --elevate",
        )


_CONFINED = "this process may not gain privileges (PR_SET_NO_NEW_PRIVS), as in a container"

# What sudo, doas, pkexec and run0 print in the C locale (plugins/sudoers/auth/sudo_auth.c and check.c; doas.c and
# shadow.c; src/programs/pkexec.c; src/shared/bus-polkit.c, which has one word for a wrong password and for none).
_SAID = (
    ("incorrect password attempt", "the password was wrong"),
    ("no password was provided", "no password was given"),
    ("a password is required", "a password is required, and there is no terminal to ask for it"),
    ("a terminal is required", "a password is required, and there is no terminal to ask for it"),
    ("Interactive authentication required", "a password is required, and no authentication agent is running"),
    ("Access denied", "the password was wrong, or the request was dismissed"),
    ("Authentication required", "a password is required, and there is no terminal to ask for it"),
    ("Authentication failed", "the password was wrong"),
    ("is not in the sudoers file", "this user may not use sudo here"),
    ("is not allowed to execute", "this user may not use sudo for that"),
    ("may not run sudo", "this user may not use sudo here"),
    ("Operation not permitted", "this user may not use doas here"),
    ("no new privileges", _CONFINED),
    ("Request dismissed", "the request was dismissed"),
    ("Error getting authority", "polkit is not running"),
    ("No authentication agent found", "no authentication agent is running"),
    ("Not authorized", "the password was wrong, or a rule says no"),
)

_DISMISSED = 126
_PKEXEC = {_DISMISSED: "the request was dismissed", 127: "no authentication agent is running, or a rule says no"}
"""Exit statuses: pkexec(1)."""


def choose_elevator(host: Host, wanted: str | None, *, terminal: bool) -> Elevator | None:
    """The program to ask with: the one that is ``wanted``, else the fittest that is installed.

    None where none is to be asked. Raises `InvalidInput` for a name that means nothing, and `NotPermitted` where the
    wanted one, or every one, is not installed or cannot help.
    """
    if wanted == _NONE:
        return None
    if wanted is not None and wanted not in _NAMES:
        raise InvalidInput(
            f"{wanted} is no way to become root", remedy=f"--elevate takes one of {', '.join(WAYS_TO_ROOT)}"
        )
    confined = _may_not_gain(host)
    if confined and wanted not in (None, "run0"):
        raise NotPermitted(f"{wanted} cannot help: {_CONFINED}", remedy="run ovlay from another session")
    # Without a terminal pkexec(1) alone has somewhere to ask; the others may need no password.
    order: Sequence[str] = (wanted,) if wanted else _NAMES if terminal else ("pkexec", "sudo", "doas")
    found: Elevator | None = None
    for name in reversed(order):
        path = host.find_tool(name)
        if confined and name != "run0":  # which asks systemd, and gains nothing itself
            continue
        if path is not None and (name != "run0" or _knows_pipe(host)):
            agent = host.find_tool("pkttyagent") if name == "pkexec" else None
            otherwise = None if terminal else found
            found = Elevator(name, path, can_ask=terminal, agent=agent, confined=confined, otherwise=otherwise)
    if found is not None:
        return found
    if wanted:
        raise NotPermitted(f"{wanted} is not installed, or is too old", remedy=f"choose one of {', '.join(_NAMES)}")
    if confined:
        raise NotPermitted(
            f"nothing can help here: {_CONFINED}", remedy="run ovlay from a session that is not confined"
        )
    raise NotPermitted(
        f"none of {', '.join(_NAMES)} is installed, which could ask for a password", remedy="log in as root, and run it"
    )


def _may_not_gain(host: Host) -> bool:
    """Whether set-user-id bits count for nothing here: PR_SET_NO_NEW_PRIVS, prctl(2)."""
    status = host.read("/proc/self/status") or ""
    return any(line.split() == ["NoNewPrivs:", "1"] for line in status.splitlines())


def _knows_pipe(host: Host) -> bool:
    """Whether systemd is running here, and is new enough for ``run0 --pipe`` (257)."""
    if not host.exists("/run/systemd/system"):
        return False
    found = host.run(("/usr/bin/systemctl", "--version")).stdout.split()
    return len(found) > 1 and found[1].isdecimal() and int(found[1]) >= 257
