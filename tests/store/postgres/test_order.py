"""Positions are gapless and in commit order, whoever writes; who waits is woken, notified or not."""

from __future__ import annotations

import asyncio
from datetime import datetime
from random import Random

import pytest

from framework import PostgresEventStore
from framework.store.postgres import listener
from framework.store.protocol import StoredEvent
from tests.store.postgres.hands import Hands, listening, write


async def tail(store: PostgresEventStore, until: int) -> list[StoredEvent]:
    """Read the log as it grows, up to position *until*."""
    seen: list[StoredEvent] = []
    position = 0
    while position < until:
        page = await store.read_log(after=position, limit=17)
        seen += page.events
        position = page.looked_to
        if not page.events:
            await store.wait_beyond(position)
    return seen


async def test_a_reader_never_sees_a_position_below_one_it_has_seen(dsn: str, schema: str) -> None:
    chance = Random(7)
    async with PostgresEventStore(dsn, schema=schema) as one, PostgresEventStore(dsn, schema=schema) as other:
        readers = [asyncio.ensure_future(tail(store, 2_000)) for store in (one, other)]

        async def writer(store: PostgresEventStore, name: str) -> None:
            for version in range(100):
                await store.append([write(name, version)])
                if chance.random() < 0.2:
                    await asyncio.sleep(0)

        await asyncio.gather(*(writer(store, f"{id(store)}-{n}") for store in (one, other) for n in range(10)))
        seen = await asyncio.gather(*readers)

    for events in seen:
        assert [stored.position for stored in events] == list(range(1, 2_001))
        moments = [stored.recorded_at for stored in events]
        assert moments == sorted(moments)


async def test_who_waits_is_told_of_what_another_node_appends(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    async with PostgresEventStore(dsn, schema=schema) as one, PostgresEventStore(dsn, schema=schema) as other:
        waiting = asyncio.ensure_future(one.wait_beyond(0))
        await listening(dsn, schema, 2)

        await other.append([write("a", 0)])

        async with asyncio.timeout(5):
            assert await waiting == 1


async def test_a_notification_that_never_comes_is_made_up_for_by_looking(
    store: PostgresEventStore, hands: Hands
) -> None:
    waiting = asyncio.ensure_future(store.wait_beyond(0))

    # What no appender of ours has written is not notified of.
    await hands.sql.execute(
        "SELECT append_events(gen_random_uuid(), 1, 1000,"
        " '{1}', '{a}', '{0}', '{1}', '{1}', '{1}', ARRAY[gen_random_uuid()], '{t}', '{1}',"
        " ARRAY['{}'::jsonb], ARRAY['{}'::jsonb], ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()],"
        " '{}', '{}', '{}', '{}', '{}', '{}', '{}')"
    )

    async with asyncio.timeout(5):
        assert await waiting == 1


async def test_a_listening_connection_that_is_cut_is_made_anew(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    async with PostgresEventStore(dsn, schema=schema) as one, PostgresEventStore(dsn, schema=schema) as other:
        async with Hands.on(dsn, schema) as hands:
            await hands.end(await listening(dsn, schema, 2))
        await listening(dsn, schema, 2)
        waiting = asyncio.ensure_future(one.wait_beyond(0))

        await other.append([write("a", 0)])

        async with asyncio.timeout(5):
            assert await waiting == 1


async def test_recorded_at_stands_still_while_the_clock_of_the_database_is_behind(
    store: PostgresEventStore, hands: Hands
) -> None:
    ahead: datetime = await hands.sql.fetchval(
        "UPDATE head SET recorded_at = clock_timestamp() + interval '1 hour' RETURNING recorded_at"
    )

    (first,) = await store.append([write("a", 0)])
    await asyncio.gather(store.append([write("a", 7)]), store.append([write("b", 0)]), return_exceptions=True)
    async with store.joining(hands.sql) as joined, hands.sql.transaction():
        (last,) = await joined.append([write("c", 0)])

    assert (first.recorded_at, last.recorded_at) == (ahead, ahead)
    assert {stored.recorded_at for stored in (await store.read_log()).events} == {ahead}
