"""What is fuzzed: each parser of ovlay as a function of bytes, which raises where the parser breaks its promise.

A check decodes the bytes as the program does, allows the exceptions that are documented and no other, looks at what
came out, and turns it back into text where there is a way back.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ovlay.kernel import Mount


class Target(NamedTuple):
    """A parser, where it is, and the words that its inputs are made of."""

    name: str
    check: Callable[[bytes], None]
    modules: tuple[str, ...]
    words: tuple[str, ...]


def as_file(data: bytes) -> str:
    """The text of a file, as `ovlay.host.Host.read` gives it."""
    return data.decode("utf-8", "surrogateescape")


def as_output(data: bytes) -> str:
    """What a tool printed, as `ovlay.host.Host.run` gives it."""
    return data.decode("utf-8", "backslashreplace")


def check_mountinfo(data: bytes) -> None:
    from ovlay.kernel.mountinfo import parse_mountinfo
    from ovlay.survey import stacking_depth

    table = parse_mountinfo(as_file(data))
    for mount in tuple(table)[:20]:
        assert isinstance(mount.read_only, bool)
        assert isinstance(mount.superblock_read_only, bool)
        assert all(isinstance(layer, str) for layer in (*mount.lower, mount.upper or "", mount.work or ""))
        stack = table.stack(mount.mount_point)
        covering = table.covering(mount.mount_point)
        assert not stack or stack[-1] is covering
        assert stacking_depth(table, mount.mount_point) >= 0
    for mount in tuple(table)[:3]:
        for below in table.below(mount.mount_point):
            assert below.mount_point != mount.mount_point
            assert table.covering(below.mount_point) is below
    again = parse_mountinfo("\n".join(format_mount(mount) for mount in table))
    assert again.mounts == table.mounts


def format_mount(mount: Mount) -> str:
    """The line that the kernel would show for a mount: show_mountinfo() in fs/proc_namespace.c."""

    def escaped(text: str) -> str:
        return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in text)

    def shown(found: re.Match[str]) -> str:
        if not found[0].endswith(","):
            return escaped(found[0])
        return escaped(found[1]) + ("\\054" if len(found[1]) % 2 else ",")

    tail = re.sub(r"(?<!\\)(\\*+),|[ \t\n\\]", shown, mount.super_options)
    words = [str(mount.mount_id), str(mount.parent_id), mount.device, escaped(mount.root), escaped(mount.mount_point)]
    words += [mount.options, *([mount.propagation] if mount.propagation else [])]
    return " ".join([*words, "-", mount.fstype, escaped(mount.source), tail])


def check_ostree(data: bytes) -> None:
    from ovlay_backends.deployment import parse_admin_status, parse_deployment, parse_origin

    word = parse_admin_status(as_output(data))
    assert word is None or word
    for key in ("unlocked", "container-image-reference"):
        value = parse_origin(as_file(data), key)
        assert value is None or value == value.strip()
    for line in as_file(data).split("\n")[:100]:
        deployment = parse_deployment(line)
        if deployment is not None:
            assert parse_deployment(deployment.directory) == deployment


def check_bootc(data: bytes) -> None:
    from ovlay.model import Mode
    from ovlay_backends.bootc import parse_bootc_status, parse_bootc_version

    mode = parse_bootc_status(as_output(data))
    assert mode is None or isinstance(mode, Mode)
    version = parse_bootc_version(as_output(data))
    if version is not None:
        assert parse_bootc_version(f"bootc {version}") == version


def check_sysext(data: bytes) -> None:
    from ovlay_backends.sysext import parse_sysext_status

    merged = parse_sysext_status(as_output(data), "/usr")
    if merged is not None:
        assert all(isinstance(name, str) for name in merged)
        printed = json.dumps([{"hierarchy": "/usr", "extensions": list(merged)}])
        assert parse_sysext_status(printed, "/usr") == merged


def check_config(data: bytes) -> None:
    from ovlay.config import Config, parse_config
    from ovlay.errors import InvalidInput

    try:
        found = parse_config("config.toml", data)
    except InvalidInput:
        return
    config = Config()._replace(**found)
    assert config.target is None or config.target.startswith("/")
    assert config.tmpfs_size is None or config.tmpfs_size > 0
    assert all(isinstance(glob, str) for glob in config.ignore)


def check_os_release(data: bytes) -> None:
    from ovlay.host import parse_os_release

    for key, value in parse_os_release(as_file(data)).items():
        assert key
        assert "\n" not in value


def check_records(data: bytes) -> None:
    from ovlay.errors import InvalidInput
    from ovlay.model import as_json
    from ovlay.plan.directories import DiscardUpper
    from ovlay.plan.unmounting import View

    for parse in (View.from_text, DiscardUpper.from_text):
        try:
            record = parse(as_file(data))
        except InvalidInput:
            continue
        assert record == parse(json.dumps(as_json(record) if isinstance(record, View) else record.to_json()))


def check_plan(data: bytes) -> None:
    from ovlay.errors import InvalidInput
    from ovlay.plan import Plan

    try:
        plan = Plan.from_text(as_file(data))
    except InvalidInput:
        return
    assert all(isinstance(line, str) for line in plan.describe())
    assert Plan.from_text(json.dumps(plan.to_json())) == plan


def check_manifest(data: bytes) -> None:
    from ovlay.manifest.document import InvalidManifest
    from ovlay.manifest.load import parse_manifest

    try:
        manifest = parse_manifest(data.decode("utf-8", "replace"), file="/m/a.toml", folder="/m")
    except InvalidManifest as error:
        problems = error.problems
    else:
        problems = ()
        assert manifest.target.startswith("/")
        for entry in manifest.entries:
            assert entry.path.startswith(manifest.target + "/")
            assert 1 <= entry.origin.line <= data.count(b"\n") + 1
    assert all(problem.line >= 0 and str(problem) for problem in problems)


def check_receipts(data: bytes) -> None:
    from ovlay.receipts import parse_book
    from ovlay.recording import Origins, head_of

    book = parse_book(as_file(data), "id")
    origins = Origins()
    settled = [receipt for receipt in book.receipts.values() if not receipt.pending]
    text = head_of("id") + "".join(origins.line(receipt, "p") for receipt in settled)
    assert list(parse_book(text, "id").receipts.values()) == settled


_JSON = ('"', "\\", "[", "]", "{", "}", ":", ",", "null", "true", "-1", "1e999", "NaN", "Infinity", "\\ud800")
_TOML = (
    *('"""', "'", "[[", "]]", "[", "]", "{", "}", "=", "#", "0x", "0o755", "1979-05-27T07:32:00Z", "inf", "nan"),
    *("\\uD800", "\\u0000", "a.a", "1_0", ",", "\n"),
)

