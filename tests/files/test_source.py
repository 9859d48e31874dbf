"""What can be placed: regular files, whole, and never a FIFO that one would wait for."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from ovlay.errors import InvalidInput, NotPermitted
from ovlay.files.source import BLOCK, Content, OpenedSource, content_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_content_is_the_size_and_the_hash_of_all_of_it(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    with OpenedSource(str(tmp_path / "f")) as descriptor:
        assert content_of(descriptor) == Content(size, hashlib.sha256(data).hexdigest())
        assert content_of(descriptor).size == size  # it always begins at the start


def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "l").symlink_to("f")
    with OpenedSource(str(tmp_path / "l")) as descriptor:
        assert content_of(descriptor).size == 1


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("fifo", ".", "none", "loop"):
        with pytest.raises(InvalidInput, match=name.replace(".", "a directory")), OpenedSource(str(tmp_path / name)):
            pass
    with pytest.raises(InvalidInput, match="not a regular file"), OpenedSource("/dev/null"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_what_may_not_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0)
    with pytest.raises(NotPermitted, match="may not be read"), OpenedSource(str(tmp_path / "f")):
        pass
