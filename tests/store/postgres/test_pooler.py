"""The PostgreSQL store keeps the contract behind pgbouncer in transaction mode, and hears of other nodes even so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import uuid4

import pytest

from framework import PostgresEventStore
from framework.errors import WrongExpectedVersion
from framework.store.postgres import listener
from framework.store.postgres.database import Database
from framework.store.protocol import EventStore, Receipt, StoredEvent, StreamWrite
from framework.testing.store_contract import StoreContract
from tests.store.postgres.hands import listening, write
from tests.store.postgres.pooler import pgbouncer

SERVERS = 10

pytestmark = [pytest.mark.external("pgbouncer"), pytest.mark.slow]


@pytest.fixture(scope="module")
async def pooler(dsn: str) -> AsyncIterator[str]:
    async with pgbouncer(dsn, servers=SERVERS) as through:
        yield through


class TestBehindAPooler(StoreContract):
    @pytest.fixture
    async def store(self, pooler: str, dsn: str, schema: str) -> AsyncIterator[EventStore]:
        database = Database(pooler, transaction_pooler=True, listen_dsn=dsn)
        async with PostgresEventStore(database, schema=schema) as store:
            yield store


class TestBehindAPoolerWithNothingToListenTo(StoreContract):
    @pytest.fixture
    async def store(self, pooler: str, schema: str) -> AsyncIterator[EventStore]:
        async with PostgresEventStore(Database(pooler, transaction_pooler=True), schema=schema) as store:
            yield store


async def test_with_a_way_around_the_pooler_another_node_is_heard_of_at_once(
    pooler: str, dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    async with (
        PostgresEventStore(Database(pooler, transaction_pooler=True, listen_dsn=dsn), schema=schema) as one,
        PostgresEventStore(Database(pooler, transaction_pooler=True, listen_dsn=dsn), schema=schema) as other,
    ):
        waiting = asyncio.ensure_future(one.wait_beyond(0))
        await listening(dsn, schema, 2)

        await other.append([write("a", 0)])

        async with asyncio.timeout(5):
            assert await waiting == 1


async def test_without_one_another_node_is_heard_of_by_looking(pooler: str, schema: str) -> None:
    async with (
        PostgresEventStore(Database(pooler, transaction_pooler=True), schema=schema) as one,
        PostgresEventStore(Database(pooler, transaction_pooler=True), schema=schema) as other,
    ):
        waiting = asyncio.ensure_future(one.wait_beyond(0))

        await other.append([write("a", 0)])

        async with asyncio.timeout(5):
            assert await waiting == 1


async def test_two_schemas_behind_one_connection_of_a_pooler_are_apart(dsn: str, schema: str) -> None:
    second = f"test_{uuid4().hex[:16]}"
    async with pgbouncer(dsn, servers=1) as through:
        database = Database(through, transaction_pooler=True)
        async with (
            PostgresEventStore(database, schema=schema) as one,
            PostgresEventStore(database, schema=second) as other,
        ):
            appends = [store.append([write(f"s-{n}", 0)]) for n in range(20) for store in (one, other)]
            await asyncio.gather(*appends)

            assert [await store.head() for store in (one, other)] == [20, 20]


async def test_rows_of_a_caller_and_events_are_one_transaction_through_a_pooler(pooler: str, schema: str) -> None:
    async with PostgresEventStore(Database(pooler, transaction_pooler=True), schema=schema) as store:
        async with store.transaction() as own:
            await own.connection.execute(f"CREATE TABLE {schema}.notes (text text)")
            own.append([write("a", 0)])

        async def note(expected: int) -> None:
            async with store.transaction() as own:
                await own.connection.execute(f"INSERT INTO {schema}.notes VALUES ($1)", str(expected))
                own.append([write("a", expected)])

        await note(1)
        with pytest.raises(WrongExpectedVersion):
            await note(7)

        async with store.transaction() as own:
            notes = await own.connection.fetch(f"SELECT text FROM {schema}.notes")
        assert [row["text"] for row in notes] == ["1"]
        assert await store.head() == 2


async def test_who_is_beaten_gets_its_turn_through_a_pooler(pooler: str, schema: str) -> None:
    def decide(found: Mapping[str, Sequence[StoredEvent]]) -> tuple[Sequence[StreamWrite], Sequence[Receipt]]:
        return [write("a", len(found["a"]))], ()

    async with PostgresEventStore(Database(pooler, transaction_pooler=True), schema=schema) as store:
        await asyncio.gather(*(store.append_in_turn({"a": 0}, decide) for _ in range(10)))

        assert [event.version for event in await store.read_stream("a")] == list(range(1, 11))
