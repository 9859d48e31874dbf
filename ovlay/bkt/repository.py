"""bkt's own repository: where it is, and what in it is installed.

Its layout is that of github.com/wycats/bootc: the crate in ``bkt/``, which is in no workspace, and ``scripts/``.
"""

from __future__ import annotations

import os

from ovlay.errors import InvalidInput

SCRIPTS = ("bootc-apply", "bootc-bootstrap")
"""What ``--with-scripts`` installs beside bkt."""

NAMED_BY = "BKT_REPO_PATH"
"""The environment variable that names the repository (find_repo_path() in bkt/src/repo.rs)."""


def find_repository() -> str:
    """The root of the repository that the working directory is in; raises `InvalidInput` where it is in none."""
    if named := os.environ.get(NAMED_BY):
        if not _has_crate(named):
            raise InvalidInput(f"{NAMED_BY} is {named}, and there is no bkt/Cargo.toml", remedy=f"unset {NAMED_BY}")
        return os.path.abspath(named)
    begin = where = os.getcwd()
    while not (os.path.exists(f"{where}/.git") and _has_crate(where)):
        where, below = os.path.dirname(where), where
        if where == below:
            raise InvalidInput(
                f"{begin} is not in bkt's repository: neither it nor a directory above has .git and bkt/Cargo.toml",
                remedy=f"go to the repository, or set {NAMED_BY} to it",
            )
    return where


def scripts_of(repository: str) -> dict[str, str]:
    """Each of `SCRIPTS` in the repository, by its destination; raises `InvalidInput` that names all that lack."""
    found = {f"/usr/bin/{name}": f"{repository}/scripts/{name}" for name in SCRIPTS}
    if missing := [path for path in found.values() if not os.path.isfile(path)]:
        raise InvalidInput(f"{', '.join(missing)}: there is no such file", remedy="leave --with-scripts away")
    return found


def manifest_of(repository: str) -> str:
    """The crate's own manifest."""
    return f"{repository}/bkt/Cargo.toml"


def _has_crate(repository: str) -> bool:
    return os.path.isfile(manifest_of(repository))
