"""Who runs which slots: shared fairly, moved only for a reason, and never written by one who has lost them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Generator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import LeaseLost, StorageUnavailable
from framework.store.postgres import Database, presence
from framework.store.postgres.presence import Presence
from framework.subscription.slots import Hold
from framework.testing import eventually
from framework.testing.store_contract.parts import Worker, define, new_event, working, write
from tests.sample_bank.databases import fresh_schema

OURS = "FROM framework_nodes.heartbeats WHERE node IN (SELECT node FROM {schema}.members)"


@pytest.fixture(autouse=True)
def frequent_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait two seconds for word of the others."""
    monkeypatch.setattr(presence, "RENEW", timedelta(seconds=0.1))


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have who is silent be buried soon; where nobody is to die, a slow machine must not kill anybody."""
    monkeypatch.setattr(presence, "LEASE", timedelta(seconds=0.6))


@pytest.fixture
async def schema(dsn: str) -> AsyncIterator[str]:
    async with fresh_schema(dsn) as name:
        yield name


@pytest.fixture
async def sql(dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


def is_fair(workers: Collection[Worker], slots: int) -> bool:
    least, more = divmod(slots, len(workers))
    held = [len(worker.held) for worker in workers]
    return sum(held) == slots and all(least <= count <= least + bool(more) for count in held)


async def gives_back(worker: Worker) -> None:
    """Do what a member is to do, whenever it is told."""
    while True:
        await worker.told.wait()
        worker.told.clear()
        if worker.surplus:
            await worker.give_back()


async def test_slots_are_shared_to_within_one_and_none_moves_without_need(dsn: str, schema: str) -> None:
    slots = 16
    async with AsyncExitStack() as stack:
        helpers = await stack.enter_async_context(asyncio.TaskGroup())
        workers: list[Worker] = []
        moved = Counter[int]()
        before: dict[int, int] = {}
        for node in range(1, 6):
            store = await stack.enter_async_context(PostgresEventStore(dsn, schema=schema))
            await define(store, "reader", partitions=slots)
            worker = await Worker(store).join("reader")
            stack.push_async_callback(worker.leave)
            task = helpers.create_task(gives_back(worker))
            stack.callback(task.cancel)
            workers.append(worker)

            await eventually(lambda: is_fair(workers, slots))

            after = {lease.slot: lease.fence for worker in workers for lease in worker.held}
            moved[node] = sum(after[slot] != fence for slot, fence in before.items())
            before = after

    # Each who joins gets its part, and nothing else changes hands.
    assert moved == {1: 0, 2: 8, 3: 5, 4: 4, 5: 3}


@pytest.mark.usefixtures("short_leases")
async def test_one_who_is_dead_is_buried_and_what_it_held_is_taken(
    dsn: str, schema: str, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with PostgresEventStore(dsn, schema=schema) as store:
        await define(store, "reader", partitions=2)
        async with PostgresEventStore(dsn, schema=schema) as dies:
            first = await Worker(dies).join("reader")
            with hanging(dies):
                async with working(store, "reader") as second:
                    assert second.held == []

                    await eventually(lambda: len(second.held) == 2)

                    assert await sql.fetchval("SELECT count(*) " + OURS.format(schema=schema)) == 1
                    with pytest.raises(LeaseLost):
                        await store.subscriptions.advance(first.held[0], 1)


@pytest.mark.usefixtures("short_leases")
async def test_one_whose_heartbeat_hangs_loses_its_slots_and_comes_back_with_none(dsn: str, schema: str) -> None:
    async with PostgresEventStore(dsn, schema=schema) as hung, PostgresEventStore(dsn, schema=schema) as other:
        await define(hung, "reader")
        async with working(hung, "reader") as first:
            (lease,), hold = first.held, Hold(first.held[0], first.life)
            async with working(other, "reader") as second:
                hold.check()
                with hanging(hung):
                    await eventually(lambda: len(second.held) == 1)

                    # Its readers and writers go on all the while, and nothing but the lease tells it.
                    await write(hung, "s", new_event())
                    with pytest.raises(LeaseLost):
                        hold.check()
                    with pytest.raises(LeaseLost):
                        await hung.subscriptions.advance(lease, 1)

                await eventually(lambda: first.held == [])
                with pytest.raises(LeaseLost):
                    hold.check()

            await eventually(lambda: len(first.held) == 1)
            assert first.held[0].fence > lease.fence


@pytest.mark.usefixtures("short_leases")
async def test_one_who_was_silent_but_not_buried_goes_on_where_it_was(dsn: str, schema: str) -> None:
    async with PostgresEventStore(dsn, schema=schema) as store:
        await define(store, "reader")
        async with working(store, "reader") as worker:
            hold = Hold(worker.held[0], worker.life)
            with hanging(store):
                await eventually(lambda: not hold.is_ours)

            await eventually(lambda: hold.is_ours)
            await store.subscriptions.advance(hold.lease, 1)


async def test_one_whose_heartbeat_somebody_removed_begins_anew(
    dsn: str, schema: str, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with PostgresEventStore(dsn, schema=schema) as store:
        await define(store, "reader", partitions=2)
        async with working(store, "reader") as worker:
            before, life = worker.held, worker.life
            await sql.execute("DELETE " + OURS.format(schema=schema))

            await eventually(lambda: len(worker.held) == 2 and worker.life is not life)

            assert all(now.fence == then.fence + 1 for now, then in zip(worker.held, before, strict=True))
            assert not Hold(before[0], life).is_ours


async def test_one_who_left_while_the_database_was_away_is_not_waited_for(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with PostgresEventStore(dsn, schema=schema) as one, PostgresEventStore(dsn, schema=schema) as other:
        await define(one, "reader")
        first = await Worker(one).join("reader")
        with monkeypatch.context() as away:
            away.setattr(presence_of(one), "_session", unavailable)
            await first.leave()

        async with working(other, "reader") as second:
            await eventually(lambda: len(second.held) == 1)


def unavailable(_schema: str) -> None:
    raise StorageUnavailable("away")


def presence_of(store: PostgresEventStore) -> Presence:
    database: Database = vars(store)["_database"]  # what a test breaks lies inside
    return database.presence


@contextmanager
def hanging(store: PostgresEventStore) -> Generator[None, None, None]:
    """Hold back what the process of *store* says of itself, until the block ends."""
    itself, resume = presence_of(store), asyncio.Event()
    ask: Any = vars(Presence)["_ask"]

    async def wait(statement: str, *arguments: object) -> object:
        await resume.wait()
        return await ask(itself, statement, *arguments)

    vars(itself)["_ask"] = wait
    try:
        yield
    finally:
        resume.set()
