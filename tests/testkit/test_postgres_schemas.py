"""A store for each test, made once and then emptied: as good as new, and soon there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.store.protocol import Expected, NewEvent, StreamWrite
from framework.testing import WatchedApplication
from framework.testing.postgres import PostgresSchemas
from tests.typing.test_listing import (
    Balances,
    CompleteTransfer,
    DepositMoney,
    OpenAccount,
    SendMoney,
    router,
)


@pytest.fixture
def schemas(dsn: str) -> Iterator[PostgresSchemas]:
    with PostgresSchemas(given=dsn) as schemas:
        yield schemas


async def ask(dsn: str, question: Callable[[asyncpg.Connection[Any]], Awaitable[Any]]) -> Any:
    connection = await asyncpg.connect(dsn)
    try:
        return await question(connection)
    finally:
        await connection.close()


def content(dsn: str, schema: str) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables of *schema* but what differs by design: when it was made, and the log's id."""

    async def read(connection: asyncpg.Connection[Any]) -> dict[str, list[tuple[Any, ...]]]:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1", schema)
        found: dict[str, list[tuple[Any, ...]]] = {}
        for (table,) in tables:
            rows = await connection.fetch(f'SELECT * FROM "{schema}"."{table}" ORDER BY 1')
            found[table] = [
                tuple(value for name, value in row.items() if name not in {"applied_at", "log_id"}) for row in rows
            ]
        return found

    found: dict[str, list[tuple[Any, ...]]] = asyncio.run(ask(dsn, read))
    return found


def schemas_like(dsn: str, beginning: str) -> list[str]:
    async def read(connection: asyncpg.Connection[Any]) -> list[str]:
        rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", beginning)
        return [row[0] for row in rows]

    found: list[str] = asyncio.run(ask(dsn, read))
    return found


async def fill(store: PostgresEventStore) -> None:
    """Leave something in as many tables as can be: events, receipts, an outbox, read models, a closed stream."""
    application = WatchedApplication(store=store, router=router, processes=[CompleteTransfer], projectors=[Balances()])
    async with application as bank:
        await bank.dispatch(OpenAccount("a"), command_id=uuid4())
        await bank.dispatch(DepositMoney("a", 10))
        await bank.dispatch(SendMoney("a", 3, "nobody", "t"))
        await bank.settled()
        await store.delete_stream("account-a", expected=Expected.ANY)


def test_an_emptied_store_is_as_a_new_one(schemas: PostgresSchemas) -> None:
    with schemas.store() as new:
        schema, as_made = new.namespace, content(schemas.dsn, new.namespace)
        asyncio.run(fill(new))
        assert content(schemas.dsn, schema) != as_made
        log = new.log_id
    with schemas.store() as again:
        assert again.namespace == schema
        assert content(schemas.dsn, schema) == as_made
        assert schemas_like(schemas.dsn, schema) == [schema]

        asyncio.run(fill(again))

        assert again.log_id != log


def test_what_is_recorded_cannot_be_changed_after_it_was_emptied_either(schemas: PostgresSchemas) -> None:
    with schemas.store():
        pass
    with schemas.store() as again:
        asyncio.run(fill(again))

        with pytest.raises(asyncpg.PostgresError, match="events"):
            asyncio.run(ask(schemas.dsn, lambda c: c.execute(f'DELETE FROM "{again.namespace}".events')))


def test_two_stores_at_a_time_are_two(schemas: PostgresSchemas) -> None:
    with schemas.store() as one, schemas.store() as other:
        asyncio.run(fill(one))

        assert one.namespace != other.namespace
        assert not content(schemas.dsn, other.namespace)["events"]


def test_a_store_that_was_left_open_is_not_given_to_the_next(schemas: PostgresSchemas) -> None:
    with asyncio.Runner() as runner:
        with schemas.store() as left:
            runner.run(left.__aenter__())
        with schemas.store() as other:
            assert other.namespace != left.namespace
        runner.run(left.__aexit__(None, None, None))


def test_a_schema_that_something_holds_is_not_given_to_the_next(schemas: PostgresSchemas) -> None:
    with asyncio.Runner() as runner:
        with schemas.store() as held:
            connection = runner.run(asyncpg.connect(schemas.dsn))
            runner.run(connection.execute(f'BEGIN; LOCK TABLE "{held.namespace}".events IN SHARE MODE'))
        with schemas.store() as other:
            assert other.namespace != held.namespace
        runner.run(connection.close())


def test_nothing_is_left_behind(dsn: str) -> None:
    with PostgresSchemas(given=dsn) as schemas, schemas.store() as one, schemas.store() as other:
        asyncio.run(fill(one))
        names = one.namespace, other.namespace
        assert len(schemas_like(dsn, one.namespace)) > 1, "the read models have one of their own"

    assert not [left for name in names for left in schemas_like(dsn, name)]


def test_a_store_costs_a_test_less_than_fifty_milliseconds(schemas: PostgresSchemas) -> None:
    cause = uuid4()

    async def record(store: PostgresEventStore) -> None:
        event = NewEvent(uuid4(), "happened", 1, b"{}", b"{}", cause, cause)
        await store.append([StreamWrite("a", Expected.ANY, [event])])

    async def use(store: PostgresEventStore) -> None:
        async with store:
            await record(store)

    spent: list[float] = []
    for _ in range(15):
        began = time.perf_counter()
        with schemas.store() as store:
            lent = time.perf_counter()
            asyncio.run(use(store))
            used = time.perf_counter()
        spent.append(time.perf_counter() - used + lent - began)

    assert sorted(spent[1:])[len(spent) // 4] < 0.05, spent  # a quarter, since others may be at work on the machine
