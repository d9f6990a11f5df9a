"""The stores of a database hear of their logs together."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import StorageUnavailable
from framework.store.postgres import listener
from framework.store.postgres.database import Database, StoreConnection
from framework.testing import eventually
from tests.store.postgres.hands import write

STORES = 5


@pytest.fixture
async def watch(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session in no schema, which sees the others."""
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def schemas(watch: asyncpg.Connection[Any]) -> AsyncIterator[list[str]]:
    names = [f"test_{uuid4().hex[:16]}" for _ in range(STORES)]
    yield names
    for name in names:
        await watch.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
async def stores(dsn: str, schemas: list[str]) -> AsyncIterator[list[PostgresEventStore]]:
    """Stores that share a database."""
    database = Database(dsn)
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(PostgresEventStore(database, schema=schema)) for schema in schemas]


async def listening(watch: asyncpg.Connection[Any], schemas: list[str]) -> int:
    """Return how many connections were last told to listen to one of *schemas*."""
    said = [f'LISTEN "{listener.channel(schema)}"' for schema in schemas]
    return int(await watch.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query = ANY ($1)", said))


async def test_one_connection_listens_for_all_stores_of_a_database(
    dsn: str,
    stores: list[PostgresEventStore],
    schemas: list[str],
    watch: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    waiting = [asyncio.ensure_future(store.wait_beyond(0)) for store in stores]
    others = Database(dsn)
    async with AsyncExitStack() as opened:
        for schema in schemas:
            other = await opened.enter_async_context(PostgresEventStore(others, schema=schema))
            await other.append([write("a", 0)])

        async with asyncio.timeout(10):
            assert await asyncio.gather(*waiting) == [1] * STORES
        assert await listening(watch, schemas) == 2, "one for each of the two databases"


async def test_one_statement_looks_at_all_heads_that_are_waited_for(
    dsn: str, schemas: list[str], watch: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[list[str]] = []

    async def fetch(self: StoreConnection, query: str, *arguments: object) -> list[Any]:
        if at := re.findall(r'FROM "(\w+)"\.head', query):
            looked.append(at)
        return await asyncpg.Connection.fetch(self, query, *arguments)

    database = Database(dsn, transaction_pooler=True)  # behind which nothing is heard
    async with AsyncExitStack() as opened:
        stores = [await opened.enter_async_context(PostgresEventStore(database, schema=schema)) for schema in schemas]
        monkeypatch.setattr(StoreConnection, "fetch", fetch)
        waiting = [asyncio.ensure_future(store.wait_beyond(0)) for store in stores[:3]]
        for schema in schemas:
            await watch.execute(f"UPDATE {schema}.head SET position = 7")

        async with asyncio.timeout(10):
            assert await asyncio.gather(*waiting) == [7] * 3
    assert sorted(schemas[:3]) in map(sorted, looked)
    assert not [each for each in looked if set(each) & set(schemas[3:])], "nobody waits at the others"


async def test_a_store_whose_tables_are_gone_does_not_hide_the_others(
    stores: list[PostgresEventStore], schemas: list[str], watch: asyncpg.Connection[Any]
) -> None:
    lost, found = (asyncio.ensure_future(store.wait_beyond(0)) for store in stores[:2])
    await watch.execute(f"DROP SCHEMA {schemas[0]} CASCADE")
    await watch.execute(f"UPDATE {schemas[1]}.head SET position = 7")

    async with asyncio.timeout(10):
        assert await found == 7
    assert not lost.done()
    lost.cancel()


async def test_a_store_that_is_closed_lets_nobody_wait_and_is_not_listened_to(
    dsn: str, schemas: list[str], watch: asyncpg.Connection[Any]
) -> None:
    database = Database(dsn)
    async with PostgresEventStore(database, schema=schemas[0]) as one:
        async with PostgresEventStore(database, schema=schemas[1]) as other:
            waiting = asyncio.ensure_future(other.wait_beyond(0))
            await asyncio.sleep(0)
        with pytest.raises(StorageUnavailable, match="closed"):
            await waiting

        async def is_left() -> bool:
            said = f'UNLISTEN "{listener.channel(schemas[1])}"%'
            return bool(await watch.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query LIKE $1", said))

        await eventually(is_left)
        reading = asyncio.ensure_future(one.wait_beyond(0))
        await one.append([write("a", 0)])
        assert await reading == 1


async def test_where_nothing_can_be_listened_to_the_log_is_looked_at(
    dsn: str, schemas: list[str], watch: asyncpg.Connection[Any]
) -> None:
    nowhere = urlsplit(dsn)._replace(path="/no_such_database").geturl()
    async with PostgresEventStore(Database(dsn, listen_dsn=nowhere), schema=schemas[0]) as store:
        waiting = asyncio.ensure_future(store.wait_beyond(0))
        await watch.execute(f"UPDATE {schemas[0]}.head SET position = 7")

        async with asyncio.timeout(10):
            assert await waiting == 7


@pytest.mark.parametrize("said", ["7", "9" * 7_000, "-1", "nonsense", "", "٣"])
async def test_what_is_said_is_looked_for_and_not_believed(
    stores: list[PostgresEventStore],
    schemas: list[str],
    watch: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
    said: str,
) -> None:
    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    looked: list[str] = []
    fetch = StoreConnection.fetch

    async def note(self: StoreConnection, query: str, *arguments: object) -> list[Any]:
        found: list[Any] = await fetch(self, query, *arguments)
        if ".head" in query:
            looked.append(query)
        return found

    async def all_listen() -> None:
        assert await listening(watch, schemas) >= 1

    await eventually(all_listen)
    waiting = asyncio.ensure_future(stores[0].wait_beyond(0))
    await asyncio.sleep(0)
    monkeypatch.setattr(StoreConnection, "fetch", note)

    await watch.execute("SELECT pg_notify($1, $2)", listener.channel(schemas[0]), said)

    await eventually(lambda: bool(looked))
    assert not waiting.done()
    await stores[0].append([write("a", 0)])
    assert await waiting == 1


async def test_a_log_that_became_shorter_is_waited_at_where_it_ends(
    dsn: str, schemas: list[str], watch: asyncpg.Connection[Any]
) -> None:
    """As when a standby takes over that had not heard of the last commits."""
    async with PostgresEventStore(Database(dsn, transaction_pooler=True), schema=schemas[0]) as store:
        for version in range(3):
            await store.append([write("a", version)])
        assert await store.wait_beyond(0) == 3
        waiting = asyncio.ensure_future(store.wait_beyond(3))
        await watch.execute(f"UPDATE {schemas[0]}.head SET position = 1")

        async def is_known() -> bool:
            return store._known_head.position == 1  # pyright: ignore[reportPrivateUsage]

        await eventually(is_known)
        assert not waiting.done()
        await watch.execute(f"UPDATE {schemas[0]}.head SET position = 4")

        async with asyncio.timeout(10):
            assert await waiting == 4
