"""`python -m framework db`: done is 0, something found is 1, wrong use is 2, and every failure is a sentence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from click.testing import CliRunner, Result

from framework import PostgresEventStore
from framework.cli import main
from framework.store.postgres import administration
from framework.store.postgres import schema as tables
from framework.store.postgres.statements import FUNCTIONS
from tests.store.postgres.hands import write

NAMES = [migration.name for migration in tables.migrations()] + list(FUNCTIONS)

Db = Callable[..., Awaitable[Result]]


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[str]:
    """The DSN of a database that is not there yet."""
    name = f"cli {uuid4().hex[:12]}"
    yield urlsplit(dsn)._replace(path=f"/{name.replace(' ', '%20')}").geturl()
    server = await asyncpg.connect(dsn)
    try:
        await server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    finally:
        await server.close()


@pytest.fixture
def db(database: str) -> Db:
    """Runs a verb on the database, as a program of its own would."""

    async def run(
        *arguments: str, answer: str | None = None, environment: dict[str, str | None] | None = None
    ) -> Result:
        runner = CliRunner(env={"FRAMEWORK_DSN": database} | (environment or {}))
        return await asyncio.to_thread(runner.invoke, main, ["db", *arguments], input=answer)

    return run


async def test_a_store_is_created_with_its_database(db: Db, database: str) -> None:
    created = await db("create", "--schema", "bank")

    assert (created.exit_code, created.stderr) == (0, "")
    name = urlsplit(database).path[1:].replace("%20", " ")
    assert created.stdout.splitlines() == [f"created database {name}", *(f"applied {each}" for each in NAMES)]
    async with PostgresEventStore(database, schema="bank", migrate=False) as store:
        assert await store.head() == 0


async def test_what_is_there_is_not_created_again(db: Db) -> None:
    await db("create")

    again = await db("create")

    assert (again.exit_code, again.stdout) == (
        0,
        "schema framework holds an event store already: nothing was done\n",
    )


async def test_many_may_create_at_once(database: str) -> None:
    made = await asyncio.gather(*(administration.create(database, f"tenant_{number % 2}") for number in range(6)))

    assert sum(each.database is not None for each in made) == 1
    assert [list(each.applied) for each in made].count(NAMES) == 2


async def test_a_status_with_something_pending_exits_with_one(db: Db, database: str) -> None:
    await db("create")
    await _ask(database, "DELETE FROM framework.functions WHERE name = 'append_events'")

    found = await db("status")
    in_json = await db("status", "--json")

    assert found.exit_code == in_json.exit_code == 1
    assert [line.split()[:2] for line in found.stdout.splitlines()[1:]] == [
        [name, "pending" if name == "append_events" else "applied"] for name in NAMES
    ]
    document = json.loads(in_json.stdout)
    assert (document["schema"], document["position"], len(document["log_id"])) == ("framework", 0, 36)
    assert [step["name"] for step in document["steps"] if step["state"] == "pending"] == ["append_events"]


async def test_what_is_pending_is_migrated_and_the_status_is_done(db: Db, database: str) -> None:
    await db("create")
    await _ask(database, "DELETE FROM framework.functions WHERE name = 'append_events'")

    migrated, again, found = await db("migrate"), await db("migrate", "--json"), await db("status")

    assert (migrated.exit_code, migrated.stdout) == (0, "applied append_events\n")
    assert json.loads(again.stdout) == {"schema": "framework", "applied": []}
    assert found.exit_code == 0


async def test_where_there_is_no_store_all_is_pending_and_nothing_is_made(db: Db, dsn: str) -> None:
    schema = f"cli_{uuid4().hex[:12]}"
    elsewhere = ("--dsn", dsn, "--schema", schema)

    found, migrated, dropped = (
        await db("status", *elsewhere),
        await db("migrate", *elsewhere),
        await db("drop", *elsewhere),
    )

    assert (found.exit_code, found.stdout.splitlines()[0]) == (1, f"schema {schema} holds no event store")
    assert (migrated.exit_code, dropped.exit_code) == (2, 2)
    assert f"schema '{schema}' holds no event store: make one with" in migrated.stderr
    assert f"schema '{schema}' holds no event store, so it was not dropped" in dropped.stderr
    assert await _ask(dsn, "SELECT to_regnamespace($1)", schema) is None


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        ("UPDATE framework.migrations SET checksum = 'x' WHERE number = 1", "edited"),
        ("INSERT INTO framework.migrations VALUES (9999, '9999_future.sql', 'x')", "unknown"),
    ],
)
async def test_a_store_of_another_release_is_found_and_not_touched(
    db: Db, database: str, damage: str, state: str
) -> None:
    await db("create")
    await _ask(database, damage)

    found, migrated, created = await db("status", "--json"), await db("migrate"), await db("create")

    assert found.exit_code == 1
    assert [step["state"] for step in json.loads(found.stdout)["steps"] if step["state"] != "applied"] == [state]
    assert (migrated.exit_code, created.exit_code) == (2, 2)
    assert migrated.stderr.startswith("Error: schema 'framework' ")


async def test_a_store_is_dropped_only_when_somebody_says_yes(db: Db, database: str) -> None:
    await db("create")
    async with PostgresEventStore(database) as store:
        await store.append([write("a", 0)])

    refused, unanswered = await db("drop", answer="n\n"), await db("drop")
    assert (refused.exit_code, unanswered.exit_code) == (2, 2)
    assert "up to position 1\n" in refused.stderr
    assert "nothing was dropped" in unanswered.stderr
    assert (await db("status")).exit_code == 0

    dropped = await db("drop", "--json", answer="y\n")
    assert (dropped.exit_code, json.loads(dropped.stdout)) == (0, {"schema": "framework", "dropped": 1})
    assert await _ask(database, "SELECT to_regnamespace('framework')") is None


async def test_a_drop_that_is_told_yes_does_not_ask(db: Db) -> None:
    await db("create")

    dropped = await db("drop", "--yes")

    assert (dropped.exit_code, dropped.stdout, dropped.stderr) == (0, "dropped schema framework\n", "")


async def test_without_a_dsn_one_is_asked_for(db: Db) -> None:
    asked = await db("status", environment={"FRAMEWORK_DSN": None})

    assert asked.exit_code == 2
    assert "Missing option '--dsn'" in asked.stderr
    assert "FRAMEWORK_DSN" in asked.stderr


async def test_the_environment_says_which_schema_and_an_option_says_otherwise(db: Db) -> None:
    created = await db("create", "--json", environment={"FRAMEWORK_SCHEMA": "bank"})
    other = await db("create", "--json", "--schema", "other", environment={"FRAMEWORK_SCHEMA": "bank"})

    assert json.loads(created.stdout)["schema"] == "bank"
    assert json.loads(other.stdout)["schema"] == "other"


async def test_a_variable_that_cannot_be_meant_is_named(db: Db) -> None:
    failed = await db("status", environment={"FRAMEWORK_SCHEMA": "x" * 64})

    assert (failed.exit_code, failed.stdout) == (2, "")
    assert failed.stderr.startswith("Error: FRAMEWORK_SCHEMA: schema 'xxx")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("postgresql://127.0.0.1:1/nowhere", "the database does not answer: "),
        ("elsewhere", "the DSN is not of the form "),
    ],
)
async def test_a_database_that_is_not_reached_is_said_in_a_sentence(db: Db, address: str, sentence: str) -> None:
    for verb in ("create", "migrate", "status", "drop"):
        failed = await db(verb, "--dsn", address)

        assert (failed.exit_code, failed.stdout) == (2, "")
        assert failed.stderr.startswith(f"Error: {sentence}")


async def test_a_database_that_is_not_there_is_said_in_a_sentence(db: Db) -> None:
    failed = await db("status")

    assert (failed.exit_code, failed.stdout) == (2, "")
    assert failed.stderr.startswith("Error: the DSN names what the server does not let in: database ")


async def _ask(dsn: str, query: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()
