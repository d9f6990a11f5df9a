"""The plugin as a project meets it that only has it installed: pytest runs in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "project" / "test_wallets.py"

INI = """
    [pytest]
    asyncio_mode = auto
    asyncio_default_fixture_loop_scope = function
    filterwarnings = error
"""


@pytest.fixture
def project(pytester: pytest.Pytester, dsn: str, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the tests of a project, whose database is the one of this run."""
    monkeypatch.setenv("FRAMEWORK_DSN", dsn)
    pytester.makeini(INI)
    pytester.path.joinpath(PROJECT.name).write_text(PROJECT.read_text())
    return pytester


def test_the_fixtures_are_there_without_being_asked_for(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(passed=7)


def test_a_run_without_a_database_starts_its_own(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FRAMEWORK_DSN")

    result = project.runpytest_subprocess("-p", "no:cacheprovider", "-k", "page or gone")

    result.assert_outcomes(passed=4, deselected=3)


def test_a_project_that_does_not_use_the_framework_does_not_load_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing_is_loaded(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("framework")
            assert not {"framework", "asyncpg", "hypothesis", "attrs", "msgspec"} & set(sys.modules)
    """)

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest")

    result.assert_outcomes(passed=1)
