"""What root answers is what a process that may look sees by itself. Here on a simulated host, with no root."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ovlay.changes.change import Change, Changes
from ovlay.changes.patch import Part
from ovlay.elevate.calls import Words
from ovlay.elevate.packing import pack, unpack
from ovlay.elevate.questions import Questions, answer
from ovlay.errors import InvalidInput, NotPermitted
from ovlay.receipts import Stamp
from ovlay.services.guard import Forecast
from ovlay.simulated import SimulatedHost
from ovlay.simulated.kernel import SimulatedKernel
from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import ovlay
    from ovlay.kernel import Kernel


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    case.put("tool", "tool\n", 0o755)
    case.says(
        f'file path = "/usr/bin/tool"; source = "{case.source}/tool"',
        'file path = "/usr/share/text"; text = "Grüße\\n"',
        'symlink path = "/usr/bin/link"; to = "tool"',
    )
    with case.host:
        case.overlay.apply([case.manifest], enable=True)
        with open(case.host.path("/usr/share/text"), "ab") as stream:
            stream.write(b"by hand \xff\n")
        yield case


class Root:
    """Who is asked. As long as nobody is, nobody may look beneath the overlay."""

    def __init__(self, overlay: ovlay.Overlay, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self._overlay = overlay
        self._blind = True
        views = SimulatedKernel.views

        def refused(kernel: Kernel, *words: Any, **more: Any) -> Any:
            if self._blind:
                raise NotPermitted("only root can look beneath the overlay")
            return views(kernel, *words, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(SimulatedKernel, "views", refused)
        monkeypatch.setattr(SimulatedHost, "is_hidden", lambda _, __: self._blind)

    def ask(self, question: str, arguments: Mapping[str, Any]) -> Any:
        self.asked.append(question)
        self._blind = False
        try:
            words = Words(question, json.loads(json.dumps(arguments)))
            return json.loads(json.dumps(answer(question, words, self._overlay)))
        finally:
            self._blind = True


def test_every_answer_is_what_one_sees_who_may_look(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay, manifests, ignore = case.overlay, [case.manifest], ("*.pyc",)
    sees = Questions(overlay)
    changes, drift = sees.changes((), hashes=True), sees.drift(manifests, user=True, ignore=ignore)
    patch = list(sees.patch(changes))
    plan, forecast = sees.plan(manifests, user=True, force=False), sees.forecast(ignore)
    holders = sees.holders(())

    root = Root(overlay, monkeypatch)
    told = Questions(overlay, root.ask)
    assert told.changes((), hashes=True) == changes._replace(changes=tuple(changes.changes))
    assert list(told.patch(changes)) == patch
    assert any(b"+by hand \xff\n" in part.lines for part in patch)
    assert told.drift(manifests, user=True, ignore=ignore) == drift
    assert told.holders(()) == holders
    assert told.forecast(ignore) == forecast
    found = told.plan(manifests, user=True, force=False)
    assert found.complete
    assert found.application.plan == plan.application.plan
    assert [(each.path, each.state, each.conflict) for each in found.application.comparison.findings] == [
        (each.path, each.state, each.conflict) for each in plan.application.comparison.findings
    ]
    assert root.asked == ["changes", "patch", "drift", "holders", "forecast", "plan"]


def test_nobody_is_asked_who_need_not_be(case: Case) -> None:
    def ask(_question: str, _arguments: Mapping[str, Any]) -> Any:
        raise AssertionError("root was asked")

    asking = Questions(case.overlay, ask)
    assert asking.changes(()).changes
    assert asking.drift([case.manifest], user=True, ignore=()).deviations
    assert asking.plan([case.manifest], user=True, force=False).complete


def test_without_root_it_is_refused_or_said_to_be_incomplete(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    Root(case.overlay, monkeypatch)
    alone = Questions(case.overlay)
    for question in (
        lambda: alone.changes(()),
        lambda: alone.drift([case.manifest], user=True, ignore=()),
        lambda: alone.forecast(()),
        lambda: list(alone.patch(Changes("/usr", (), complete=True, errors={}))),
    ):
        with pytest.raises(NotPermitted):
            question()
    with open(case.host.path("/usr/share/text"), "w", encoding="utf-8") as stream:
        stream.write("Grüße\n")
    found = alone.plan([case.manifest], user=True, force=False)
    assert not found.application.plan
    assert not found.complete


@pytest.mark.parametrize("question", ["", "eval", "__class__", "enable", "status"])
def test_a_question_that_is_none(case: Case, question: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be asked"):
        answer(question, Words(question, {}), case.overlay)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Changes, ["/usr", "x", True, {}, []]),
        (Changes, ["/usr", [], True, {}]),
        (Changes, {}),
        (Part, ["bin/x", [7], ""]),
        (Forecast, None),
        (Stamp, [1, 2, 3]),
        (Stamp, [1, 2, 3, 4, "5"]),
        (Change, ["bin/x", "modified", None, [1], None, None]),
    ],
)
def test_an_answer_that_is_none(kind: Any, value: Any) -> None:
    with pytest.raises(InvalidInput):
        unpack(kind, value)


def test_a_value_comes_back_as_it_was() -> None:
    part = Part("bin/\udcff", (b"\x00\xff\n",), "why")
    assert unpack(Part, json.loads(json.dumps(pack(part)))) == part
