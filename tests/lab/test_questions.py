"""What changed and who uses it, on real ostree: ovlay diff, status, and holders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.lab.conftest import COMPOSEFS, FORKY, TRIXIE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost
    from tests.lab.recipe import Recipe


with_sources = pytest.mark.usefixtures("sources")

EDITS = "printf '# more\\n' >> /usr/lib/os-release; rm /usr/bin/factor; chmod 700 /usr/bin/ls; touch /usr/bin/cat"
ANSWER = {"bin/factor": "deleted", "bin/ls": "metadata", "lib/os-release": "modified", "share/one": "added"}
"""What is to be said after these edits, and after ``share/one`` was installed: the same on every host."""


def listed(host: LabHost, *words: str) -> dict[str, str]:
    """What ovlay diff says: each path with what happened."""
    said = host.ovlay("diff", "--json", *words, check=False)
    document: dict[str, Any] = said.json()
    assert document["complete"], document["errors"]
    assert said.status == (1 if document["changes"] else 0)
    return {change["path"]: change["kind"] for change in document["changes"]}


@with_sources
def test_what_changed(host: LabHost) -> None:
    refused = host.ovlay("diff", check=False)
    assert (refused.status, "there is no overlay on /usr" in refused.stderr) == (5, True)
    host.ovlay("enable", "--yes")
    assert listed(host) == {}
    host.ovlay("install", "--yes", "-m", "0644", "/tmp/one", "/usr/share/one")
    host.sh(EDITS)
    assert listed(host) == ANSWER
    patch = host.ovlay("diff", "--patch", "/usr/lib/os-release", check=False).stdout
    assert "\n--- a/usr/lib/os-release\n+++ b/usr/lib/os-release\n" in patch
    assert patch.endswith("\n+# more\n")
    status = host.ovlay("status").stdout
    assert status.endswith(
        "Modified files:\n  /usr/bin/factor (deleted)\n  /usr/bin/ls (attributes)\n"
        "  /usr/lib/os-release (replaced)\n  /usr/share/one (added)\n"
    )
    assert host.ovlay("diff", "--ignore", "/bin/", "--name-only", check=False).stdout == (
        "/usr/lib/os-release\n/usr/share/one\n"
    )


@pytest.mark.parametrize("recipe", [TRIXIE, FORKY, COMPOSEFS], ids=["trixie", "forky", "composefs"])
def test_the_same_with_sysext_and_without_what_extensions_brought(
    boot: Callable[[Recipe], LabHost], recipe: Recipe
) -> None:
    host = boot(recipe)
    by = ("--backend", "sysext")
    host.ovlay("enable", "--yes", *by)
    assert listed(host, *by) == {}
    host.sh("echo one >/tmp/one")
    host.ovlay("install", "--yes", *by, "-m", "0644", "/tmp/one", "/usr/share/one")
    host.sh(EDITS)
    assert listed(host, *by) == ANSWER
    place = "/run/extensions/other/usr"
    host.sh(
        f"mkdir -p {place}/lib/extension-release.d {place}/share/brought; echo ext >{place}/share/brought/ext;"
        f"echo ID=_any >{place}/lib/extension-release.d/extension-release.other"
    )
    host.run("systemd-sysext", "refresh", "--mutable=yes")
    assert host.sh("cat /usr/share/brought/ext") == "ext\n"
    assert listed(host, *by) == ANSWER
    assert "brought" not in host.ovlay("status", "--changes", *by).stdout
    host.sh("echo mine >/usr/share/brought/mine")
    assert listed(host, *by) == {**ANSWER, "share/brought/mine": "added"}


def test_one_who_is_not_root_is_told_so(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    assert host.ovlay("diff", check=False, user=65534).status == 6
    assert "Modified files: root sees them" in host.ovlay("status", user=65534).stdout
    said = host.ovlay("holders", "--json", user=65534)
    assert said.json()["changed"] is None
    assert said.json()["complete"] is False


@with_sources
def test_who_runs_what_was_replaced(host: LabHost) -> None:
    """Started from the image, before there was an overlay: it uses none, and must be restarted."""
    old = host.start("echo ready; exec sleep 300")
    host.ovlay("enable", "--yes")
    new = host.start("echo ready; exec sleep 301")
    host.sh("cp -p /usr/bin/sleep /run/sleep; printf x >> /run/sleep")
    host.ovlay("install", "--yes", "/run/sleep", "/usr/bin/sleep")
    latest = host.start("echo ready; exec sleep 302")
    found = host.ovlay("holders", "--json").json()
    outdated = {process["pid"]: process["outdated"] for process in found["changed"]}
    assert outdated == {old: True, new: True, latest: False}
    using = {process["pid"] for process in found["holders"]}
    assert {new, latest} <= using
    assert old not in using
    said = host.ovlay("holders").stdout
    assert "/usr/bin/sleep (exe, mapped file; outdated)" in said
    host.ovlay("unmount", "--lazy", "--yes")
    left = {process["pid"] for process in host.ovlay("holders", "--json").json()["left_behind"]}
    assert {new, latest} <= left
    for pid in (old, new, latest):
        host.end(pid)
    assert host.ovlay("holders", "--json").json()["left_behind"] == []
