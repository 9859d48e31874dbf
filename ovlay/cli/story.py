"""The demo's story: the main job, told scene by scene, on an overlay that stands for the one of a real host."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from ovlay.changes.compare import Aspect, compare, scan_tree
from ovlay.cli.changing import plan_lines
from ovlay.cli.diff import listing
from ovlay.cli.status import details, headline
from ovlay.errors import ToolFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ovlay.overlay import Overlay

TOOL = """\
#!/bin/sh
echo "hello, I run from $0"
"""

MANIFEST = """\
schema = 1
target = "{target}"

[[file]]
path = "{target}/bin/hello"
source = "hello"
mode = "0755"

[[file]]
path = "{target}/lib/hello.conf"
text = "greeting = hello\\n"
"""
EDITED = "greeting = moin\n"

BASE = {"bin/true": "#!/bin/sh\nexit 0\n", "lib/os-release": 'ID=demo\nVERSION_ID="1"\n'}
"""What is in the throw-away /usr to begin with."""


class Scene(NamedTuple):
    """One step: what happens, what a user would type, and what comes of it."""

    title: str
    command: str
    output: tuple[str, ...]


class Change(NamedTuple):
    """One name that differs from the base, and in what."""

    path: str
    aspects: tuple[str, ...]


def make_base(directory: str) -> None:
    """Fill an empty directory with a small tree that looks like a /usr."""
    for path, text in BASE.items():
        full = os.path.join(directory, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.chmod(full, 0o755 if text.startswith("#!") else 0o644)


def tell(overlay: Overlay, scratch: str) -> Iterator[Scene | Change]:
    """Do the main job and tell it; raises `ToolFailed` where something is not as it should be.

    ``scratch`` is a directory for the tool that is going to be installed.
    """
    tool = os.path.join(scratch, "hello")
    with open(tool, "w", encoding="utf-8") as stream:
        stream.write(TOOL)
    target = overlay.target
    there = overlay.host.path(target)
    placed = os.path.join(there, "bin/hello")
    permissions = overlay.host.permissions
    before = scan_tree(there, permissions=permissions)

    refusal = _touch(placed)
    yield Scene(
        f"The image. {target} is sealed: nobody can write to it, not even root.",
        f"touch {target}/bin/hello",
        (f"touch: cannot touch '{target}/bin/hello': {refusal}",),
    )

    enabled = overlay.enable()
    _demand(enabled.changed and overlay.status().active, "no overlay is there after enable")
    yield Scene(
        "Enable. A writable layer is put over it; the image beneath stays as it is.",
        "ovlay enable",
        (*plan_lines(enabled.plan), *enabled.told),
    )

    installed = overlay.install_file(tool, f"{target}/bin/hello")
    _demand(installed.changed, "the file was not placed")
    yield Scene(
        "Install. A file is placed whole: under another name first, then renamed.",
        f"ovlay install ./hello {target}/bin/hello",
        (*plan_lines(installed.plan), *installed.told),
    )

    said = _run(placed)
    _demand(said.startswith("hello"), f"the tool said {said!r}")
    yield Scene("Run it.", f"{target}/bin/hello", (said,))

    again = overlay.install_file(tool, f"{target}/bin/hello")
    _demand(not again.changed, "the second install changed something")
    yield Scene(
        "Install again. What is so already is left alone.",
        f"ovlay install ./hello {target}/bin/hello",
        (again.plan.reason,),
    )

    status = overlay.status()
    yield Scene("Status. What is there, by whom, and where the changes go.", "ovlay status", _status_lines(overlay))
    _demand(status.active, "the overlay is gone before it was unmounted")

    changes = compare(before, scan_tree(there, permissions=permissions), ignore={Aspect.MTIME})
    _demand([change.path for change in changes] == ["bin/hello"], f"changed is {changes}")
    yield Scene("What changed: all that differs from the image.", "ovlay diff", tuple(listing(overlay.changes())))
    for change in changes:
        yield Change(change.path, tuple(change.aspects))

    manifest = os.path.join(scratch, "hotfix.toml")
    yield from _declare(overlay, manifest)

    gone = overlay.unmount()
    _demand(gone.changed and not overlay.status().active, "the overlay is still there after unmount")
    yield Scene("Unmount. The layer goes, and the changes with it.", "ovlay unmount", (*plan_lines(gone.plan),))

    back = overlay.apply([manifest], enable=True)
    _demand(_read(os.path.join(there, "lib/hello.conf")) == EDITED, "what was captured did not come back")
    _demand(overlay.drift([manifest]).clean, "something is not as declared after it came back")
    yield Scene(
        "Apply to a fresh layer, as after a reboot. All of it comes back.",
        "ovlay apply --enable hotfix.toml",
        (*plan_lines(back.plan), *back.told),
    )
    overlay.unmount()

    left = compare(before, scan_tree(there, permissions=permissions))
    _demand(not left, f"this is left: {left}")
    yield Scene(
        "Unmounted once more: the image is as it was, to the byte.",
        f"ls {target}/bin",
        tuple(sorted(os.listdir(os.path.join(there, "bin")))),
    )


def _declare(overlay: Overlay, manifest: str) -> Iterator[Scene]:
    """The act with a manifest: apply, drift, capture."""
    from ovlay.cli.drift import listing as deviations

    text = MANIFEST.format(target=overlay.target)
    with open(manifest, "w", encoding="utf-8") as stream:
        stream.write(text)
    yield Scene("Declare. A manifest says what is to be there, and lasts.", "cat hotfix.toml", (*text.splitlines(),))

    applied = overlay.apply([manifest])
    _demand(len(applied.plan.steps) == 1 and not applied.conflicts, "the manifest was not applied")
    _demand(overlay.drift([manifest]).clean, "something is not as declared")
    yield Scene(
        "Apply. What is so already is left alone, and the rest is placed.",
        "ovlay apply hotfix.toml",
        (*plan_lines(applied.plan), *applied.told),
    )

    settings = f"{overlay.target}/lib/hello.conf"
    with open(overlay.host.path(settings), "w", encoding="utf-8") as stream:
        stream.write(EDITED)
    drift = overlay.drift([manifest])
    _demand(not drift.clean, "an edit was not noticed")
    yield Scene(
        "Drift. What somebody changed by hand is told, and no apply takes it.",
        f"echo '{EDITED.strip()}' >{settings}; ovlay drift hotfix.toml",
        tuple(deviations(drift)),
    )

    captured = overlay.capture(to=manifest)
    _demand(overlay.drift([manifest]).clean, "what was captured is not declared")
    yield Scene(
        "Capture. What was changed by hand is declared from now on.",
        "ovlay capture --to hotfix.toml",
        (*plan_lines(captured.plan), *captured.told),
    )


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def _status_lines(overlay: Overlay) -> tuple[str, ...]:
    status = overlay.status()
    return (headline(status), *details(status))


def _touch(path: str) -> str:
    """Try to make a file, and return why that is refused."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return error.strerror or str(error)
    os.unlink(path)
    raise ToolFailed(f"{path} could be written before the overlay was there")


def _run(path: str) -> str:
    """Run the tool; through sh where the temporary directory is mounted noexec."""
    for argv in ([path], ["/bin/sh", path]):
        try:
            return subprocess.run(argv, cwd="/", capture_output=True, text=True, check=True, timeout=30).stdout.strip()
        except PermissionError:
            continue
        except (OSError, subprocess.SubprocessError) as error:
            raise ToolFailed(f"{path} does not run: {error}") from error
    raise ToolFailed(f"{path} does not run, and /bin/sh neither")


def _demand(truth: bool, otherwise: str) -> None:  # noqa: FBT001
    """Raise `ToolFailed` where the demo would tell what is not so."""
    if not truth:
        raise ToolFailed(f"the demo failed: {otherwise}", remedy="run it again with -v, and report what it prints")
