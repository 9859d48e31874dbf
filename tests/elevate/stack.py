"""The machine of users, with what alice declares."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.elevate.machine import OVLAY, TARGET, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMAND = f"{OVLAY} --backend overlayfs --target {TARGET}"  # run by root: this alice is to be trusted
MANIFEST = """schema = 1
target = "/opt/tools"
[[file]]
path = "/opt/tools/bin/tool"
source = "tool"
mode = "0755"
[[tree]]
path = "/opt/tools/share/many"
source = "many"
file-mode = "0644"
directory-mode = "0755"
"""


@contextmanager
def machine_with_stack(work: Path, under_test: Path) -> Iterator[Machine]:
    """The machine, with polkit, and a manifest with its sources in alice's home."""
    with Machine(work, under_test) as machine:
        machine.start_polkit()
        machine.user("echo mine >~/mine; echo two >~/two; mkdir -p ~/stack/many; echo tool >~/stack/tool")
        machine.user("for n in 1 2 3; do echo $n >~/stack/many/$n; done")
        machine.user(f"cat >~/stack/stack.toml <<'END'\n{MANIFEST}END")
        yield machine
