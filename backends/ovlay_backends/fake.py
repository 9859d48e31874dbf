"""fake: an overlay in a scratch directory, with no root and no kernel help, for tests, demos and dry rehearsals.

Host commands: none. Its plans hold the very steps that run on a real host; what is played is the kernel under them
(`ovlay.simulated`). So a program that is tested with this driver takes the same way as on a real host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ovlay.backend import Backend
from ovlay.errors import Busy, InvalidInput
from ovlay.model import Access, Mode, Persistence, Probe

if TYPE_CHECKING:
    from ovlay.host import Host
    from ovlay.kernel import Mount
    from ovlay.model import Status
    from ovlay.plan.plan import Plan
    from ovlay.plan.step import Step

_MODES = frozenset(
    {
        Mode(Access.READ_WRITE, Persistence.TRANSIENT),
        Mode(Access.READ_ONLY, Persistence.TRANSIENT),
        Mode(Access.READ_WRITE, Persistence.PERSISTENT),
    }
)


class FakeBackend(Backend):
    """An overlay on a directory of a simulated host; ``ovlay.open("fake", root=SCRATCH)`` makes the host too."""

    name: ClassVar[str] = "fake"

    @classmethod
    def make_host(cls, root: str) -> Host:
        """The simulated host below ``root``, booted and with a sealed /usr where it was not there before."""
        import os

        from ovlay.simulated import SimulatedHost

        if os.path.realpath(root) == "/":
            raise InvalidInput(
                "the driver fake works on a scratch directory, not on this host",
                remedy="give an empty directory as root, or choose another driver",
            )
        return SimulatedHost(root)

    @property
    def modes(self) -> frozenset[Mode]:
        return _MODES

    def probe(self) -> Probe:
        return Probe(0, "only when asked for by name: it plays a host in a scratch directory")

    def persistence(self, mount: Mount) -> Persistence:
        kept = (mount.upper or "").startswith(self._persistent + "/")
        return Persistence.PERSISTENT if kept else Persistence.TRANSIENT

    def plan_enable(self, mode: Mode) -> Plan:
        from ovlay.plan.plan import Plan
        from ovlay.uppers import clean_up, own_overlay

        self._demand_simulated()
        self.demand_mode(mode)
        status = self.status()
        if status.active:
            return self.plan_change(status, mode)
        self.refuse_foreign(status)
        if mode.persistence is Persistence.PERSISTENT:
            steps = self._persistent_overlay(status)
            return Plan((*clean_up(self.host), *steps), warnings=("all changes stay until their directory is removed",))
        steps = own_overlay(self.host, self.target, mode.access, status.submounts, in_memory=True)
        return Plan((*clean_up(self.host), *steps), warnings=("all changes are gone after a reboot",))

    def _persistent_overlay(self, status: Status) -> tuple[Step, ...]:
        """The upper of last time where there is one, unless somebody uses it still."""
        from ovlay.plan.steps import MakePrivateDirectory, MakeUpper, MountOverlay
        from ovlay.plan.unmounting import name_holders, remembered_views

        held = [holder for view in remembered_views(self.host, self.target) for holder in view.holders(self.host)]
        if held:
            raise Busy(
                f"the old view of {self.target} is still used by {name_holders(tuple(held))}, and one upper directory "
                "cannot serve two overlays",
                remedy="end these processes first, or enable a transient overlay",
                holders=held,
            )
        steps: list[Step] = []
        if not self.host.is_directory(f"{self._persistent}/upper"):
            above = f"{self.host.data_dir}/persistent"
            steps += [MakePrivateDirectory(self.host.data_dir), MakePrivateDirectory(above)]
            steps.append(MakeUpper(self._persistent, self.target))
        upper, work = f"{self._persistent}/upper", f"{self._persistent}/work"
        steps.append(MountOverlay(self.target, (self.target,), upper, work, Access.READ_WRITE, status.submounts))
        return tuple(steps)

    def plan_unmount(self, *, lazy: bool) -> Plan:
        self._demand_simulated()
        return self.plan_plain_unmount(self.status(), lazy=lazy)

    @property
    def _persistent(self) -> str:
        """Where the persistent upper of this target is kept."""
        return f"{self.host.data_dir}/persistent/{self.target.strip('/').replace('-', '--').replace('/', '-')}"

    def _demand_simulated(self) -> None:
        """Raise `InvalidInput` on a real host, which these plans would change."""
        from ovlay.simulated import SimulatedHost

        if not isinstance(self.host, SimulatedHost):
            raise InvalidInput(
                f"the driver fake cannot work on the real {self.target}",
                remedy="give it a scratch directory: ovlay.open('fake', root=...)",
            )
