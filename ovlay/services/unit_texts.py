"""What ovlay's own units say, in the words of systemd.unit(5) and systemd.service(5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ovlay.host import DATA_DIR

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

APPLY = "ovlay-apply.service"
UNMASK = "ovlay-unmask.service"
DRIFT = "ovlay-drift.service"
GUARD = "50-ovlay-guard.conf"

MASKED = DATA_DIR + "/masked"
"""Where the marks of masked units are."""

_MANIFESTS = ("/etc/ovlay", "/usr/lib/ovlay")
_NO_HOMES = "Environment=PYTHONNOUSERSITE=1"  # root runs no packages of a home directory
_EXECUTABLE = "ConditionFileIsExecutable="


def apply_unit(program: Sequence[str]) -> str:
    """The unit that applies the manifests of the system at a boot.

    After local-fs.target, as systemd-sysext.service of systemd itself: what is placed, and where the overlay keeps it,
    may be on /var. Not before udevd, which those file systems may need, nor before systemd-sysusers.service, which
    comes before them: the triggers make good for both. sysinit.target only wants it, so that its failure stops
    nothing (bootup(7)).
    """
    conditions = [
        line
        for folder in _MANIFESTS
        for line in (f"ConditionPathExists=|{folder}/manifest.toml", f"ConditionDirectoryNotEmpty=|{folder}/manifest.d")
    ]
    return _unit(
        "Apply what the manifests of ovlay declare",
        [
            "DefaultDependencies=no",
            f"RequiresMountsFor={DATA_DIR}",
            "After=local-fs.target systemd-udevd.service",
            "Before=sysinit.target systemd-tmpfiles-setup.service shutdown.target",
            "Conflicts=shutdown.target",
            "ConditionKernelCommandLine=!ovlay.apply=no",
            _EXECUTABLE + _escaped(program[0]),
            *conditions,
        ],
        exec_line((*program, "apply", "--system", "--enable", "--yes", "--triggers")),
        [_NO_HOMES, "TimeoutStartSec=180", "TimeoutStopSec=15"],
        "sysinit.target",
    )


def unmask_unit(program: Sequence[str]) -> str:
    """The unit that takes masks back which were meant for another image: see `ovlay.services.masks`."""
    return _unit(
        "Take back the masks of ovlay that were for another image",
        [
            "DefaultDependencies=no",
            f"RequiresMountsFor={MASKED}",
            "After=local-fs.target",
            f"Before={APPLY} sysinit.target shutdown.target",  # they share a lock, and applying may take long
            "Conflicts=shutdown.target",
            f"ConditionDirectoryNotEmpty={MASKED}",
            _EXECUTABLE + _escaped(program[0]),
        ],
        exec_line((*program, "service", "mask-until-image", "--undo", "--outdated", "--yes")),
        [_NO_HOMES, "TimeoutStartSec=60", "TimeoutStopSec=15"],
        "sysinit.target",
    )


def drift_unit(program: Sequence[str]) -> str:
    """The user's unit: a user cannot mount, and nobody is there at a login to give a password. So it only tells.

    It asks for the plan, which a user can know as far as everything is as declared (see `ovlay.manifest.notice`); for
    drift one must look beneath the overlay, which only root may.
    """
    return _unit(
        "Say what differs from the manifests of ovlay",
        [_EXECUTABLE + _escaped(program[0])],
        exec_line((*program, "plan")),
        # Something is to be done, is in conflict, or only root can tell what: it is there to say so.
        ["SuccessExitStatus=1 5 6", "TimeoutStartSec=60"],
        "default.target",
    )


def guard_drop_in(program: Sequence[str], *, block: bool) -> str:
    """The drop-in for an update service. With "-" the update goes on whatever is said (systemd.service(5))."""
    prefix = "" if block else "-"
    return (
        "# Written by `ovlay service install --guard`; `ovlay service remove` takes it away.\n"
        "[Service]\n"
        f"ExecStartPre={prefix}{exec_line((*program, 'guard', 'upgrade'))}\n"
    )


def exec_line(argv: Iterable[str]) -> str:
    """A command as systemd.service(5) reads it: nothing in it is a specifier, a variable or a quote.

    In the path of the program there are no variables, so that "$$" would stand for both.
    """
    program, *arguments = argv
    return " ".join((_quoted(program), *(_quoted(word).replace("$", "$$") for word in arguments)))


def program_of(text: str) -> str | None:
    """The program that a unit of ovlay's runs."""
    lines = text.splitlines()
    found = next((line.removeprefix(_EXECUTABLE) for line in lines if line.startswith(_EXECUTABLE)), None)
    return None if found is None else found.replace("%%", "%")


def _quoted(word: str) -> str:
    text = _escaped(word).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if not word or set(text) & set(" \t\"';\\") else text


def _escaped(path: str) -> str:
    return path.replace("%", "%%")


def _unit(description: str, lines: list[str], command: str, service: list[str], target: str) -> str:
    return "\n".join(
        (
            "# Written by `ovlay service install`; `ovlay service remove` takes it away.",
            "[Unit]",
            f"Description={description}",
            *lines,
            "",
            "[Service]",
            "Type=oneshot",
            "RemainAfterExit=yes",
            # No compiled files beside the modules, and no modules of the working directory.
            "Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1",
            f"ExecStart={command}",
            *service,
            "",
            "[Install]",
            f"WantedBy={target}",
            "",
        )
    )
