"""Many commands at once: in order, bounded, and loud about what failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest

from framework import Application, CommandContext, DispatchResult, MemoryEventStore, Next
from framework.errors import (
    CommandIdReused,
    InvalidOption,
    SomeFailed,
    StorageUnavailable,
    UnknownCommand,
)
from framework.store.protocol import Appended, Receipt, StreamWrite
from tests.runtime.till import GatedStore, Moved, NotEnough, PutIn, TakeOut, Till, application, tills


async def test_the_results_are_in_the_order_of_the_commands() -> None:
    async with application(MemoryEventStore()) as app:
        commands = [PutIn(str(number % 7), number + 1) for number in range(100)]

        results = await app.dispatch_many(commands, at_once=5)

        assert [result.events for result in results] == [(Moved(number + 1),) for number in range(100)]


async def test_the_commands_for_one_aggregate_are_decided_in_the_order_given_and_together() -> None:
    store = GatedStore()
    async with application(store) as app:
        results = await app.dispatch_many([PutIn("a", 1), TakeOut("a", 1)] * 200)

        assert [result.version for result in results] == list(range(1, 401))
        assert store.appends < 10


async def test_they_stay_in_order_where_a_layer_lets_later_ones_overtake() -> None:
    calls = 0

    async def shuffle(context: CommandContext, call_next: Next) -> DispatchResult:
        nonlocal calls
        calls += 1
        for _ in range(7 - calls % 7):
            await asyncio.sleep(0)
        return await call_next(context)

    async with Application(store=MemoryEventStore(), router=tills(), middleware=[shuffle]) as app:
        results = await app.dispatch_many([PutIn("a", 1), TakeOut("a", 1)] * 20)

        assert [result.version for result in results] == list(range(1, 41))


async def test_no_more_than_asked_for_are_on_their_way() -> None:
    taken = 0

    def commands() -> Iterator[PutIn]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield PutIn(str(number), 1)

    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        load = asyncio.ensure_future(app.dispatch_many(commands(), at_once=3))
        for _ in range(3):
            await store.arrived.acquire()

        assert taken == 3

        store.gate.set()
        assert len(await load) == 20


async def test_what_fails_does_not_stop_the_others_and_is_raised_in_the_end() -> None:
    async with application(MemoryEventStore()) as app:
        commands = [PutIn("a", 1), TakeOut("a", 5), object(), PutIn("a", 10)]

        with pytest.raises(SomeFailed, match="2 of 4 commands failed; the first is number 1: NotEnough") as raised:
            await app.dispatch_many(commands)

        failed = raised.value
        assert {place: type(error) for place, error in failed.errors.items()} == {1: NotEnough, 2: UnknownCommand}
        assert [result and result.version for result in failed.results] == [1, None, None, 2]
        assert not failed.was_stopped
        assert await app.state(Till, "a") == Till(11)


async def test_what_is_no_fault_of_a_command_keeps_the_rest_from_being_begun() -> None:
    class Away(MemoryEventStore):
        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            if len(self._log) == 2:
                raise StorageUnavailable("away")
            return await super().append(writes, receipts)

    async with application(Away()) as app:
        with pytest.raises(SomeFailed, match="1 of 3 commands failed, and the rest was not begun") as raised:
            await app.dispatch_many((PutIn(str(number), 1) for number in range(1_000)), at_once=1)

        assert raised.value.was_stopped
        assert [result is None for result in raised.value.results] == [False, False, True]


async def test_an_error_of_the_commands_source_is_raised_once_what_was_begun_has_ended() -> None:
    def commands() -> Iterator[PutIn]:
        yield PutIn("a", 1)
        yield PutIn("b", 1)
        raise ValueError("line 3")

    store = MemoryEventStore()
    async with application(store) as app:
        with pytest.raises(ValueError, match="line 3"):
            await app.dispatch_many(commands(), at_once=2)

        assert await store.head() == 2


async def test_a_load_that_broke_off_is_repeated_and_takes_effect_once() -> None:
    load_id = uuid4()
    commands = [PutIn("a", 1), TakeOut("a", 5), PutIn("a", 10)]
    async with application(MemoryEventStore()) as app:
        await app.dispatch_many(commands[:1], load_id=load_id)
        for _ in range(2):
            with pytest.raises(SomeFailed) as raised:
                await app.dispatch_many(commands, load_id=load_id)
            assert list(raised.value.errors) == [1]

        assert await app.state(Till, "a") == Till(11)
        with pytest.raises(SomeFailed) as raised:
            await app.dispatch_many(commands[::-1], load_id=load_id)
        assert isinstance(raised.value.errors[0], CommandIdReused)


async def test_a_load_that_lets_nothing_through_is_refused() -> None:
    async with application(MemoryEventStore()) as app:
        with pytest.raises(InvalidOption, match="at_once=0"):
            await app.dispatch_many([PutIn("a", 1)], at_once=0)


async def test_cancellation_ends_the_load_and_leaves_no_task() -> None:
    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        load = asyncio.ensure_future(app.dispatch_many([PutIn(str(number), 1) for number in range(10)], at_once=2))
        await store.arrived.acquire()

        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        store.gate.set()

    assert await store.head() <= 2