TARGETS = {
    target.name: target
    for target in (
        Target(
            "mountinfo",
            check_mountinfo,
            ("ovlay.kernel.mountinfo", "ovlay.survey"),
            (
                *("1 0 0:1 / / rw - ", " - overlay ", "lowerdir=", "lowerdir+=", "upperdir=", "workdir=", "\\040"),
                *("\\134", "\\054", "\\072", "\\", ",", "::", "/usr", "shared:1", "rw", "ro", "datadir+=", " - "),
            ),
        ),
        Target(
            "ostree",
            check_ostree,
            ("ovlay_backends.deployment",),
            (
                *("* ", "    Unlocked: ", "development", "hotfix", "[origin]", "unlocked=", "/ostree/deploy/", "\n"),
                *("/deploy/", "container-image-reference=", "a" * 64, ".0", " (staged)"),
            ),
        ),
        Target(
            "bootc",
            check_bootc,
            ("ovlay_backends.bootc", "packaging.version", "json.decoder"),
            (
                *_JSON,
                *("status", "usrOverlay", "accessMode", "readWrite", "readOnly", "persistence", "transient"),
                *("persistent", "bootc ", "1.15.0", "rc1", ".post1", ".dev0", "+local", "1!"),
            ),
        ),
        Target(
            "sysext",
            check_sysext,
            ("ovlay_backends.sysext", "json.decoder"),
            (*_JSON, "hierarchy", "/usr", "extensions", "none", "since"),
        ),
        Target(
            "config",
            check_config,
            ("ovlay.config", "ovlay.notation", "tomllib._parser", "tomllib._re", "difflib"),
            (*_TOML, "backend", "target", "tmpfs-size", "ignore", "elevate", "pkexec", "512M", "/opt"),
        ),
        Target(
            "os-release",
            check_os_release,
            ("ovlay.host",),
            ("ID=", "VERSION_ID=", '"', "'", "\\", "\n", "#", "$", "`", "\r\n"),
        ),
        Target(
            "records",
            check_records,
            ("ovlay.plan.unmounting", "ovlay.plan.directories", "ovlay.plan.step", "ovlay.notation", "json.decoder"),
            (*_JSON, "step", "discard-upper", "target", "path", "mount_id", "device", "0:45", "/usr"),
        ),
        Target(
            "plan",
            check_plan,
            ("ovlay.plan.plan", "ovlay.plan.step", "ovlay.plan.steps", "ovlay.notation", "json.decoder"),
            (
                *_JSON,
                *("schema", "ovlay.plan/1", "reason", "warnings", "steps", "step", "describe", "target", "mount_id"),
                *("unmount", "lazy", "carry", "mount-overlay", "place-file", "access", "read-write", "lower", "argv"),
            ),
        ),
        Target(
            "manifest",
            check_manifest,
            ("ovlay.manifest.load", "ovlay.manifest.positions", "ovlay.manifest.fields", "tomllib._parser"),
            (
                *_TOML,
                *("schema = 1\n", "[[file]]\n", "[[tree]]\n", "[[symlink]]\n", "[[absent]]\n", "[[directory]]\n"),
                *("path", "source", "text", "mode", "owner", "group", "label", "replaces", "when", "to", "exclude"),
                *("sha256", "os-release", "image", "checksum", "missing", "present", "overlay", "access", "target"),
            ),
        ),
        Target(
            "receipts",
            check_receipts,
            ("ovlay.receipts", "json.decoder"),
            (
                *_JSON,
                "ovlay.receipts/1",
                "id",
                "o",
                "b",
                "i",
                "p",
                "file",
                "symlink",
                "absent",
                "0",
                "[0,0,0,0,0]",
                "\n",
            ),
        ),
    )
}
"""By the name that the command takes."""
