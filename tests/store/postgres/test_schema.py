"""The tables are what the migrations come to, and whatever was written at any of them is read today."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import SchemaMismatch, StreamDeleted
from framework.store.postgres import schema as tables
from framework.store.postgres.schema import Migration, State
from framework.store.postgres.statements import FUNCTIONS, SCHEMA
from framework.store.protocol import Receipt
from framework.store.subscriptions import Definition, SlotState
from tests.store.postgres.hands import write

WRITTEN = Path(__file__).parent / "written"
"""Rows as a store wrote them, by the last migration it knew."""

MIGRATIONS = tables.migrations()

CATALOGS = {
    "relations": """
        SELECT relname, relkind, relpersistence, reloptions FROM pg_class WHERE relnamespace = $1 ORDER BY relname
    """,
    "columns": """
        SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
               a.attgenerated, a.attstorage, pg_get_expr(d.adbin, d.adrelid)
          FROM pg_class AS c
          JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
          LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE c.relnamespace = $1 ORDER BY c.relname, a.attname
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = $1 ORDER BY 1, 2
    """,
    "indexes": """
        SELECT c.relname, pg_get_indexdef(c.oid) FROM pg_class AS c
         WHERE c.relnamespace = $1 AND c.relkind = 'i' ORDER BY c.relname
    """,
    "triggers": """
        SELECT c.relname, t.tgname, t.tgenabled, pg_get_triggerdef(t.oid) FROM pg_trigger AS t
          JOIN pg_class AS c ON c.oid = t.tgrelid WHERE c.relnamespace = $1 ORDER BY c.relname, t.tgname
    """,
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = $1 ORDER BY proname, 2
    """,
    "sequences": """
        SELECT c.relname, s.seqstart, s.seqincrement, s.seqmax, s.seqcache, s.seqcycle FROM pg_sequence AS s
          JOIN pg_class AS c ON c.oid = s.seqrelid WHERE c.relnamespace = $1 ORDER BY c.relname
    """,
    "types": """
        SELECT typname, typtype, typcategory FROM pg_type WHERE typnamespace = $1 ORDER BY typname
    """,
}


