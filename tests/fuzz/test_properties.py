"""Whatever a text is made of, each parser keeps its promises; and what can be written is read as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ovlay.errors import InvalidInput
from ovlay.kernel.mountinfo import Mount, parse_mountinfo
from ovlay.model import as_json
from ovlay.notation import is_plain, parse_json, parse_toml, shown
from ovlay.plan.directories import DiscardUpper
from ovlay.plan.unmounting import View
from ovlay.receipts import Receipt, parse_book
from ovlay.recording import Origins, head_of
from tests.fuzz.__main__ import CORPUS
from tests.fuzz.targets import TARGETS, format_mount

SEEDS = {name: sorted(path.read_bytes() for path in (CORPUS / name).iterdir()) for name in TARGETS}
NAMES = ("status", "usrOverlay", "hierarchy", "extensions", "step", "steps", "target", "mount_id", "path", "device")
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)

# Every character that a str can have, halves of surrogate pairs too.
ANY_TEXT = st.text(st.characters(codec=None), max_size=20)
FILE_TEXT = st.text(st.characters(codec="utf-8") | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
PATHS = st.text(st.sampled_from("ab ,:=\\\n\t0154ü\r\x0b\udcff/"), min_size=1).map(lambda text: "/" + text)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**4299, -(10**4000), 1 << 64, float("nan"), float("inf"), -0.0, 1e308, "\ud800", "\0", ""])
    | st.floats()
    | ANY_TEXT
)
DOCUMENTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(NAMES) | ANY_TEXT, inner), max_leaves=10
)


@st.composite
def mutated(draw: st.DrawFn, name: str) -> bytes:
    """A seed with words of its parser's and odd bytes put in, a part left out, or a part twice."""
    data = draw(st.sampled_from(SEEDS[name]))[:2000]
    words = [word.encode("utf-8", "surrogatepass") for word in TARGETS[name].words]
    for _ in range(draw(st.integers(1, 4))):
        at, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        put = draw(st.sampled_from([*words, data[at:end] * 2, b"", b"\0", b"\xff", b"\r\n"]) | st.binary(max_size=8))
        data = data[:at] + put + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
@QUICK
@given(st.data())
def test_no_text_breaks_a_promise(name: str, data: st.DataObject) -> None:
    documents = DOCUMENTS.map(json.dumps).map(str.encode)
    TARGETS[name].check(data.draw(st.binary() | documents | mutated(name)))


