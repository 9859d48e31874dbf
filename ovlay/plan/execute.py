"""Run a plan: every step in its order, and back again where one fails."""

from __future__ import annotations

import contextlib
import errno
import logging
from typing import TYPE_CHECKING, NamedTuple

from ovlay.advice import DEFAULT_TARGET, look_again
from ovlay.errors import NoSpace, NotPermitted, OvlayError, StateForbids, SystemCallFailed
from ovlay.plan.step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ovlay.host import Host
    from ovlay.plan.halving import Halves, Other
    from ovlay.plan.plan import Plan
    from ovlay.plan.sharing import Sharing
    from ovlay.receipts import Stamp

_MANY = 400  # steps: from here on a second process is worth its start

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())


class Executed(NamedTuple):
    """What came of a plan: what its steps had to tell, and how that looked which they placed, by path in the target."""

    told: tuple[str, ...]
    placed: Mapping[str, Stamp | None]


def execute(plan: Plan, host: Host, *, before: Callable[[Step], None] | None = None) -> Executed:
    """Run the steps of ``plan`` on ``host``, and return what came of them.

    ``before`` is called with each step that is about to run. Where a step fails, those before it are undone in
    reverse, and the error is raised: always an `OvlayError`. An interruption (Ctrl-C) undoes them too. What a step
    placed stays placed, and so does the overlay that it was placed in (`Step.keeps`).
    """
    from ovlay.plan.batching import batch_at, run_batch
    from ovlay.plan.journal import journalled
    from ovlay.plan.sharing import begun_sharing

    demand_privilege(plan, host)
    told: list[str] = []
    done: list[Step] = []
    loud = _log.isEnabledFor(logging.INFO)
    try:
        with (
            journalled(host, plan, done) as begin,
            _taken_back(plan, done, host),
            begun_sharing(host) as shared,
            contextlib.ExitStack() as stack,
        ):
            helped = _Helped(plan, host, shared)
            stack.callback(helped.end)
            while len(done) < len(plan.steps):
                done += helped.done(len(done))
                if len(done) == len(plan.steps):
                    break
                batch = batch_at(plan.steps, len(done))
                if not batch[0].shares:
                    shared.release()
                begin(batch[0])
                for step in batch if before is not None or loud else ():
                    if before is not None:
                        before(step)
                    _log.info("%s", step.describe())
                if said := run_batch(batch, host, done):
                    told.append(said)
    except OSError as error:
        if isinstance(error, OvlayError):
            raise
        doing = "write down what was placed" if len(done) == len(plan.steps) else plan.steps[len(done)].describe()
        raise translate(error, doing, _target(plan)) from error
    return Executed((*told, *shared.missed), shared.placed())


class _Helped:
    """A second process for the second half of a plan that is long; see `ovlay.plan.halving`."""

    def __init__(self, plan: Plan, host: Host, shared: Sharing) -> None:
        self._steps, self._host, self._shared = plan.steps, host, shared
        self._halves: Halves | None = None
        self._other: Other | None = None
        if len(plan.steps) >= _MANY:
            from ovlay.plan.halving import halves_of

            self._halves = halves_of(plan.steps, many=_MANY)

    def done(self, count: int) -> Sequence[Step]:
        """The steps that were done by the other process when ``count`` of them are done; it is started on the way."""
        halves = self._halves
        if halves is None:
            return ()
        if count == halves.fork:
            from ovlay.plan.halving import begin_other

            self._other = begin_other(self._host, self._steps[halves.second : halves.end], self._shared)
        if count != halves.second or self._other is None:
            return ()
        other, self._other, self._halves = self._other, None, None
        return self._steps[count : count + other.collect(self._shared)]

    def end(self) -> None:
        """Stop it where it is at work still; what it wrote down is known."""
        if self._other is not None:
            self._other.end()
            self._shared.take(None)


@contextlib.contextmanager
def _taken_back(plan: Plan, done: list[Step], host: Host) -> Iterator[None]:
    """Take back the steps that are ``done`` where not all of the plan are."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and not error.args and (what := _not_taken_back(plan, done)):
            error.args = (f"interrupted, {what}",)
        if len(done) < len(plan.steps):
            _undo(done, host, error)
        raise


def _not_taken_back(plan: Plan, done: Sequence[Step]) -> str:
    """What an interruption came too late for; "" where all of it is taken back."""
    if len(done) == len(plan.steps):
        return "but it had been done by then"
    if any(step.resumes and type(step).undo is Step.undo for step in done):
        return "but what had been taken away by then does not come back: the next change takes away the rest"
    return ""


def demand_privilege(plan: Plan, host: Host) -> None:
    """Raise `NotPermitted` where a step of the plan needs root and this process is not root."""
    if host.euid != 0 and any(step.privileged for step in plan.steps):
        raise NotPermitted(
            "only root can change what is mounted, or write into an overlay",
            remedy="run it as root, for instance with sudo",
        )


def translate(error: OSError, doing: str, target: str = DEFAULT_TARGET) -> OvlayError:
    """An ``OSError`` as the `OvlayError` that says what was being done and what the user can do."""
    where = f" ({error.filename})" if error.filename else ""
    message = f"cannot {doing}: {error.strerror or error}{where}"
    if error.errno in (errno.EPERM, errno.EACCES):
        return NotPermitted(message, remedy="run it as root, on the host and not in a container")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(message, remedy="make room on that filesystem, then try again")
    if error.errno in (errno.EROFS, errno.EBUSY, errno.EEXIST, errno.ENOENT):
        return StateForbids(message, remedy=look_again(target))
    return SystemCallFailed(message)


def _target(plan: Plan) -> str:
    """The target that a plan is for."""
    targets = (getattr(step, "target", "") for step in plan.steps)
    return next(filter(None, targets), DEFAULT_TARGET)


def _undo(done: list[Step], host: Host, error: BaseException) -> None:
    for step in reversed(done):
        if step.keeps:
            return
        _log.info("take back: %s", step.describe())
        try:
            step.undo(host)
        except (OSError, OvlayError) as second:
            error.add_note(f"and this could not be taken back: {step.describe()}: {second}")
