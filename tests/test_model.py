"""The nouns turn into plain JSON and nothing gets lost."""

from __future__ import annotations

import json

from ovlay.model import (
    Access,
    Anomaly,
    AnomalyKind,
    Backing,
    Base,
    Layer,
    Mode,
    Owner,
    Persistence,
    Probe,
    Status,
    as_json,
)


def a_status() -> Status:
    layer = Layer(
        7, Owner.TOOL, "overlay", "overlay", "0:32", Access.READ_WRITE, Access.READ_WRITE, ("usr",), "/u", "/w"
    )
    return Status(
        backend="ostree",
        target="/usr",
        active=True,
        writable=True,
        mode=Mode(Access.READ_ONLY, Persistence.TRANSIENT),
        overlay=layer,
        upper_path="/u",
        backing=Backing("ext4", in_memory=False, total=3, used=2, free=1),
        flag="transient",
        base=Base("ostree", "c" * 64, None, "debian", "13"),
        depth=1,
        stack=(layer,),
        submounts=("/usr/lib/locale",),
        anomalies=(Anomaly(AnomalyKind.STALE_FLAG, "a", "b"),),
    )


def test_a_status_is_plain_json() -> None:
    document = a_status().to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["schema"] == "ovlay.status/1"
    assert document["mode"] == {"access": "read-only", "persistence": "transient"}
    assert document["stack"][0]["lower"] == ["usr"]
    assert document["anomalies"] == [{"kind": "stale-flag", "detail": "a", "remedy": "b"}]
    assert document["base"]["image"] is None
    assert type(document["flag"]) is str
    assert type(document["overlay"]["owner"]) is str
    assert document.keys() == {"schema", *Status._fields}


def test_a_status_knows_its_anomalies() -> None:
    assert a_status().has(AnomalyKind.STALE_FLAG)
    assert not a_status().has(AnomalyKind.DEPTH_LIMIT)


def test_a_mode_is_told_by_both_axes_and_never_by_transient_alone() -> None:
    assert str(Mode()) == "read-write, transient"
    assert str(Mode(Access.READ_ONLY, Persistence.PERSISTENT)) == "read-only, persistent"


def test_only_a_score_above_nothing_fits() -> None:
    assert Probe(1, "here").fits
    assert not Probe(0, "not here").fits


def test_names_that_are_no_utf_8_pass_through_json() -> None:
    assert json.loads(json.dumps(as_json(("/usr/\udcff\n",)))) == ["/usr/\udcff\n"]
