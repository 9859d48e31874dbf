"""Which directories an overlay can be for: those that the mount table will have under the very same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import ovlay
from ovlay.cli.main import main
from ovlay.host import Host
from ovlay.simulated import SimulatedHost
from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[SimulatedHost]:
    """A host whose /opt is in /var, as on ostree's."""
    with SimulatedHost(str(tmp_path / "host")) as host:
        (tmp_path / "host/var/opt/tools").mkdir(parents=True)
        (tmp_path / "host/opt").symlink_to("var/opt")
        yield host


@pytest.mark.parametrize("driver", ["fake", "overlayfs"])
def test_a_target_that_leads_through_a_link_is_refused_and_the_true_one_is_named(
    host: SimulatedHost, driver: str
) -> None:
    with pytest.raises(ovlay.InvalidInput, match="/opt/tools leads through a link to /var/opt/tools") as refused:
        ovlay.open(driver, target="/opt/tools", host=host)
    assert refused.value.remedy == "say --target /var/opt/tools"
    overlay = ovlay.open(driver, target="/var/opt/tools", host=host)
    overlay.enable()
    assert overlay.status().active
    overlay.unmount()


def test_so_it_is_where_the_driver_is_detected(host: SimulatedHost) -> None:
    with pytest.raises(ovlay.InvalidInput, match="leads through a link"):
        ovlay.detect(target="/opt", host=host)


@pytest.mark.parametrize("words", [("status",), ("enable", "--yes"), ("unmount", "--yes"), ("backends",)])
def test_every_verb_says_so(host: SimulatedHost, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    asked = (*words, "--root", host.root, "--target", "/opt/tools")
    assert main([*asked, *(() if words == ("backends",) else ("--backend", "fake"))]) == 2
    assert "next: say --target /var/opt/tools" in capsys.readouterr().err
    assert not [mount for mount in host.kernel.mounts() if mount.is_overlay]


@pytest.mark.parametrize(
    ("links", "path", "real"),
    [
        ({}, "/usr", "/usr"),
        ({}, "/usr/missing/deeper", "/usr/missing/deeper"),
        ({"opt": "var/opt"}, "/opt/tools", "/var/opt/tools"),
        ({"opt": "/var/opt"}, "/opt", "/var/opt"),
        ({"a/b": "../c/d", "c/d": "/usr"}, "/a/b/lib", "/usr/lib"),
        ({"out": "../../../../etc"}, "/out/x", "/etc/x"),
        ({"round": "round"}, "/round/x", "/round/x"),
    ],
)
def test_links_are_followed_within_the_host(tmp_path: Path, links: dict[str, str], path: str, real: str) -> None:
    for name, text in links.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(text)
    assert Host(str(tmp_path)).resolved(path) == real


def test_a_manifest_with_the_other_name_is_told_the_true_one(host: SimulatedHost, tmp_path: Path) -> None:
    manifest = tmp_path / "m.toml"
    manifest.write_text('schema = 1\ntarget = "/opt/tools"\n[[file]]\npath = "/opt/tools/x"\ntext = ""\n')
    overlay = ovlay.open("fake", target="/var/opt/tools", host=host)
    with pytest.raises(ovlay.InvalidInput) as refused:
        overlay.drift([manifest])
    assert refused.value.remedy == "write /var/opt/tools in it: /opt/tools leads there through a link"


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    with case.host:
        yield case


@pytest.mark.parametrize("kind", ["mount_overlay", "mount_tmpfs"])
def test_what_was_mounted_somewhere_else_is_taken_away_again(
    case: Case, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory on the way may be exchanged for a link between the look at it and the mount."""
    kernel, elsewhere = case.host.kernel, "/elsewhere"
    (case.scratch / "host/elsewhere").mkdir()
    mount = getattr(kernel, kind)

    def mislead(path: str, **how: Any) -> Any:
        del path
        return mount(elsewhere, **how)

    before = [found.mount_point for found in kernel.mounts()]
    monkeypatch.setattr(kernel, kind, mislead)
    with pytest.raises(ovlay.Conflict, match="is not what is on it"):
        case.overlay.enable()
    assert [found.mount_point for found in kernel.mounts()] == before
    monkeypatch.undo()
    assert case.overlay.enable().changed
