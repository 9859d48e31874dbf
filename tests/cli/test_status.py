"""``ovlay status``: for a person, and for a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from ovlay import config
from ovlay.backend import NOT_TO_BE_COVERED
from ovlay.changes.change import Changes
from ovlay.cli.status import Seen, changed_files, details, headline, size, stack_table, tool_words
from ovlay.errors import Conflict, NotPermitted, OvlayError
from ovlay.model import Access, Anomaly, AnomalyKind, Backing, Layer, Mode, Owner, Persistence, Status
from ovlay.overlay import Overlay
from ovlay.survey import _of_the_space

if TYPE_CHECKING:
    from ovlay.simulated import SimulatedHost
    from tests.cli.conftest import Cli


def test_no_overlay(cli: Cli) -> None:
    said = cli("status")
    assert said.status == 0
    assert said.out.startswith("/usr: no overlay\n")
    assert "`ovlay enable` makes it writable" in said.out
    assert cli("status", "--json").document("status")["active"] is False


def test_an_overlay(cli: Cli) -> None:
    cli("enable", "--yes")
    said = cli("status")
    assert said.out.startswith("/usr: read-write, transient overlay (by ovlay itself)\n")
    assert "\n  changes   /run/ovlay/overlays/" in said.out
    assert " free (tmpfs, in memory)\n" in said.out
    assert "\n  reboot    takes it away, and what is in it\n" in said.out
    assert "ovlay enable" not in said.out
    document = cli("status", "--json").document("status")
    assert document["mode"] == {"access": "read-write", "persistence": "transient"}
    assert document["overlay"]["owner"] == "ovlay"


def test_a_persistent_overlay_stays(cli: Cli) -> None:
    cli("enable", "--yes", "--persistent")
    again = "`ovlay enable --persistent` puts it there again"
    assert f"\n  reboot    keeps the changes; {again}\n" in cli("status").out
    cli.host.reboot()
    assert cli("status", "--json").document("status")["active"] is False  # as it was said
    cli("enable", "--yes", "--persistent")
    assert cli("status", "--json").document("status")["active"] is True


@pytest.mark.parametrize(
    ("owner", "mode", "target", "line"),
    [
        (Owner.TOOL, Mode(Access.READ_WRITE, Persistence.PERSISTENT), "/usr", "keeps it"),
        (
            Owner.OVLAY,
            Mode(Access.READ_ONLY, Persistence.PERSISTENT),
            "/opt",
            "keeps the changes; `ovlay enable --read-only --persistent --target /opt` puts it there again",
        ),
        (Owner.TOOL, Mode(), "/usr", "takes it away, and what is in it"),
    ],
)
def test_what_a_reboot_does_depends_on_who_mounted_it(owner: Owner, mode: Mode, target: str, line: str) -> None:
    status = Status(backend="ostree", target=target, active=True, writable=True, mode=mode, overlay=layer(owner))
    assert f"  reboot    {line}" in details(status)


def test_verbose_shows_every_mount(cli: Cli) -> None:
    cli("enable", "--yes")
    out = cli("status", "-v").out
    assert "mounts, lowest first:" in out
    assert "overlay   read-write by ovlay (source ovlay)" in out
    assert "         upper /run/ovlay/overlays/" in out


def test_quiet_still_answers(cli: Cli) -> None:
    assert cli("status", "-q").out.startswith("/usr: no overlay\n")


def test_the_flags_may_stand_after_the_verb(cli: Cli) -> None:
    said = cli.plain("status", "--json", "--backend", "fake", "--root", cli.host.root)
    assert said.document("status")["backend"] == "fake"


def layer(owner: Owner) -> Layer:
    return Layer(30, owner, "overlay", "overlay", "0:40", Access.READ_ONLY, Access.READ_ONLY, ("usr",), "/x/upper")


@pytest.mark.parametrize(
    ("owner", "writable", "active", "line"),
    [
        (Owner.TOOL, False, True, "/usr: read-only, persistent overlay (by ostree)"),
        (Owner.OVLAY, False, True, "/usr: read-only, persistent overlay (by ovlay itself)"),
        (None, True, False, "/usr: writable, but by no overlay"),
        (None, False, False, "/usr: no overlay"),
    ],
)
def test_the_headline(owner: Owner | None, line: str, *, writable: bool, active: bool) -> None:
    status = Status(
        backend="ostree",
        target="/usr",
        active=active,
        writable=writable,
        mode=Mode(Access.READ_ONLY, Persistence.PERSISTENT) if active else None,
        overlay=layer(owner) if owner else None,
    )
    assert headline(status) == line


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"access": Access.READ_WRITE, "superblock": Access.READ_WRITE}, "/usr: read-write overlay of somebody else"),
        ({"access": Access.READ_WRITE}, "/usr: read-only overlay of somebody else"),
        (
            {"access": Access.READ_WRITE, "superblock": Access.READ_WRITE, "upper": None},
            "/usr: read-only overlay of somebody else",
        ),
    ],
)
def test_somebody_elses_overlay_is_one(changed: dict[str, Any], line: str) -> None:
    stack = (layer(Owner.IMAGE), layer(Owner.FOREIGN)._replace(**changed))
    status = Status(backend="ostree", target="/usr", active=False, writable=True, stack=stack)
    assert headline(status) == f"{line} (source overlay)"


@pytest.mark.parametrize("kind", NOT_TO_BE_COVERED)
def test_what_would_be_refused_is_not_offered(kind: AnomalyKind) -> None:
    odd = (Anomaly(kind, "detail", "remedy"),)
    status = Status(backend="ostree", target="/usr", active=False, writable=True, anomalies=odd)
    lines = list(details(status))
    assert lines[-2:] == [f"  {kind}: detail", "    next: remedy"]
    assert not [line for line in lines if "ovlay enable" in line]


def test_over_a_foreign_overlay_the_next_step_is_true(cli: Cli, host: SimulatedHost) -> None:
    for name in ("upper", "work"):
        (Path(host.root) / name).mkdir()
    host.kernel.mount_overlay(
        "/usr", lower=("/usr",), upper="/upper", work="/work", access=Access.READ_WRITE, source="foreign"
    )
    out = cli("status").out
    assert out.startswith("/usr: read-write overlay of somebody else (source foreign)\n")
    assert "take it away with `umount /usr`" in out
    assert "ovlay enable" not in out
    assert cli("enable", "--yes").status == 5


def test_the_tools_name_is_in_the_table() -> None:
    status = Status(backend="ostree", target="/usr", active=True, writable=False, stack=(layer(Owner.TOOL),))
    assert any("by ostree (source overlay)" in line for line in stack_table(status))
    assert list(tool_words("ostree", "one\ntwo\n")) == ["what ostree says itself:", "  one", "  two"]
    assert list(tool_words("ostree", None)) == []


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (10 << 20, "10 MiB"), (1 << 62, "4096 PiB")],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


# --- what changed ----------------------------------------------------------------------------------------------------


def change_something(cli: Cli, many: int = 0) -> None:
    cli("enable", "--yes")
    usr = Path(cli.host.root) / "usr"
    (usr / "bin/old").write_text("new\n")
    for number in range(many):
        (usr / f"bin/tool-{number:02}").write_text("x")


def test_the_changed_files_are_listed(cli: Cli) -> None:
    change_something(cli, 2)
    out = cli("status").out
    assert out.endswith(
        "Modified files:\n  /usr/bin/old (replaced)\n  /usr/bin/tool-00 (added)\n  /usr/bin/tool-01 (added)\n"
    )
    assert cli("status", "--json").document("status").keys().isdisjoint({"changes", "changes_size"})


def test_the_other_fates(cli: Cli, host: SimulatedHost) -> None:
    with host.kernel.unsealed("/usr") as base:
        for name in ("gone", "mode", "type"):
            (Path(base) / name).write_text("x")
            (Path(base) / name).chmod(0o644)
    cli("enable", "--yes")
    usr = Path(cli.host.root) / "usr"
    (usr / "gone").unlink()
    (usr / "mode").chmod(0o600)
    (usr / "type").unlink()
    (usr / "type").mkdir()
    assert cli("status").out.endswith(
        "Modified files:\n  /usr/gone (deleted)\n  /usr/mode (attributes)\n  /usr/type (replaced)\n"
    )


def test_only_the_first_ones_unless_all_are_asked_for(cli: Cli) -> None:
    change_something(cli, 12)
    out = cli("status").out
    assert out.count(" (added)\n") == 9
    assert out.endswith("\n  and 3 more: `ovlay status --changes` lists them all\n")
    assert cli("status", "--changes").out.count(" (added)\n") == 12


def test_the_changes_are_in_the_document_where_they_are_asked_for(cli: Cli) -> None:
    assert cli("status", "--json", "--changes").document("status")["changes"] is None
    change_something(cli)
    document = cli("status", "--json", "--changes").document("status")
    assert [change["path"] for change in document["changes"]["changes"]] == ["bin/old"]
    assert document["changes_size"] > 0


def test_nothing_changed(cli: Cli) -> None:
    cli("enable", "--yes")
    assert "Modified files: none\n" in cli("status").out
    cli("unmount", "--yes")
    assert "Modified files" not in cli("status").out


def test_what_the_configuration_ignores_is_not_listed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_something(cli, 1)
    (tmp_path / "c.toml").write_text('ignore = ["tool-*"]\n')
    (tmp_path / "c.toml").chmod(0o644)
    monkeypatch.setattr(config, "config_files", lambda: (str(tmp_path / "c.toml"),))
    assert cli("status").out.endswith("Modified files:\n  /usr/bin/old (replaced)\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NotPermitted("only root"), "Modified files: root sees them\n"),
        (Conflict("the overlay is gone"), "Modified files: they cannot be listed: the overlay is gone\n"),
    ],
)
def test_what_cannot_be_seen_is_no_failure(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: OvlayError, line: str
) -> None:
    change_something(cli)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr(Overlay, "changes", refuse)
    said = cli("status")
    assert said.status == 0
    assert line in said.out
    assert cli("status", "--json", "--changes").document("status")["changes"] is None


def test_a_list_that_is_not_complete_says_so() -> None:
    found = Changes("/usr", (), complete=False, errors={"x": "Permission denied"})
    assert list(changed_files(Seen(found, None), most=10))[-1] == (
        "  and perhaps more: 1 path could not be looked at, see `ovlay diff`"
    )


def test_status_for_programs_does_not_load_what_looks_for_changes(cli: Cli) -> None:
    """It must stay fast: the search is for those who ask for it."""
    cli("enable", "--yes")
    code = f"import sys; from ovlay.cli.main import main; main({cli.argv('status', '--json')[-6:]!r}); "
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert '"ovlay.status/1"' in done.stdout
    loaded = done.stderr.split()
    assert "ovlay.cli.status" in loaded
    assert not {"ovlay.changes.find", "ovlay.changes.classify", "ovlay.holders", "pathspec"} & set(loaded)


# --- room ------------------------------------------------------------------------------------------------------------


def test_the_room_that_the_changes_take(cli: Cli) -> None:
    cli("enable", "--yes")
    (Path(cli.host.root) / "usr/large").write_bytes(b"x" * (3 << 20))
    cli.host.kernel.sync("/usr")
    assert "\n  space     3.0 MiB in changes; 3.0 MiB used, " in cli("status").out


def test_memory_that_fills_is_odd() -> None:
    backing = Backing("tmpfs", in_memory=True, total=1000, used=801, free=199)
    full = [*_of_the_space("/usr", backing)]
    assert [anomaly.kind for anomaly in full] == [AnomalyKind.NEARLY_FULL]
    assert "80 % of it is used" in full[0].detail
    assert "ovlay diff --stat" in full[0].remedy
    for fine in (backing._replace(used=800), backing._replace(in_memory=False), None):
        assert [*_of_the_space("/usr", fine)] == []


def test_memory_that_fills_is_told_by_the_command(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.toml").write_text('tmpfs-size = "1M"\n')
    (tmp_path / "c.toml").chmod(0o644)
    monkeypatch.setattr(config, "config_files", lambda: (str(tmp_path / "c.toml"),))
    cli("enable", "--yes")
    assert "nearly-full" not in cli("status").out
    (Path(cli.host.root) / "usr/large").write_bytes(b"x" * 900_000)
    cli.host.kernel.sync("/usr")
    assert "\n  nearly-full: the tmpfs that takes the changes of /usr is in memory, and 8" in cli("status").out
    kinds = [anomaly["kind"] for anomaly in cli("status", "--json").document("status")["anomalies"]]
    assert kinds == ["nearly-full"]
