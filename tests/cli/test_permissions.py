"""File modes mean what they mean to install(1), which is asked where it is there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ovlay.cli.permissions import parse_mode
from ovlay.errors import InvalidInput

MODES = {
    "755": 0o755,
    "0644": 0o644,
    "4755": 0o4755,
    "04755": 0o4755,
    "00755": 0o755,
    "0000": 0,
    "0": 0,
    "u=rwx,go=rx": 0o755,
    "a=r": 0o444,
    "+x": 0o111,
    "u=rw,g=u,o=": 0o660,
    "u=rwx,go=u-w": 0o755,
    "u=rwxs,go=rx": 0o4755,
    "ug=rxs": 0o6550,
    "a=rx,+t": 0o1555,
    "a=rwX": 0o666,
    "u=x,a+X": 0o111,
    "u=rwx,u=": 0,
    "+s=u": 0,
    "-": 0,  # install(1) takes an action that names no bits
}


@pytest.mark.parametrize(("text", "mode"), MODES.items())
def test_a_mode_is_a_number(text: str, mode: int) -> None:
    assert parse_mode(text) == mode


@pytest.mark.parametrize(
    "text", ["", "8", "77777", "077777", "rwx", "u", "u=q", "u=r,", ",u=r", "z=r", "u==r w", "0x1ff"]
)
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a file mode"):
        parse_mode(text)


CLAUSES = st.lists(
    st.tuples(
        st.text("ugoa", max_size=3),
        st.lists(
            st.tuples(st.sampled_from("+-="), st.one_of(st.text("rwxXst", max_size=4), st.sampled_from("ugo"))),
            min_size=1,
            max_size=2,
        ),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.skipif(shutil.which("install") is None, reason="there is no install(1) to compare with")
@settings(max_examples=60, deadline=None, database=None)
@given(clauses=CLAUSES)
def test_it_is_the_mode_that_install_makes(
    tmp_path_factory: pytest.TempPathFactory, clauses: list[tuple[str, list[tuple[str, str]]]]
) -> None:
    text = ",".join(who + "".join(how + what for how, what in actions) for who, actions in clauses)
    folder = tmp_path_factory.mktemp("modes", numbered=True)
    made = Path(folder, "made")
    done = subprocess.run(["install", "-m", text, os.devnull, made], capture_output=True, check=False, umask=0o022)
    assert done.returncode == 0, done.stderr
    assert parse_mode(text) == stat.S_IMODE(made.stat().st_mode), text
