"""What goes to the helper and comes back is what it would be without one. Here on a simulated host, with no root."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ovlay.elevate.calls import perform, reason_to_refuse, sent_files
from ovlay.elevate.helper import error_document, outcome_document, outcome_of, raised
from ovlay.errors import Busy, Conflict, InvalidInput, NoSpace, OvlayError, ToolFailed
from ovlay.manifest.declaring import declare
from ovlay.manifest.document import InvalidManifest, Problem
from ovlay.manifest.items import expand
from ovlay.manifest.sending import declared_document, parse_declared
from ovlay.model import Holder
from ovlay.requests import InstallFile
from tests.manifest.case import Case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import ovlay


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    case = Case(tmp_path)
    case.put("tool", "tool\n", 0o755)
    case.put("many/one", "1\n")
    case.put("many/deep/two", "2\n")
    case.says(
        f'file path = "/usr/bin/tool"; source = "{case.source}/tool"',
        f'tree path = "/usr/share/many"; source = "{case.source}/many"',
        'file path = "/usr/share/text"; text = "Grüße\\n"',
        'symlink path = "/usr/bin/link"; to = "tool"',
        'absent path = "/usr/lib/link"',
    )
    with case.host:
        yield case


def asked(case: Case, verb: str, **arguments: Any) -> ovlay.Outcome:
    """What comes of a request that went through JSON, and of which the outcome did."""
    sent = json.loads(json.dumps(arguments))
    outcome = perform(verb, sent, case.overlay.backend, None)
    return outcome_of(json.loads(json.dumps(outcome_document(outcome))))


def declared(case: Case) -> dict[str, Any]:
    return declared_document(case.host, declare(case.overlay.backend, [case.manifest]))


def test_what_is_declared_arrives_as_it_was(case: Case) -> None:
    here = declare(case.overlay.backend, [case.manifest])
    there = parse_declared(json.loads(json.dumps(declared(case))))
    assert there.items == expand(case.host, here).items
    assert (there.target, there.mode, there.manifests) == (here.target, here.mode, here.manifests)


def test_apply_does_the_same_by_way_of_the_helper(case: Case) -> None:
    flags = {"enable": True, "force": False, "triggers": False}
    outcome = asked(case, "apply", declared=declared(case), **flags)
    assert outcome.changed
    assert not case.overlay.plan_apply([case.manifest]).plan
    again = asked(case, "apply", declared=declared(case), **flags)
    assert not again.changed
    assert again.plan.reason == "everything is as declared"


def test_conflicts_come_back_with_where_they_are_declared(case: Case) -> None:
    flags = {"enable": True, "force": False, "triggers": False}
    asked(case, "apply", declared=declared(case), **flags)
    place = case.host.path("/usr/share/text")
    with open(place, "w", encoding="utf-8") as stream:
        stream.write("by hand\n")
    found = asked(case, "apply", declared=declared(case), **flags).conflicts
    direct = case.overlay.apply([case.manifest]).conflicts
    assert [(each.path, each.conflict, each.detail) for each in found] == [
        (each.path, each.conflict, each.detail) for each in direct
    ]
    assert found[0].item is not None
    assert direct[0].item is not None
    assert str(found[0].item.origin) == str(direct[0].item.origin)


def test_a_program_in_the_overlay_is_none_for_a_unit_of_a_users_either(case: Case) -> None:
    """The user may not look beneath the overlay, so only the helper can tell."""
    case.overlay.enable()
    case.overlay.install_file(f"{case.source}/tool", "/usr/bin/ovlay", mode=0o755)
    words = {"argv": ["/usr/bin/ovlay"], "files": [], "own": [], "guard": False, "block": False}
    with pytest.raises(InvalidInput, match="/usr/bin/ovlay is in the overlay, and not there at the next boot"):
        asked(case, "service-install", **words)
    assert not case.host.exists("/etc/systemd/system/ovlay-apply.service")


def test_an_overlay_and_its_files_are_one_request(case: Case) -> None:
    files = sent_files([InstallFile(f"{case.source}/tool", "/usr/bin/tool")])
    mode = {"access": "read-write", "persistence": "transient"}
    outcome = asked(case, "install-anew", files=files, **mode)
    assert outcome.changed
    assert case.overlay.status().active
    assert [step.kind for step in outcome.plan.steps][-1] == "place-file"


def test_an_overlay_goes_again_where_its_files_cannot_be_placed(case: Case) -> None:
    files = sent_files([InstallFile(f"{case.source}/tool", "/usr/missing/tool")])
    with pytest.raises(InvalidInput):
        asked(case, "install-anew", files=files, access="read-write", persistence="transient")
    assert not case.overlay.status().active


def test_sources_go_by_absolute_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert sent_files([InstallFile("tool", "/usr/bin/tool")])[0]["source"] == f"{tmp_path}/tool"


def test_units_are_masked_and_overridden_by_way_of_the_helper(case: Case) -> None:
    unit = {"unit": "sshd.service"}
    made = asked(case, "service-override", conditions=["ConditionPathExists=!/x"], **unit)
    assert made.changed
    assert case.host.exists("/etc/systemd/system/sshd.service.d/50-ovlay-override.conf")
    assert asked(case, "service-restore", **unit).changed
    assert not asked(case, "service-remove").changed


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("wrong", remedy="mend it"),
        Conflict("changed"),
        NoSpace("full", remedy="make room"),
        ToolFailed("mount failed"),
        Busy("in use", holders=(Holder(7, "sh", ("cwd /usr",)),)),
        InvalidManifest([Problem("/m.toml", 3, "path", "is wrong", "write it so")]),
    ],
)
def test_errors_come_back_as_what_they_were(error: OvlayError) -> None:
    error.add_note("and a note")
    back = raised(json.loads(json.dumps(error_document(error))))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert isinstance(back, OvlayError)
    assert (back.remedy, back.exit_code) == (error.remedy, error.exit_code)
    assert back.__notes__ == ["and a note"]
    assert getattr(back, "holders", ()) == getattr(error, "holders", ())


def test_what_nobody_expected_comes_back_as_a_failure() -> None:
    back = raised(error_document(RuntimeError("oops")))
    assert isinstance(back, ToolFailed)
    assert "unexpected RuntimeError in the helper: oops" in str(back)
    assert isinstance(raised(error_document(KeyboardInterrupt())), KeyboardInterrupt)
    assert isinstance(raised(None), Conflict)


def test_root_writes_for_a_user_only_where_no_other_can(tmp_path: Path) -> None:
    assert reason_to_refuse("/usr/lib/ovlay-missing/m.toml") is None
    tmp_path.chmod(0o777)
    for place in (f"{tmp_path}/m.toml", "m.toml", "/usr/../tmp/m.toml"):
        assert reason_to_refuse(place) is not None
