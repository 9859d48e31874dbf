"""How one path stands: the rules, in the order in which they decide.

Wanted is D, the target shows M, the base has B, and R is the receipt of what was placed last. M is D: as declared.
Else M is R: nobody touched it, it is made D. Else M is B: it is made D too, unless B is not what the entry was made
for. Else somebody else's work is there, and it is kept.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ovlay.bases import content_word, read_bases
from ovlay.changes.change import type_word
from ovlay.files.source import BLOCK, content_of
from ovlay.manifest.document import DIRECTORY, Kind
from ovlay.manifest.finding import ConflictKind, Finding, State
from ovlay.plan.removing import mount_in
from ovlay.receipts import NOTHING, Receipt, stamp_of

if TYPE_CHECKING:
    from ovlay.bases import Seen
    from ovlay.host import Host
    from ovlay.manifest.finding import Readings
    from ovlay.manifest.items import Item
    from ovlay.manifest.sides import Sides
    from ovlay.receipts import Stamp

_NOT_YET = "it is not there yet"


class Judge:
    """Judges single paths. ``settled`` and ``forgotten`` are what was seen of receipts by the way."""

    def __init__(self, host: Host, sides: Sides, receipts: dict[str, Receipt], readings: Readings) -> None:
        self._host = host
        self._sides = sides
        self._receipts = receipts
        self._readings = readings
        self._bases: dict[str, Seen] | None = None
        self.settled: list[Receipt] = []
        self.forgotten: list[str] = []

    # --- what is declared ------------------------------------------------------------------------------------------

    def item(self, item: Item, *, base: bool) -> Finding:
        """How an item stands; with ``base`` whether it graduated is asked too."""
        path = item.path
        now, receipt = self._sides.now.look(path), self._receipts.get(path)
        if now is None and receipt is None and item.kind is not Kind.ABSENT and self._sides.is_bare(path):
            if item.kind is not Kind.FILE or item.replaces is not None or self._seen(path) is not None:
                return self._over_base(item, None, State.MISSING)
            return Finding(path, State.MISSING, item, None, _NOT_YET, None, NOTHING)  # as that would come to, at once
        if self._is_declared(item, now, receipt):
            self._settle(item, now, receipt)
            if base and (item.given or now is None) and self._sides.is_base(path):
                return Finding(path, State.GRADUATED, item, detail="the base has it by itself", receipt=receipt)
            return Finding(path, State.AS_DECLARED, item, receipt=receipt)
        state = State.MISSING if now is None else State.DIFFERS
        if receipt is not None and self._is_placed(receipt, now):
            return self._ready(item, now, receipt, state, "it is declared otherwise now")
        if self._sides.is_base(path):
            if receipt is not None:
                return self._ready(item, now, receipt, state, "what was placed is gone", base=receipt.base)
            return self._over_base(item, now, state)
        why = "changed" if now is not None else "removed"
        if receipt is not None:
            detail = f"somebody {why} it since ovlay placed it on {receipt.when}"
            return self._kept(item, now, receipt, ConflictKind.CHANGED_SINCE, detail)
        return self._kept(item, now, None, ConflictKind.IN_THE_WAY, f"somebody {why} it, and ovlay did not")

    def _ready(
        self,
        item: Item,
        now: os.stat_result | None,
        receipt: Receipt | None,
        state: State,
        detail: str,
        *,
        base: str | None = None,
    ) -> Finding:
        """It can be made so, unless a directory that the entry does not name had to go for it, or another's work."""
        if now is not None and stat.S_ISDIR(now.st_mode) and item.kind is not Kind.DIRECTORY:
            if item.kind is not Kind.ABSENT and item.replaces != DIRECTORY:
                way = f"a directory is there, and it is to be a {item.kind}"
                return self._kept(item, now, receipt, ConflictKind.IN_THE_WAY, way, base=base)
            if (point := mount_in(self._host, f"{self._sides.target}/{item.path}")) is not None:
                way = f"something is mounted on {point}"
                return self._kept(item, now, receipt, ConflictKind.IN_THE_WAY, way, base=base)
            changed = [path for path in self._sides.changes_below(item.path) if path not in self._receipts]
            if changed:
                way = f"somebody changed {changed[0]} in it, and ovlay did not"
                return self._kept(item, now, receipt, ConflictKind.IN_THE_WAY, way, base=base)
        return self._open(item, now, receipt, state, detail, base=base)

    def _kept(
        self,
        item: Item,
        now: os.stat_result | None,
        receipt: Receipt | None,
        conflict: ConflictKind,
        detail: str,
        *,
        base: str | None = None,
    ) -> Finding:
        """A conflict, with all that is needed to take it all the same."""
        state = State.MISSING if now is None else State.DIFFERS
        found = self._open(item, now, receipt, state, detail, base=base)
        return found._replace(state=State.CONFLICT, conflict=conflict, forced=state)

    def _open(
        self,
        item: Item,
        now: os.stat_result | None,
        receipt: Receipt | None,
        state: State,
        detail: str,
        *,
        base: str | None = None,
    ) -> Finding:
        """What is to be made so; where the content is right, only its attributes."""
        there = None if now is None else type_word(now.st_mode)
        right, sha256 = False, None
        if item.kind is Kind.DIRECTORY and there != "directory" and self._is_directory_of_base(item.path):
            return Finding(item.path, state, item, None, detail, receipt, base, there=there, covered=True)
        if now is not None and item.kind is Kind.DIRECTORY:
            right = stat.S_ISDIR(now.st_mode)
        elif now is not None and item.kind is Kind.FILE and stat.S_ISREG(now.st_mode) and now.st_size == item.size:
            right = not self._has_attributes(item, now) and self._has_content(item, now, receipt)
            sha256 = self.sum_of(item) if right else None
        return Finding(
            item.path, state, item, None, detail, receipt, base, there=there, sha256=sha256, only_attributes=right
        )

    def _is_directory_of_base(self, path: str) -> bool:
        was = self._sides.base.look(path)
        return was is not None and stat.S_ISDIR(was.st_mode)

    def _over_base(self, item: Item, now: os.stat_result | None, state: State) -> Finding:
        """Nobody was here yet: the base must be what the entry was made for."""
        detail = _NOT_YET if now is None else "it is as in the base"
        if item.kind is Kind.DIRECTORY:
            return self._ready(item, now, None, state, detail)
        path = item.path
        base = NOTHING if now is None else self._sides.word(path)
        why = None
        if item.replaces is not None:
            if item.replaces != base:
                why = f"the entry replaces {_short(item.replaces)}, and the base has {_short(base)}"
        elif (seen := self._seen(path)) is not None and seen.base != base and seen.wanted == self._word(item):
            why = f"when it was first applied the base had {_short(seen.base)}, and now it has {_short(base)}"
        if why is not None:
            return self._kept(item, now, None, ConflictKind.BASE_CHANGED, why, base=base)
        return self._ready(item, now, None, state, detail, base=base)

    def _seen(self, path: str) -> Seen | None:
        if self._bases is None:
            self._bases = read_bases(self._host, self._sides.target)
        return self._bases.get(path)

    # --- what is declared no more ----------------------------------------------------------------------------------

    def leftover(self, receipt: Receipt, going: set[str]) -> Finding | None:
        """How something stands that was placed for an entry that is gone; None where nothing is to be said.

        ``going`` are the paths below that are taken back.
        """
        path = receipt.path
        now = self._sides.now.look(path)
        if self._sides.is_base(path):
            self.forgotten.append(path)
            return None
        detail = "its entry is gone"
        was = self._sides.base.look(path)
        there = None if was is None else type_word(was.st_mode)
        if self._is_placed(receipt, now):
            whole = was is None and now is not None and stat.S_ISDIR(now.st_mode)
            others = [n for n in self._sides.now.names(path) if f"{path}/{n}" not in going] if whole else []
            if not others:
                return Finding(path, State.LEFTOVER, detail=detail, receipt=receipt, there=there)
            detail = f"its entry is gone, and {others[0]} is in it"
        else:
            detail = f"its entry is gone, and somebody changed it since ovlay placed it on {receipt.when}"
        kind = ConflictKind.CHANGED_SINCE
        return Finding(path, State.CONFLICT, None, kind, detail, receipt, forced=State.LEFTOVER, there=there)

    def way(self, receipt: Receipt) -> None:
        """See to a directory that something declared is reached through: a link in its place is somebody else's."""
        now = self._sides.now.look(receipt.path)
        if now is not None and stat.S_ISLNK(now.st_mode):
            self.forgotten.append(receipt.path)

    def displaced(self, receipt: Receipt, *, is_out: bool, is_wanted: bool) -> Finding | None:
        """How something stands to which a link leads that somebody put on the way since it was placed.

        Through a link nothing is taken back. Where it leads to what is declared there, or taken by force, the receipt
        is of nothing any more; where ``is_out`` it leads out of the overlay, and is not looked through.
        """
        if is_wanted or (not is_out and self._sides.is_base(receipt.path)):
            self.forgotten.append(receipt.path)
            return None
        detail = f"its entry is gone, and a link is on the way by now that was not there on {receipt.when}"
        return Finding(receipt.path, State.CONFLICT, None, ConflictKind.CHANGED_SINCE, detail, receipt)

    # --- is it so? -------------------------------------------------------------------------------------------------

    def _is_declared(self, item: Item, now: os.stat_result | None, receipt: Receipt | None) -> bool:
        kind = item.kind
        if now is None or kind is Kind.ABSENT:
            return now is None and kind is Kind.ABSENT
        mode = now.st_mode
        if kind is Kind.FILE:
            return (
                stat.S_ISREG(mode)
                and now.st_size == item.size
                and self._has_attributes(item, now)
                and self._has_content(item, now, receipt)
            )
        if kind is Kind.SYMLINK:
            return (
                stat.S_ISLNK(mode)
                and (now.st_uid, now.st_gid) == (item.uid, item.gid)
                and self._sides.now.link(item.path) == item.to
                and self._has_label(item)
            )
        return stat.S_ISDIR(mode) and ((not item.given and receipt is None) or self._has_attributes(item, now))

    def _has_attributes(self, item: Item | Receipt, now: os.stat_result) -> bool:
        return (
            now.st_uid == item.uid
            and now.st_gid == item.gid
            and self._host.permissions(now) == item.mode
            and (item.label is None or self._has_label(item))
        )

    def _has_label(self, item: Item | Receipt) -> bool:
        return item.label is None or self._sides.now.label(item.path) == item.label

    def _has_content(self, item: Item, now: os.stat_result, receipt: Receipt | None) -> bool:
        """Whether the file that is there is what the source is; read is only what cannot be told by stamps."""
        placed = receipt.sha256 if receipt is not None and _is_untouched(receipt, now) else None
        source = self._known_sum(item, receipt)
        if placed is not None and source is not None:
            return placed == source
        if source is not None:
            return self._digest(item.path, now) == source
        assert item.stamp is not None
        key = (stamp_of(now), item.stamp)
        if key not in self._readings.same:
            self._readings.same[key] = self._same(item, key[0])
        return self._readings.same[key]

    def _same(self, item: Item, now: Stamp) -> bool:
        """Compare up to the first difference; where there is none the digest is known too, with nothing read twice."""
        import hashlib

        digest = hashlib.sha256()
        there = self._sides.now.opened(item.path)
        try:
            with self._host.opened_source(item.source or "") as source:
                while chunk := os.read(source, BLOCK):
                    if os.read(there, len(chunk)) != chunk:
                        return False
                    digest.update(chunk)
                if os.read(there, 1):
                    return False
        finally:
            os.close(there)
        assert item.stamp is not None
        self._readings.digests[item.stamp] = self._readings.digests[now] = digest.hexdigest()
        return True

    def _known_sum(self, item: Item, receipt: Receipt | None) -> str | None:
        """The SHA-256 of what is declared, as far as it is known without reading its source."""
        if item.text is not None:
            import hashlib

            return hashlib.sha256(item.text.encode("utf-8", "surrogateescape")).hexdigest()
        if item.sha256 is not None:
            return item.sha256
        if receipt is not None and receipt.source_stamp is not None and receipt.source_stamp == item.stamp:
            return receipt.sha256
        return None if item.stamp is None else self._readings.digests.get(item.stamp)

    def sum_of(self, item: Item) -> str:
        """The SHA-256 of what is declared, which is read for that where it is not known."""
        receipt = self._receipts.get(item.path)
        if (known := self._known_sum(item._replace(sha256=None), receipt)) is not None:
            return known
        assert item.stamp is not None
        with self._host.opened_source(item.source or "") as source:
            sha256 = content_of(source).sha256
        self._readings.digests[item.stamp] = sha256
        return sha256

    def _word(self, item: Item) -> str:
        sha256 = self.sum_of(item) if item.kind is Kind.FILE else None
        return content_word(item.kind, sha256, item.to)

    def _digest(self, path: str, now: os.stat_result) -> str:
        """The SHA-256 of the file that is there."""
        stamp = stamp_of(now)
        found = self._readings.digests.get(stamp)
        if found is None:
            found = self._readings.digests[stamp] = self._sides.now.digest(path)
        return found

    def _is_placed(self, receipt: Receipt, now: os.stat_result | None) -> bool:
        """Whether what is there is what was placed, or of a run that was stopped, what was there before that."""
        if receipt.pending and _was_begun(receipt, now):
            return True
        if self._is_as(receipt, now):
            return True
        return receipt.before is not None and self._is_as(receipt.before, now)

    def _is_as(self, receipt: Receipt, now: os.stat_result | None) -> bool:
        kind = receipt.kind
        if now is None or kind == Kind.ABSENT:
            return now is None and kind == Kind.ABSENT
        if _is_untouched(receipt, now):
            return True
        if kind == Kind.SYMLINK:
            return (
                stat.S_ISLNK(now.st_mode)
                and (now.st_uid, now.st_gid) == (receipt.uid, receipt.gid)
                and self._sides.now.link(receipt.path) == receipt.to
            )
        if kind == Kind.DIRECTORY:
            return stat.S_ISDIR(now.st_mode) and self._has_attributes(receipt, now)
        return (
            stat.S_ISREG(now.st_mode)
            and now.st_size == receipt.size
            and self._has_attributes(receipt, now)
            and self._digest(receipt.path, now) == receipt.sha256
        )

    # --- receipts --------------------------------------------------------------------------------------------------

    def _settle(self, item: Item, now: os.stat_result | None, receipt: Receipt | None) -> None:
        """Take a new receipt of what is as declared, where there is none, or its stamps are not believed."""
        if receipt is not None and not receipt.pending and receipt.manifest == item.origin.file:
            known = item.kind is not Kind.FILE or item.text is not None or receipt.source_stamp == item.stamp
            if known and (now is None or item.kind is Kind.DIRECTORY or receipt.placed == stamp_of(now)):
                return
        if receipt is None and not item.given:
            return
        sha256 = None if receipt is None else receipt.sha256
        self.settled.append(
            Receipt(
                item.path,
                str(item.kind),
                self._sum_for(item, now, sha256),
                item.to,
                0 if now is None or item.kind is Kind.DIRECTORY else now.st_size,
                item.mode,
                item.uid,
                item.gid,
                item.label,
                item.source,
                item.stamp,
                None if now is None else stamp_of(now),
                item.origin.file,
                item.origin.name,
                "" if receipt is None else receipt.when,
                0 if receipt is None else receipt.by,
                None if receipt is None else receipt.base,
            )
        )

    def _sum_for(self, item: Item, now: os.stat_result | None, known: str | None) -> str | None:
        if item.kind is not Kind.FILE or now is None:
            return None
        return self._known_sum(item, None) or known


def _is_untouched(receipt: Receipt, now: os.stat_result) -> bool:
    """Whether the stamps say that it is what was placed."""
    return not receipt.pending and receipt.placed is not None and receipt.placed == stamp_of(now)


def _was_begun(receipt: Receipt, now: os.stat_result | None) -> bool:
    """Whether a run that was stopped got as far as this: the same inode with the same content, whatever its mode."""
    if receipt.kind == Kind.ABSENT:
        return now is None or stat.S_ISDIR(now.st_mode)  # which cannot be removed at once
    if now is None or receipt.placed is None:
        return False
    _, inode, size, mtime, _ = receipt.placed
    return (now.st_ino, now.st_mtime_ns) == (inode, mtime) and now.st_size == size


def _short(word: str) -> str:
    return word[:12] if len(word) == 64 else word
