"""Inputs of any size that parsers have a hard time with: `python -m tests.fuzz.large [MB]` tells time and memory."""

from __future__ import annotations

import contextlib
import gc
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable


class Shape(NamedTuple):
    """A kind of input: the text of about so many bytes, and what the program does with such a text."""

    parser: str
    name: str
    text: Callable[[int], str]
    read: Callable[[str], object]

    def __str__(self) -> str:
        return f"{self.parser}, {self.name}"


def repeated(unit: str, *, front: str = "", end: str = "") -> Callable[[int], str]:
    return lambda size: front + unit * (size // len(unit)) + end


def numbered(line: Callable[[int], str], *, front: str = "", end: str = "") -> Callable[[int], str]:
    def text(size: int) -> str:
        count = size // len(line(size // 64))
        return front + "".join(map(line, range(2, count + 2))) + end

    return text


def receipt(path: str, state: str) -> str:
    """The line of a receipt; that of its origin, number 0, is left out."""
    from ovlay.receipts import Receipt
    from ovlay.recording import Origins

    stamp = (1, 2, 3, 4, 5)
    placed = Receipt(path, "file", "ab" * 32, size=5, source="/s", source_stamp=stamp, placed=stamp, base="nothing")
    return Origins().line(placed, state).splitlines()[-1] + "\n"


# --- reading ---------------------------------------------------------------------------------------------------------


def read_mountinfo(text: str) -> None:
    """All that a status asks of a table."""
    from ovlay.kernel.mountinfo import parse_mountinfo
    from ovlay.survey import stacking_depth

    table = parse_mountinfo(text)
    for place in ("/", "/usr", "/usr/lib"):
        table.stack(place)
        table.covering(place)
        table.below(place)
        stacking_depth(table, place)
    for mount in table:
        assert isinstance((mount.upper, mount.work, mount.lower), tuple)


def read_ostree(text: str) -> None:
    from ovlay_backends.deployment import parse_admin_status, parse_deployment, parse_origin

    parse_admin_status(text)
    parse_origin(text, "unlocked")
    parse_deployment(text)


def read_bootc(text: str) -> None:
    from ovlay_backends.bootc import parse_bootc_status, parse_bootc_version

    parse_bootc_status(text)
    parse_bootc_version(text)


def read_sysext(text: str) -> None:
    from ovlay_backends.sysext import parse_sysext_status

    parse_sysext_status(text, "/usr")


def read_config(text: str) -> None:
    from ovlay.config import parse_config

    with contextlib.suppress(InvalidInput):
        parse_config("config.toml", text.encode())


def read_os_release(text: str) -> None:
    from ovlay.host import parse_os_release

    parse_os_release(text)


def read_record(text: str) -> None:
    from ovlay.plan.directories import DiscardUpper
    from ovlay.plan.unmounting import View

    for parse in (View.from_text, DiscardUpper.from_text):
        with contextlib.suppress(InvalidInput):
            parse(text)


def read_plan(text: str) -> None:
    from ovlay.plan import Plan

    with contextlib.suppress(InvalidInput):
        Plan.from_text(text)


def read_manifest(text: str) -> None:
    from ovlay.manifest.document import InvalidManifest
    from ovlay.manifest.load import LIMIT, parse_manifest

    with contextlib.suppress(InvalidManifest):
        parse_manifest(text[:LIMIT], file="/m/a.toml", folder="/m")  # what a file has above the limit is refused


def read_receipts(text: str) -> None:
    from ovlay.receipts import parse_book

    parse_book(text, "id")


# --- shapes ----------------------------------------------------------------------------------------------------------

_ROOT = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
_OVERLAY = _ROOT + "2 1 0:2 / /usr rw - overlay overlay rw,"
_PLAN = '{"schema": "ovlay.plan/1", "reason": "", "warnings": ['
_STEP = '{"step": "unmount", "target": "/usr", "mount_id": 7, "lazy": false, "carry": []}'
_BOOK = '["ovlay.receipts/1", "id"]\n["o", "/m.toml", "m", "2026-01-01T00:00:00Z", 0]\n'

_JSON_SHAPES = {
    "deep": repeated("["),
    "deep objects": repeated('{"a":'),
    "a long text": repeated("x", front='"', end='"'),
    "escapes": repeated("\\u00e9\\n", front='"', end='"'),
    "a number": repeated("1"),
    "numbers": repeated("1.5,", front="[", end="0]"),
    "names": numbered(lambda n: f'"k{n}":{n},', front="{", end='"":0}'),
    "blanks": repeated(" \n", end="{}"),
    "cut off": repeated('["\\'),
}

_TOML_SHAPES = {
    "many keys": numbered(lambda n: f"k{n} = {n}\n"),
    "a dotted key": repeated("a.", end="a = 1\n"),
    "a quoted dotted key": repeated('"a" . ', end="a = 1\n"),
    "dotted headers": numbered(lambda n: f"[a.b.c.d.k{n}]\n"),
    "deep arrays": repeated("[", front="a = "),
    "deep tables": repeated("{a=", front="a = "),
    "a long text": repeated("x y\n", front='a = """', end='"""\n'),
    "quotes": repeated('"'),
    "a long array": repeated("1, ", front="a = [", end="]\n"),
    "inline tables": repeated("{a.b = 1, b = 2}, ", front="a = [", end="]\n"),
    "a number": repeated("1", front="a = "),
    "blanks": repeated(" ", end="\n"),
    "comments": repeated("# x\n"),
    "words": repeated("a", end="\n"),
}

SHAPES = (
    *(
        Shape("mountinfo", name, text, read_mountinfo)
        for name, text in {
            "mounts elsewhere": numbered(lambda n: f"{n} 1 0:{n} / /var/c/{n}/merged rw - tmpfs t rw\n", front=_ROOT),
            "overlays elsewhere": numbered(
                lambda n: f"{n} 1 0:{n} / /var/c/{n} rw - overlay o rw,lowerdir=/l{n}:/k,upperdir=/u,workdir=/w\n",
                front=_ROOT,
            ),
            "mounts below": numbered(lambda n: f"{n} 1 0:{n} / /usr/{n} rw - tmpfs t rw\n", front=_ROOT),
            "mounts on each other": numbered(
                lambda n: f"{n} {n - 1} 0:{n} / /usr rw - overlay o rw,upperdir=/u{n}\n", front=_ROOT
            ),
            "both": numbered(
                lambda n: (
                    f"{2 * n} {2 * n - 2 if n > 2 else 1} 0:{n} / /usr rw - overlay o rw,upperdir=/u{n}\n"
                    f"{2 * n + 1} 1 0:{n} / /usr/{n} rw - tmpfs t rw\n"
                ),
                front=_ROOT,
            ),
            "layers on layers": numbered(
                lambda n: f"{n} 1 0:{n} / /usr/{n} rw - overlay o rw,lowerdir=/usr/{n + 1}:/usr/{n + 2}\n",
                front=_ROOT + "9999999 1 0:1 / /usr rw - overlay o rw,lowerdir=/usr/2\n",
            ),
            "many layers": numbered(
                lambda n: f":/l/{n}", front=_OVERLAY + "lowerdir=/l", end=",upperdir=/u,workdir=/w"
            ),
            "layers of their own": numbered(lambda n: f",lowerdir+=/l/{n}", front=_OVERLAY + "xino=off"),
            "a long option": repeated("x", front=_OVERLAY + "upperdir="),
            "commas": repeated("\\054", front=_OVERLAY + "upperdir="),
            "backslashes": repeated("\\134", front=_OVERLAY + "lowerdir="),
            "backslashes and commas": repeated("\\134\\134,\\134,", front=_OVERLAY + "lowerdir="),
            "colons": repeated(":", front=_OVERLAY + "lowerdir="),
            "a long path": repeated("/a", front=_ROOT + "2 1 0:2 / /usr", end=" rw - tmpfs t rw\n"),
            "tags": repeated(" shared:1", front="1 0 8:1 / / rw", end=" - ext4 s rw\n"),
            "digits": repeated("1", end=" 0 8:1 / / rw - ext4 s rw\n"),
            "separators": repeated(" - "),
            "blanks": repeated(" "),
        }.items()
    ),
    *(
        Shape("ostree", name, text, read_ostree)
        for name, text in {
            "deployments": repeated("  os " + "a" * 64 + ".0\n    origin refspec: a/b\n", front="* os\n"),
            "attributes": repeated("    Version: 1\n", front="* os\n"),
            "a long word": repeated("x", front="* os\n    Unlocked: "),
            "origin": repeated("a=b\n", front="[origin]\n"),
            "groups": repeated("[", front="[origin]\n"),
            "paths": repeated("/ostree/deploy/a"),
            "almost": repeated("/ostree/deploy/a/deploy/" + "a" * 64 + "."),
            "checksums": repeated("a", front="/ostree/deploy/a/deploy/"),
            "digits": repeated("1", front="/ostree/deploy/a/deploy/" + "a" * 64 + "."),
            "blanks": repeated(" ", front="* "),
        }.items()
    ),
    *(Shape("bootc", name, text, read_bootc) for name, text in _JSON_SHAPES.items()),
    *(
        Shape("bootc", f"version of {name}", text, read_bootc)
        for name, text in {
            "dots": repeated("1.", front="bootc "),
            "digits": repeated("1", front="bootc "),
            "dashes": repeated("1-", front="bootc "),
            "locals": repeated("a.", front="bootc 1+"),
            "letters": repeated("a", front="bootc 1"),
            "words": repeated("1 ", front="bootc "),
        }.items()
    ),
    *(Shape("sysext", name, text, read_sysext) for name, text in _JSON_SHAPES.items()),
    Shape("sysext", "hierarchies", repeated('{"hierarchy":"/opt","extensions":[]},', front="[", end="1]"), read_sysext),
    Shape(
        "sysext",
        "extensions",
        repeated('"ext",', front='[{"hierarchy":"/usr","extensions":[', end='"x"]}]'),
        read_sysext,
    ),
    *(Shape("config", name, text, read_config) for name, text in _TOML_SHAPES.items()),
    *(
        Shape("os-release", name, text, read_os_release)
        for name, text in {
            "lines": numbered(lambda n: f"K{n}=x\n"),
            "a long value": repeated("x", front='ID="', end='"'),
            "quotes": repeated('"', front="ID="),
            "equals": repeated("="),
            "blanks": repeated(" ", front="ID=", end="x"),
        }.items()
    ),
    *(Shape("records", name, text, read_record) for name, text in _JSON_SHAPES.items()),
    *(Shape("plan", name, text, read_plan) for name, text in _JSON_SHAPES.items()),
    Shape("plan", "steps", repeated(_STEP + ",", front=_PLAN + '], "steps": [', end=_STEP + "]}"), read_plan),
    Shape("plan", "warnings", repeated('"x",', front=_PLAN, end='"x"], "steps": []}'), read_plan),
    Shape(
        "plan", "fields", numbered(lambda n: f'"k{n}":1,', front=_PLAN + '], "steps": [{', end='"x":1}]}'), read_plan
    ),
    Shape(
        "plan",
        "a wrong step",
        repeated("[],", front=_PLAN + '], "steps": [{"step": "unmount", "target": [', end="[]]}]}"),
        read_plan,
    ),
    *(Shape("manifest", name, text, read_manifest) for name, text in _TOML_SHAPES.items()),
    Shape(
        "manifest",
        "files",
        numbered(lambda n: f'[[file]]\npath = "/usr/f/{n}"\nsource = "f/{n}"\nmode = "0644"\n', front="schema = 1\n"),
        read_manifest,
    ),
    Shape(
        "manifest",
        "the same file",
        repeated('[[file]]\npath = "/usr/f"\ntext = "x"\n', front="schema = 1\n"),
        read_manifest,
    ),
    Shape("manifest", "wrong files", repeated("[[file]]\npaht = 1\n", front="schema = 1\n"), read_manifest),
    Shape(
        "manifest",
        "one below the other",
        repeated("/a", front='schema = 1\n[[file]]\ntext = "x"\npath = "/usr', end='"\n'),
        read_manifest,
    ),
    Shape("manifest", "an inline list", repeated('{path = "/usr/f"}, ', front="schema = 1\nfile = ["), read_manifest),
    Shape("receipts", "files", numbered(lambda n: receipt(f"f/{n}", "p"), front=_BOOK), read_receipts),
    Shape(
        "receipts",
        "intentions for one file",
        repeated(receipt("f", "i"), front=_BOOK),
        read_receipts,
    ),
    Shape(
        "receipts",
        "cut off",
        numbered(lambda n: receipt(f"f/{n}", "p"), front=_BOOK, end='["p", \n'),
        read_receipts,
    ),
    Shape("receipts", "origins", repeated('["o", null, "", "", 0]\n', front=_BOOK), read_receipts),
    *(
        Shape("receipts", name, lambda size, text=text: _BOOK + text(size) + "\n", read_receipts)  # type: ignore[misc]
        for name, text in _JSON_SHAPES.items()
    ),
)


def seconds(shape: Shape, size: int, *, runs: int = 1) -> float:
    """The processor time that a shape of this size takes to be read, at best.

    The collector of cycles is off: it looks at all that there is a number of times that grows with the logarithm.
    """
    text = shape.text(size)
    taken = []
    gc.disable()
    try:
        for _ in range(runs):
            start = time.process_time()
            shape.read(text)
            taken.append(time.process_time() - start)
    finally:
        gc.enable()
    return min(taken)


def main(words: list[str]) -> int:
    """With a number, one shape in this process; else each in one of its own, for the sake of the memory."""
    megabytes = int(words[0]) if words else 100
    if len(words) > 1:
        taken = seconds(SHAPES[int(words[1])], megabytes << 20)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(f"{SHAPES[int(words[1])]}: {taken:.1f} s, {peak} MiB\n")
        return 0
    failed = 0
    for number in range(len(SHAPES)):
        command = [sys.executable, "-m", "tests.fuzz.large", str(megabytes), str(number)]
        done = subprocess.run(command, check=False)
        if done.returncode != 0:
            failed += 1
            sys.stdout.write(f"{SHAPES[number]}: exit status {done.returncode}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
