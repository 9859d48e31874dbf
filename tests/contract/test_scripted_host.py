"""A scripted host runs tools that Python plays, and writes down what was run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ovlay.errors import ToolFailed
from ovlay.host import Finished
from ovlay.testing.scripted import Call, ScriptedHost, play_env
from ovlay.testing.tree import make_known_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ScriptedHost]:
    make_known_tree(tmp_path / "host/usr")
    with ScriptedHost(str(tmp_path / "host")) as host:
        yield host


def say(call: Call) -> Finished:
    return Finished(3, f"{' '.join(call.words)} {call.environment.get('WHO', 'nobody')}", "said")


def test_a_tool_is_found_run_and_written_down(host: ScriptedHost) -> None:
    assert host.find_tool("say") is None
    host.add_tool("/usr/sbin/say", say)
    assert host.find_tool("say") == "/usr/sbin/say"
    assert host.run(["/usr/sbin/say", "hello"]) == Finished(3, "hello nobody", "said")
    assert host.calls == [("/usr/sbin/say", "hello")]
    assert not host.kernel.writable("/usr")


def test_what_is_not_installed_cannot_be_run(host: ScriptedHost) -> None:
    with pytest.raises(ToolFailed, match="/usr/bin/say: No such file"):
        host.run(["/usr/bin/say"])
    host.add_tool("/usr/bin/say", say)
    with host.kernel.unsealed("/usr"):
        host.remove("/usr/bin/say")
    with pytest.raises(ToolFailed, match="/usr/bin/say: No such file"):
        host.run(["/usr/bin/say"])


def test_env_gives_its_words_to_the_command(host: ScriptedHost) -> None:
    host.add_tool("/usr/bin/say", say)
    host.add_tool("/usr/bin/env", play_env)
    assert host.run(["/usr/bin/env", "WHO=me", "/usr/bin/say", "a=b"]).stdout == "a=b me"
    assert len(host.calls) == 1


def test_what_is_done_at_boot_is_done_at_each(host: ScriptedHost) -> None:
    host.at_boot.append(lambda: host.add_file("/run/booted", "yes"))
    for _ in range(2):
        host.reboot()
        assert host.read("/run/booted") == "yes"
        host.remove("/run/booted")
