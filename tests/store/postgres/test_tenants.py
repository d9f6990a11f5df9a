"""Many stores on one database: at rest they hold nothing, at work they take turns, and none stands in another's way."""
# pyright: reportPrivateUsage=false
# A test may look where users may not.

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import AppendRefused, StorageUnavailable
from framework.store.postgres.appender import AT_ONCE
from framework.store.postgres.database import Database
from framework.store.postgres.lane import Lane
from framework.testing import eventually
from tests.sample_bank.databases import fresh_schema
from tests.store.postgres.hands import LISTENER, Hands, cut, event, write


@asynccontextmanager
async def tenants(dsn: str, database: Database, count: int) -> AsyncGenerator[list[PostgresEventStore], None]:
    async with fresh_schema(dsn) as name, AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(PostgresEventStore(database, schema=f"{name}_{number}", give_up_after_s=5))
            for number in range(count)
        ]


@pytest.fixture
async def narrow(dsn: str) -> AsyncIterator[list[PostgresEventStore]]:
    """Three stores, and one lane between them."""
    async with tenants(dsn, Database(dsn, max_appenders=1), 3) as stores:
        yield stores


def names() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}


async def test_stores_at_rest_hold_no_task_and_share_a_few_connections(dsn: str) -> None:
    before = names()
    database = Database(dsn, max_readers=2, max_appenders=2)
    async with tenants(dsn, database, 25) as stores:
        for version in range(2):
            await asyncio.gather(*(store.append([write("a", version)]) for store in stores))
        await asyncio.gather(*(store.read_stream("a") for store in stores))

        def all_are_at_rest() -> None:
            assert names() - before <= LISTENER

        await eventually(all_are_at_rest)
        lanes, readers = len(database.lanes._all), database.readers.size

    assert lanes == 2
    assert readers <= 2


async def test_stores_that_wait_for_a_lane_get_it_in_the_order_of_asking(
    narrow: list[PostgresEventStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, second, third = narrow
    served: list[str] = []
    deliver = Lane.deliver

    async def noted(lane: Lane, batch: Any, log: Any) -> None:
        served.append(log.schema)
        await deliver(lane, batch, log)

    monkeypatch.setattr(Lane, "deliver", noted)
    async with Hands.on(busy._database.dsn, busy.namespace) as hands:
        async with hands.holding_the_head():
            first = asyncio.ensure_future(busy.append([write("a", 0)]))
            await hands.waiting_appends(1)
            # What gathers in one store is one batch, however much it is: it does not have more turns for it.
            others = [asyncio.ensure_future(store.append([write("b", 0)])) for store in (second, third)]
            more = [asyncio.ensure_future(busy.append([write(f"more-{n}", 0)])) for n in range(20)]
            await asyncio.sleep(0)
        await asyncio.gather(first, *others, *more)

    assert served == [busy.namespace, second.namespace, third.namespace, busy.namespace]


async def test_a_store_whose_head_is_held_does_not_keep_the_others_from_appending(dsn: str) -> None:
    async with tenants(dsn, Database(dsn, max_appenders=AT_ONCE + 1), 2) as (held, free):
        async with Hands.on(dsn, held.namespace) as hands, hands.holding_the_head():
            behind = await hands.occupy(held)

            (appended,) = await asyncio.wait_for(free.append([write("a", 0)]), 5)

            assert not any(each.done() for each in behind)
            assert [lane.sending for lane in (await held.status()).lanes] == [1] * AT_ONCE
            assert [lane.sending for lane in (await free.status()).lanes] == [0]
        await asyncio.gather(*behind)
    assert appended.position == 1


async def test_an_append_for_which_no_lane_comes_free_is_told_so_in_time(dsn: str) -> None:
    async with tenants(dsn, Database(dsn, max_appenders=1), 2) as (held, other):
        other._appender._give_up_after_s = 0.1  # type: ignore[union-attr]
        async with Hands.on(dsn, held.namespace) as hands, hands.holding_the_head():
            behind = asyncio.ensure_future(held.append([write("a", 0)]))
            await hands.waiting_appends(1)

            with pytest.raises(StorageUnavailable, match="all taken"):
                await other.append([write("a", 0)])

        await behind
        (appended,) = await other.append([write("a", 0)])
    assert appended.position == 1


async def test_a_schema_that_is_dropped_fails_its_own_store_and_no_other(
    dsn: str, narrow: list[PostgresEventStore]
) -> None:
    gone, stays, _ = narrow
    await asyncio.gather(*(store.append([write("a", 0)]) for store in narrow))
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"DROP SCHEMA {gone.namespace} CASCADE")
    await connection.close()

    refused = asyncio.ensure_future(gone.append([write("a", 1)]))
    (appended,) = await stays.append([write("a", 1)])

    with pytest.raises(AppendRefused):
        await refused
    assert appended.position == 2
    assert len(await stays.read_stream("a")) == 2


async def test_a_store_that_is_torn_down_leaves_a_sound_lane_to_the_others(narrow: list[PostgresEventStore]) -> None:
    torn, other, _ = narrow
    async with Hands.on(torn._database.dsn, torn.namespace) as hands, hands.holding_the_head():
        sent = asyncio.ensure_future(torn.append([write("a", 0)]))
        await hands.waiting_appends(1)
        assert torn._appender is not None
        closing = asyncio.ensure_future(torn._appender.close())
        await asyncio.sleep(0)
        closing.cancel()

        (appended,) = await asyncio.wait_for(other.append([write("a", 0)]), 5)

        await asyncio.wait([sent, closing])
    assert appended.position == 1


async def test_a_lane_that_was_cut_is_made_anew_for_whoever_comes_next(narrow: list[PostgresEventStore]) -> None:
    one, other, _ = narrow
    await one.append([write("a", 0, event(b'{"of": 1}'))])
    (lane,) = (await one.status()).lanes
    assert lane.pid is not None
    cut(one, lane.pid)

    (appended,) = await other.append([write("a", 0, event(b'{"of": 2}'))])

    assert appended.position == 1
    assert [stored.data for stored in await other.read_stream("a")] == [b'{"of": 2}']


async def test_an_append_wakes_those_who_wait_at_its_own_log_only(dsn: str) -> None:
    async with tenants(dsn, Database(dsn), 2) as (one, other):
        at_one = asyncio.ensure_future(one.wait_beyond(0))
        at_other = asyncio.ensure_future(other.wait_beyond(0))
        await asyncio.sleep(0)
        woken = other._known_head._waiters.copy()

        await one.append([write("a", 0)])

        assert await at_one == 1
        assert woken == other._known_head._waiters
        assert not any(waiter.done() for waiter in woken)
        at_other.cancel()
        await asyncio.wait([at_other])
