"""Every key is found on the line where it stands, whatever TOML is around it."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovlay.manifest import positions
from ovlay.manifest.positions import KeyPath, find_positions

if TYPE_CHECKING:
    from collections.abc import Iterator

TRICKY = ["", "plain", "# no comment", "[[file]]", "a = 1", "''", "é", "[", "}", ",", "= ="]
GAPS = ["\n", "\n\n", " # comment ]\n", "  \n# [x] 'a \"\n\t"]


class Writer:
    """A TOML text in which every value holds a mark of its own, drawn piece by piece."""

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def key(self) -> str:
        name = self.name()
        forms = [name, f'"{name}"', f"'{name}'", f'"{name}\\u0041"', f'{name} . "b.c"', f"{name}.d.e", f'"{name}#="']
        return self.draw(st.sampled_from(forms))

    def value(self, depth: int = 0) -> str:
        mark, inner = f"<{self.name()}>", self.draw(st.sampled_from(TRICKY))
        form = self.draw(st.integers(0, 7 if depth < 3 else 3))
        if form == 0:
            return f'"{mark}{inner}\\"\\\\"'
        if form == 1:
            return f"'{mark}{inner.replace(chr(39), '')}\\'"
        if form == 2:
            return f'"""{mark}\n{inner}\n"" \\"""\n[[x]]\ny = 1 """' + self.draw(st.sampled_from(["", '"', '""']))
        if form == 3:
            return f"'''{mark}\n{inner.replace(chr(39), '')}\n'' \\\n[x]\n'''" + self.draw(
                st.sampled_from(["", "'", "''"])
            )
        count = self.draw(st.integers(0, 3))
        if form in (4, 5):
            gap = st.sampled_from(["", " ", *GAPS])
            items = [f"{self.draw(gap)}{self.value(depth + 1)}{self.draw(gap)}" for _ in range(count)]
            return "[" + ",".join(items) + self.draw(st.sampled_from(["", *GAPS] + ([",\n"] if items else []))) + "]"
        return "{ " + ", ".join(f"{self.key()} = {self.value(depth + 1)}" for _ in range(count)) + " }"

    def statement(self) -> str:
        form = self.draw(st.integers(0, 7))
        if form == 0:
            return f"[{self.key()}]"
        if form == 1:
            return self.draw(st.sampled_from(["[[t]]", "[[ t ]] # x", "[[t]]\n[[t.u]]", '[["t"]]']))
        if form == 2:
            return f"[[t]]\n[t.{self.key()}]"
        if form == 3:
            return self.draw(st.sampled_from(["", "  ", "# a = [", "\t# '''"]))
        if form == 4:
            plain = st.sampled_from(["1979-05-27 07:32:00Z", "-1.5e3", "0x_F".replace("_", ""), "true", "inf", "1_000"])
            return f"{self.key()} = {self.draw(plain)}"
        return f"{self.draw(st.sampled_from(['', ' ']))}{self.key()}={self.value()}  # end"

    def text(self) -> str:
        return "".join(f"{self.statement()}\n" for _ in range(self.draw(st.integers(0, 12))))


def leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))
    else:
        yield path, value


@given(st.data(), st.booleans())
def test_every_value_is_found_on_its_line(data: st.DataObject, crlf: bool) -> None:  # noqa: FBT001
    text = Writer(data).text()
    document = tomllib.loads(text)
    found = find_positions(text.replace("\n", "\r\n") if crlf else text)
    assert found.refused is None
    for path, value in leaves(document):
        if isinstance(value, str):
            mark = value[: value.index(">") + 1]
            assert found.line(path) == text[: text.index(mark)].count("\n") + 1, path
        else:
            assert path in found.lines


def test_the_lines_of_a_document() -> None:
    text = (
        'a = 1\n\n[b]\nc = """\n[[file]]\n"""\n[[file]]\n[[file]]\npath = 0x1F\n[file.when]\nx = [\n"1",\n{ y = 2 }]\n'
    )
    found = find_positions(text)
    assert found.lines == {
        ("a",): 1,
        ("b",): 3,
        ("b", "c"): 4,
        ("file",): 7,
        ("file", 0): 7,
        ("file", 1): 8,
        ("file", 1, "path"): 9,
        ("file", 1, "when"): 10,
        ("file", 1, "when", "x"): 11,
        ("file", 1, "when", "x", 0): 12,
        ("file", 1, "when", "x", 1): 13,
        ("file", 1, "when", "x", 1, "y"): 13,
    }
    assert found.numbers == {("a",): "1", ("file", 1, "path"): "0x1F", ("file", 1, "when", "x", 1, "y"): "2"}
    assert found.line(("file", 1, "nothing", "of", "this")) == 8
    assert found.line(("nothing",)) == 0


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("\n" + "a." * 16 + "a = 1", 2, "16 parts"),
        ("[" + "a." * 16 + "a]", 1, "16 parts"),
        ("a = " + "[" * 18, 1, "16 deep"),
        ("a = [\n" + "{a=" * 17, 2, "16 deep"),
        ("\n\na = " + "1" * 101, 3, "100 characters"),
    ],
)
def test_what_would_take_long_is_refused(text: str, line: int, message: str) -> None:
    refused = find_positions(text).refused
    assert refused is not None
    assert refused.line == line
    assert message in refused.message


def test_too_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "MAX_VALUES", 10)
    assert find_positions("a = [1,1,1,1,1,1,1,1,1]").refused is None
    assert find_positions("a = [1,1,1,1,1,1,1,1,1,1]").refused == (1, "more than 10 values")


@given(st.text(alphabet="a.= \n\"'[]{},#\\1"))
def test_what_is_no_toml_stops_it_at_most(text: str) -> None:
    found = find_positions(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.lines.values())
