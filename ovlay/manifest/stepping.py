"""From findings to steps: what goes comes first, since that makes room; then what comes, outermost first."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from ovlay.manifest.document import Kind
from ovlay.manifest.finding import State
from ovlay.plan.linking import PlaceLink
from ovlay.plan.placing import PlaceFile
from ovlay.plan.removing import RemovePath, RemoveStrays
from ovlay.plan.restoring import RestorePaths
from ovlay.plan.settling import AdjustAttributes, MakeDirectory, SettleReceipts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ovlay.host import Host
    from ovlay.manifest.finding import Comparison, Finding
    from ovlay.manifest.items import Item
    from ovlay.plan.step import Step

_OPEN = (State.MISSING, State.DIFFERS)


class Steps:
    """Makes the steps of one plan. ``touched`` are the paths that it changes."""

    def __init__(self, host: Host, target: str, mount_id: int, *, durable: bool, force: bool) -> None:
        self._owner = host.default_owner
        self._target = target
        self._mount = mount_id
        self._durable = durable
        self._force = force
        self._missing: set[str] = set()
        self.touched: list[str] = []

    def of(self, comparison: Comparison) -> tuple[Step, ...]:
        """The steps for all that is not in conflict, or for everything with force."""
        target, mount, durable = self._target, self._mount, self._durable
        self._missing = set(comparison.missing)
        wanted = [(finding, self._state(finding)) for finding in comparison.findings]
        back = [finding for finding, state in wanted if state is State.LEFTOVER]
        steps: list[Step] = []
        if comparison.strays:
            steps.append(RemoveStrays(target, mount, comparison.strays, durable))
        steps += self._taken_back(back)
        for finding, state in wanted:
            if state in _OPEN and finding.item is not None:
                self.touched.append(finding.path)
                steps += self._made_so(finding, finding.item)
        return tuple(steps)

    def _state(self, finding: Finding) -> State:
        if finding.state is State.CONFLICT and self._force and finding.forced is not None:
            return finding.forced
        return finding.state

    def _taken_back(self, findings: Sequence[Finding]) -> Iterator[Step]:
        if not findings:
            return
        self.touched += [finding.path for finding in findings]
        added = {finding.path for finding in findings if finding.there is None}
        changed = tuple(finding.path for finding in findings if finding.there is not None)
        roots = tuple(path for path in sorted(added) if posixpath.dirname(path) not in added)
        yield RestorePaths(self._target, self._mount, roots, changed, self._durable)
        paths = tuple(finding.path for finding in findings)
        yield SettleReceipts(self._target, self._mount, paths, self._durable)

    def _made_so(self, finding: Finding, item: Item) -> Iterator[Step]:
        path, target, mount, durable = item.path, self._target, self._mount, self._durable
        base, manifest, name = finding.base, item.origin.file, item.origin.name
        mode, uid, gid, label = item.mode, item.uid, item.gid, item.label
        if item.kind is Kind.ABSENT:
            yield RemovePath(target, mount, path, durable, base, manifest, name)
            return
        yield from self._leading(item)
        if finding.only_attributes:
            sha256 = finding.sha256
            yield AdjustAttributes(target, mount, path, mode, uid, gid, label, durable, sha256, base, manifest, name)
            return
        if finding.covered:  # the base has this directory: it comes back with what is in it
            yield RestorePaths(target, mount, (), (path,), durable)
            if item.given:
                yield AdjustAttributes(
                    target, mount, path, mode, uid, gid, label, durable, None, base, manifest, name
                )  # fmt: skip
            else:
                yield SettleReceipts(target, mount, (path,), durable)
            return
        if finding.there is not None and (finding.there == "directory") != (item.kind is Kind.DIRECTORY):
            yield RemovePath(target, mount, path, durable, base, manifest, name)
        if item.kind is Kind.DIRECTORY:
            yield MakeDirectory(target, mount, path, mode, uid, gid, label, durable, base, manifest, name)
        elif item.kind is Kind.SYMLINK:
            yield PlaceLink(target, mount, path, item.to or "", uid, gid, label, durable, base, manifest, name)
        else:
            source, stamp = item.source or "", item.stamp or ()
            yield PlaceFile(
                source, target, mount, path, item.size, item.sha256, mode, uid, gid, durable,
                item.text, stamp, label, base, manifest, name,
            )  # fmt: skip

    def _leading(self, item: Item) -> Iterator[Step]:
        """The directories on the way that are not there, outermost first."""
        if not self._missing:
            return
        parts = item.path.split("/")
        for count in range(1, len(parts)):
            path = "/".join(parts[:count])
            if path in self._missing:
                self._missing.remove(path)
                origin = item.origin
                yield MakeDirectory(
                    self._target, self._mount, path, 0o755, *self._owner, None, self._durable,
                    None, origin.file, origin.name,
                )  # fmt: skip
