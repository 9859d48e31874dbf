"""Real systemd-sysext 257 and 262, with its driver; and system extensions merged over and under an ostree unlock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.conftest import BOOKWORM, COMPOSEFS, FORKY, TRIXIE
from tests.lab.witness import fingerprint, kinds, sealed, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost
    from tests.lab.recipe import Recipe

EXTENSION = "/run/extensions/other/usr"
_RECIPES = {recipe.name: recipe for recipe in (TRIXIE, FORKY, COMPOSEFS)}


@pytest.fixture(params=list(_RECIPES.values()), ids=list(_RECIPES))
def host(request: pytest.FixtureRequest, boot: Callable[[Recipe], LabHost]) -> LabHost:
    """A host with a systemd-sysext that has ``--mutable``."""
    recipe: Recipe = request.param
    found = boot(recipe)
    found.sh("echo one >/tmp/one; echo two >/tmp/two")
    return found


def add_extension(host: LabHost) -> None:
    """Install somebody's system extension; it is not merged yet."""
    host.sh(
        f"mkdir -p {EXTENSION}/lib/extension-release.d {EXTENSION}/share;"
        f"echo ID=_any >{EXTENSION}/lib/extension-release.d/extension-release.other; echo ext >{EXTENSION}/share/ext"
    )


def odd(host: LabHost) -> set[str]:
    """The anomalies that the driver names."""
    return {anomaly["kind"] for anomaly in state(host, "sysext")["anomalies"]}


def test_the_four_verbs(host: LabHost) -> None:
    host.ovlay("enable", "--yes", "--backend", "sysext")
    assert host.stack()[-1] == "overlay sysext rw"
    assert host.writable()
    host.ovlay("install", "--yes", "--backend", "sysext", "/tmp/one", "/usr/share/one")
    found = state(host, "sysext")
    assert (found["active"], found["mode"]) == (True, {"access": "read-write", "persistence": "transient"})
    assert found["backing"]["in_memory"] is True
    assert host.sh(f"cat {found['upper_path']}/share/one") == "one\n"
    assert host.sh("stat -c %a:%u:%g /usr") == "755:0:0\n"
    again = host.ovlay("enable", "--yes", "--backend", "sysext")
    assert "already" in again.stdout
    host.ovlay("unmount", "--yes", "--backend", "sysext")
    assert sealed(host)
    assert host.sh("find /run/extensions /var/lib/extensions.mutable -mindepth 1 2>/dev/null || true") == ""
    assert not state(host, "sysext")["active"]


def test_a_refresh_by_somebody_else_keeps_the_work(host: LabHost) -> None:
    host.ovlay("enable", "--yes", "--backend", "sysext")
    host.ovlay("install", "--yes", "--backend", "sysext", "/tmp/one", "/usr/share/one")
    add_extension(host)
    host.run("systemd-sysext", "refresh")
    assert not host.writable()  # it did not ask for --mutable=yes
    assert host.sh("cat /usr/share/ext /var/lib/extensions.mutable/usr/share/one") == "ext\none\n"
    assert not state(host, "sysext")["active"]
    host.ovlay("enable", "--yes", "--backend", "sysext")
    host.ovlay("install", "--yes", "--backend", "sysext", "/tmp/two", "/usr/share/two")
    assert host.sh("cat /usr/share/ext /usr/share/one /usr/share/two") == "ext\none\ntwo\n"
    host.ovlay("unmount", "--yes", "--backend", "sysext")
    assert host.sh("cat /usr/share/ext; ls /usr/share/one 2>/dev/null || echo gone") == "ext\ngone\n"
    assert not host.writable()


def test_an_unmerge_by_somebody_else(host: LabHost) -> None:
    """Who still uses that view has its upper: the next overlay gets another one, and `unmount` clears up."""
    for verb in ("enable", "unmount"):
        host.ovlay("enable", "--yes", "--backend", "sysext")
        host.sh("echo one >/usr/share/one; systemd-sysext unmerge")
        assert not state(host, "sysext")["active"]
        assert odd(host) == {"leftover-upper"}
        assert host.sh("cat /var/lib/extensions.mutable/usr/share/one") == "one\n"
        host.ovlay(verb, "--yes", "--backend", "sysext")
        assert host.sh("ls /usr/share/one 2>/dev/null || echo gone") == "gone\n"
        assert "leftover-upper" not in odd(host)
    assert host.sh("find /run/extensions /var/lib/extensions.mutable -mindepth 1 2>/dev/null || true") == ""
    assert sealed(host)


