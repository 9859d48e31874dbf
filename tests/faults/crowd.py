"""Many ovlay at once, from root and from users, some of them killed: copied into a host of the lab, and run there.

It prints one JSON document: how often what was done and how it ended, and what was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from typing import TYPE_CHECKING

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import scenarios  # type: ignore[import-not-found]
import walk  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NOBODY = 65534
_KILLED = 0.1  # of all that change something, while it is allowed
_VERSIONS = tuple(f"{letter}\n" * 30_000 for letter in "abc")

Answer = dict[str, list[str] | dict[str, int] | str]


def _source(version: int) -> str:
    return f"{scenarios.SOURCES}/version-{version}"


class Member:
    """One of the crowd: it calls ovlay again and again until its time is over."""

    def __init__(self, number: int, end: float, *, deadly: bool) -> None:
        self.number, self.end, self.deadly = number, end, deadly
        self.random = random.Random(number)  # it is to be the same each time
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.mine: int | None = None

    def live(self) -> Answer:
        """What it did, and what it saw that must not be."""
        while time.monotonic() < self.end:
            for name, words, user in self._calls():
                self._call(name, words, user)
        return {"ended": dict(self.ended), "wrong": self.wrong, "mine": "" if self.mine is None else str(self.mine)}

    def _calls(self) -> Iterator[tuple[str, tuple[str, ...], int]]:
        version = self.random.randrange(len(_VERSIONS))
        own = ("install", "--yes", "--make-parents", _source(version), f"{scenarios.OWN}/own-{self.number}")
        calls: list[tuple[str, tuple[str, ...], int]] = [
            ("status", ("status", "--json"), 0),
            ("status of a user", ("status", "--json"), _NOBODY),
            ("enable", ("enable", "--yes"), 0),
            ("enable of a user", ("enable", "--yes", "--elevate", "none"), _NOBODY),
            (
                "install the same",
                ("install", "--yes", "--make-parents", _source(version), f"{scenarios.OWN}/common"),
                0,
            ),
            ("apply", ("apply", "--yes", "--system", f"{scenarios.SOURCES}/crowd.toml"), 0),
        ]
        if self.deadly:
            calls += [("unmount", ("unmount", "--yes"), 0), ("unmount --lazy", ("unmount", "--yes", "--lazy"), 0)]
        yield self.random.choice(calls)
        if self.random.random() < 0.5:
            self.mine = version
            yield "install its own", own, 0

    def _call(self, name: str, words: tuple[str, ...], user: int) -> None:
        kill = self.random.random() * 0.1 if self.deadly and self.random.random() < _KILLED else None
        done = scenarios.called(*words, user=user, kill_after=kill)
        self.ended[f"{name}: {done.status}"] += 1
        if kill is not None and done.status == -signal.SIGKILL:
            return
        allowed = {6} if name == "enable of a user" else {0} if name.startswith("status") else {0, 5}
        if not self.deadly and name != "enable of a user":
            allowed = {0}
        # Where somebody enabled it first there is nothing to be refused.
        if name == "enable of a user":
            allowed.add(0)
        if done.status not in allowed or "Traceback" in done.stderr:
            self.wrong.append(f"{name}: {done.status}: {done.stderr[-1500:]}")


def _gather(count: int, seconds: float, *, deadly: bool) -> list[Answer]:
    """Let a crowd live, and return what each of it told."""
    end = time.monotonic() + seconds
    pipes = []
    for number in range(count):
        read, write = os.pipe()
        if os.fork() == 0:
            os.close(read)
            answer = _guarded(Member(number, end, deadly=deadly).live)
            with os.fdopen(write, "w") as stream:
                json.dump(answer, stream)
            os._exit(0)
        os.close(write)
        pipes.append(read)
    wrong: set[str] = set()
    while time.monotonic() < end:
        wrong.update(_torn())
        time.sleep(0.02)
    answers = []
    for pipe in pipes:
        with os.fdopen(pipe) as stream:
            answers.append(json.load(stream))
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    answers.append({"ended": {}, "wrong": sorted(wrong), "mine": ""})
    return answers


def _guarded(live: Callable[[], Answer]) -> Answer:
    try:
        return live()
    except BaseException:  # it is what the test looks for
        return {"ended": {}, "wrong": [traceback.format_exc()], "mine": ""}


def _torn() -> Iterator[str]:
    """Files that are neither of the versions in full."""
    try:
        names = os.listdir(scenarios.OWN)
    except OSError:
        return
    for name in names:
        if name.startswith(".ovlay-new-") or not name.startswith(("own-", "common")):
            continue
        try:
            with open(f"{scenarios.OWN}/{name}") as stream:
                content = stream.read()
        except OSError:
            continue  # the overlay is gone meanwhile
        if content not in _VERSIONS:
            yield f"{name} is torn: {len(content)} bytes"


def _peaceful(count: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """Nobody takes the overlay away: what was installed must be there."""
    scenarios.start_over()
    scenarios.unlocked()
    os.mkdir(scenarios.OWN)
    ended, wrong = _sum(answers := _gather(count, seconds, deadly=False))
    for number, answer in enumerate(answers[:-1]):
        if answer["mine"] == "":
            continue
        with open(f"{scenarios.OWN}/own-{number}") as stream:
            if stream.read() != _VERSIONS[int(str(answer["mine"]))]:
                wrong.append(f"own-{number} is not what was installed last")
    book = walk.picture().receipts
    wrong += [f"a receipt is not settled: {row}" for row in book if not row.startswith('["p"')]
    placed = {name for name in os.listdir(scenarios.OWN) if name.startswith("own-")}
    receipts = {row.split('"')[3].rpartition("/")[2] for row in book}
    wrong += [f"there is no receipt of {name}" for name in sorted(placed - receipts)]
    return ended, wrong + _remains()


def _deadly(count: int, seconds: float) -> tuple[Counter[str], list[str]]:
    """Everybody enables and unmounts, and some are killed."""
    scenarios.start_over()
    ended, wrong = _sum(_gather(count, seconds, deadly=True))
    return ended, wrong + _remains()


def _sum(answers: list[Answer]) -> tuple[Counter[str], list[str]]:
    ended: Counter[str] = Counter()
    wrong: list[str] = []
    for answer in answers:
        ended.update(answer["ended"])
        wrong += answer["wrong"]
    return ended, wrong


def _remains() -> list[str]:
    """What is left after everything was taken away in order; nothing must be."""
    wrong = []
    for words in (("unmount", "--lazy"), ("enable",), ("install", _source(0), "/usr/share/last"), ("unmount",)):
        done = scenarios.called(words[0], "--yes", *words[1:])
        if done.status != 0:
            wrong.append(f"{words}: {done.status}: {done.stderr}")
        time.sleep(0.2)
    with open("/proc/self/mountinfo") as stream:
        mounts = [line.split()[4] for line in stream]
    on = mounts.count("/usr")
    if on != scenarios.AT_FIRST:
        wrong.append(f"{on} mounts are on /usr")
    wrong += [f"{point} is mounted" for point in mounts if point.startswith(("/run/ovlay/", "/var/lib/ovlay/"))]
    for top in ("/run/ovlay", "/var/lib/ovlay"):
        for folder, folders, names in os.walk(top):
            inside = folder[len(top) + 1 :].partition("/")[0]
            for name in (*names, *(folders if inside else ())):
                known = name in ("lock", "seal.json") if not inside else inside in ("receipts", "bases")
                if not known or ".ovlay-" in name:
                    wrong.append(f"{folder}/{name} is left")
    found = subprocess.run(["ostree", "admin", "status"], capture_output=True, text=True, check=True).stdout
    if "Unlocked:" in found:
        wrong.append(f"ostree says {found!r}")
    return wrong


def main() -> None:
    """Both parts, one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    wanted = parser.parse_args()
    scenarios.make_sources()
    for version, text in enumerate(_VERSIONS):
        with open(_source(version), "w") as stream:
            stream.write(text)
    with open(f"{scenarios.SOURCES}/crowd.toml", "w") as stream:
        stream.write(f'schema = 1\n[[file]]\npath = "{scenarios.OWN}/applied"\nsource = "{_source(0)}"\n')
    document = {}
    for name, part in (("peaceful", _peaceful), ("deadly", _deadly)):
        ended, wrong = part(wanted.count, wanted.seconds / 2)
        document[name] = {"ended": dict(sorted(ended.items())), "wrong": wrong}
    scenarios.start_over()
    sys.stdout.write(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
