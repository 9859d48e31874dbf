"""Which tools must be run after a change, by the class of the changed paths, and what they leave behind.

Left out is what takes notice by itself: fontconfig looks at the time stamps of font directories
(https://www.freedesktop.org/software/fontconfig/fontconfig-user.html), polkit and GLib's desktop entries watch theirs.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, NamedTuple

from ovlay.counting import counted
from ovlay.paths import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ovlay.host import Host
    from ovlay.plan.triggering import RunTrigger

SYSTEMD_RUNS = "/run/systemd/system"
"""There where systemd is PID 1: sd_booted(3)."""

_UDEV_RUNS = "/run/udev/control"  # udevd's socket, src/udev/udev-ctrl.c of systemd
_BUS_RUNS = "/run/dbus/system_bus_socket"
_HWDB_OF_ETC = "/etc/udev/hwdb.bin"
_HELPERS = "/usr/lib/systemd"


class _Class(NamedTuple):
    """A class of paths: those that ``pattern`` fits as a whole, and the command that takes notice of them.

    A group ``where`` in the pattern makes a command of its own for each value, put in for ``{where}``. With
    ``by_file`` the command takes the names of the changed files.
    """

    pattern: str
    noun: str
    argv: tuple[str, ...]
    needs: str = ""
    by_file: bool = False
    lasting: str = ""
    writes: tuple[str, ...] = ()


_LIB = "/usr/(?:local/)?lib"

# In the order in which they are run: users before what belongs to them, the managers that read all of it last.
_CLASSES = (
    # systemd-sysusers(8): users and groups that are missing are added to /etc/passwd and /etc/group, and never removed.
    _Class(
        _LIB + r"/sysusers\.d/[^/]+\.conf",
        "sysusers file",
        ("systemd-sysusers",),
        by_file=True,
        lasting="the users and groups stay in /etc when the overlay is gone",
    ),
    # systemd-tmpfiles(8): "If only the basename of a configuration file is specified, all configuration directories
    # are searched", so that the administrator's override counts.
    _Class(
        _LIB + r"/tmpfiles\.d/[^/]+\.conf",  # noqa: S108 (no temporary file)
        "tmpfiles file",
        ("systemd-tmpfiles", "--create"),
        by_file=True,
        lasting="what it makes stays when the overlay is gone",
    ),
    # depmod(8): the lists of one kernel version, beside its modules.
    _Class(
        r"/usr/lib/modules/(?P<where>[^/]+)/.+\.ko(?:\.(?:gz|xz|zst))?",
        "kernel module",
        ("depmod", "{where}"),
        writes=("/usr/lib/modules/{where}/modules.*",),
    ),
    # What the units of the same names do at a boot: modules-load.d(5), sysctl.d(5), binfmt.d(5).
    _Class(
        _LIB + r"/modules-load\.d/[^/]+\.conf",
        "list of kernel modules",
        ("systemd-modules-load",),
        by_file=True,
        lasting="the modules stay loaded until a reboot",
    ),
    _Class(
        _LIB + r"/sysctl\.d/[^/]+\.conf",
        "sysctl file",
        ("systemd-sysctl",),
        by_file=True,
        lasting="the settings stay until a reboot",
    ),
    _Class(
        _LIB + r"/binfmt\.d/[^/]+\.conf",
        "binary format",
        ("systemd-binfmt",),
        by_file=True,
        lasting="the formats stay until a reboot",
    ),
    # systemd-hwdb(8): with --usr the database is written to /usr/lib/udev, so into the overlay, and goes with it.
    # Without it goes to /etc, where it would outlive the overlay, and hide the image's own for good.
    _Class(
        r"/usr/lib/udev/hwdb\.d/[^/]+\.hwdb",
        "hardware database file",
        ("systemd-hwdb", "update", "--usr"),
        writes=("/usr/lib/udev/hwdb.bin",),
    ),
    # udevadm(8): a reload "does not apply any changes to already existing devices", which is what `trigger` is for;
    # systemd.link(5) files are read by udevd too. At a boot the devices of the initramfs are there already.
    *(
        _Class(
            _LIB + r"/(?:udev/(?:rules\.d/[^/]+\.rules|hwdb\.d/[^/]+\.hwdb)|systemd/network/[^/]+\.link)",
            "udev file",
            ("udevadm", *words),
            needs=_UDEV_RUNS,
        )
        for words in (("control", "--reload"), ("trigger", "--action=change"))
    ),
    # glib-compile-schemas(1).
    _Class(
        r"/usr/share/glib-2\.0/schemas/[^/]+\.(?:gschema\.xml|gschema\.override|enums\.xml)",
        "settings schema",
        ("glib-compile-schemas", "/usr/share/glib-2.0/schemas"),
        writes=("/usr/share/glib-2.0/schemas/gschemas.compiled",),
    ),
    # gtk-update-icon-cache(1). Where there is no cache GTK looks at the directories themselves.
    _Class(
        r"/usr/share/icons/(?P<where>[^/]+)/.+\.(?:png|svg|svgz|xpm|icon)",
        "icon",
        ("gtk-update-icon-cache", "--quiet", "--force", "/usr/share/icons/{where}"),
        needs="/usr/share/icons/{where}/icon-theme.cache",
        writes=("/usr/share/icons/{where}/icon-theme.cache",),
    ),
    # update-desktop-database(1).
    _Class(
        r"/usr/share/applications/.+\.desktop",
        "desktop entry",
        ("update-desktop-database", "--quiet", "/usr/share/applications"),
        writes=("/usr/share/applications/mimeinfo.cache",),
    ),
    # update-mime-database(1): everything below the directory but packages/ is made by it.
    _Class(
        r"/usr/share/mime/packages/[^/]+\.xml",
        "MIME description",
        ("update-mime-database", "/usr/share/mime"),
        writes=("/usr/share/mime/[!p]*", "/usr/share/mime/p[!a]*"),
    ),
    # org.freedesktop.DBus.ReloadConfig: https://dbus.freedesktop.org/doc/dbus-specification.html
    _Class(
        r"/usr/share/dbus-1/(?:system-services|system\.d)/[^/]+",
        "D-Bus file",
        ("busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig"),
        needs=_BUS_RUNS,
    ),
    # systemctl(1), daemon-reload: "Rerun all generators, reload all unit files, and recreate the dependency tree."
    _Class(
        _LIB + r"/systemd/(?:system|system-generators)/.+",
        "system unit",
        ("systemctl", "daemon-reload"),
        needs=SYSTEMD_RUNS,
    ),
)

_ANY = "|".join(kind.pattern.replace("(?P<where>", "(?:") for kind in _CLASSES)
"""What all of them fit together: of ten thousand changed paths hardly any is in a class."""

_OTHER_NAMES = {"gtk-update-icon-cache": ("gtk4-update-icon-cache", "gtk-update-icon-cache-3.0")}

_LIBRARY = re.compile(r".*/lib[^/]+\.so(?:\.[^/]+)?")
_TRUSTED = re.compile(r"/(?:usr/)?lib(?:64|32|x32)?(?:/[\w]+-linux-[\w]+)?")

_USER_UNIT = re.compile(_LIB + r"/systemd/user/.+")


def needed_triggers(host: Host, target: str, paths: Iterable[str]) -> tuple[RunTrigger, ...]:
    """What must be run after these paths, relative to ``target``, changed; nothing whose tool the host lacks.

    Each trigger stands for all paths of its class. A tool that the change itself brings is not found.
    """
    changed = _absolute(target, paths)
    return (*_library_cache(host, changed), *_by_class(host, changed))


def notes_on(host: Host, target: str, paths: Iterable[str]) -> tuple[str, ...]:
    """What to say of these paths that no trigger can do."""
    changed = _absolute(target, paths)
    notes = []
    if any(_USER_UNIT.fullmatch(path) for path in changed):
        # There is no reload of all users' managers: `systemctl --global` only enables and disables, systemctl(1).
        notes.append("user units changed: each user who is logged in runs `systemctl --user daemon-reload`")
    if any(path.startswith("/usr/lib/udev/hwdb.d/") for path in changed) and host.exists(_HWDB_OF_ETC):
        # hwdb(7): the database of /etc is read, and the one of /usr is not.
        notes.append(
            f"{_HWDB_OF_ETC} hides what changed in the hardware database: `systemd-hwdb update` writes it anew, and "
            "must be run again when the overlay is gone"
        )
    return tuple(notes)


def derived_globs(target: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Globs, relative to ``target``, of what triggers write into it because of these paths.

    A change that fits one of them (fnmatch.fnmatchcase, where ``*`` fits a slash too) is made of managed ones.
    """
    globs: dict[str, None] = {}
    writing = [kind for kind in _CLASSES if kind.writes]
    for kind, where, _ in _grouped(_absolute(target, paths), writing):
        globs.update((text.format(where=where), None) for text in kind.writes)
    prefix = target.rstrip("/") + "/"
    return tuple(text.removeprefix(prefix) for text in globs if text.startswith(prefix))