@pytest.fixture
async def sql(dsn: str, schema: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session that finds the tables of *schema*."""
    connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
    yield connection
    await connection.close()


async def catalogs(connection: asyncpg.Connection[Any], schema: str) -> dict[str, list[tuple[object, ...]]]:
    """Return all that PostgreSQL knows of what is in *schema*, under whatever name."""
    namespace = await connection.fetchval("SELECT to_regnamespace($1)::oid", schema)
    return {
        catalog: [
            tuple(value.replace(f"{schema}.", "") if isinstance(value, str) else value for value in row)
            for row in await connection.fetch(query, namespace)
        ]
        for catalog, query in CATALOGS.items()
    }


async def test_schema_sql_is_the_sum_of_the_migrations_and_the_functions(
    sql: asyncpg.Connection[Any], schema: str
) -> None:
    await tables.migrate(sql, schema)
    migrated = await catalogs(sql, schema)
    await sql.execute(f"DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}")

    await sql.execute(f"SET check_function_bodies TO off; SET search_path TO {schema}, pg_temp")
    await sql.execute(SCHEMA)

    assert await catalogs(sql, schema) == migrated, "write schema.sql anew with 'make schema'"
    assert all(migrated.values()), "a catalog that is empty compares nothing"


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [migration.number for migration in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))
    assert [path.name for path in sorted(WRITTEN.iterdir())] == [migration.name for migration in MIGRATIONS]


@pytest.mark.parametrize("migration", MIGRATIONS, ids=lambda migration: migration.name)
async def test_what_was_written_before_a_migration_is_read_after_it(
    dsn: str, schema: str, sql: asyncpg.Connection[Any], migration: Migration
) -> None:
    with pytest.MonkeyPatch.context() as then:
        then.setattr(tables, "migrations", lambda: MIGRATIONS[: migration.number])
        then.setattr(tables, "FUNCTIONS", {})  # those of then are nobody's now
        await tables.migrate(sql, schema)
    await sql.execute((WRITTEN / migration.name).read_text())

    async with PostgresEventStore(dsn, schema=schema) as store:
        page = await store.read_log()
        (appended,) = await store.append([write("account-1", 2)])

        assert store.log_id == UUID(int=0x4000_8000_0000_0000_00FF)
        assert [(each.position, each.stream, each.version, each.type, each.type_version) for each in page.events] == [
            (1, "account-1", 1, "opened", 1),
            (2, "account-2", 1, "opened", 1),
            (3, "account-1", 2, "closed", 2),
        ]
        last = page.events[-1]
        assert (last.data, last.metadata) == (b'{"why": null}', b'{"by": "Ada"}')
        assert (last.event_id.int & 0xFF, last.correlation_id.int & 0xFF, last.causation_id.int & 0xFF) == (3, 0xC, 1)
        assert last.recorded_at == datetime(2026, 1, 2, 12, 0, 0, 1, UTC)
        assert [each.version for each in await store.read_stream("account-1")] == [1, 2, 3]
        assert appended.position == 4
        with pytest.raises(StreamDeleted):
            await store.read_stream("account-2")
        snapshot = await store.load_snapshot("account-1", "Account", 1)
        assert snapshot is not None
        assert (snapshot.version, snapshot.state) == (1, b'{"balance": 0}')
        accepted, refused = UUID(int=0x4000_8000_0000_0000_00A1), UUID(int=0x4000_8000_0000_0000_00A2)
        assert await store.receipts([accepted, refused]) == {
            accepted: Receipt(accepted, b"\x01", "account-1", 1, 1),
            refused: Receipt(refused, b"\x02", "account-1", 3, 0, b'{"type": "Closed"}'),
        }
        await store.subscriptions.define(Definition("mail", ("opened",), 1, "stream"), start=0)
        owner = UUID(int=0x4000_8000_0000_0000_00D1)
        assert await store.subscriptions.slots() == [SlotState("mail", 0, 3, 7, owner, is_owned=False)]
        assert (await store.load_instances("transfer", ["t"]))["t"] == ("t", 2, b'{"step": 1}')
        assert [(row.instance, row.command) for row in await store.outbox("transfer", limit=9)] == [
            ("t", b'{"amount": 1}')
        ]
        assert [(row.instance, row.parked) for row in await store.parked("transfer")] == [("u", "no such account")]


async def test_a_second_migration_applies_nothing(sql: asyncpg.Connection[Any], schema: str) -> None:
    names = [migration.name for migration in MIGRATIONS] + list(FUNCTIONS)

    first, second = await tables.migrate(sql, schema), await tables.migrate(sql, schema)

    assert (list(first), list(second)) == (names, [])
    assert {step.state for step in await tables.steps(sql, schema)} == {State.APPLIED}


async def test_a_function_of_another_release_is_pending_and_replaced(
    sql: asyncpg.Connection[Any], schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tables.migrate(sql, schema)
    other = FUNCTIONS["current_version"].replace("0);", "0) + 0;")
    monkeypatch.setitem(FUNCTIONS, "current_version", other)

    with pytest.raises(SchemaMismatch, match="lacks current_version"):
        await tables.check(sql, schema)

    assert await tables.migrate(sql, schema) == ["current_version"]
    assert "+ 0" in await sql.fetchval("SELECT prosrc FROM pg_proc WHERE proname = 'current_version' ORDER BY oid DESC")
    await tables.check(sql, schema)


async def test_a_migration_that_fails_leaves_nothing(
    sql: asyncpg.Connection[Any], schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(len(MIGRATIONS) + 1, "9999_broken.sql", "CREATE TABLE half (); SELECT 1 / 0")
    monkeypatch.setattr(tables, "migrations", lambda: [*MIGRATIONS, broken])

    with pytest.raises(asyncpg.DivisionByZeroError):
        await tables.migrate(sql, schema)

    assert await sql.fetchval("SELECT to_regnamespace($1)", schema) is None


async def test_a_schema_is_dropped_with_all_that_is_the_stores(sql: asyncpg.Connection[Any], schema: str) -> None:
    await tables.migrate(sql, schema)

    await tables.drop(sql, schema)

    assert await sql.fetchval("SELECT to_regnamespace($1)", schema) is None


async def test_a_schema_with_tables_of_somebody_else_is_not_dropped(sql: asyncpg.Connection[Any], schema: str) -> None:
    await tables.migrate(sql, schema)
    await sql.execute("CREATE TABLE orders (); CREATE VIEW sales AS SELECT FROM orders")

    with pytest.raises(SchemaMismatch, match=r"more than the event store.*: move orders, sales elsewhere"):
        await tables.drop(sql, schema)

    await tables.check(sql, schema)


async def test_a_schema_without_a_store_is_not_dropped(sql: asyncpg.Connection[Any], schema: str) -> None:
    await sql.execute(f"CREATE SCHEMA {schema}")

    with pytest.raises(SchemaMismatch, match="holds no event store"):
        await tables.drop(sql, schema)

    assert await sql.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema)
