"""Strike at every system call of every verb, one after the other, and look at the host each time.

Copied into a host of the lab with its neighbours, and run there by the host's Python. It prints a JSON line for each
scenario: how many points there were, and what was wrong.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections import Counter
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import scenarios  # type: ignore[import-not-found]
import tracer  # type: ignore[import-not-found]

WATCHED = (scenarios.OWN, scenarios.BASE)
_KILLS = ("kill", "kill-first", "kill-all")
_PROMPT = 5.0  # seconds within which `ovlay status` has to answer, under a tracer's load


class Entry(NamedTuple):
    """A name in the merged view: what it is, its attributes, and its flags."""

    content: tuple[str, str]
    mode: int
    owner: tuple[int, int]
    flags: int


class Picture(NamedTuple):
    """All that a verb can leave behind."""

    files: dict[str, Entry]
    mounts: tuple[str, ...]
    kept: tuple[str, ...]
    receipts: tuple[str, ...]


def entries() -> dict[str, Entry]:
    """Every name in the directories that are watched."""
    found = {}
    for top in WATCHED:
        for folder, _, names in os.walk(top, followlinks=False):
            for path in (folder, *(f"{folder}/{name}" for name in names)):
                found[path] = _entry(path)
            for name in os.listdir(folder):
                if os.path.islink(f"{folder}/{name}"):
                    found[f"{folder}/{name}"] = _entry(f"{folder}/{name}")
    return found


def _entry(path: str) -> Entry:
    known = os.lstat(path)
    flags = 0
    if stat.S_ISLNK(known.st_mode):
        content = ("link", os.readlink(path))
    elif stat.S_ISREG(known.st_mode):
        with open(path, "rb") as stream:
            content = ("file", hashlib.sha256(stream.read()).hexdigest())
            flags = _flags(stream.fileno())
    else:
        content = ("directory", "")
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        flags = _flags(descriptor)
        os.close(descriptor)
    return Entry(content, stat.S_IMODE(known.st_mode), (known.st_uid, known.st_gid), flags)


def _flags(descriptor: int) -> int:
    """Whether a file is immutable, or can only be added to (FS_IOC_GETFLAGS); 0 on an erofs, which knows no flags."""
    import fcntl
    import struct

    try:
        found: int = struct.unpack("l", fcntl.ioctl(descriptor, 0x80086601, bytes(8)))[0]
    except OSError as error:
        if error.errno != errno.ENOTTY:
            raise
        return 0
    return found & 0x30


def strays() -> list[str]:
    """Files that were being written, anywhere in /usr where something was."""
    found = [f"{top}/{name}" for top in ("/usr", "/usr/share") for name in os.listdir(top)]
    found += [
        path
        for top in WATCHED
        for folder, _, names in os.walk(top)
        for path in (folder, *(f"{folder}/{n}" for n in names))
    ]
    return sorted({path for path in found if ".ovlay-new-" in path})


def picture() -> Picture:
    """The host, without what is never the same twice."""
    with open("/proc/self/mountinfo") as stream:
        rows = [line.split() for line in stream]
    mounts = []
    for row in rows:
        dash = row.index("-")
        access = row[5].split(",")[0], row[dash + 3].split(",")[0]
        mounts.append(" ".join((row[4], row[dash + 1], row[dash + 2], *access)))
    kept = []
    for top in ("/run/ovlay", "/var/lib/ovlay"):
        for folder, _, names in os.walk(top):
            inside = "/upper" in folder or "/work" in folder
            kept += [folder] if not inside else []
            # A seal spares the next `ovlay apply` a look at the sources: one that had nothing to do has made it.
            files = [f"{folder}/{name}" for name in names if not inside and not name.endswith(".seal")]
            kept += [re.sub(r"\d+-\d+-\d+\.json", "N.json", path) for path in files]
    return Picture(entries(), tuple(sorted(mounts)), tuple(sorted(kept)), _receipts())


def _receipts() -> tuple[str, ...]:
    """What is written down of what was placed: the fields that do not depend on the time or the inode."""
    rows: list[str] = []
    for top in ("/run/ovlay/receipts", "/var/lib/ovlay/receipts"):
        for name in sorted(os.listdir(top)) if os.path.isdir(top) else ():
            if not name.endswith(".jsonl"):
                continue
            with open(f"{top}/{name}") as stream:
                found = [row for row in map(json.loads, stream) if isinstance(row, list)]
            rows += [json.dumps([row[0], *row[1:11], row[13]]) for row in found if row[0] in ("p", "i")]
            rows += ["unfinished" for row in found if row[0] == "b"]
    return tuple(sorted(rows))


class Walk:
    """The points of one scenario."""

    def __init__(self, scenario: scenarios.Scenario) -> None:
        self.scenario = scenario
        self.problems: list[str] = []
        self.met: Counter[str] = Counter()
        self._argv = list(scenario.argv)
        for _ in range(2):  # the first one lets Python and the host tool make their caches
            self._prepare()
            self.before = entries()
            done = tracer.trace(self._argv)
            if done.status != 0:
                raise RuntimeError(f"{scenario.name}: {done}")
            self.after = picture()
        self.calls = done.made
        self.keeps = os.path.exists(f"{scenarios.KEPT}/of-somebody")

    def _prepare(self) -> None:
        scenarios.start_over()
        self.scenario.prepare()

    def strike(self, at: int, deed: str) -> bool:
        """Strike once and look; False where the command made no such call any more."""
        self._prepare()
        told: list[str] = []
        again: list[scenarios.Ended] = []

        def meanwhile() -> None:
            told.extend(self._status(running=True))
            again.append(self._run())

        if deed == "kill-first":
            done = tracer.trace(self._argv, at=at, deed=deed, meanwhile=meanwhile)
        else:
            done = tracer.trace(self._argv, at=at, deed=deed)
        if not done.struck:
            return False
        which = done.made[at - 1]
        where = f"{self.scenario.name} {deed} at {at} ({'ovlay' if which.process == 0 else 'child'} {which.call})"
        self.met[which.call] += 1
        if deed not in _KILLS:
            told += self._failure(done, interrupted=deed == "interrupt")
        if "Traceback" in done.stderr:
            told.append(f"it ended with a traceback: {done.stderr[-2000:]}")
        if not again:
            told += self._kept()
            told += self._whole()
            told += self._status(running=False)
            again.append(self._run())
        told += self._ended(again[0], in_tool=which.process != 0, failed=deed not in _KILLS)
        self.problems += [f"{where}: {each}" for each in told]
        return True

    def _failure(self, done: tracer.Traced, *, interrupted: bool) -> list[str]:
        code = os.waitstatus_to_exitcode(done.status)
        if code not in ((0, 130) if interrupted else (0, 2, 4, 5, 6, 7)):
            return [f"exit status {code}: {done.stderr[-500:]}"]
        if code != 0 and "ovlay: " not in done.stderr:
            return [f"exit status {code} with no reason: {done.stderr!r}"]
        return []

    def _kept(self) -> list[str]:
        """What somebody else mounted below the target is in sight, with what is in it."""
        if not self.keeps or os.path.exists(f"{scenarios.KEPT}/of-somebody"):
            return []
        return [f"the mount on {scenarios.KEPT} is lost"]

    def _whole(self) -> list[str]:
        """No file is anything but what it was, what it is to be, or absent where one of these is of another type."""
        wrong = []
        now = entries()
        for path in {*now, *self.before, *self.after.files}:
            if ".ovlay-new-" in path:
                continue
            was, wanted, found = self.before.get(path), self.after.files.get(path), now.get(path)
            if found is None:
                if was is not None and wanted is not None and was.content[0] == wanted.content[0]:
                    wrong.append(f"{path} is gone")
                continue
            known = [each for each in (was, wanted) if each is not None]
            if found.content not in [each.content for each in known]:
                wrong.append(f"{path} is torn: {found}, not {known}")
            elif found.content[0] == "file" and found.mode not in [each.mode for each in known]:
                wrong.append(f"{path} has the mode {found.mode:o}")
        return wrong

    def _status(self, *, running: bool) -> list[str]:
        begun = time.monotonic()
        said = scenarios.called("status", "--json")
        took = time.monotonic() - begun
        if said.status != 0:
            return [f"status fails: {said.stderr}"]
        wrong = [f"status took {took:.1f} s"] if took > _PROMPT else []
        if running:
            return wrong
        document = json.loads(said.stdout)
        with open("/proc/self/mountinfo") as stream:
            on = [line for line in stream if line.split()[4] == "/usr"]
        mounted = bool(on) and " overlay " in on[-1] and "upperdir=" in on[-1]
        if document["active"] is not mounted:
            wrong.append(f"status says active={document['active']}, the mount table {on}")
        interrupted = any(each["kind"] == "interrupted" for each in document["anomalies"])
        if interrupted is not os.path.exists("/run/ovlay/journal"):
            wrong.append(f"status says interrupted={interrupted}")
        return wrong

    def _run(self) -> scenarios.Ended:
        if self._argv[0] == scenarios.OVLAY:
            return scenarios.called(*self._argv[1:])
        done = subprocess.run(self._argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        return scenarios.Ended(done.returncode, done.stdout, done.stderr)

    def _clears_up(self) -> bool:
        """Whether the next overlay takes away what the last one left."""
        for words in (("unmount", "--lazy"), ("enable",), ("unmount", "--lazy"), ("enable",), ("unmount",)):
            if scenarios.called(words[0], "--yes", *words[1:]).status != 0:
                return False
        left = [path for path in picture().kept if re.search(r"/(overlays|detached|kept)/", path)]
        on = [row for row in picture().mounts if row.startswith("/usr ")]
        return not left and len(on) == scenarios.AT_FIRST and not any(" ovlay " in row for row in picture().mounts)

    def _ended(self, again: scenarios.Ended, *, in_tool: bool, failed: bool) -> list[str]:
        nothing_left = again.status == 2 and "neither now nor in the base" in again.stderr  # it was reverted already
        if again.status != 0 and not nothing_left:
            return [f"the second time fails with {again.status}: {again.stderr.strip()}"]
        now, wanted = picture(), self.after
        wrong = [f"{path} is left" for path in strays()]
        for path in sorted({*now.files, *wanted.files}):
            if now.files.get(path) != wanted.files.get(path):
                wrong.append(f"{path} is {now.files.get(path)}, not {wanted.files.get(path)}")
        for name in ("mounts", "kept", "receipts"):
            found, right = Counter(getattr(now, name)), Counter(getattr(wanted, name))
            if found == right or (in_tool and name == "mounts" and _own_instead(found, right)):
                continue
            # A step that failed may leave something to a later one: an upper that could not be removed, ostree's flag.
            if not (failed and name != "receipts" and self._clears_up()):
                wrong.append(f"{name}: too many {list(found - right)}, too few {list(right - found)}")
        return wrong


def _own_instead(found: Counter[str], right: Counter[str]) -> bool:
    """Whether an overlay of ovlay's own took the place of one that the host tool could not make any more."""
    own = [row for row in (found - right) if " overlay ovlay " in row or " tmpfs ovlay " in row]
    return len(own) == len(found - right) and all(" overlay overlay " in row for row in right - found)


def main() -> None:
    """Walk, as the words of the command line say. Of deeds with a slash between them each point has the next one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--deeds", default="kill")
    parser.add_argument("--at", type=int, default=0)
    wanted = parser.parse_args()
    scenarios.make_sources()
    for scenario in scenarios.SCENARIOS:
        if wanted.only and scenario.name not in wanted.only.split(","):
            continue
        begun = time.monotonic()
        walk = Walk(scenario)
        points: Counter[str] = Counter()
        for deeds in (each.split("/") for each in wanted.deeds.split(",")):
            at, turn = wanted.at or 1 + wanted.offset % wanted.stride, 0
            while walk.strike(at, deeds[turn % len(deeds)]):
                points[deeds[turn % len(deeds)]] += 1
                if wanted.at:
                    break
                at, turn = at + wanted.stride, turn + 1
        answer = {
            "scenario": scenario.name,
            "points": dict(points),
            "calls": dict(walk.met),
            "seconds": round(time.monotonic() - begun, 1),
            "problems": walk.problems,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    scenarios.start_over()


if __name__ == "__main__":
    main()
