"""How every change is carried out: planned, confirmed, looked at again under the one lock, executed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ovlay.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ovlay.host import Host
    from ovlay.manifest.document import Retired
    from ovlay.manifest.finding import Finding
    from ovlay.plan.plan import Plan
    from ovlay.receipts import Stamp


class Outcome(NamedTuple):
    """What came of a request: its plan, whether the host was changed, and what the steps had to tell.

    Of `Overlay.apply` also the conflicts that were left alone, the entries that do not count here, and the commands
    that should be run now and were not.
    """

    plan: Plan
    changed: bool
    told: tuple[str, ...] = ()
    conflicts: tuple[Finding, ...] = ()
    retired: tuple[Retired, ...] = ()
    needed: tuple[str, ...] = ()

    def followed_by(self, second: Outcome) -> Outcome:
        """Both as one: what was done first, and what came after it."""
        from ovlay.plan.plan import Plan

        warnings = (*self.plan.warnings, *(text for text in second.plan.warnings if text not in self.plan.warnings))
        plan = Plan((*self.plan.steps, *second.plan.steps), second.plan.reason, warnings)
        return second._replace(plan=plan, changed=self.changed or second.changed, told=(*self.told, *second.told))


def carry_out(
    host: Host,
    make: Callable[[], Plan],
    confirm: Callable[[Plan], bool] | None,
    *,
    look_again: bool = True,
    afterwards: Callable[[Mapping[str, Stamp | None]], None] | None = None,
) -> Outcome:
    """Make a plan and execute it; what an ovlay that was killed had begun is brought to an end first.

    ``confirm`` is called before the lock is taken, since a person takes time. Under the lock the plan is made again,
    unless its steps look for themselves, and `Conflict` is raised where it is not what was confirmed. Where nobody has
    to be asked it is made once, under the lock, unless there never was one in this boot. ``afterwards`` is called
    under the lock too, when all went well, with the paths that were placed and how they looked then.
    """
    if confirm is None and host.euid == 0 and host.is_directory(host.state_dir):
        return _at_once(host, make, afterwards)  # the lock is there: what is refused leaves no trace
    from ovlay.plan.execute import demand_privilege

    ended = recovered(host)
    plan = make()
    if not plan:
        if afterwards is not None and host.euid == 0:
            with host.lock():
                afterwards({})
        return Outcome(plan, changed=False, told=ended)
    demand_privilege(plan, host)
    if confirm is not None and not confirm(plan):
        return Outcome(plan, changed=False)

    def unchanged() -> Plan:
        again = make() if look_again else plan
        if again and again != plan and confirm is not None:
            raise Conflict(
                "the host changed while the plan was being confirmed", remedy="look at the new plan: try again"
            )
        return again

    done = _at_once(host, unchanged, afterwards)
    return done._replace(told=tuple(dict.fromkeys((*ended, *done.told))))  # what could not be ended is told each time


def _at_once(
    host: Host, make: Callable[[], Plan], afterwards: Callable[[Mapping[str, Stamp | None]], None] | None
) -> Outcome:
    from ovlay.plan.recovery import recover

    with host.lock():
        recovered = recover(host)
        plan = make()
        told: tuple[str, ...] = ()
        placed: Mapping[str, Stamp | None] = {}
        if plan:
            from ovlay.plan.execute import execute

            told, placed = execute(plan, host)
        if afterwards is not None:
            afterwards(placed)
        return Outcome(plan, changed=bool(plan), told=(*recovered, *told))


def recovered(host: Host) -> tuple[str, ...]:
    """What an ovlay that was killed had begun, ended; one that is at work is waited for."""
    if not host.is_unfinished:
        return ()
    from ovlay.plan.recovery import recover

    with host.lock():
        return recover(host)
