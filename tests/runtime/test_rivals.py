"""Nodes at one aggregate, one of which is always first: the others get through all the same, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from framework import Application, MemoryEventStore, PostgresEventStore
from framework.errors import HeadHeldTooLong, StorageUnavailable
from framework.runtime.rounds import TURN_LIMIT
from framework.store.protocol import Appended, Decide, Receipt, StreamWrite
from tests.runtime.till import Moved, NotEnough, PutIn, TakeOut, Till, application


class Beaten(PostgresEventStore):
    """A node to whose streams another one always writes first, unless it is this one's turn."""

    rival: Application | None = None
    moves: object = PutIn("a", 1)
    turns = 0

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if self.rival is not None and any(write.events for write in writes):
            await self.rival.dispatch(self.moves)
        return await super().append(writes, receipts)

    async def append_in_turn(self, after: Mapping[str, int], decide: Decide) -> tuple[Appended, ...]:
        self.turns += 1
        return await super().append_in_turn(after, decide)


class Troubled(MemoryEventStore):
    """A store where a conflict is certain, and then a turn fails."""

    def __init__(self, trouble: Exception) -> None:
        super().__init__()
        self.trouble = trouble
        self.rivals = 2

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if self.rivals:
            self.rivals -= 1
            event = writes[0].events[0]._replace(event_id=uuid4())
            await super().append([StreamWrite(writes[0].stream, writes[0].expected, [event])])
        return await super().append(writes, receipts)

    async def append_in_turn(self, after: Mapping[str, int], decide: Decide) -> tuple[Appended, ...]:
        raise self.trouble


@pytest.fixture
def beaten(dsn: str) -> Beaten:
    return Beaten(dsn, schema=f"rivals_{uuid4().hex[:12]}")


def same(store: PostgresEventStore) -> PostgresEventStore:
    return PostgresEventStore(store.read_database or "", schema=store.namespace)


async def test_who_is_beaten_every_time_gets_its_turn(beaten: Beaten) -> None:
    async with application(beaten) as one, application(same(beaten)) as other:
        beaten.rival = other

        results = await asyncio.gather(*[one.dispatch(PutIn("a", 10)) for _ in range(30)])

        assert all(result.events == (Moved(10),) for result in results)
        assert len({result.version for result in results}) == 30
        content = (await one.state(Till, "a")).content
        assert content == 300 + await beaten.head() - 30


async def test_what_is_decided_in_turn_rests_on_what_was_missed(beaten: Beaten) -> None:
    async with application(beaten) as one, application(same(beaten)) as other:
        beaten.rival = other

        result = await one.dispatch(PutIn("a", 10), returning=Till)
        with pytest.raises(NotEnough):
            await one.dispatch(TakeOut("a", 1_000))

        assert result.state == Till(10 + result.version - 1)


async def test_several_commands_that_are_beaten_every_time_get_their_turn_as_one(beaten: Beaten) -> None:
    async with application(beaten) as one, application(same(beaten)) as other:
        beaten.rival = other

        put_in, put_elsewhere = await one.dispatch_together([PutIn("a", 10), PutIn("b", 5)])

        assert (put_in.version, put_in.position, put_in.events) == (3, 3, (Moved(10),))
        assert (put_elsewhere.version, put_elsewhere.position) == (1, 4)
        assert (await one.state(Till, "a"), await one.state(Till, "b")) == (Till(12), Till(5))
        assert beaten.turns == 1


async def test_several_that_are_refused_in_turn_are_refused_alike_when_they_are_repeated(beaten: Beaten) -> None:
    move, command_id = [TakeOut("a", 1), PutIn("b", 1)], uuid4()
    async with application(beaten) as one, application(same(beaten)) as other:
        await other.dispatch(PutIn("a", 2))
        beaten.rival, beaten.moves = other, TakeOut("a", 1)

        with pytest.raises(NotEnough):
            await one.dispatch_together(move, command_id=command_id)
        beaten.rival = None
        await other.dispatch(PutIn("a", 2))
        with pytest.raises(NotEnough):
            await one.dispatch_together(move, command_id=command_id)

        assert beaten.turns == 1
        assert (await one.state(Till, "a"), await one.state(Till, "b")) == (Till(2), Till(0))


async def test_a_round_too_long_for_one_turn_takes_several(beaten: Beaten) -> None:
    async with application(beaten) as one, application(same(beaten)) as other:
        beaten.rival = other
        await one.dispatch(PutIn("a", 10))
        beaten.turns = 0

        results = await asyncio.gather(*[one.dispatch(PutIn("a", 10)) for _ in range(TURN_LIMIT * 2)])

        assert len({result.version for result in results}) == TURN_LIMIT * 2
        assert beaten.turns >= 2


async def test_who_has_no_rival_any_more_needs_no_turn(beaten: Beaten) -> None:
    async with application(beaten) as one:
        async with application(same(beaten)) as other:
            beaten.rival = other
            await one.dispatch(PutIn("a", 10))
        beaten.rival, beaten.turns = None, 0

        for _ in range(3):
            await one.dispatch(PutIn("a", 10))

        assert beaten.turns == 1


async def test_four_nodes_at_one_aggregate_all_get_through(beaten: Beaten) -> None:
    async with AsyncExitStack() as stack:
        stores = [same(beaten) for _ in range(4)]
        nodes = [await stack.enter_async_context(application(store)) for store in stores]

        await asyncio.gather(*[node.dispatch(PutIn("a", 1)) for _ in range(100) for node in nodes])

        assert await nodes[0].state(Till, "a") == Till(400)


@pytest.mark.parametrize("trouble", [StorageUnavailable("away"), HeadHeldTooLong(1)])
async def test_a_turn_that_does_not_come_is_not_needed(trouble: Exception) -> None:
    store = Troubled(trouble)
    async with application(store) as one:
        result = await one.dispatch(PutIn("a", 10))

        assert (result.version, result.events) == (3, (Moved(10),))


@pytest.mark.parametrize("trouble", [StorageUnavailable("away"), HeadHeldTooLong(1)])
async def test_a_turn_that_does_not_come_is_not_needed_for_several_either(trouble: Exception) -> None:
    store = Troubled(trouble)
    async with application(store) as one:
        put_in, _ = await one.dispatch_together([PutIn("a", 10), PutIn("b", 5)])

        assert (put_in.version, put_in.events) == (3, (Moved(10),))
        assert await one.state(Till, "b") == Till(5)
