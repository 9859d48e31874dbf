"""Hosts in recorded states: their files laid out in a scratch directory, and a kernel that only answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ovlay.host import Host
from ovlay.kernel import Kernel
from ovlay.kernel.holders import Users
from ovlay.kernel.mountinfo import parse_mountinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from ovlay.command import Finished
    from ovlay.kernel import Mount, MountTable, Views
    from ovlay.model import Access, Backing, Holder

DATA = Path(__file__).parent / "data"
BOOTS = Path(__file__).parent / "boots"
HOSTS = ("trixie", "forky-plain", "forky-cfs")
STATES = tuple(sorted(path.name for path in (DATA / "trixie").iterdir()))
BOOT_ID = "5dc2e9d4-9add-4b63-a26e-3a0b0738ccdd"
IMAGE = "ostree-unverified-registry:registry.example/os:42"

_SYSTEMD = {"trixie": 257, "forky-plain": 262, "forky-cfs": 262}
_OS_RELEASE = {
    "trixie": 'ID=debian\nVERSION_ID="13"\n',
    "forky-plain": "ID=debian\nVERSION_CODENAME=forky\n",
    "forky-cfs": "ID=debian\nVERSION_CODENAME=forky\n",
}
_SECTION = re.compile(r"^# (/|deploy dir|backing|overlay dirs|cmdline|bls|write test|marker)")


class RecordedKernel(Kernel):
    """The answers that the recorded kernel gave. Whatever would change a mount is an error of the test."""

    def __init__(self, root: Path, mountinfo: str, *, writable: bool) -> None:
        self._root = root
        self._table = parse_mountinfo(mountinfo)
        self._writable = writable

    def mounts(self) -> MountTable:
        return self._table

    def supports(self, fstype: str) -> bool:
        return True

    def writable(self, path: str) -> bool:
        return self._writable

    def backing(self, path: str) -> Backing | None:
        return None

    def is_upper(self, mount: Mount, candidate: str) -> bool:
        """Proven where it is there; never where something covers the overlay, since its root cannot be reached."""
        return self._table.covering(mount.mount_point) is mount and (self._root / candidate.lstrip("/")).is_dir()

    def holders(self, mounts: Iterable[Mount]) -> tuple[Holder, ...]:
        return ()

    def users(self, mounts: Iterable[Mount], target: str, wanted: Callable[[str], bool]) -> Users:
        return Users((), 0, hidden=False)

    def held_by_us(self, mount: Mount) -> bool:
        return False

    def views(self, mount: Mount, candidates: Iterable[str] = ()) -> AbstractContextManager[Views]:
        raise AssertionError("there are no trees to compare in a recorded state")

    def mount_overlay(
        self, target: str, *, lower: Sequence[str], upper: str, work: str, access: Access, source: str
    ) -> int:
        _changes()

    def mount_tmpfs(self, path: str, *, size: int | None, mode: int, source: str) -> int:
        _changes()

    def unmount(self, mount: Mount, *, lazy: bool) -> None:
        _changes()

    def set_access(self, mount: Mount, access: Access) -> None:
        _changes()

    def slide_beneath(self, mount: Mount, source: str) -> None:
        _changes()

    def carry(self, points: Sequence[str], *, detach: bool) -> AbstractContextManager[None]:
        _changes()

    def writable_view(self, target: str) -> AbstractContextManager[int]:
        _changes()

    def writable_directory(self, path: str) -> AbstractContextManager[int]:
        _changes()


def _changes() -> NoReturn:
    raise AssertionError("a question tried to change a mount")


class RecordedHost(Host):
    """A host on which no tool can be run but those whose answers are given."""

    def __init__(self, root: Path, kernel: Kernel, answers: Mapping[tuple[str, ...], Finished]) -> None:
        super().__init__(str(root), kernel=kernel)
        self.answers = dict(answers)

    def run(self, argv: Sequence[str], *, timeout: float = 120) -> Finished:
        assert tuple(argv) in self.answers, f"a question started a process: {argv}"
        return self.answers[tuple(argv)]


def recorded_host(
    scratch: Path,
    host: str,
    state: str,
    *,
    tools: Sequence[str] = ("ostree", "systemd-sysext", "env"),
    image: str | None = None,
    answers: Mapping[tuple[str, ...], Finished] | None = None,
) -> RecordedHost:
    """The host in one of the recorded states.

    ``image`` is added to the origin of each deployment, as on a host that was made of a container image.
    """
    root = scratch / "root"
    folder = recorded_folder(host, state)
    sections = recorded_sections(host, state)
    mountinfo = (folder / "mountinfo").read_text()
    _put(root, "/proc/self/mountinfo", mountinfo)
    _put(root, "/proc/cmdline", sections["cmdline"])
    _put(root, "/proc/sys/kernel/random/boot_id", BOOT_ID + "\n")
    _put(root, "/usr/lib/os-release", _OS_RELEASE[host])
    _put(root, f"/usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-{_SYSTEMD[host]}.so", "")
    for tool in tools:
        _put(root, f"/usr/bin/{tool}", "")
        (root / "usr/bin" / tool).chmod(0o755)
    _put(root, "/run/ostree-booted", "")
    empty = sections.get("marker: empty uppers", "").splitlines()
    for line in (*sections["/run/ostree"].splitlines(), *sections["backing"].splitlines()):
        _put_listed(root, line, empty=line in empty)
    for heading, text in sections.items():
        if heading.endswith(".origin"):
            added = f"container-image-reference={image}\n" if image is not None else ""
            _put(root, heading, text.partition("\n--")[0].rstrip() + "\n" + added)
            (root / heading.removesuffix(".origin").lstrip("/") / "usr").mkdir(parents=True, exist_ok=True)
    for line in (
        *sections["overlay dirs of hotfix"].splitlines(),
        *sections["/var/lib/extensions.mutable"].splitlines(),
    ):
        name = line.split()[-1]
        if name.startswith("/") and "cannot access" not in line:
            (root / name.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for line in sections.get("/run/ovlay", "").splitlines():
        (root / line.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for line in sections["/var/tmp"].splitlines():
        name = line.split()[-1]
        if name.startswith("ostree-unlock-ovl."):
            (root / "var/tmp" / name / "upper").mkdir(parents=True)
    return RecordedHost(root, RecordedKernel(root, mountinfo, writable=recorded_writable(host, state)), answers or {})


def recorded_folder(host: str, state: str) -> Path:
    """Where the files of a state are: of the first recordings, or of the boots of tests/vm."""
    first = DATA / host / state
    return first if first.exists() else BOOTS / host / state


def recorded_sections(host: str, state: str) -> dict[str, str]:
    """The parts of ``misc.txt`` by their headings."""
    sections: dict[str, str] = {}
    heading = ""
    for line in (recorded_folder(host, state) / "misc.txt").read_text().splitlines():
        if _SECTION.match(line):
            heading = line.removeprefix("# ")
            sections[heading] = ""
        else:
            sections[heading] += line + "\n"
    return sections


def recorded_writable(host: str, state: str) -> bool:
    """Whether a file could be made in /usr when the state was recorded."""
    return "/usr is writable" in recorded_sections(host, state)["write test"]


def _put(root: Path, path: str, text: str) -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def _put_listed(root: Path, path: str, *, empty: bool) -> None:
    if "/unlocked-" in path:
        _put(root, path, "")
        return
    (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
    if path.endswith("/usr-transient/upper") and not empty:
        # The listing stops here. What was in it is not of interest.
        _put(root, f"{path}/bin/ovhello", "")
