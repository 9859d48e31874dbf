"""A manifest's whole life on real ostree, with nothing but the command line.

The witness is a full comparison: every name, byte and attribute of /usr against what it was at the boot, and against
what it was when everything was applied first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab.conftest import FORKY, TRIXIE
from tests.lab.host import UNDER_TEST
from tests.lab.test_restore import STAMPS
from tests.lab.witness import sealed, state

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.host import LabHost, Ran
    from tests.lab.recipe import Recipe

HOME = "/var/lib/hotfix"
FILE = f"{HOME}/manifest.toml"

# In a composefs image links and empty files have no time, and the checkout beneath an overlay of ostree has one; a
# directory has that of its last change.
_WITNESS = f"""
import json, os, pickle, stat, sys
sys.path.insert(0, "{UNDER_TEST}")
from ovlay.changes.compare import Aspect, compare, scan_tree

def has_time(path):
    try:
        known = os.lstat("/usr/" + path)
    except OSError:
        return True
    return stat.S_ISREG(known.st_mode) and known.st_size > 0

verb, name, *left_out = sys.argv[1:]
found = scan_tree("/usr")
if verb == "keep":
    with open("/var/" + name + ".tree", "wb") as stream:
        pickle.dump(found, stream)
else:
    with open("/var/" + name + ".tree", "rb") as stream:
        before = pickle.load(stream)
    ignore = [Aspect.HARD_LINKS, *map(Aspect, left_out)]
    print(json.dumps({{
        one.path: [str(aspect) for aspect in one.aspects]
        for one in compare(before, found, ignore=ignore)
        if one.aspects != (Aspect.MTIME,) or has_time(one.path)
    }}))
