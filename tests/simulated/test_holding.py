"""Who holds a simulated mount is busy, and keeps a view of its own after a lazy unmount."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.simulated.machine import UPPER, mount, touch, unmount

if TYPE_CHECKING:
    from ovlay.simulated import SimulatedHost


def test_a_holder_is_busy_until_it_lets_go(host: SimulatedHost) -> None:
    mount(host)
    with host.kernel.hold("/usr", command="shell"):
        assert [holder.command for holder in host.kernel.holders(host.mounts_at("/usr"))] == ["shell"]
        with pytest.raises(OSError, match="busy") as busy:
            unmount(host)
        assert busy.value.errno == errno.EBUSY
    assert host.kernel.holders(host.mounts_at("/usr")) == ()
    unmount(host)


def test_a_holder_whose_process_died_holds_nothing(host: SimulatedHost) -> None:
    mount(host)
    program = (
        "import os, sys; from ovlay.simulated import SimulatedHost; host = SimulatedHost(sys.argv[1]);"
        "held = host.kernel.hold('/usr'); held.__enter__(); print(len(host.kernel.holders(host.mounts_at('/usr'))));"
        "os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-uc", program, host.root], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert host.kernel.holders(host.mounts_at("/usr")) == ()
    unmount(host)


def test_what_a_holder_writes_after_a_lazy_unmount_is_in_the_upper(host: SimulatedHost) -> None:
    mount(host)
    with host.kernel.hold("/usr") as view:
        unmount(host, lazy=True)
        touch(f"{view}/late")
        assert not host.exists("/usr/late")
    assert host.exists(UPPER + "/late")
    assert os.listdir(host.path("/.ovlay-simulated/views")) == []
