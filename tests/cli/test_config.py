"""The configuration is strict, says every mistake at once, and root reads none that another could write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ovlay import config
from ovlay.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG_FILES = config.config_files  # before the fixture of all these tests puts another in its place


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return str(path)


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert config.load_config([str(tmp_path / "none.toml"), str(tmp_path / "a" / "b")]) == config.Config()


def test_all_keys(tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", 'backend = "fake"\ntarget = "/opt"\ntmpfs-size = "512M"\n')
    assert config.load_config([path]) == config.Config("fake", "/opt", 512 << 20)


def test_a_later_file_wins_key_by_key(tmp_path: Path) -> None:
    first = write(tmp_path / "1.toml", 'backend = "fake"\ntarget = "/opt"\n')
    second = write(tmp_path / "2.toml", 'backend = "overlayfs"\n')
    assert config.load_config([first, second]) == config.Config("overlayfs", "/opt")


def test_every_mistake_is_told_with_the_file_and_the_key(tmp_path: Path) -> None:
    text = 'backand = "x"\nzzz = 1\ntarget = "opt"\ntmpfs-size = "many"\nbackend = 3\nelevate = "su"\n'
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(InvalidInput) as caught:
        config.load_config([path])
    message = str(caught.value)
    assert message.startswith(path)
    assert "unknown key 'backand', did you mean 'backend'?" in message
    assert "unknown key 'zzz', known are: backend, target, tmpfs-size" in message
    assert "target must be an absolute path" in message
    assert "tmpfs-size must be a number of bytes" in message
    assert "elevate must be one of sudo, run0, doas, pkexec, none, not 'su'" in message
    assert "backend must be a text, not 3" in message


def test_yes_cannot_be_said_in_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="unknown key 'yes'"):
        config.load_config([write(tmp_path / "c.toml", "yes = true\n")])


@pytest.mark.parametrize("text", ["backend =", "backend = \n[", "= 1"])
def test_what_is_no_toml_is_told_with_its_line(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "c.toml", text)
    with pytest.raises(InvalidInput, match=rf"{path}: .*(line \d|end of document)"):
        config.load_config([path])


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(b'backend = "\xff"')
    with pytest.raises(InvalidInput, match="not UTF-8 text"):
        config.load_config([str(path)])


def test_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('backend = "fake"', encoding="utf-8-sig")
    with pytest.raises(InvalidInput, match="begins with a byte order mark; save it as UTF-8 without one"):
        config.load_config([str(path)])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "c.toml")
    with pytest.raises(InvalidInput, match="not a regular file"):
        config.load_config([str(tmp_path / "c.toml")])


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("2K", 2048), ("3G", 3 << 30), ("1T", 1 << 40), ("", None), ("G", None), ("1GG", None), ("-1", None)],
)
def test_sizes(text: str, size: int | None) -> None:
    assert config.parse_size(text) == size


def test_root_reads_the_administrators_file_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ovlay").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert CONFIG_FILES() == ("/etc/ovlay/config.toml",)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert CONFIG_FILES() == ("/etc/ovlay/config.toml", f"{tmp_path}/ovlay/config.toml")


def test_root_does_not_trust_a_file_that_others_can_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write(tmp_path / "c.toml", 'backend = "fake"\n')
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    Path(path).chmod(0o666)
    with pytest.raises(InvalidInput, match="not trusted"):
        config.load_config([path])
