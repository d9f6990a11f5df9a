"""Waiting for the log to grow."""

from __future__ import annotations

import asyncio

from framework.store.protocol import (
    EventStore,
)
from framework.testing.store_contract.parts import (
    PATIENCE_S,
    OnAStore,
    new_event,
    new_events,
    write,
)


class WaitContract(OnAStore):
    """`EventLog.wait_beyond`."""

    async def test_waiting_for_what_is_there_returns_at_once(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))

        async with asyncio.timeout(PATIENCE_S):
            assert await store.wait_beyond(0) == 3
            assert await store.wait_beyond(2) == 3

    async def test_an_append_wakes_those_who_wait(self, store: EventStore) -> None:
        await write(store, "s", *new_events(3))
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            waiters = [tasks.create_task(store.wait_beyond(3)) for _ in range(3)]
            await asyncio.sleep(0)

            await write(store, "s", *new_events(2))

        assert [waiter.result() for waiter in waiters] == [5, 5, 5]

    async def test_nobody_is_woken_for_less_than_they_wait_for(self, store: EventStore) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            far = tasks.create_task(store.wait_beyond(2))
            await write(store, "s", new_event())
            assert await store.wait_beyond(0) == 1
            await write(store, "s", new_event())
            assert await store.wait_beyond(1) == 2
            was_woken_early = far.done()

            await write(store, "s", new_event())

        assert not was_woken_early
        assert far.result() == 3

    async def test_one_who_is_cancelled_leaves_the_others_waiting(self, store: EventStore) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            cancelled, other = (tasks.create_task(store.wait_beyond(0)) for _ in range(2))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            was_still_waiting = not other.done()

            await write(store, "s", new_event())

        assert cancelled.cancelled()
        assert was_still_waiting
        assert other.result() == 1
