"""The facade: one overlay on one target, and everything that one can do with it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ovlay.advice import DEFAULT_TARGET, command
from ovlay.carrying import Outcome, carry_out, recovered
from ovlay.errors import OvlayError
from ovlay.model import Mode, Persistence
from ovlay.paths import listed
from ovlay.target import target_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ovlay.backend import Backend
    from ovlay.changes.change import Changes
    from ovlay.holders import Holders
    from ovlay.host import Host
    from ovlay.manifest.apply import Application
    from ovlay.manifest.document import Declared
    from ovlay.manifest.drift import Drift
    from ovlay.manifest.finding import Readings
    from ovlay.model import Status
    from ovlay.paths import Paths
    from ovlay.plan.plan import Plan
    from ovlay.requests import InstallFile
    from ovlay.salvage import Salvage


class Overlay:
    """A target with the driver that puts overlays on it; made by `ovlay.detect` and `ovlay.open`.

    Each verb plans and then executes under one lock. ``confirm``, where given, is called with a plan that has steps,
    before the lock is taken; what it returns says whether to go on. What is executed is what was confirmed: where the
    host changed in the meantime so that another plan would be made, `Conflict` is raised. See `ovlay.carrying`. Where
    paths or manifests are taken, a single one will do as well as several.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def target(self) -> str:
        """The directory that the overlay is for."""
        return self.backend.target

    @property
    def host(self) -> Host:
        """The host that the target is on."""
        return self.backend.host

    def status(self) -> Status:
        """The evidence about the target; changes nothing."""
        return self.backend.status()

    def changes(self, paths: Paths = (), *, hashes: bool = False, everything: bool = False) -> Changes:
        """Every difference of the target from what lies beneath the overlay, or of these paths only; changes nothing.

        ``paths`` are relative to the target, or absolute, and links on the way are followed. ``hashes`` adds the
        SHA-256 of regular files; with ``everything`` what was touched and is the same is listed too. Raises `NotActive`
        where there is no overlay, `NotPermitted` where this process may not look beneath it, and `InvalidInput` for a
        path that is not in the target, or on neither side. Where there is much to look at, and this process has one
        thread, it is forked.
        """
        from ovlay.changes.find import find_changes
        from ovlay.manifest.managed import mark_managed
        from ovlay.receipts import read_receipts

        found = find_changes(self.backend, listed(paths), hashes=hashes, everything=everything)
        return mark_managed(found, read_receipts(self.host, self.status()))

    def holders(self, paths: Paths = ()) -> Holders:
        """Who uses the overlay, who uses a file that changed, and who a view that a lazy unmount left behind.

        With ``paths``, relative to the target or absolute, only those who use one of them or a file below it. What
        may not be looked at is left out, and counted. Raises `InvalidInput` for a path that is not in the target, or is
        neither there now nor in the base while nobody uses it.
        """
        from ovlay.holders import find_holders

        return find_holders(self.backend, listed(paths))

    def enable(self, mode: Mode | None = None, *, confirm: Callable[[Plan], bool] | None = None) -> Outcome:
        """Put an overlay of this mode (read-write and transient by default) on the target; nothing where it is so.

        Raises `Unsupported`, `StateForbids`, `NotPermitted`, `ToolFailed`.
        """
        wanted = Mode() if mode is None else mode
        return carry_out(self.host, lambda: self.backend.plan_enable(wanted), confirm)

    def unmount(self, *, lazy: bool = False, confirm: Callable[[Plan], bool] | None = None) -> Outcome:
        """Take the overlay away; nothing where there is none. With ``lazy`` those who use it keep their view.

        Raises `Busy` with the holders, `StateForbids`, `NotPermitted`, `ToolFailed`.
        """
        return carry_out(self.host, lambda: self.backend.plan_unmount(lazy=lazy), confirm)

    def install_file(
        self,
        source: str | os.PathLike[str],
        destination: str | os.PathLike[str],
        *,
        mode: int = 0o755,
        owner: str | int | None = None,
        group: str | int | None = None,
        make_parents: bool = False,
    ) -> Outcome:
        """Place one file, atomically; nothing where the same is there. See `ovlay.InstallFile` for the arguments.

        Raises `NotActive`, `InvalidInput`, `StateForbids`, `NoSpace`, `NotPermitted`.
        """
        from ovlay.requests import InstallFile

        return self.install_files(
            [InstallFile(os.fspath(source), os.fspath(destination), mode, owner, group, make_parents)]
        )

    def install_files(self, files: Sequence[InstallFile], *, confirm: Callable[[Plan], bool] | None = None) -> Outcome:
        """Place several files, each atomically; all are looked at before the first is written."""
        # These steps check their source and their overlay themselves: reading every file again would tell no more.
        return carry_out(self.host, lambda: self.backend.plan_install(files), confirm, look_again=False)

    def revert(self, paths: Paths, *, confirm: Callable[[Plan], bool] | None = None) -> Outcome:
        """Make these paths, and all below them, as in the base again; nothing where they are.

        ``paths`` are absolute, or relative to the target; no path is for nothing (`reset` is for everything), and an
        empty one is refused. It is done through the merged view and with no reboot: a process that has a file open
        keeps the old one until it is restarted. Raises `NotActive`, `NotPermitted`, `InvalidInput`, `StateForbids`,
        `NoSpace`, and `Conflict` that names what could not be restored.
        """
        wanted = listed(paths)
        return carry_out(self.host, lambda: self.backend.plan_revert(wanted), confirm)

    def reset(self, *, fresh: bool = False, confirm: Callable[[Plan], bool] | None = None) -> Outcome:
        """Make the whole target as in the base again, as `revert` does.

        With ``fresh`` the overlay is taken away instead, lazily, and an empty one of the same mode takes its place;
        those who use the old one keep it. Raises what `revert` raises, and with ``fresh`` what `enable` does.
        """
        if not fresh:
            return carry_out(self.host, self.backend.plan_reset, confirm)

        from ovlay.plan.fresh import forget_mode, remember_mode, remembered_mode

        recovered(self.host)
        mode = self.status().mode
        cut_off = remembered_mode(self.host, self.target) if mode is None else None
        if cut_off is not None:
            again = self.enable(cut_off, confirm=confirm)
            if again.changed:
                forget_mode(self.host, self.target)
            return again

        def make() -> Plan:
            plan = self.backend.plan_reset(fresh=True)
            if plan and mode is not None and self.host.holds_lock:
                remember_mode(self.host, self.target, mode)
            return plan

        try:
            gone = carry_out(self.host, make, confirm)
        except OvlayError:
            if remembered_mode(self.host, self.target) and self.status().active:
                forget_mode(self.host, self.target)
            raise
        if not gone.changed:
            return gone
        try:
            again = self.enable(mode)
        except BaseException as error:
            enable = command("ovlay enable", self.target)
            error.add_note(f"the old overlay is gone from {self.target}; {enable} puts a new one there")
            raise
        forget_mode(self.host, self.target)
        return gone.followed_by(again)

    def leftovers(self) -> Salvage:
        """What earlier overlays left on the disk, compared with the base; changes nothing.

        Raises `NotPermitted` for who is not root.
        """
        from ovlay.salvage import find_leftovers

        return find_leftovers(self.backend)

    def salvage(
        self,
        destination: str | os.PathLike[str],
        paths: Paths = (),
        *,
        upper: str | None = None,
        confirm: Callable[[Plan], bool] | None = None,
    ) -> Outcome:
        """Copy out of what an earlier overlay left, everything or these paths of the target, and overwrite nothing.

        ``destination`` is a directory, made where it is missing; ``upper`` says which of `leftovers` is meant where
        there are several. Raises `NotPermitted`, `InvalidInput`, `StateForbids` where something is there already.
        """
        from ovlay.salvage import plan_salvage

        place, wanted = os.fspath(destination), listed(paths)
        return carry_out(self.host, lambda: plan_salvage(self.backend, place, wanted, upper=upper), confirm)

    def capture(
        self,
        paths: Paths = (),
        *,
        to: str | os.PathLike[str] | None = None,
        ignore: Sequence[str] = (),
        everything: bool = False,
        confirm: Callable[[Plan], bool] | None = None,
    ) -> Outcome:
        """Declare what is in the overlay, or at these paths and below, in a manifest, and keep the contents beside it.

        ``to`` is the manifest, which may be there; by default it is ``/etc/ovlay/manifest.d/captured.toml``, in a user
        namespace one of the user's own. What is in it stays, but for entries of the same paths. ``ignore`` are globs of
        gitignore(5). What is as another manifest that is found declares it is left out, unless ``everything``. What a
        manifest cannot declare is named in the warnings of the plan. Raises `NotActive`, `NotPermitted`,
        `StateForbids`, and `InvalidInput`.
        """
        from ovlay.manifest.capture import plan_capture

        wanted, file = listed(paths), None if to is None else os.fspath(to)
        # These steps check what they copy, and what they replace, themselves.
        return carry_out(
            self.host,
            lambda: plan_capture(self.backend, wanted, to=file, ignore=ignore, everything=everything),
            confirm,
            look_again=False,
        )

    def drift(
        self,
        manifests: Paths = (),
        *,
        user: bool = True,
        ignore: Sequence[str] = (),
    ) -> Drift:
        """How the target stands to what is declared, by these manifests or those that are found; changes nothing.

        Without ``user`` the user's own are left out; ``ignore`` are globs of gitignore(5) for what is unmanaged. Raises
        `NotPermitted` where this process may not look beneath the overlay, and `InvalidInput` for manifests or sources
        that cannot be used.
        """
        from ovlay.manifest.declaring import declare
        from ovlay.manifest.drift import find_drift

        return find_drift(self.backend, declare(self.backend, listed(manifests), user=user), ignore=ignore)

    def plan_apply(
        self,
        manifests: Paths = (),
        *,
        enable: bool = False,
        force: bool = False,
        triggers: bool = False,
        user: bool = True,
        quick: bool = False,
        declared: Declared | None = None,
        readings: Readings | None = None,
    ) -> Application:
        """What `apply` would do, and what it would leave alone; changes nothing."""
        from ovlay.manifest.apply import prepare, prepare_files

        ways = {"force": force, "enable": enable, "triggers": triggers, "quick": quick}
        if declared is None:
            return prepare_files(self.backend, listed(manifests), user=user, readings=readings, **ways)
        return prepare(self.backend, declared, readings=readings, **ways)

    def apply(
        self,
        manifests: Paths = (),
        *,
        enable: bool = False,
        force: bool = False,
        triggers: bool = False,
        user: bool = True,
        declared: Declared | None = None,
        confirm: Callable[[Plan], bool] | None = None,
    ) -> Outcome:
        """Make everything as these manifests say, or where none is named, those that are found; nothing where it is.

        What is in conflict is left alone and told in the outcome, or with ``force`` taken. With ``enable`` an overlay
        of the mode that they name is put on the target where there is none; with ``triggers`` the tools that must know
        of the change are run after it. Without ``user`` the user's own manifests do not count. Where the manifests were
        resolved already, ``declared`` is what they say, and none is read.

        Raises `NotActive`, `InvalidManifest`, `StateForbids`, `NoSpace`, `NotPermitted`, `Conflict`. What was placed
        before something went wrong stays, and the next call goes on from there.
        """
        from ovlay.manifest.finding import Readings

        made: list[Application] = []
        files, readings = listed(manifests), Readings()
        first: Outcome | None = None
        if enable and not self.status().active:
            from ovlay.manifest.declaring import declare

            declared = declare(self.backend, files, user=user) if declared is None else declared
            if declared.mode is not None and declared.mode.persistence is Persistence.PERSISTENT:
                # What is in it comes back with it, and has to be seen before anything is planned.
                first = self.enable(declared.mode, confirm=confirm)
                if not first.changed:
                    return first

        def make() -> Plan:
            ways = {"enable": enable, "force": force, "triggers": triggers, "user": user, "quick": True}
            made.append(self.plan_apply(files, **ways, declared=declared, readings=readings))
            return made[-1].plan

        outcome = carry_out(self.host, make, confirm, afterwards=lambda placed: made[-1].settle(self.backend, placed))
        outcome = outcome if first is None else first.followed_by(outcome)
        last = made[-1]
        needed = () if triggers else tuple(step.describe() for step in last.triggers)
        conflicts = () if force else last.conflicts
        return outcome._replace(conflicts=conflicts, retired=last.retired, needed=needed if outcome.changed else ())

    @contextmanager
    def enabled(self, mode: Mode | None = None) -> Iterator[Overlay]:
        """An overlay for the length of a ``with`` block. On the way out only what was done on the way in is undone.

        An overlay that was there before stays; one that was made here is taken away, lazily where it is held.
        """
        before = self.status()
        outcome = self.enable(mode)
        try:
            yield self
        finally:
            if outcome.changed:
                if before.active and before.mode is not None:
                    self.enable(before.mode)
                else:
                    self.unmount(lazy=True)

    def carry_out(self, make: Callable[[], Plan], *, confirm: Callable[[Plan], bool] | None = None) -> Outcome:
        """Carry out a plan that another part of ovlay makes for this host, such as `ovlay.services`, as verbs are."""
        return carry_out(self.host, make, confirm)


