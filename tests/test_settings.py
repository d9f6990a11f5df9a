"""What programs take from their environment."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import framework
from framework.errors import InvalidSetting
from framework.settings import Settings


def test_an_environment_says_where_the_store_is() -> None:
    environment = {"FRAMEWORK_DSN": "postgresql://db.example/bank", "FRAMEWORK_SCHEMA": "north", "PGHOST": "elsewhere"}

    assert Settings.from_environment(environment) == Settings("postgresql://db.example/bank", "north")


@pytest.mark.parametrize("environment", [{}, {"FRAMEWORK_DSN": "", "FRAMEWORK_SCHEMA": ""}])
def test_what_is_not_there_or_empty_is_left_to_the_program(environment: dict[str, str]) -> None:
    assert Settings.from_environment(environment) == Settings(None, None)


def test_a_dsn_of_something_else_is_named_by_its_variable_and_not_shown() -> None:
    with pytest.raises(InvalidSetting, match=r"^FRAMEWORK_DSN: it is not of the form postgresql://") as raised:
        Settings.from_environment({"FRAMEWORK_DSN": "mysql://me:secret@db.example/bank"})

    assert raised.value.variable == "FRAMEWORK_DSN"
    assert "secret" not in str(raised.value)


def test_a_schema_that_is_no_name_is_shown_with_what_a_name_needs() -> None:
    with pytest.raises(
        InvalidSetting, match=r"^FRAMEWORK_SCHEMA: schema 'x{64}' is not a name: it needs 1 to 63 bytes"
    ):
        Settings.from_environment({"FRAMEWORK_SCHEMA": "x" * 64})


def test_the_library_itself_reads_no_environment() -> None:
    package = Path(framework.__file__).parent
    readers = {
        module.relative_to(package).as_posix()
        for module in package.rglob("*.py")
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute | ast.alias)
        and (node.attr if isinstance(node, ast.Attribute) else node.name) in {"environ", "environb", "getenv"}
    }

    assert readers == {
        "cli/verbs.py",  # a program
        "postgres_programs.py",  # what the server of one's own is started with
        "testing/effects.py",  # as the fixtures do
    }
