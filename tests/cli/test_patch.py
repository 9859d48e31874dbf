"""The patch that `ovlay diff` makes: git takes it, and a person can read it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ovlay.changes import patch
from ovlay.overlay import Overlay
from tests.cli.conftest import Cli, usr

if TYPE_CHECKING:
    from pathlib import Path

    from ovlay.changes.change import Changes

# --- the patch -------------------------------------------------------------------------------------------------------


def patch_of(cli: Cli, *words: str) -> bytes:
    done = subprocess.run(
        cli.argv("diff", "--patch", *words), capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 1, done.stderr
    return done.stdout


def test_text_is_a_unified_diff(changed: Cli) -> None:
    assert patch_of(changed, "/usr/lib/text") == (
        b"diff --git a/usr/lib/text b/usr/lib/text\n"
        b"--- a/usr/lib/text\n"
        b"+++ b/usr/lib/text\n"
        b"@@ -1,3 +1,3 @@\n"
        b" one\n"
        b"-two\n"
        b"-three\n"
        b"+2\n"
        b"+three\n"
        b"\\ No newline at end of file\n"
    )


def test_added_deleted_modes_links_and_binaries(changed: Cli) -> None:
    text = patch_of(changed)
    for part in (
        b"deleted file mode 100644\n--- a/usr/lib/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-gone\n",
        b"diff --git a/usr/lib/meta b/usr/lib/meta\nold mode 100644\nnew mode 100755\n",
        b"Binary files a/usr/lib/binary and b/usr/lib/binary differ\n",
        b'--- /dev/null\n+++ "b/usr/lib/new/a\\nb"\n@@ -0,0 +1 @@\n+x\n',
        b'+++ "b/usr/lib/new/no-\\377-utf8"\n',
        b"# deleted: directory /usr/lib/folder, mode 0755\n",
        b"# added: fifo /usr/lib/fifo, mode 0",
        b"-text\n\\ No newline at end of file\n+meta\n\\ No newline at end of file\n",
    ):
        assert part in text


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_makes_the_new_tree_out_of_the_old_one(changed: Cli, tmp_path: Path) -> None:
    text = patch_of(changed, "--ignore", "binary")
    new, old = tmp_path / "new", tmp_path / "old"
    shutil.copytree(usr(changed), new / "usr", symlinks=True, ignore=shutil.ignore_patterns("binary", "fifo"))
    changed("unmount", "--yes")
    shutil.copytree(usr(changed), old / "usr", symlinks=True, ignore=shutil.ignore_patterns("binary"))
    for folder in (old / "usr", old / "usr/lib", old / "usr/bin"):
        folder.chmod(0o755)
    git = subprocess.run(
        ["git", "apply", "--unsafe-paths", "-p1", "-"],
        input=text,
        cwd=old,
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)},
    )
    assert git.returncode == 0, git.stderr
    assert tree(old) == tree(new)


def tree(top: Path) -> dict[str, tuple[object, ...]]:
    return {
        str(path.relative_to(top)): (os.readlink(path),)
        if path.is_symlink()
        else (path.is_dir(), b"" if path.is_dir() else path.read_bytes(), path.stat().st_mode & 0o100)
        for path in top.rglob("*")
    }


def test_what_is_too_large_is_not_shown(changed: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch, "LIMIT", 10)
    out = changed("diff", "--patch", "/usr/lib/text").out
    assert "# larger than 10 bytes, and not shown\n" in out
    assert "Binary files a/usr/lib/text and b/usr/lib/text differ\n" in out


def test_a_person_sees_no_control_characters(
    changed: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (usr(changed) / "lib/text").write_bytes(b"\ttab \033[31m\xff\n")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    out = changed("diff", "--patch", "/usr/lib/text").out
    assert "+       tab \\x1b[31m\\udcff\n" in out


def test_a_link_on_the_way_is_not_followed(changed: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the search and the reading somebody puts a link in a directory's place."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/a\nb").write_text("the secret\n")
    search = Overlay.changes

    def then_swap(overlay: Overlay, *arguments: object, **options: object) -> Changes:
        found = search(overlay, *arguments, **options)  # type: ignore[arg-type]
        shutil.rmtree(usr(changed) / "lib/new")
        (usr(changed) / "lib/new").symlink_to(tmp_path / "secret")
        return found

    monkeypatch.setattr(Overlay, "changes", then_swap)
    said = changed("diff", "--patch", "lib/new")
    assert said.status == 1
    assert "the secret" not in said.out
    assert "the answer is not complete" in said.err
    assert "/usr/lib/new/a\\nb: " in said.err
