"""What no edit through an overlay can make: each function here is run by `test_pitfalls` in namespaces of its own.

unshare --mount python -m tests.changes.pitfalls NAME SCRATCH
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ovlay.changes.find import look
from ovlay.host import Host
from ovlay.kernel.upper import is_on_tmpfs
from ovlay.model import AnomalyKind, Owner
from ovlay.overlay import Overlay
from ovlay_backends.overlayfs import OverlayfsBackend
from tests.changes.topologies import Topology, mount_detached, mount_mapped, mount_overlay, run

if TYPE_CHECKING:
    from ovlay.kernel import Mount

from tests.changes import pitfalls_of_the_walk
from tests.changes.pitfall import PITFALLS, ROOT, base, expect, kinds, options, overlay_on, pitfall, put, seen

__all__ = ["KNOWN", "PITFALLS", "ROOT", "pitfalls_of_the_walk"]

KNOWN: dict[str, tuple[str, ...]] = {
    "1 chmod and back, opened and not written, the same bytes again": (
        "chmod_and_back",
        "opened_for_writing_and_not_written",
        "the_same_bytes_written",
        "replaced_by_the_same",
        "touched",
    ),
    "2 a parent that was copied up for a child": ("parents_of_a_changed_child",),
    "3 an opaque directory with as many links": ("an_opaque_directory_with_as_many_links",),
    "4 a directory deleted and made again": ("deleted_and_made_again", "a_hidden_directory_that_was_emptied"),
    "5 swapped, with one size and time": ("files_swapped", "directories_swapped", "content_of_one_size_and_time"),
    "6 the same with redirects on images": ("directories_swapped", "redirects-erofs", "redirects-squashfs"),
    "7 a directory moved by a redirect": ("a_directory_moved", "a_directory_moved_into_a_new_one", "redirects"),
    "8 one hard link written, with an index": (
        "one_hard_link_written",
        "one_hard_link_written_and_deleted",
        "index",
        "index-xfs",
        "metacopy-index",
        "fuse",
    ),
    "9 one hard link written, without": ("one_hard_link_written", "one_hard_link_written_and_deleted", "ext4", "xfs"),
    "10 chmod with metacopy": ("modes", "owners", "metacopy", "metacopy-index"),
    "11 another type": ("other_types", "a_link_elsewhere"),
    "12 device numbers, modes of fifos": ("devices", "fifos_and_sockets"),
    "13 access lists, capabilities, attributes": (
        "access_lists",
        "root_attributes",
        "user_attributes",
        "the_directory_itself",
    ),
    "14 a raw whiteout in the lower": ("raw_whiteouts_in_the_lower_are_not_there",),
    "15 a lower file that overlayfs refuses": ("a_file_that_the_overlay_refuses_is_said",),
    "16 whiteouts that are attributes": ("whiteouts_that_are_attributes_and_whiteouts_over_nothing",),
    "17 a whiteout over nothing": (
        "a_whiteout_over_nothing",
        "whiteouts_that_are_attributes_and_whiteouts_over_nothing",
    ),
    "18 escaped attributes": ("an_attribute_named_as_overlayfs_names_its_own",),
    "19 immutable and append-only": ("immutable_and_append_only",),
    "20 time stamps of whole seconds": (
        "content_of_one_size_and_time",
        "ext4-of-small-inodes",
        "small-inodes-above",
    ),
    "21 images of one build": ("images_of_one_build_are_told_apart_by_content",),
    "22 what is not the upper": (
        "decoys_are_not_taken_for_the_upper",
        "an_upper_that_was_moved_is_found_by_its_handle",
    ),
    "23 odd names of the upper": ("uppers_with_odd_names_are_found",),
    "24 mounts below the target": ("mounts_below_are_left_out",),
    "25 odd names in the tree": ("odd_names", "names_that_begin_alike"),
    # Nothing is asked of FIEMAP: bytes are read, which are the page cache's on every filesystem.
    "26 dirty pages": ("content_of_one_size_and_time", "sparse_files", "a_hole_where_zeros_were", "xfs", "btrfs"),
    "27 security.evm, and labels under context=": ("seals_and_labels_that_are_not_the_files_own_are_no_changes",),
}
"""What overlays are known to trip over, and what shows that it does not happen here: cases, which run on every topology
that can have them, topologies, and pitfalls."""


# --- layers that were made by hand -----------------------------------------------------------------------------------


@pitfall(root=True)
def raw_whiteouts_in_the_lower_are_not_there(place: Path) -> None:
    def fill(d: Path) -> None:
        put(d / "folder/file")
        os.mknod(d / "folder/whiteout", stat.S_IFCHR, 0)
        put(d / "gone/file")
        os.mknod(d / "gone/whiteout", stat.S_IFCHR, 0)

    scratch = base(place, fill)
    mount_overlay(scratch, Topology())
    put(scratch.target / "folder/new")
    run("rm", "-rf", scratch.target / "gone")  # it lists the whiteout, which rm(1) does not mind
    expect(overlay_on(scratch), {"folder/new": "added", "gone": "deleted", "gone/file": "deleted"})


@pitfall(root=True)
def whiteouts_that_are_attributes_and_whiteouts_over_nothing(place: Path) -> None:
    scratch = base(place, lambda d: [put(d / f"folder/{name}") for name in ("file", "hidden")])
    folder = scratch.work / "upper/folder"
    folder.mkdir(parents=True)
    os.setxattr(folder, "trusted.overlay.opaque", b"x")
    os.setxattr(put(folder / "hidden", b""), "trusted.overlay.whiteout", b"y")
    os.mknod(folder / "over-nothing", stat.S_IFCHR, 0)
    (scratch.work / "work").mkdir()
    shown = f"lowerdir={scratch.target},upperdir={scratch.work}/upper,workdir={scratch.work}/work"
    run("mount", "-t", "overlay", "ovlay", "-o", shown, scratch.target)
    assert sorted(os.listdir(scratch.target / "folder"))[0] == "file"
    expect(overlay_on(scratch), {"folder/hidden": "deleted"})


@pitfall(root=True)
def a_file_that_the_overlay_refuses_is_said(place: Path) -> None:
    def fill(d: Path) -> None:
        put(d / "folder/file")
        os.setxattr(put(d / "folder/refused"), "trusted.overlay.metacopy", b"")

    scratch = base(place, fill)
    mount_overlay(scratch, Topology())
    put(scratch.target / "folder/file", b"other\n")
    mount = overlay_on(scratch)
    with Host().kernel.views(mount) as views:
        for way, changes in seen(mount, views).items():
            assert kinds(changes) == {"folder/file": "modified"}, way
        assert seen(mount, views)["pruned"].errors.keys() == {"folder/refused"}
        assert not seen(mount, views)["pruned"].complete


@pitfall(root=True)
def images_of_one_build_are_told_apart_by_content(place: Path) -> None:
    """Two layers with the same times, sizes and inode numbers, as two extensions built with one epoch have."""
    place.mkdir()
    layers = []
    for name, content in (("base", b"one"), ("extension", b"two")):
        source, mounted = place / f"{name}.source", place / name
        put(source / "folder/file", content)
        put(source / "folder/same")
        for path in (*sorted(source.rglob("*"), reverse=True), source):
            os.utime(path, (1, 1))
        run("mkfs.erofs", "-T", "1600000000", place / f"{name}.image", source)
        mounted.mkdir()
        run("mount", "-t", "erofs", "-o", "loop", place / f"{name}.image", mounted)
        layers.append(mounted)
    beneath, extension = layers
    assert (beneath / "folder/file").stat().st_ino == (extension / "folder/file").stat().st_ino
    run("mount", "-t", "overlay", "sysext", "-o", f"lowerdir={extension}:{beneath}", beneath)
    mount = Host().kernel.mounts().stack(str(beneath))[-1]
    with Host().kernel.views(mount) as views:
        assert kinds(look(Host(), mount, views, workers=1)) == {"folder/file": "modified"}


# --- the upper -------------------------------------------------------------------------------------------------------


@pitfall()
def uppers_with_odd_names_are_found(place: Path) -> None:
    from ovlay.model import Access

    for number, name in enumerate(("sp ace", "com,ma", "back\\slash", "co:lon", "new\nline", "b\\,oth", "a,workdir=b")):
        scratch = base(place / str(number), lambda d: put(d / "file"))
        upper, work = scratch.work / name, scratch.work / "work"
        upper.mkdir()
        work.mkdir()
        shown = str(scratch.target)
        Host().kernel.mount_overlay(
            shown, lower=[shown], upper=str(upper), work=str(work), access=Access.READ_WRITE, source="ovlay"
        )
        put(scratch.target / "new")
        expect(overlay_on(scratch), {"new": "added"})


@pitfall()
def decoys_are_not_taken_for_the_upper(place: Path) -> None:
    scratch = base(place, lambda d: put(d / "file"))
    mount_overlay(scratch, Topology(options=options()))
    put(scratch.target / "new")
    backup = place / "backup"
    run("cp", "-a", scratch.work / "upper", backup)
    mount = overlay_on(scratch)
    decoys = (str(backup), str(scratch.target), str(scratch.work), "/", "/proc/self/fd/13/upper", str(place / "none"))
    for decoy in decoys:
        assert not Host().kernel.is_upper(mount, decoy), decoy
    with Host().kernel.views(mount, decoys) as views:
        assert views.upper is not None
        assert os.fstat(views.upper).st_ino == (scratch.work / "upper").stat().st_ino
    assert Host().kernel.is_upper(mount, str(scratch.work / "upper"))


@pitfall(root=True)
def an_upper_that_was_moved_is_found_by_its_handle(place: Path) -> None:
    scratch = base(place, lambda d: put(d / "file"), Topology("ext4 -I 256"))
    mount_overlay(scratch, Topology())
    put(scratch.target / "new")
    os.rename(scratch.work / "upper", scratch.work / "elsewhere")
    expect(overlay_on(scratch), {"new": "added"})


@pitfall()
def an_overlay_over_another_directory_than_its_lower_is_compared_with_what_it_covers(place: Path) -> None:
    scratch = base(place, lambda d: put(d / "covered"))
    lower, upper, work = (scratch.work / name for name in ("lower", "upper", "work"))
    for directory in (lower, upper, work):
        directory.mkdir()
    put(lower / "from-lower")
    shown = f"lowerdir={lower},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "ovlay", "-o", ",".join(filter(None, (shown, options()))), scratch.target)
    put(scratch.target / "new")
    expect(overlay_on(scratch), {"covered": "deleted", "from-lower": "added", "new": "added"})


# --- what else is told -----------------------------------------------------------------------------------------------


@pitfall(root=True)
def seals_and_labels_that_are_not_the_files_own_are_no_changes(place: Path) -> None:
    """EVM seals a copy anew, and ``context=`` labels everything alike, which needs SELinux: here the option is told."""

    def fill(d: Path) -> None:
        for name in ("sealed", "labelled", "both", "noted"):
            os.setxattr(put(d / name), "security.evm", b"\x02seal")
            os.setxattr(d / name, "security.selinux", b"system_u:object_r:usr_t:s0\0")

    scratch = base(place, fill)
    mount_overlay(scratch, Topology())
    for name in ("sealed", "both"):
        os.setxattr(scratch.target / name, "security.evm", b"\x02other")
    for name in ("labelled", "both"):
        os.setxattr(scratch.target / name, "security.selinux", b"system_u:object_r:bin_t:s0\0")
    os.setxattr(scratch.target / "noted", "user.note", b"")
    mount = overlay_on(scratch)
    expect(mount, {"labelled": "metadata", "both": "metadata", "noted": "metadata"})
    given = mount._replace(super_options=f'{mount.super_options},context="system_u:object_r:usr_t:s0"')
    with Host().kernel.views(mount) as views:
        for way, changes in seen(given, views).items():
            assert kinds(changes) == {"noted": "metadata"}, way


@pitfall(root=True)
def owners_are_those_of_the_overlay_where_the_upper_is_mapped(place: Path) -> None:
    """An upper on an idmapped mount: what is 5000 on the filesystem is 0 in the overlay."""
    scratch = base(place, lambda d: [put(d / name) for name in ("edited", "owned", "chmodded", "same")])
    raw, mapped = place / "raw", scratch.work / "mapped"
    for directory in (raw, mapped):
        directory.mkdir()
    run("mount", "-t", "tmpfs", "tmpfs", raw)
    for name in ("upper", "work"):
        (raw / name).mkdir()
        (raw / name).chmod(0o755)
        os.chown(raw / name, 5000, 5000)
    mount_mapped(raw, mapped, "5000 0 1000")
    assert (mapped / "upper").stat().st_uid == 0
    shown = f"lowerdir={scratch.target},upperdir={mapped}/upper,workdir={mapped}/work"
    run("mount", "-t", "overlay", "ovlay", "-o", shown, scratch.target)
    put(scratch.target / "edited", b"other\n")
    os.chown(scratch.target / "owned", 7, 8)
    (scratch.target / "chmodded").chmod(0o600)
    os.utime(scratch.target / "same")
    assert (raw / "upper/owned").stat().st_uid == 5007
    answer = {"edited": "modified", "owned": "metadata", "chmodded": "metadata"}
    mount = overlay_on(scratch)
    expect(mount, answer)
    # Only the mapped path shows the owners that the overlay shows.
    assert Host().kernel.is_upper(mount, f"{mapped}/upper")
    assert not Host().kernel.is_upper(mount, f"{raw}/upper")
    run("umount", "-l", mapped)
    with Host().kernel.views(mount) as views:
        for way, changes in seen(mount, views).items():
            assert kinds(changes) == answer, way


@pitfall(root=True)
def memory_that_fills_is_told_where_no_path_leads_to_it(place: Path) -> None:
    class Driver(OverlayfsBackend):
        def owner(self, mount: Mount) -> Owner:
            return Owner.TOOL if mount.source == "transient" else super().owner(mount)

    scratch = base(place, lambda d: put(d / "file"))
    mount_detached(scratch, Topology(), size="4m")
    overlay = Overlay(Driver(Host(), str(scratch.target)))
    status = overlay.status()
    assert status.upper_path is None
    assert status.backing is not None
    assert (status.backing.fstype, status.backing.in_memory, status.backing.total) == ("tmpfs", True, 4 << 20)
    assert not status.has(AnomalyKind.NEARLY_FULL)
    put(scratch.target / "large", b"x" * (37 * (4 << 20) // 40))
    assert overlay.status().has(AnomalyKind.NEARLY_FULL)


@pitfall(root=True)
def a_disk_is_not_taken_for_memory(place: Path) -> None:
    scratch = base(place, lambda d: put(d / "file"), Topology("ext4 -I 256"))
    mount_overlay(scratch, Topology())
    assert not is_on_tmpfs(str(scratch.target))
    memory = base(place / "memory", lambda d: put(d / "file"))
    mount_overlay(memory, Topology())
    assert is_on_tmpfs(str(memory.target))


@pitfall()
def what_other_layers_brought_is_no_change(place: Path) -> None:
    """A layer between the upper and the base, as system extensions are."""
    scratch = base(place, lambda d: [put(d / name) for name in ("folder/file", "folder/same", "gone/file", "old/file")])
    layer = scratch.work / "extension"
    for name in ("folder/by-layer", "folder/file", "brought/file", "brought/other", "brought/deep/file", "gone/more"):
        put(layer / name, b"of the layer\n")
    layer.chmod(scratch.target.stat().st_mode & 0o7777)
    upper, work = scratch.work / "upper", scratch.work / "work"
    for directory in (upper, work):
        directory.mkdir()
    upper.chmod(scratch.target.stat().st_mode & 0o7777)
    shown = f"lowerdir={layer}:{scratch.target},upperdir={upper},workdir={work}"
    run("mount", "-t", "overlay", "sysext", "-o", ",".join(filter(None, (shown, options()))), scratch.target)
    mount = overlay_on(scratch)
    host = Host()
    with host.kernel.views(mount) as views:
        assert kinds(look(host, mount, views, workers=1)) == {}
    put(scratch.target / "folder/new")
    put(scratch.target / "brought/mine/file")
    put(scratch.target / "brought/other", b"edited\n")
    shutil.rmtree(scratch.target / "gone")
    shutil.rmtree(scratch.target / "old")
    put(scratch.target / "old/other")
    answer = {
        "folder/new": "added",
        "brought/mine": "added",
        "brought/mine/file": "added",
        "brought/other": "added",
        "gone": "deleted",
        "gone/file": "deleted",
        "old/file": "deleted",
        "old/other": "added",
    }
    with host.kernel.views(mount) as views:
        for workers in (1, 3):
            assert kinds(look(host, mount, views, workers=workers)) == answer
        assert kinds(look(host, mount, views, workers=1, paths=("brought",))).keys() == {
            "brought/mine",
            "brought/mine/file",
            "brought/other",
        }


if __name__ == "__main__":
    os.umask(0o022)
    PITFALLS[sys.argv[1]](Path(sys.argv[2]))