def open_overlay(
    name: str,
    *,
    root: str | os.PathLike[str] = "/",
    target: str | os.PathLike[str] = DEFAULT_TARGET,
    host: Host | None = None,
) -> Overlay:
    """The overlay of the driver called ``name``, whether it fits the host or not.

    ``root`` is where the host's files are found: ``/``, or for the driver ``fake`` a scratch directory. Raises
    `NoDriver` where no installed driver has that name, and `InvalidInput` for a target that cannot be, such as one
    that a link leads to.
    """
    from ovlay.drivers import load_driver

    driver = load_driver(name)
    where = host or driver.make_host(os.fspath(root))
    return Overlay(driver(where, target_on(where, target)))


def detect(
    *,
    root: str | os.PathLike[str] = "/",
    target: str | os.PathLike[str] = DEFAULT_TARGET,
    host: Host | None = None,
) -> Overlay:
    """The overlay of the driver that fits the host best.

    Raises `NoDriver` with all reasons where none does, and `InvalidInput` for a target that cannot be.
    The environment variable ``OVLAY_BACKEND`` names a driver that is taken instead.
    """
    from ovlay.drivers import choose_driver
    from ovlay.host import Host

    if named := os.environ.get("OVLAY_BACKEND"):
        return open_overlay(named, root=root, target=target, host=host)
    where = host or Host(os.fspath(root))
    place = target_on(where, target)
    return Overlay(choose_driver(where, place)(where, place))