@given(DOCUMENTS)
def test_json_is_read_as_it_was_written_or_refused(document: Any) -> None:
    text = json.dumps(document)
    try:
        assert parse_json(text) == document
    except InvalidInput:
        assert any(word in text for word in ("NaN", "Infinity", "1" + "0" * 4300))


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 100_000, '{"a":' * 100_000, "1" * 5000, "[NaN]", "-Infinity", "", "\ufeff{}", '{"a": 1, "a": 1}'),
        *('[{"b": {"a": 1, "a": 2}}]', '"\n"', "'a'", "[1,]", '{"a"}', "\udcff"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_json_is_told(text: str) -> None:
    with pytest.raises(InvalidInput, match="JSON"):
        parse_json(text)


@pytest.mark.parametrize(
    "text",
    [
        *("a = " + "[" * 100_000, "a = " + "{a = " * 100_000, "a = " + "1" * 5000, "[" + "a." * 65 + "a]"),
        *(
            "a." * 30_000 + "a = 1",
            "a = { " + "'b' . " * 70 + "b = 1 }",
            'a = "\\uD800"',
            "a = 1\na = 2",
            "\ufeffa = 1",
        ),
        *("a = 2023-02-30", "a = 1\r", "a = '\x01'", "= 1"),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_toml_is_told(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_toml(text)


def test_a_text_with_many_dots_is_no_key() -> None:
    words = "a." * 100
    assert parse_toml(f'a = "x{words} y"\nb.c = """\n... {". " * 100}\n"""')["a"] == f"x{words} y"


@given(DOCUMENTS)
def test_what_is_shown_in_a_message_is_short(document: Any) -> None:
    assert len(shown(document)) < 2500  # 200 characters, each of which may take ten to show


@given(ANY_TEXT)
def test_a_plain_text_can_be_the_name_of_a_file(text: str) -> None:
    try:
        assert is_plain(text) == (b"\0" not in text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        assert not is_plain(text)


WORDS = st.text(st.sampled_from("rwo,:=0shared"), min_size=1)
OPTIONS = st.lists(
    st.sampled_from(["rw", "lowerdir=/a:/b\\:c", "upperdir=/u\\,v", "workdir=/w\\\\", "x y\t\n"]), min_size=1
)


@given(
    st.lists(
        st.builds(
            Mount,
            mount_id=st.integers(0, 1 << 63),
            parent_id=st.integers(0, 1 << 63),
            device=WORDS,
            root=PATHS,
            mount_point=PATHS,
            options=WORDS,
            propagation=st.sampled_from(["", "shared:1", "master:1 propagate_from:2"]),
            fstype=WORDS,
            source=PATHS,
            super_options=OPTIONS.map(",".join),
        )
    )
)
def test_a_mount_table_is_read_as_the_kernel_wrote_it(mounts: list[Mount]) -> None:
    assert list(parse_mountinfo("".join(format_mount(mount) + "\n" for mount in mounts))) == mounts


@given(FILE_TEXT.filter(is_plain), st.integers(), st.from_regex(r"[0-9]{1,10}:[0-9]{1,10}", fullmatch=True))
def test_records_are_read_as_they_were_written(target: str, number: int, device: str) -> None:
    view = View(target, number, device)
    assert View.from_text(json.dumps(as_json(view))) == view
    step = DiscardUpper(target, target, number, device)
    assert DiscardUpper.from_text(json.dumps(step.to_json())) == step


@given(DOCUMENTS)
def test_what_is_no_record_of_a_view_is_refused(document: Any) -> None:
    for odd in (document, {"target": "/usr", "mount_id": 1, "device": document}):
        with pytest.raises(InvalidInput):
            View.from_text(json.dumps(odd))


RECEIPTS = st.builds(
    Receipt,
    path=FILE_TEXT,
    kind=st.sampled_from(["file", "symlink", "directory", "absent"]),
    sha256=st.none() | st.just("ab" * 32),
    to=st.none() | FILE_TEXT,
    size=st.integers(0),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0),
    gid=st.integers(0),
    label=st.none() | FILE_TEXT,
    source=st.none() | FILE_TEXT,
    source_stamp=st.none() | st.tuples(*[st.integers(0)] * 5),
    placed=st.none() | st.tuples(*[st.integers(0)] * 5),
    manifest=st.none() | FILE_TEXT,
    name=FILE_TEXT,
    when=st.just("2026-01-01T00:00:00Z"),
    by=st.integers(0),
    base=st.none() | st.just("nothing"),
    pending=st.just(False),
    before=st.none(),
)


@QUICK
@given(st.lists(RECEIPTS, max_size=4, unique_by=lambda receipt: receipt.path), st.data())
def test_receipts_are_read_as_they_were_written_however_much_is_lost(
    receipts: list[Receipt], data: st.DataObject
) -> None:
    origins = Origins()
    lines = [origins.line(receipt, "p") for receipt in receipts]
    text = head_of("id") + "".join(lines)
    assert list(parse_book(text, "id").receipts.values()) == receipts
    cut = text[: data.draw(st.integers(0, len(text)))]
    left = list(parse_book(cut, "id").receipts.values())
    assert left == receipts[: len(left)]


def test_a_row_that_is_none_takes_no_other_with_it() -> None:
    origins = Origins()
    receipt = Receipt("bin/x", "file")
    good = origins.line(receipt, "p")
    for bad in ("[]", "{}", '"o"', "[1]", '["p"]', "[" * 5000, '["p",' + "1," * 13 + "1]", "1" * 5000, "", "NaN"):
        assert parse_book(head_of("id") + good + bad + "\n" + good, "id").receipts == {"bin/x": receipt}
