"""Entries are put into a manifest so that tomllib reads what was meant, and nothing else in the file moves."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ovlay.errors import InvalidInput
from ovlay.manifest.document import NOTHING, Entry, Kind, Origin
from ovlay.manifest.writer import begin, entries_in, put, quoted, table_of, unsayable

HERE = Origin("/d/m.toml", "m", 0)
FILE = Entry(Kind.FILE, "/usr/bin/a", HERE, source="/d/m.files/a", sha256="0" * 64, mode=0o644, replaces=NOTHING)
LINK = Entry(Kind.SYMLINK, "/usr/bin/l", HERE, to="a", owner=7, group="users", label="x:y:z:s0")
GONE = Entry(Kind.ABSENT, "/usr/bin/gone", HERE, replaces="1" * 64)

WRITTEN = '''\
# A hotfix, for the ticket 12.
schema = 1
target = "/usr"

# the tool itself
[[file]]
# from the branch "fix"
path = "/usr/bin/a" # not /usr/sbin
text = """
[[file]]
# no comment, and no header
"""
when = { image = "os:*" }
# what is said last

# and its name
[[symlink]]
path = "/usr/bin/l"
to = "a"

[symlink.when]
image = [
  "one",
  "two", # both
]

[overlay]
access = "read-only"
'''

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


def written(*entries: Entry, into: str = WRITTEN, without: tuple[str, ...] = ()) -> str:
    return put(into, entries, file="/d/m.toml", without=without)


@given(TEXTS)
def test_any_text_can_be_a_value(text: str) -> None:
    assert tomllib.loads(f"x = {quoted(text)}") == {"x": text}


def test_a_name_that_is_no_utf8_is_none() -> None:
    assert unsayable(["a", "b\udcff"])
    assert not unsayable(["a", "\u2028é"])


def test_a_new_manifest() -> None:
    text = written(FILE, LINK, GONE, into=begin("/opt/x y"))
    assert tomllib.loads(text) == {
        "schema": 1,
        "target": "/opt/x y",
        "file": [
            {
                "path": "/usr/bin/a",
                "source": "m.files/a",
                "sha256": "0" * 64,
                "mode": "0644",
                "replaces": "nothing",
            }
        ],
        "symlink": [{"path": "/usr/bin/l", "to": "a", "owner": 7, "group": "users", "label": "x:y:z:s0"}],
        "absent": [{"path": "/usr/bin/gone", "replaces": "1" * 64}],
    }


def test_what_is_new_comes_at_the_end_and_all_else_stays() -> None:
    assert written(GONE) == WRITTEN + f'\n[[absent]]\npath = "/usr/bin/gone"\nreplaces = "{"1" * 64}"\n'
    assert written(GONE, into=WRITTEN.rstrip("\n")) == written(GONE)


def test_an_entry_takes_the_place_of_the_one_with_its_path_and_keeps_its_condition() -> None:
    text = written(FILE._replace(replaces=None))
    head, tail = WRITTEN.index("[[file]]"), WRITTEN.index("\n\n# and its name")
    assert text[:head] == WRITTEN[:head]
    assert text.endswith(WRITTEN[tail:])
    assert text[head : -len(WRITTEN[tail:])].splitlines() == [
        "[[file]]",
        'path = "/usr/bin/a"',
        'source = "m.files/a"',
        f'sha256 = "{"0" * 64}"',
        'mode = "0644"',
        '# from the branch "fix"',
        'when = { image = "os:*" }',
        "# what is said last",
    ]


def test_a_condition_with_a_header_goes_with_an_entry_of_another_kind() -> None:
    text = written(GONE._replace(path="/usr/bin/l"))
    document = tomllib.loads(text)
    when = {"image": ["one", "two"]}
    assert document["absent"] == [{"path": "/usr/bin/l", "replaces": "1" * 64, "when": when}]
    assert "symlink" not in document
    assert '  "two", # both\n]\n\n[overlay]\n' in text


def test_what_says_the_same_stays_as_it_is_written() -> None:
    text = WRITTEN.replace('to = "a"', 'to   =  "a"  # really')
    assert written(LINK._replace(owner=None, group=None, label=None), into=text) == text


def test_what_is_taken_out_leaves_all_else() -> None:
    text = written(without=("/usr/bin/l",))
    cut = WRITTEN.index("[[symlink]]")
    assert text == WRITTEN[:cut] + WRITTEN[WRITTEN.index("[overlay]") :]


def test_line_ends_of_windows_stay() -> None:
    text = written(FILE, GONE, into=WRITTEN.replace("\n", "\r\n"))
    assert text.count("\n") == text.count("\r\n")
    assert tomllib.loads(text)["absent"] == [{"path": "/usr/bin/gone", "replaces": "1" * 64}]


def test_entries_that_are_no_tables_of_their_own() -> None:
    with pytest.raises(InvalidInput, match=r"not written under \[\[file\]\]"):
        written(GONE, into='file = [{ path = "/usr/a", text = "" }]\n')
    with pytest.raises(InvalidInput, match=r"/d/m.toml: "):
        written(GONE, into="[[file\n")


def test_an_entry_in_two_places_cannot_be_taken_out() -> None:
    text = '[[file]]\npath = "/usr/a"\n[[absent]]\npath = "/usr/b"\n[file.when]\nimage = "x"\n'
    with pytest.raises(InvalidInput, match=r"/d/m.toml:1: the entry of /usr/a is in several places"):
        written(into=text, without=("/usr/a",))
    with pytest.raises(InvalidInput, match="in several places"):
        written(GONE._replace(path="/usr/a"), into=text)
    assert tomllib.loads(written(FILE._replace(path="/usr/a"), into=text))["file"][0]["when"] == {"image": "x"}


NAMES = st.sampled_from(["/usr/a", "/usr/b", "/usr/c d", '/usr/"', "/usr/#"])
ENTRIES = st.builds(
    lambda kind, path, value: Entry(
        kind,
        path,
        HERE,
        text=value if kind is Kind.FILE else None,
        to=value if kind is Kind.SYMLINK else None,
        mode=0o700 if kind is Kind.DIRECTORY else None,
    ),
    st.sampled_from([Kind.FILE, Kind.SYMLINK, Kind.ABSENT, Kind.DIRECTORY]),
    NAMES,
    TEXTS,
)
MANY = st.lists(ENTRIES, unique_by=lambda entry: entry.path)


@given(MANY, MANY, st.sets(NAMES))
def test_what_is_put_in_is_there_and_what_was_there_stays(old: list[Entry], new: list[Entry], gone: set[str]) -> None:
    first = written(*old, into=begin("/usr"))
    paths = {entry.path for entry in new}
    without = tuple(entry.path for entry in old if entry.path in gone - paths)
    text = written(*new, into=first, without=without)
    expected = {entry.path: entry for entry in old if entry.path not in without}
    expected |= {entry.path: entry for entry in new}
    found = {there.path: (there.kind, there.table) for there in entries_in(text, "m")}
    assert found == {path: (entry.kind, table_of(entry, "/d")) for path, entry in expected.items()}
    assert written(*new, into=text) == text
