"""Other people's tests get ``fake_overlay`` from ovlay's pytest plugin, and their pytest starts no slower for it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

THEIR_TEST = """
    import pathlib

    import pytest

    def test_my_program_installs_itself(fake_overlay, tmp_path):
        (tmp_path / "tool").write_text("mine")
        place = pathlib.Path(fake_overlay.host.path("/usr/bin/mine"))
        if fake_overlay.host.kernel.refuses_writes():
            with pytest.raises(OSError):
                place.write_text("not like this")
        with fake_overlay.enabled():
            fake_overlay.install_file(tmp_path / "tool", "/usr/bin/mine", mode=0o755)
            assert place.read_text() == "mine"
        assert not place.exists()

    def test_each_test_has_a_host_of_its_own(fake_overlay):
        assert not fake_overlay.status().active
        fake_overlay.enable()

    def test_what_an_earlier_test_left_is_gone(fake_overlay):
        assert not fake_overlay.status().active

    @pytest.mark.parametrize("number", range(4))
    def test_what_is_left_enabled_does_not_stop_pytest_from_cleaning_up(fake_overlay, number):
        fake_overlay.enable()
        assert fake_overlay.status().writable
"""


def test_their_tests_use_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error\ntmp_path_retention_policy = none\n")
    pytester.makepyfile(THEIR_TEST)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=7)
    result.stdout.no_fnmatch_line("*arning*")


def test_a_failing_assertion_of_the_contract_is_explained(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from ovlay.testing.contract import mount_ids

        def test_rewritten():
            import ovlay.testing.contract as contract
            assert "@pytest_ar" in vars(contract)
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_plugin_imports_nothing_of_ovlay_until_it_is_used() -> None:
    program = (
        "import sys, pytest; before = set(sys.modules); import ovlay.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"ovlay", "ovlay.testing", "ovlay.testing.plugin"}