def _absolute(target: str, paths: Iterable[str]) -> list[str]:
    front = target.rstrip("/") + "/"
    return [front + path for path in paths]


def _by_class(host: Host, changed: list[str]) -> Iterator[RunTrigger]:
    for kind, where, paths in _grouped(changed):
        from ovlay.plan.triggering import RunTrigger

        tool = _tool(host, kind.argv[0])
        if tool is None or (kind.argv[0] == "systemd-hwdb" and host.exists(_HWDB_OF_ETC)):
            continue
        needs = kind.needs.format(where=where)
        if kind.writes and needs and not host.exists(needs):  # a cache that is not there need not be kept
            continue
        yield RunTrigger(
            argv=(tool, *(word.format(where=where) for word in kind.argv[1:])),
            reason=_reason(len(paths), kind.noun),
            paths=len(paths),
            needs=needs,
            files=tuple(paths) if kind.by_file else (),
            lasting=kind.lasting,
            writes=tuple(text.format(where=where) for text in kind.writes),
        )


def _grouped(changed: list[str], classes: Iterable[_Class] = _CLASSES) -> Iterator[tuple[_Class, str, list[str]]]:
    """The classes that some of the paths are in, with the value of ``where`` and the paths."""
    concerned = list(filter(re.compile(_ANY).fullmatch, changed))
    for kind in classes:
        pattern = re.compile(kind.pattern)
        found: dict[str, list[str]] = {}
        for path in concerned:
            if fits := pattern.fullmatch(path):
                found.setdefault(fits.groupdict().get("where") or "", []).append(path)
        for where in sorted(found):
            yield kind, where, found[where]


