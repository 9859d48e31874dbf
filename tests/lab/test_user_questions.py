"""What a user is told without a password, and with one; and that nothing is asked for where nothing is to be done."""

from __future__ import annotations

import json

import pytest

from tests.elevate.machine import TARGET, Machine
from tests.elevate.stack import COMMAND, MANIFEST

WAYS = ("sudo", "doas", "pkexec")


def test_where_all_is_as_declared_nothing_is_asked(machine: Machine) -> None:
    """Whoever applied it, and only as long as it is so."""
    stack, other = "/home/alice/stack/stack.toml", "/home/alice/stack/other.toml"

    def applied(manifest: str = stack) -> tuple[int, int, str]:
        talk = machine.talk("--elevate", "sudo", "apply", manifest)
        return talk.status, talk.prompts, talk.said

    machine.root(f"{COMMAND} enable --yes; {COMMAND} apply --yes {stack}")
    assert applied()[:2] == (0, 0)
    machine.user("printf 'schema = 1\\ntarget = \"/opt/tools\"\\n' >~/stack/other.toml")
    machine.user('printf \'[[file]]\\npath = "/opt/tools/x"\\ntext = "x"\\n\' >>~/stack/other.toml')
    assert applied(other)[:2] == (0, 1)
    # What was placed for another manifest, in a home that nobody else can look into, is known to root alone.
    assert applied()[:2] == (0, 1)
    assert applied()[:2] == (0, 1)
    machine.root("chmod 755 /home/alice")
    machine.user("chmod 755 ~/stack; touch -d '-1 hour' ~/stack/*.toml")
    assert applied()[:2] == (0, 1)
    assert applied()[:2] == (0, 0)
    assert applied(other)[:2] == (0, 1)
    assert [applied(other)[:2], applied()[:2]] == [(0, 0), (0, 0)]
    notice = machine.root("stat -c '%a %u' /run/ovlay-public /run/ovlay-public/*; cat /run/ovlay-public/*")
    assert notice.startswith("755 0\n644 0\n")
    assert "tool" not in notice.replace(stack, "").replace(other, "")
    machine.user("rm ~/stack/other.toml")  # so that what it declared is to be taken back
    status, prompts, said = applied()
    assert (status, prompts) == (0, 1), said
    assert machine.root(f"ls -A {TARGET}") == "bin\nshare\n"
    assert applied()[:2] == (0, 0)
    machine.root(f"chmod 600 {TARGET}/bin/tool")
    assert applied()[1] == 1
    machine.root(f"{COMMAND} revert --yes {TARGET}/share/many; cp /home/alice/stack/many/* {TARGET}/share || true")
    assert applied()[1] == 1


def test_a_condition_on_the_base_is_held_against_it_by_root(machine: Machine) -> None:
    """What the overlay hides is for root to know: it says so with the same password."""
    entry = '[[file]]\npath = "/opt/tools/bin/{name}"\ntext = "x"\nwhen = {{ {when} = "/opt/tools/bin/{name}" }}\n'
    entries = entry.format(name="b", when="missing") + entry.format(name="fresh", when="missing")
    machine.user(f"cat >~/stack/when.toml <<'END'\nschema = 1\ntarget = \"/opt/tools\"\n{entries}END")
    machine.root(f"{COMMAND} enable --yes; rm {TARGET}/bin/b; touch {TARGET}/bin/other")
    talk = machine.talk("--elevate", "sudo", "apply", "stack/when.toml")
    assert (talk.status, talk.prompts) == (0, 1), talk
    assert machine.root(f"ls {TARGET}/bin") == "fresh\nother\n"  # the base has b
    assert "retired:\n  /opt/tools/bin/b" in talk.said
    drift = machine.talk("--elevate", "sudo", "drift", "stack/when.toml")
    assert (drift.status, drift.prompts) == (1, 1), drift
    assert "unmanaged   /opt/tools/bin/b  (deleted)" in drift.said
    machine.user("rm ~/stack/when.toml")


def test_what_only_root_can_look_at_is_root_to_compare(machine: Machine) -> None:
    """Files with the modes of a source with umask 077: nobody else can know whether somebody changed them."""
    private = MANIFEST.replace("644", "600").replace("755", "700")
    machine.user(f"cat >~/stack/private.toml <<'END'\n{private}END")
    machine.root(f"{COMMAND} enable --yes; {COMMAND} apply --yes /home/alice/stack/private.toml")
    planned = machine.talk("plan", "stack/private.toml")
    assert (planned.status, planned.prompts) == (6, 0), planned
    assert "not everything on /opt/tools can be looked at" in planned.said
    assert "let root do it, which takes a password" in planned.said
    for _ in range(2):
        talk = machine.talk("--elevate", "sudo", "apply", "stack/private.toml")
        assert (talk.status, talk.prompts) == (0, 1), talk
        assert "everything is as declared" in talk.said
    machine.user("rm ~/stack/private.toml")


