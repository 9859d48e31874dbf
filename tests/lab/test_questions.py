"""What changed and who uses it, on real ostree: ovlay diff, status, and holders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.lab.host import LabHost

pytestmark = pytest.mark.usefixtures("sources")


def listed(host: LabHost, *words: str) -> dict[str, str]:
    """What ovlay diff says: each path with what happened."""
    said = host.ovlay("diff", "--json", *words, check=False)
    document: dict[str, Any] = said.json()
    assert document["complete"], document["errors"]
    assert said.status == (1 if document["changes"] else 0)
    return {change["path"]: change["kind"] for change in document["changes"]}


def test_what_changed(host: LabHost) -> None:
    refused = host.ovlay("diff", check=False)
    assert (refused.status, "there is no overlay on /usr" in refused.stderr) == (5, True)
    host.ovlay("enable", "--yes")
    assert listed(host) == {}
    host.ovlay("install", "--yes", "-m", "0644", "/tmp/one", "/usr/share/one")
    host.sh("printf '# more\\n' >> /usr/lib/os-release; rm /usr/bin/factor; chmod 700 /usr/bin/ls; touch /usr/bin/cat")
    assert listed(host) == {
        "bin/factor": "deleted",
        "bin/ls": "metadata",
        "lib/os-release": "modified",
        "share/one": "added",
    }
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


def test_one_who_is_not_root_is_told_so(host: LabHost) -> None:
    host.ovlay("enable", "--yes")
    assert host.ovlay("diff", check=False, user=65534).status == 6
    assert "Modified files: root sees them" in host.ovlay("status", user=65534).stdout
    said = host.ovlay("holders", "--json", user=65534)
    assert said.json()["changed"] is None
    assert said.json()["complete"] is False


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
