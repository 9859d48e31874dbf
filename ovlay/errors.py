"""Everything that ovlay raises, with the exit status that the command line makes of it.

OvlayError
├── InvalidInput          2  an argument, a file or a manifest is not usable as given
├── NoDriver              3  no driver fits this host, or none has that name
├── Unsupported           4  the driver cannot do what was asked
├── StateForbids          5  the state of the host forbids it
│   ├── NotActive            there is no overlay on the target
│   ├── Busy                 something holds the overlay
│   ├── NoSpace              the backing filesystem is too full
│   └── Conflict             the host is not what the plan was made for
├── NotPermitted          6  the caller lacks the privilege
└── ToolFailed            7  a host tool failed, or said "done" and was not
    └── SystemCallFailed     the kernel refused
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ovlay.model import Holder


class OvlayError(Exception):
    """The root of all errors of ovlay.

    ``str(error)`` says what happened and to which path; ``remedy`` what to do next ("" where there is nothing to do).
    ``exit_code`` is what the command line exits with.
    """

    exit_code: ClassVar[int] = 7

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


def reason_of(error: BaseException) -> str:
    """Why something failed, for a sentence: of an ``OSError`` what the system says, and not its number."""
    return getattr(error, "strerror", None) or str(error)


class InvalidInput(OvlayError, ValueError):
    """What the caller gave cannot be used: a bad path, mode, owner, document."""

    exit_code = 2


class NoDriver(OvlayError, LookupError):
    """No driver fits this host, or the driver that was asked for is not installed or does not fit."""

    exit_code = 3


class Unsupported(OvlayError):
    """The driver, or this version of its host tool, cannot do what was asked."""

    exit_code = 4


class StateForbids(OvlayError):
    """The host is in a state in which this cannot be done, or not safely."""

    exit_code = 5


class NotActive(StateForbids):
    """There is no overlay on the target, so there is nothing to write into."""


class Busy(StateForbids):
    """The overlay is in use; ``holders`` says by whom, as far as the caller may see."""

    def __init__(self, message: str, *, remedy: str = "", holders: Sequence[Holder] = ()) -> None:
        super().__init__(message, remedy=remedy)
        self.holders = tuple(holders)


class NoSpace(StateForbids):
    """The filesystem behind the overlay has no room for what was asked."""


class Conflict(StateForbids):
    """The host, or a source, changed between the plan and its execution."""


class NotPermitted(OvlayError, PermissionError):
    """The caller lacks the privilege; ``remedy`` says how to get it."""

    exit_code = 6


class ToolFailed(OvlayError):
    """A host tool failed, or exited 0 without having done its work.

    ``argv``, ``status`` (its exit status, None where it was killed or never ran) and ``output`` (its last words).
    """

    def __init__(
        self, message: str, *, remedy: str = "", argv: Sequence[str] = (), status: int | None = None, output: str = ""
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.argv = tuple(argv)
        self.status = status
        self.output = output


class SystemCallFailed(ToolFailed):
    """The kernel refused a system call that should have worked; the ``OSError`` is the cause."""
