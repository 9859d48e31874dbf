"""What a user's process can say to the helper that runs as root. Here the helper is the real one, and is not root."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.conversation import ENABLE, helper, refusal
from tests.attacks.table import attack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def asked(**changed: Any) -> dict[str, Any]:
    return {**ENABLE, **changed}


@attack("ask for a verb that is none: `eval`, `__init__`, `os.system`, nothing, a list", "refused: cannot be done")
@pytest.mark.parametrize("verb", ["eval", "__init__", "os.system", "", "status", None, ["enable"], "enable\0"])
def test_a_verb_that_is_none(verb: object) -> None:
    error = refusal(asked(verb=verb))
    assert error["kind"] == "InvalidInput"
    assert "cannot be done for a user" in error["message"]


@attack(
    "name a module, a function or a third party's class as driver: `os:system`, `subprocess:Popen`, "
    "`ovlay_backends.ostree:os`",
    "refused before anything of the kind is imported: only drivers of ovlay's own",
)
@pytest.mark.parametrize(
    "driver",
    [
        "os:system",
        "subprocess:Popen",
        "ovlay_backends.ostree:os",
        "ovlay_backends.ostree:annotations",
        "ovlay_backends.os.path:join",
        "ovlay_backends.overlayfs:OverlayfsBackend.__init__",
        "ovlay_backends.__init__:Backend",
        "ovlay_backends.nothing:X",
        "evil.module:Backend",
        "ovlay_backends",
        ":",
        "",
        None,
        7,
    ],
)
def test_a_driver_that_is_none(driver: object) -> None:
    assert refusal(asked(driver=driver))["kind"] == "InvalidInput"


@attack(
    "ask a question that is none: `eval`, a verb, nothing, a list; or one with words of other types, or of a driver "
    "that is none",
    "refused: cannot be asked; nothing is guessed",
)
@pytest.mark.parametrize(
    "changed",
    [
        *({"question": question} for question in ("eval", "enable", "", None, ["diff"], {"diff": 1}, "changes\0")),
        {"question": "changes", "arguments": {"paths": "bin"}},
        {"question": "changes", "arguments": {"paths": ["/etc/../etc"], "hashes": False, "everything": False}},
        {"question": "drift", "arguments": {"declared": {"target": "/etc"}, "ignore": []}},
        {"question": "plan", "arguments": {"declared": [], "force": 1}},
        {"question": "holders", "arguments": []},
        {"question": "leftovers", "driver": "os:system"},
        {"question": "leftovers", "target": "/"},
    ],
)
def test_a_question_that_is_none(changed: dict[str, Any]) -> None:
    assert refusal(asked(**{"arguments": {}, **changed}))["kind"] in ("InvalidInput", "NotActive")


@attack("name the driver that plays a host, to have root write below any directory", "refused: it needs no root")
def test_the_driver_that_plays_a_host() -> None:
    error = refusal(asked(driver="ovlay_backends.fake:FakeBackend", target="/etc"))
    assert error["kind"] == "InvalidInput"


@attack("give `/`, a relative path, `..` up to the root, a null character, a number as the target", "refused")
@pytest.mark.parametrize("target", ["/", "usr", "", "/usr/..", "/../..", "//", "/us\0r", "./usr", None, 7, ["/usr"]])
def test_a_target_that_cannot_be(target: object) -> None:
    assert refusal(asked(target=target))["kind"] == "InvalidInput"


@attack(
    "send bytes that are no message: noise, JSON that is no object, 100,000 brackets, half a surrogate pair",
    "the helper ends, having done nothing",
)
@pytest.mark.parametrize(
    "body",
    [b"", b"\0" * 64, b"\xff\xfe", b"[]", b"7", b'"enable"', b"{", b"[" * 100_000, b'{"a":' * 50_000, b"NaN",
     b'{"verb": "\\ud800"}'],
)  # fmt: skip
def test_what_is_no_message(body: bytes) -> None:
    with helper() as other:
        other.end.sendall(struct.pack("!I", len(body)) + body)
        other.end.shutdown(socket.SHUT_WR)
        try:
            answer = other.answer()
        except EOFError:
            answer = {"error": {"kind": "InvalidInput"}}
        assert answer["error"]["kind"] == "InvalidInput"
        assert other.ended() == 0


@attack("announce a message of 4 GiB", "refused before a byte of it is read")
def test_a_message_of_four_gigabytes() -> None:
    with helper() as other:
        other.end.sendall(struct.pack("!I", 0xFFFFFFFF) + b"{}")
        with contextlib.suppress(EOFError):
            assert other.answer()["error"]["kind"] == "InvalidInput"
        assert other.ended() == 0


@attack("end the conversation after every single byte of a request", "the helper ends each time, having done nothing")
def test_the_wire_ends_at_every_byte() -> None:
    body = json.dumps(ENABLE).encode()
    message = struct.pack("!I", len(body)) + body
    for end in range(0, len(message), 7):  # and in the lab, as root, at each
        with helper() as other:
            other.end.sendall(message[:end])
            other.end.close()
            assert other.ended() == 0


@attack("stop talking in the middle of a request, and go on later", "the helper waits; it holds no lock meanwhile")
def test_the_wire_stalls() -> None:
    import time

    body = json.dumps(asked(verb="nothing")).encode()
    with helper() as other:
        other.end.sendall(struct.pack("!I", len(body)) + body[:10])
        time.sleep(0.5)
        assert other.process.poll() is None
        other.end.sendall(body[10:])
        assert other.answer()["error"]["kind"] == "InvalidInput"


@attack("pass hundreds of open files along with a request", "all are closed, and the request is judged by its words")
def test_files_that_nobody_asked_for() -> None:
    body = json.dumps(asked(verb="nothing")).encode()
    with open(os.devnull, "rb") as null, helper() as other:
        socket.send_fds(other.end, [struct.pack("!I", len(body))], [null.fileno()] * 200)
        other.end.sendall(body)
        assert other.answer()["error"]["kind"] == "InvalidInput"
        assert other.ended() == 0


@attack("hand over a plan of one's own, with a step that writes /etc/shadow, as the one that was confirmed",
        "it is compared with root's own plan, and never executed")  # fmt: skip
def test_a_plan_of_ones_own() -> None:
    step = {"step": "write-file", "path": "/etc/shadow", "text": "root::0:0::::", "mode": 0o644}
    plan = {"schema": "ovlay.plan/1", "reason": "", "warnings": [], "steps": [{"describe": "harmless", **step}]}
    with helper() as other:
        other.wire.send(asked(expected=plan, steps=plan["steps"], plan=plan, target="/nonexistent"))
        answer = other.answer()
        assert "outcome" not in answer
        assert "/etc/shadow" not in json.dumps(answer)


ITEM = ["bin/tool", "file", 0, "/home/u/tool", None, None, 5, 0o755, 0, 0, None, None, [1, 2, 5, 4, 5], None, True]
DECLARED: dict[str, Any] = {
    "target": "/opt/tools",
    "mode": ["read-write", "transient"],
    "manifests": ["/home/u/m.toml"],
    "origins": [["/home/u/m.toml", "m", 3]],
    "items": [ITEM],
}
WRONG: tuple[tuple[int, object], ...] = (
    (0, "../etc/passwd"), (0, "/etc/passwd"), (0, ""), (0, "."), (0, "bin//tool"), (0, "bin/./tool"), (0, "a\0b"),
    (0, "bin/.."), (0, "x" * 5000), (0, None), (0, 7), (0, "\ud800"),
    (1, "tree"), (1, "device"), (1, None), (1, "symlink"),
    (2, 1), (2, -1), (2, "0"), (2, None),
    (3, "tool"), (3, "\0"), (3, None), (3, 7),
    (4, "text too"), (5, "/etc"), (6, -1), (6, "5"), (6, 2**70),
    (7, 0o10000), (7, -1), (7, "0755"), (8, -1), (8, 2**32 - 1), (9, 2**40), (9, None),
    (10, "a b"), (10, "x\0"), (11, "abc"), (11, 7), (12, [1, 2]), (12, None), (12, ["a"] * 5), (13, "x"), (14, "yes"),
)  # fmt: skip


@attack(
    "declare to root what no manifest can: `..`, absolute paths, null characters, modes and owners that are none, "
    "a device, sources that are relative",
    "refused, with the path that it is about",
)
@pytest.mark.parametrize(("field", "value"), WRONG)
def test_an_item_that_no_manifest_can_declare(field: int, value: object) -> None:
    from ovlay.errors import InvalidInput
    from ovlay.manifest.sending import parse_declared

    assert parse_declared(DECLARED).items
    row = [value if number == field else each for number, each in enumerate(ITEM)]
    with pytest.raises(InvalidInput):
        parse_declared({**DECLARED, "items": [row]})


@attack("hand over a sparse file of exabytes, which root reads while nobody else can change the host",
        "refused before a byte of it is read: it does not fit")  # fmt: skip
def test_a_file_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ovlay.errors import NoSpace
    from ovlay.overlay import open_overlay

    @contextlib.contextmanager
    def opened(_host: object, _path: str) -> Iterator[int]:
        with os.fdopen(os.memfd_create("endless"), "wb") as endless:
            endless.truncate(1 << 62)
            yield endless.fileno()

    (tmp_path / "usr/bin").mkdir(parents=True)
    overlay = open_overlay("fake", root=str(tmp_path))
    overlay.enable()
    monkeypatch.setattr(type(overlay.host), "opened_source", opened)
    monkeypatch.setattr("ovlay.files.installing.content_of", lambda _descriptor: pytest.fail("it was read"))
    with pytest.raises(NoSpace, match="4611686018427387904 bytes"):
        overlay.install_file("/endless", "/usr/bin/endless")


@attack("declare a path twice, or what is for another target than the one that is named", "refused")
def test_items_that_contradict() -> None:
    from ovlay.errors import InvalidInput
    from ovlay.manifest.sending import parse_declared

    with pytest.raises(InvalidInput, match="twice"):
        parse_declared({**DECLARED, "items": [ITEM, ITEM]})
    flags = {"enable": False, "force": False, "triggers": False}
    error = refusal(asked(verb="apply", target="/usr", arguments={"declared": DECLARED, **flags}))
    assert error["kind"] == "InvalidInput"
    assert "/opt/tools" in error["message"]


@attack("leave words of a request away, or give them other types", "refused by name; nothing is guessed")
@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("enable", {}),
        ("enable", {"access": "all", "persistence": "transient"}),
        ("unmount", {"lazy": "no"}),
        ("install", {"files": "x"}),
        ("install", {"files": [{"source": "/x", "destination": "/usr/x", "mode": "755"}]}),
        ("install", {"files": [[]]}),
        ("revert", {"paths": "x"}),
        ("revert", {"paths": ["a\0b"]}),
        ("reset", {"fresh": 1}),
        ("apply", {"declared": []}),
        ("service-install", {"argv": [], "files": [], "own": [], "guard": False, "block": False}),
        ("service-install", {"argv": ["ovlay"], "files": [], "own": [], "guard": False, "block": False}),
        ("service-mask", {"units": "sshd.service"}),
        ("service-override", {"unit": "../../x", "conditions": ["ConditionPathExists=/x"]}),
        ("service-override", {"unit": "a.service", "conditions": ["ExecStart=/bin/sh"]}),
        ("service-override", {"unit": "a.service", "conditions": ["ConditionPathExists=/x\nExecStart=/bin/sh"]}),
        ("service-override", {"unit": "a.service", "conditions": ["ConditionPathExists=/x\r[Service]\rExecStart=/x"]}),
    ],
)
def test_words_that_are_missing_or_wrong(verb: str, arguments: object) -> None:
    assert refusal(asked(verb=verb, arguments=arguments))["kind"] == "InvalidInput"


@attack("let a unit of root's run a program that a user can write", "refused by the helper too")
def test_a_unit_that_runs_a_users_program(tmp_path: Any) -> None:
    program = tmp_path / "ovlay"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    words = {"argv": [str(program)], "files": [], "own": [], "guard": False, "block": False}
    error = refusal(asked(verb="service-install", arguments=words))
    assert error["kind"] == "InvalidInput"
    assert "must not run it" in error["message"]


@attack("have root write a captured manifest, or salvaged files, where a user could put links", "refused")
@pytest.mark.parametrize("place", ["/tmp/x/m.toml", "m.toml", "/etc/../tmp/x"])
def test_a_place_that_is_not_roots(place: str, tmp_path: Any) -> None:
    capture = {"to": place, "paths": [], "ignore": [], "everything": False}
    assert refusal(asked(verb="capture", arguments=capture))["kind"] == "NotPermitted"
    salvage = {"to": place, "paths": [], "upper": ""}
    assert refusal(asked(verb="salvage", arguments=salvage))["kind"] == "NotPermitted"


_NOISE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("/opt/tools") | st.just("file"),
    lambda inner: st.lists(inner, max_size=16) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=24,
)


@attack("declare noise to root: any JSON in the place of any field of any item", "refused, or read as what it says")
@settings(max_examples=400, deadline=None)
@given(st.sampled_from([*DECLARED, "item", *range(len(ITEM))]), _NOISE)
def test_noise_in_what_is_declared(where: str | int, noise: object) -> None:
    from ovlay.errors import InvalidInput
    from ovlay.manifest.sending import parse_declared

    if isinstance(where, int):
        document = {**DECLARED, "items": [[noise if where == number else each for number, each in enumerate(ITEM)]]}
    elif where == "item":
        document = {**DECLARED, "items": [noise]}
    else:
        document = {**DECLARED, where: noise}
    try:
        found = parse_declared(document)
    except InvalidInput:
        return
    assert found.target.startswith("/")
    assert all(".." not in item.path.split("/") and not item.path.startswith("/") for item in found.items or ())
