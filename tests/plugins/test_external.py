"""What is not installed is named, and neither skipped nor passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins import external
from tests.plugins.external import Program

TESTS = """
import pytest

def test_of_neither(): pass

@pytest.mark.external("here")
def test_of_one(): pass

@pytest.mark.external("away")
def test_of_the_other(): assert False

@pytest.mark.external("here", "away")
def test_of_both(): assert False
"""


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Know one program that is installed, and one that is not."""
    (tmp_path / "here").touch(mode=0o755)
    known = {name: Program(name, tmp_path, f"install {name} somehow") for name in ("here", "away")}
    monkeypatch.setattr(external, "PROGRAMS", known)


def run(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(tests)
    return pytester.runpytest_inprocess(*options, plugins=[external])


def test_tests_of_an_absent_program_are_left_out_and_counted(pytester: pytest.Pytester) -> None:
    ran = run(pytester, TESTS)

    ran.assert_outcomes(passed=2, deselected=2)
    ran.stdout.fnmatch_lines(["away is not installed: 2 tests were left out (install away somehow)"])
    ran.stdout.no_fnmatch_line("here is not installed*")


def test_one_test_left_out_is_one(pytester: pytest.Pytester) -> None:
    ran = run(pytester, TESTS, "-k", "other")

    ran.stdout.fnmatch_lines(["away is not installed: 1 test was left out*"])


def test_asked_for_external_tests_none_may_be_left_out(pytester: pytest.Pytester) -> None:
    ran = run(pytester, TESTS, "--external")

    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(["ERROR: away is not installed: install away somehow"])


def test_asked_for_external_tests_nothing_else_is_run(pytester: pytest.Pytester) -> None:
    ran = run(pytester, TESTS.replace('"away"', '"here"').replace("assert False", "pass"), "--external")

    ran.assert_outcomes(passed=3, deselected=1)


def test_a_listing_holds_what_is_left_out(pytester: pytest.Pytester) -> None:
    ran = run(pytester, TESTS, "--collect-only", "-q")

    ran.stdout.fnmatch_lines(["4 tests collected*"])


@pytest.mark.parametrize("mark", ['external("hree")', "external", "external()"])
def test_a_mark_must_name_what_is_known(pytester: pytest.Pytester, mark: str) -> None:
    ran = run(pytester, f"import pytest\n@pytest.mark.{mark}\ndef test_one(): pass")

    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    ran.stderr.fnmatch_lines(["ERROR: *::test_one: external(* names none of away, here"])
