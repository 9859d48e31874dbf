"""The executor: in order, and back again after a failure, with an error that says what to do."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import ClassVar

import pytest

from ovlay.errors import Conflict, NoSpace, NotPermitted, OvlayError, StateForbids, SystemCallFailed
from ovlay.host import Host
from ovlay.plan import Plan, Step
from ovlay.plan.execute import execute, translate

LOG: list[str] = []


@dataclass(frozen=True, slots=True)
class Note(Step):
    """Writes down what happens to it, and fails where it is told to."""

    kind: ClassVar[str] = "note"
    privileged: ClassVar[bool] = False

    name: str
    fails: BaseException | None = None
    undo_fails: bool = False

    def describe(self) -> str:
        return f"note {self.name}"

    def run(self, host: Host) -> str:
        if self.fails is not None:
            raise self.fails
        LOG.append(f"+{self.name}")
        return f"did {self.name}" if self.name == "b" else ""

    def undo(self, host: Host) -> None:
        if self.undo_fails:
            raise Conflict("cannot")
        LOG.append(f"-{self.name}")


@pytest.fixture(autouse=True)
def _fresh_log() -> None:
    LOG.clear()


def test_steps_run_in_order_and_tell() -> None:
    seen: list[str] = []
    told = execute(Plan((Note("a"), Note("b"))), Host(), before=lambda step: seen.append(step.describe())).told
    assert (LOG, seen, told) == (["+a", "+b"], ["note a", "note b"], ("did b",))


@pytest.mark.parametrize("error", [Conflict("no"), KeyboardInterrupt(), MemoryError()])
def test_a_failure_takes_back_what_was_done_before_it(error: BaseException) -> None:
    with pytest.raises(type(error)):
        execute(Plan((Note("a"), Note("b"), Note("c", fails=error), Note("d"))), Host())
    assert LOG == ["+a", "+b", "-b", "-a"]


def test_what_cannot_be_taken_back_is_told_and_the_rest_still_is() -> None:
    plan = Plan((Note("a"), Note("b", undo_fails=True), Note("c", fails=Conflict("first"))))
    with pytest.raises(Conflict, match="first") as raised:
        execute(plan, Host())
    assert LOG == ["+a", "+b", "-a"]
    assert raised.value.__notes__ == ["and this could not be taken back: note b: cannot"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EPERM, NotPermitted),
        (errno.EACCES, NotPermitted),
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EROFS, StateForbids),
        (errno.EBUSY, StateForbids),
        (errno.EIO, SystemCallFailed),
    ],
)
def test_an_error_of_the_system_says_what_was_being_done(number: int, kind: type[OvlayError]) -> None:
    with pytest.raises(kind, match=r"cannot note a: .*/some/where"):
        execute(Plan((Note("a", fails=OSError(number, "said so", "/some/where")),)), Host())


def test_a_system_error_keeps_its_cause() -> None:
    cause = OSError(errno.EIO, "Input/output error")
    with pytest.raises(SystemCallFailed) as raised:
        execute(Plan((Note("a", fails=cause),)), Host())
    assert raised.value.__cause__ is cause
    assert "Input/output error" in str(translate(cause, "do it"))


def test_without_privilege_nothing_is_begun() -> None:
    @dataclass(frozen=True, slots=True)
    class Privileged(Note):
        privileged: ClassVar[bool] = True

    class Nobody(Host):
        @property
        def euid(self) -> int:
            return 65534

    with pytest.raises(NotPermitted) as raised:
        execute(Plan((Note("a"), Privileged("b"))), Nobody())
    assert LOG == []
    assert raised.value.exit_code == 6
    assert "sudo" in raised.value.remedy