def _library_cache(host: Host, changed: list[str]) -> Iterator[RunTrigger]:
    """ldconfig, only for libraries in directories that ld.so.conf names and ld.so does not search of itself.

    /etc/ld.so.cache is no part of the overlay, and on ostree a changed file of /etc is carried into every later
    deployment. ld.so(8) looks into the cache first and then into its default directories, and passes over an entry
    whose file is missing: so a library in a default directory needs no cache, and a stale cache does no harm.
    """
    libraries = [path for path in changed if ".so" in path and _LIBRARY.fullmatch(path)]
    if not libraries:
        return
    configured = {normal(line) for line in _configured_directories(host)}
    needing = [
        path
        for path in libraries
        if (folder := posixpath.dirname(path)) in configured and not _TRUSTED.fullmatch(folder)
    ]
    tool = host.find_tool("ldconfig")
    if not needing or tool is None:
        return
    from ovlay.plan.triggering import RunTrigger

    yield RunTrigger(
        argv=(tool,),
        reason=_reason(len(needing), "library", "libraries") + ", where only the cache leads to",
        paths=len(needing),
        needs="",
        files=(),
        lasting="/etc/ld.so.cache outlives the overlay: run `ldconfig` again when that is gone",
        writes=(),
    )


def _configured_directories(
    host: Host, file: str = "/etc/ld.so.conf", seen: frozenset[str] = frozenset()
) -> Iterator[str]:
    """The directories of ld.so.conf and the files that it includes: ldconfig(8)."""
    from fnmatch import fnmatchcase

    for line in (host.read(file) or "").splitlines():
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for glob in words[1:]:
                folder, name = posixpath.split(posixpath.join(posixpath.dirname(file), glob))
                for entry in host.entries(folder):
                    path = posixpath.join(folder, entry)
                    if fnmatchcase(entry, name) and path not in seen:
                        yield from _configured_directories(host, path, seen | {file})
        else:
            yield from (word for word in words if word.startswith("/"))


def _tool(host: Host, name: str) -> str | None:
    """The path of a tool, under any of its names; systemd keeps those of its units beside them."""
    for known in (name, *_OTHER_NAMES.get(name, ())):
        if found := host.find_tool(known):
            return found
    helper = f"{_HELPERS}/{name}"
    return helper if name.startswith("systemd-") and host.exists(helper) else None


def _reason(count: int, noun: str, many: str = "") -> str:
    return f"{counted(count, noun, many)} changed"
