"""The memory store keeps the contract, and what is its own: it outlives its openings, and wakes who waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from framework.errors import StorageUnavailable
from framework.store.memory import MemoryEventStore
from framework.store.protocol import EventStore
from framework.testing.clock import ManualClock
from framework.testing.store_contract import StoreContract, log_of, new_event, new_events, write


class TestMemoryEventStore(StoreContract):
    @pytest.fixture
    async def store(self) -> AsyncIterator[EventStore]:
        async with MemoryEventStore() as store:
            yield store


async def test_a_store_that_is_entered_again_holds_what_it_held() -> None:
    store = MemoryEventStore()
    async with store:
        await write(store, "s", *new_events(2))

    async with store as again:
        assert len(await again.read_stream("s")) == 2
        assert await again.wait_beyond(1) == 2


async def test_closing_the_store_tells_those_who_wait() -> None:
    async with MemoryEventStore() as store:
        waiter = asyncio.ensure_future(store.wait_beyond(0))
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        with pytest.raises(StorageUnavailable, match="closed"):
            await waiter


async def test_a_closed_store_lets_nobody_wait() -> None:
    async with asyncio.timeout(5):
        with pytest.raises(StorageUnavailable):
            await MemoryEventStore().wait_beyond(0)


async def test_a_store_is_open_until_the_last_who_entered_has_left() -> None:
    async with MemoryEventStore() as store:
        async with store:
            waiter = asyncio.ensure_future(store.wait_beyond(0))
            await asyncio.sleep(0)
        await write(store, "s", new_event())

        async with asyncio.timeout(5):
            assert await waiter == 1


async def test_recorded_at_is_the_time_of_the_clock_it_was_given() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    store = MemoryEventStore(clock)

    first = await write(store, "s", new_event())
    clock.advance(timedelta(hours=1))
    second = await write(store, "s", new_event())

    assert first.recorded_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert second.recorded_at == datetime(2026, 1, 1, 1, tzinfo=UTC)


async def test_recorded_at_stands_still_while_the_clock_is_behind() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    store = MemoryEventStore(clock)
    await write(store, "s", new_event())

    clock.advance(timedelta(hours=-1))
    await write(store, "s", new_event())

    moments = [event.recorded_at for event in await log_of(store)]
    assert moments == [datetime(2026, 1, 1, tzinfo=UTC)] * 2


def test_two_stores_are_two_logs_even_by_one_clock() -> None:
    clock = ManualClock()
    one, other = MemoryEventStore(clock), MemoryEventStore(clock)

    assert one.log_id != other.log_id
    assert one.namespace != other.namespace


def test_there_is_no_database_behind_it() -> None:
    assert MemoryEventStore().read_database is None