def test_what_a_user_cannot_see_is_said(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes; {COMMAND} apply --yes /home/alice/stack/stack.toml")
    known = machine.talk("plan", "stack/stack.toml")
    assert (known.status, known.prompts) == (0, 0), known
    assert "everything is as declared" in known.said
    machine.root("rm -r /run/ovlay-public")
    unseen = machine.talk("plan", "stack/stack.toml")
    assert (unseen.status, unseen.prompts) == (1, 0), unseen
    assert "only root can see what was placed before" in unseen.said
    assert "everything is as declared" not in unseen.said
    assert "/ovlay --elevate sudo --backend overlayfs --target /opt/tools plan stack/stack.toml`" in unseen.said
    said = machine.alone("plan", "--json", "stack/stack.toml").said
    document = json.loads(said[said.index("{") :])
    assert document["complete"] is False
    machine.user("sed '/^.*tree/,$d' ~/stack/stack.toml >~/stack/less.toml; mv ~/stack/less.toml ~/stack/stack.toml")
    asked = machine.talk("--elevate", "sudo", "plan", "stack/stack.toml")
    machine.user(f"cat >~/stack/stack.toml <<'END'\n{MANIFEST}END")
    assert (asked.status, asked.prompts) == (1, 1), asked
    assert "take back:\n  /opt/tools/share/many" in asked.said


@pytest.mark.parametrize("way", WAYS)
def test_a_question_is_answered_by_root_where_that_is_asked_for(machine: Machine, way: str) -> None:
    machine.root(f"{COMMAND} enable --yes; {COMMAND} apply --yes /home/alice/stack/stack.toml")
    machine.root(f"echo changed >{TARGET}/bin/b")
    for words, status, told in (
        (("diff",), 1, "modified      /opt/tools/bin/b"),
        (("diff", "--hashes", f"{TARGET}/share"), 1, "added         /opt/tools/share/many"),
        (("diff", "--patch", "--ignore", "*.pyc", "--ignore", "share/"), 1, "-base\n+changed\n"),
        (("drift", "stack/stack.toml", "--ignore", "*.pyc"), 1, "unmanaged   /opt/tools/bin/b"),
        (("plan", "--force", "stack/stack.toml"), 0, "everything is as declared"),
        (("holders",), 0, "uses the overlay on /opt/tools"),
        (("salvage",), 0, "nothing is left"),
        (("guard", "upgrade"), 1, "lost for good"),
    ):
        alone = machine.talk(*words)
        assert alone.prompts == 0, alone
        assert alone.status == (6 if words[0] not in ("plan", "holders") else 0), alone
        if alone.status == 6:
            assert "only root can" in alone.said
            assert "  next: let root do it, which takes a password: `" in alone.said
            assert "--elevate sudo" in alone.said
            assert "`sudo " not in alone.said
        asked = machine.talk("--elevate", way, *words)
        assert (asked.status, asked.prompts) == (status, 0 if words[0] == "plan" else 1), asked
        assert told in asked.said, asked
    refused = machine.talk("--elevate", way, "diff", password="wrong\n")
    assert refused.status == 6, refused
    assert f"{way} did not give root's rights: the password was wrong" in refused.said
    assert machine.alone("--elevate", "sudo", "diff").status == 6


def test_masks_are_for_root_to_see(machine: Machine) -> None:
    assert machine.talk("--elevate", "sudo", "service", "mask-until-image", "x.service").status == 0
    alone = machine.talk("service", "status")
    assert (alone.status, alone.prompts) == (0, 0), alone
    assert "only root can see what is masked; to see it: `" in alone.said
    asked = machine.talk("--elevate", "sudo", "service", "status")
    assert (asked.status, asked.prompts) == (0, 1), asked
    assert "masked   x.service: until the image changes" in asked.said


def test_what_is_ignored_is_told_to_root_too(machine: Machine) -> None:
    machine.root(f"{COMMAND} enable --yes; echo x >{TARGET}/bin/x.pyc; echo x >{TARGET}/bin/kept")
    words = ("capture", "--ignore", "*.pyc", "--to", "/etc/ovlay/manifest.d/mine.toml")
    talk = machine.talk("--elevate", "sudo", *words)
    assert (talk.status, talk.prompts) == (0, 1), talk
    found = machine.root("cat /etc/ovlay/manifest.d/mine.toml")
    assert "bin/kept" in found
    assert "x.pyc" not in found
    own = machine.talk("--elevate", "sudo", "capture", "--to", "mine.toml")
    assert (own.status, own.prompts) == (6, 0), own
    assert "choose a place that is root's own" in own.said