def test_an_extension_that_was_merged_before_stays(host: LabHost) -> None:
    add_extension(host)
    host.run("systemd-sysext", "merge")
    assert not host.writable()
    host.ovlay("enable", "--yes", "--backend", "sysext")
    assert host.writable()
    host.ovlay("install", "--yes", "--backend", "sysext", "/tmp/one", "/usr/share/one")
    assert host.sh("cat /usr/share/ext /usr/share/one") == "ext\none\n"
    host.ovlay("unmount", "--yes", "--backend", "sysext")
    assert host.sh("cat /usr/share/ext; ls /usr/share/one 2>/dev/null || echo gone") == "ext\ngone\n"
    assert not host.writable()
    host.run("systemd-sysext", "unmerge")
    assert sealed(host)


def test_a_holder_makes_unmount_busy_and_is_named(host: LabHost) -> None:
    """systemd-sysext itself would unmerge at once: its unmount is always lazy."""
    host.ovlay("enable", "--yes", "--backend", "sysext")
    host.sh("mkdir /usr/share/held; echo kept >/usr/share/held/data")
    pid = host.hold("/usr/share/held")
    refused = host.ovlay("unmount", "--yes", "--backend", "sysext", check=False)
    assert refused.status == 5
    assert f"sleep (pid {pid})" in refused.stderr
    assert host.writable()
    told = host.ovlay("unmount", "--yes", "--backend", "sysext", "--lazy")
    assert f"sleep (pid {pid})" in told.stdout + told.stderr
    assert sealed(host)
    assert host.sh(f"cat /proc/{pid}/cwd/data") == "kept\n"
    host.ovlay("enable", "--yes", "--backend", "sysext")
    assert host.sh("ls /usr/share/held 2>/dev/null || echo pristine") == "pristine\n"
    assert host.sh(f"cat /proc/{pid}/cwd/data") == "kept\n"


def test_another_mode_is_not_what_it_can(host: LabHost) -> None:
    before = fingerprint(host)
    assert host.ovlay("enable", "--yes", "--backend", "sysext", "--read-only", check=False).status == 4
    assert host.ovlay("enable", "--yes", "--backend", "sysext", "--persistent", check=False).status == 4
    assert fingerprint(host) == before


def test_an_old_systemd_says_so(boot: Callable[[Recipe], LabHost]) -> None:
    host = boot(BOOKWORM)
    refused = host.ovlay("enable", "--yes", "--backend", "sysext", check=False)
    assert refused.status == 4
    assert "systemd-sysext 252 has no --mutable" in refused.stderr
    assert sealed(host)


def test_an_unlock_under_a_merge(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    host.ovlay("install", "--yes", "/tmp/one", "/usr/share/one")
    add_extension(host)
    host.run("systemd-sysext", "merge")
    assert host.sh("cat /usr/share/one /usr/share/ext") == "one\next\n"
    assert not host.writable()
    found = state(host)
    assert (found["active"], found["writable"]) == (True, False)
    assert "hidden-by-sysext" in kinds(host)
    before = fingerprint(host)
    for verb in (
        ("install", "--yes", "/tmp/two", "/usr/share/two"),
        ("unmount", "--yes"),
        ("unmount", "--yes", "--lazy"),
    ):
        refused = host.ovlay(*verb, check=False)
        assert refused.status == 5, verb
        assert "systemd-sysext unmerge" in refused.stderr
    assert fingerprint(host) == before
    host.run("systemd-sysext", "unmerge")
    assert host.writable()
    assert host.sh("cat /usr/share/one") == "one\n"
    host.ovlay("unmount", "--yes")
    assert sealed(host)


def test_an_unlock_over_a_merge_is_refused(host: LabHost) -> None:
    add_extension(host)
    host.run("systemd-sysext", "merge")
    before = fingerprint(host)
    refused = host.ovlay("enable", "--yes", check=False)
    assert refused.status == 5
    assert "systemd-sysext unmerge" in refused.stderr
    assert fingerprint(host) == before


def test_an_unlock_that_somebody_put_over_a_merge(host: LabHost) -> None:
    add_extension(host)
    host.run("systemd-sysext", "merge")
    host.run("ostree", "admin", "unlock")
    assert host.sh("ls /usr/share/ext 2>/dev/null || echo hidden") == "hidden\n"
    assert "hides-sysext" in kinds(host)
    assert state(host)["active"] is True
    host.ovlay("unmount", "--yes")
    assert host.sh("cat /usr/share/ext") == "ext\n"
    assert not host.writable()
