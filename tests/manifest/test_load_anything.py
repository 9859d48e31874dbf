"""Whatever a text says, it is a manifest or it is refused with its mistakes."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ovlay.manifest.document import InvalidManifest, Manifest
from ovlay.manifest.load import load_manifest
from tests.manifest.test_load import parse

PIECES = """schema = 1
[[file]]
[file]
[when]
[[tree]]
[file.when]
[[absent]]
[[symlink]]
path =
'/usr/x'
path = '/usr/x'
source = 'x'
text = ""
to = 'a'
mode = 0o7
a.b = 1
a = 1e999
a = 1979-05-27
a = inf
0x
exclude = '['
missing = ['/usr/a']
os-release = { A = '>=1' }
file""".splitlines(keepends=True)
MARKS = [*"[]{},=.#'\"\\\n\0\ufeff", '"""', "'" * 3, "9" * 5000]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES + MARKS), max_size=25).map("".join) | st.text())
@example("'\r0")
def test_a_text_is_a_manifest_or_is_refused(text: str) -> None:
    found: Manifest | InvalidManifest
    try:
        found = parse(text)
    except InvalidManifest as error:
        found = error
    if isinstance(found, Manifest):
        assert all(entry.path.startswith("/usr/") for entry in found.entries)
    else:
        assert found.problems
        assert all(0 <= problem.line <= text.count("\n") + 1 for problem in found.problems)
        assert len(str(found).split("\n")) == len(found.problems) + 1


@given(st.binary())
def test_bytes_are_a_manifest_or_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    with pytest.raises(InvalidManifest):
        load_manifest(path)