"""

_SOURCES = rf"""
mkdir -p {HOME}/tree/sub/deep
cd {HOME}
printf '#!/bin/sh\necho hot\n' >hot; chmod 755 hot
printf '#!/bin/sh\necho better\n' >tool
echo a >tree/a; echo compiled >tree/a.pyc; echo b >tree/sub/b; chmod 600 tree/sub/b; ln -s ../../a tree/sub/deep/link
"""

_ENTRIES = {
    "bin/hot": '[[file]]\npath = "/usr/bin/hot"\nsource = "hot"\n',
    "bin/tool": '[[file]]\npath = "/usr/bin/tool"\nsource = "tool"\nmode = "0711"\nreplaces = "{tool}"\n',
    "lib/tmpfiles.d/hot.conf": (
        '[[file]]\npath = "/usr/lib/tmpfiles.d/hot.conf"\ntext = "d /run/hot\\n"\nmode = 0o640\n'
        'owner = "daemon"\ngroup = 2\n'
    ),
    "share/hot": '[[tree]]\npath = "/usr/share/hot"\nsource = "tree"\nexclude = ["*.pyc"]\n',
    "bin/hot-link": '[[symlink]]\npath = "/usr/bin/hot-link"\nto = "hot"\n',
    "lib/hot/plugins": '[[directory]]\npath = "/usr/lib/hot/plugins"\nmode = "0750"\ngroup = "daemon"\n',
    "bin/tac": '[[absent]]\npath = "/usr/bin/tac"\n',
    "share/misc": '[[absent]]\npath = "/usr/share/misc"\n',
}

_TREE = {
    "share/hot",
    "share/hot/a",
    "share/hot/sub",
    "share/hot/sub/b",
    "share/hot/sub/deep",
    "share/hot/sub/deep/link",
}
_WAY = {"lib/hot"}  # what is on the way to an entry


def write_manifest(host: LabHost, text: str, file: str = FILE) -> None:
    host.run("sh", "-euc", f"mkdir -p $(dirname {file}); cat >{file}", stdin=text)


def manifest_of(*entries: str) -> str:
    return "\n".join(("schema = 1\n", *entries))


def keep(host: LabHost, name: str) -> None:
    """Keep what /usr is now."""
    host.run("python3", "-I", "-", "keep", name, stdin=_WITNESS)


def changed(host: LabHost, name: str = "base", *left_out: str) -> dict[str, list[str]]:
    """In what /usr differs from what was kept; of a directory that is gone only itself."""
    found: dict[str, list[str]] = host.run("python3", "-I", "-", "compare", name, *left_out, stdin=_WITNESS).json()
    gone = [f"{path}/" for path, aspects in found.items() if "removed" in aspects]
    return {path: aspects for path, aspects in found.items() if not path.startswith(tuple(gone))}


def upper(host: LabHost) -> str:
    """Every name in the upper with its inode and all its times; and the receipts, which are no part of it."""
    place = state(host)["upper_path"]
    return host.sh(f"find {place} -printf '%p %i %C@ %T@ %s %m %U:%G\\n' | sort")


def drift(host: LabHost, *words: str) -> tuple[int, dict[str, tuple[str, str | None]]]:
    """The exit status of ``ovlay drift``, and how each path that it names stands."""
    ran = host.ovlay("drift", "--json", *words, check=False)
    return ran.status, {found["path"]: (found["state"], found["conflict"]) for found in ran.json()["deviations"]}


def kept(ran: Ran) -> dict[str, str]:
    """The conflicts that ``ovlay apply --json`` told."""
    assert ran.status == 5, ran
    return {found["path"]: found["conflict"] for found in ran.json()["conflicts"]}


@pytest.fixture
def declared(host: LabHost) -> LabHost:
    """A host with a manifest that has an entry of every kind, and with what /usr is in the base."""
    host.sh(_SOURCES)
    tool = host.sh("sha256sum /usr/bin/tool").split()[0]
    write_manifest(host, manifest_of(*_ENTRIES.values()).replace("{tool}", tool))
    keep(host, "base")
    return host


def test_from_a_manifest_to_a_reboot_and_back(declared: LabHost) -> None:
    host = declared
    deployment = host.sh(STAMPS)
    planned = host.ovlay("plan", FILE, check=False)
    assert planned.status == 1
    assert "/usr/bin/tool" in planned.stdout
    assert "there is no overlay" in planned.stderr
    assert sealed(host)

    host.ovlay("apply", "--enable", "--yes", FILE)
    everything = {*_ENTRIES, *_TREE, *_WAY}
    now = changed(host)
    assert now.keys() == everything
    assert now["bin/tac"] == now["share/misc"] == ["removed"]
    assert {"content", "mode"} <= set(now["bin/tool"])
    assert all(now[path] == ["added"] for path in everything - {"bin/tac", "bin/tool", "share/misc"})
    assert host.sh("hot; hot-link; tool; cat /usr/lib/tmpfiles.d/hot.conf /usr/share/hot/sub/deep/link") == (
        "hot\nhot\nbetter\nd /run/hot\na\n"
    )
    asked = "/usr/bin/hot /usr/bin/tool /usr/lib/tmpfiles.d/hot.conf /usr/share/hot/sub/b /usr/lib/hot/plugins"
    assert host.sh(f"stat -c %a:%U:%g {asked}").split() == [
        "755:root:0", "711:root:0", "640:daemon:2", "600:root:0", "750:root:1",
    ]  # fmt: skip
    keep(host, "applied")
    assert host.ovlay("plan", FILE).status == 0

    before = upper(host)
    again = host.ovlay("apply", "--yes", FILE)
    assert "everything is as declared" in again.stdout
    assert upper(host) == before
    assert drift(host, FILE) == (0, {})
    assert changed(host, "applied") == {}

    host.sh("echo edited >/usr/bin/hot; echo mine >/usr/share/hot/by-hand")
    status, found = drift(host, FILE)
    assert status == 1
    assert found == {"bin/hot": ("conflict", "changed-since"), "share/hot/by-hand": ("unmanaged", None)}
    assert kept(host.ovlay("apply", "--yes", "--json", FILE, check=False)) == {"bin/hot": "changed-since"}
    assert host.sh("cat /usr/bin/hot /usr/share/hot/by-hand") == "edited\nmine\n"

    host.ovlay("capture", "--yes", "--to", FILE)
    assert drift(host, FILE) == (0, {})
    assert host.ovlay("apply", "--yes", FILE).status == 0
    assert changed(host, "applied").keys() == {"bin/hot", "share/hot/by-hand"}
    assert host.sh("cat /usr/bin/hot /usr/share/hot/by-hand") == "edited\nmine\n"

    gone = {"bin/tool", "bin/tac", "bin/hot-link", "share/misc"}
    write_manifest(host, without(host.sh(f"cat {FILE}"), gone))
    assert drift(host, FILE)[1] == dict.fromkeys(gone, ("leftover", None))
    host.ovlay("apply", "--yes", FILE)
    now = changed(host)
    assert now.keys() == everything - gone | {"share/hot/by-hand"}
    assert all(aspects == ["added"] for aspects in now.values())
    assert drift(host, FILE) == (0, {})
    keep(host, "smaller")

    host.ovlay("unmount", "--yes")
    assert sealed(host)
    assert changed(host) == {}
    host.ovlay("enable", "--yes")
    assert changed(host) == {}
    host.ovlay("apply", "--yes", FILE)
    assert changed(host, "smaller", "mtime") == {}
    assert drift(host, FILE) == (0, {})

    host.reboot()
    assert sealed(host)
    assert changed(host) == {}
    status, found = drift(host, FILE)
    assert (status, {how for how, _ in found.values()}) == (1, {"missing"})
    host.ovlay("apply", "--enable", "--yes", FILE)
    assert changed(host, "smaller", "mtime") == {}
    assert drift(host, FILE) == (0, {})
    assert host.sh(STAMPS) == deployment


def without(text: str, paths: set[str]) -> str:
    """A manifest without the entries of these paths, as somebody edits it."""
    head, *entries = text.split("\n[[")
    left = [entry for entry in entries if not any(f'path = "/usr/{path}"\n' in entry for path in paths)]
    assert len(entries) - len(left) == len(paths)
    return "\n[[".join((head, *left))


def test_what_somebody_else_put_there_is_kept_until_it_is_said_otherwise(declared: LabHost) -> None:
    host = declared
    host.ovlay("enable", "--yes")
    host.sh("echo mine >/usr/bin/hot; echo mine >/usr/share/hot; rm /usr/bin/tool; echo mine >/usr/share/misc/mine")
    refused = kept(host.ovlay("apply", "--yes", "--json", FILE, check=False))
    ways = {"bin/hot", "bin/tool", "share/hot", "share/misc", *_TREE}
    assert refused == dict.fromkeys(ways, "in-the-way")
    assert (
        host.sh("cat /usr/bin/hot /usr/share/hot /usr/share/misc/mine; ls /usr/bin/tool 2>&1 || true").splitlines()[:3]
        == ["mine"] * 3
    )
    assert host.sh("readlink /usr/bin/hot-link") == "hot\n"  # what is in nobody's way is done
    assert host.ovlay("plan", FILE, check=False).status == 5
    host.ovlay("apply", "--yes", "--force", FILE)
    assert changed(host).keys() == {*_ENTRIES, *_TREE, *_WAY}
    assert drift(host, FILE) == (0, {})


def test_another_base_is_a_conflict_or_makes_an_entry_superfluous(declared: LabHost) -> None:
    """An upgrade brings a file that is declared just so, and another one that was replaced is not what it was."""
    host = declared
    plain = [_ENTRIES["bin/hot"], '[[file]]\npath = "/usr/bin/tool"\nsource = "tool"\n', _ENTRIES["bin/tac"]]
    write_manifest(host, manifest_of(*plain))
    host.ovlay("apply", "--enable", "--yes", FILE)
    deploy(host, f"mkdir bin; cp -p {HOME}/hot bin/hot; echo '#!/bin/sh' >bin/tool; chmod 755 bin/tool")
    host.reboot()
    assert host.sh("cat /usr/bin/tool; hot") == "#!/bin/sh\nhot\n"
    status, found = drift(host, FILE)
    assert status == 1
    assert found == {
        "bin/hot": ("graduated", None),
        "bin/tac": ("missing", None) if found["bin/tac"][0] == "missing" else ("differs", None),
        "bin/tool": ("conflict", "base-changed"),
    }
    assert kept(host.ovlay("apply", "--enable", "--yes", "--json", FILE, check=False)) == {"bin/tool": "base-changed"}
    assert host.sh("cat /usr/bin/tool; ls /usr/bin/tac 2>/dev/null || echo gone") == "#!/bin/sh\ngone\n"
    host.ovlay("apply", "--force", "--yes", FILE)
    assert host.sh("sh /usr/bin/tool") == "better\n"
    assert drift(host, FILE) == (1, {"bin/hot": ("graduated", None)})
    again = host.ovlay("apply", "--yes", FILE)
    assert "everything is as declared" in again.stdout


def deploy(host: LabHost, script: str) -> None:
    """Deploy the image with other files in its /usr, which a script makes in an empty directory."""
    change = f"rm -rf /var/next; mkdir -p /var/next/usr; cd /var/next/usr; {script}"
    commit = (
        "ostree --repo=/sysroot/ostree/repo commit --branch=debian/host --tree=ref=debian/host --tree=dir=/var/next"
        " --owner-uid=0 --owner-gid=0"
    )
    remount = "mount -o remount,rw,bind /sysroot; mount -o remount,rw,bind /boot 2>/dev/null || true"
    host.sh(change)
    host.run("unshare", "--mount", "sh", "-euc", f"{remount}; {commit}; ostree admin deploy --os=debian debian/host")


def test_the_manifests_of_the_system_need_no_name(declared: LabHost) -> None:
    host, folder = declared, "/etc/ovlay/manifest.d"
    own = _ENTRIES["bin/hot"].replace('source = "', f'source = "{HOME}/')
    write_manifest(host, manifest_of(own, _ENTRIES["bin/tac"]), f"{folder}/hotfix.toml")
    assert host.ovlay("plan", check=False).status == 1
    host.ovlay("apply", "--enable", "--yes")
    assert changed(host).keys() == {"bin/hot", "bin/tac"}
    assert drift(host) == (0, {})
    assert host.ovlay("drift", check=False, user=65534).status == 6

    host.sh("echo mine >/usr/bin/mine; chmod 4755 /usr/bin/mine; chown daemon:daemon /usr/share/misc")
    assert drift(host) == (1, {"bin/mine": ("unmanaged", None), "share/misc": ("unmanaged", None)})
    host.ovlay("capture", "--yes")
    assert drift(host) == (0, {})
    assert host.sh(f"ls {folder}").split() == ["captured.files", "captured.toml", "hotfix.toml"]
    keep(host, "captured")

    host.sh(f"chmod o+w {HOME}/hot")
    refused = host.ovlay("apply", "--yes", check=False)
    assert refused.status == 2
    assert f"{folder}/hotfix.toml:5: file[0].source: is not trusted: {HOME}/hot can be written" in refused.stderr
    host.sh(f"chmod o-w {HOME}/hot")

    host.reboot()
    host.ovlay("apply", "--enable", "--yes")
    assert changed(host, "captured", "mtime") == {}
    host.sh(f"rm {folder}/hotfix.toml")
    assert drift(host) == (1, {"bin/hot": ("leftover", None), "bin/tac": ("leftover", None)})
    host.ovlay("apply", "--yes")
    assert changed(host).keys() == {"bin/mine", "share/misc"}
    assert drift(host) == (0, {})


def test_a_read_only_overlay_is_filled_and_stays_read_only(declared: LabHost) -> None:
    host = declared
    write_manifest(host, manifest_of('[overlay]\naccess = "read-only"\n', _ENTRIES["bin/hot"], _ENTRIES["bin/tac"]))
    host.ovlay("apply", "--enable", "--yes", FILE)
    assert changed(host).keys() == {"bin/hot", "bin/tac"}
    assert state(host)["mode"] == {"access": "read-only", "persistence": "transient"}
    assert not host.writable()
    write_manifest(host, manifest_of(_ENTRIES["bin/hot-link"]))
    host.ovlay("apply", "--yes", FILE)
    assert changed(host).keys() == {"bin/hot-link"}
    assert not host.writable()


def test_a_persistent_overlay_keeps_what_was_applied(declared: LabHost) -> None:
    """After a reboot all is as declared: nothing is written again, and what is declared no more is taken back."""
    host = declared
    mode = '[overlay]\npersistence = "persistent"\n'
    write_manifest(host, manifest_of(mode, _ENTRIES["bin/hot"], _ENTRIES["bin/tac"]))
    host.ovlay("apply", "--enable", "--yes", FILE)
    host.reboot()
    assert drift(host, FILE) == (0, {})
    before = upper(host)
    assert "everything is as declared" in host.ovlay("apply", "--enable", "--yes", FILE).stdout
    assert upper(host) == before
    write_manifest(host, manifest_of(mode, _ENTRIES["bin/hot-link"]))
    host.ovlay("apply", "--yes", FILE)
    assert changed(host).keys() == {"bin/hot-link"}


@pytest.mark.parametrize("recipe", [TRIXIE, FORKY], ids=["trixie", "forky"])
def test_a_system_extension(boot: Callable[[Recipe], LabHost], recipe: Recipe) -> None:
    """The overlay of systemd-sysext, with somebody's extension merged into it: that is no deviation."""
    host = boot(recipe)
    host.sh(_SOURCES)
    extension = "/run/extensions/other/usr"
    host.sh(
        f"mkdir -p {extension}/lib/extension-release.d {extension}/share; echo ext >{extension}/share/ext;"
        f"echo ID=_any >{extension}/lib/extension-release.d/extension-release.other"
    )
    write_manifest(host, manifest_of(_ENTRIES["bin/hot"], _ENTRIES["share/hot"], _ENTRIES["bin/tac"]))
    driver = ("--backend", "sysext")
    host.ovlay("apply", "--enable", "--yes", *driver, FILE)
    assert host.sh("hot; cat /usr/share/ext /usr/share/hot/a; ls /usr/bin/tac 2>/dev/null || echo gone") == (
        "hot\next\na\ngone\n"
    )
    before = upper(host)
    assert "everything is as declared" in host.ovlay("apply", "--yes", *driver, FILE).stdout
    assert upper(host) == before
    host.sh("echo edited >/usr/bin/hot")
    assert kept(host.ovlay("apply", "--yes", "--json", *driver, FILE, check=False)) == {"bin/hot": "changed-since"}
    host.ovlay("apply", "--yes", "--force", *driver, FILE)
    write_manifest(host, manifest_of(_ENTRIES["bin/hot-link"]))
    host.ovlay("apply", "--yes", *driver, FILE)
    assert host.sh(
        "ls -d /usr/bin/hot /usr/share/hot 2>/dev/null || cat /usr/share/ext; readlink /usr/bin/hot-link"
    ) == ("ext\nhot\n")
    assert host.sh("ls /usr/bin/tac") == "/usr/bin/tac\n"
