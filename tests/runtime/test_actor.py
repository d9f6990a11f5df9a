"""Commands that meet at one aggregate."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import pytest

from framework import DispatchResult
from framework.codec import Codec
from framework.errors import (
    AppendRefused,
    CommandIdReused,
    DispatchTimeout,
    OutcomeUnknown,
    StorageUnavailable,
    TooManyAttempts,
    WrongExpectedVersion,
)
from framework.policies import Defaults
from framework.runtime.rounds import ROUND_LIMIT
from framework.store.protocol import Appended, NewEvent, Receipt, StreamWrite
from tests.runtime.till import GatedStore, Moved, NotEnough, PutIn, Shake, TakeOut, Till, application

T = TypeVar("T")


class FussyStore(GatedStore):
    """A store that takes exception to one content, as a database may."""

    def __init__(self, disliked: Moved) -> None:
        super().__init__()
        self._disliked = Codec().encode(disliked)

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if any(event.data == self._disliked for write in writes for event in write.events):
            message = "not that"
            raise AppendRefused(message)
        return await super().append(writes, receipts)


async def outcomes(*dispatches: Awaitable[DispatchResult]) -> list[DispatchResult | BaseException]:
    return await asyncio.gather(*dispatches, return_exceptions=True)


async def test_commands_that_wait_are_decided_together_and_appended_once() -> None:
    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        others = [asyncio.ensure_future(app.dispatch(PutIn("a", 1))) for _ in range(50)]
        await asyncio.sleep(0)

        store.gate.set()
        results = await asyncio.gather(first, *others)

    assert store.appends == 2
    assert [result.version for result in results] == list(range(1, 52))
    assert [result.position for result in results] == list(range(1, 52))


async def test_no_more_than_so_many_are_decided_together_and_the_others_next() -> None:
    rounds: list[int] = []

    class Counting(GatedStore):
        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            rounds.append(sum(len(write.events) for write in writes))
            return await super().append(writes, receipts)

    store = Counting()
    async with application(store) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        others = [asyncio.ensure_future(app.dispatch(PutIn("a", 1))) for _ in range(ROUND_LIMIT * 2 + 1)]
        await asyncio.sleep(0)

        store.gate.set()
        results = await asyncio.gather(first, *others)

    assert rounds == [1, ROUND_LIMIT, ROUND_LIMIT, 1]
    assert [result.version for result in results] == list(range(1, ROUND_LIMIT * 2 + 3))


async def test_each_command_of_a_round_sees_the_one_before_and_has_its_own_answer() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 5)))
        await store.arrived.acquire()
        await store.arrived.acquire()
        round_ = [
            asyncio.ensure_future(app.dispatch(command))
            for command in (TakeOut("a", 15), TakeOut("a", 1), PutIn("a", 0), Shake("a"), PutIn("a", 3))
        ]
        await asyncio.sleep(0)

        store.gate.set()
        await first
        took, refused, nothing, broken, put = await asyncio.gather(*round_, return_exceptions=True)

        assert isinstance(took, DispatchResult)
        assert (took.version, took.events) == (3, (Moved(-15),))
        assert isinstance(refused, NotEnough)
        assert str(refused) == "1 exceeds 0"
        assert isinstance(nothing, DispatchResult)
        assert (nothing.version, nothing.position, nothing.events) == (3, 3, ())
        assert isinstance(broken, RuntimeError)
        assert isinstance(put, DispatchResult)
        assert (put.version, put.position) == (4, 4)
        assert await app.state(Till, "a") == Till(3)


async def test_no_refusal_is_told_before_what_it_rests_on_is_committed() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 10))
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 0)))
        await first
        empty = asyncio.ensure_future(app.dispatch(TakeOut("a", 10)))
        refused = asyncio.ensure_future(app.dispatch(TakeOut("a", 1)))
        await store.arrived.acquire()
        await store.arrived.acquire()

        assert not refused.done()

        store.gate.set()
        await empty
        with pytest.raises(NotEnough):
            await refused


async def test_a_refusal_does_not_rest_on_a_state_that_another_node_has_changed() -> None:
    store = GatedStore()
    async with application(store) as one, application(store) as other:
        await one.dispatch(PutIn("a", 1))
        await other.dispatch(PutIn("a", 100))

        result = await one.dispatch(TakeOut("a", 50))

        assert result.version == 3
        assert await one.state(Till, "a") == Till(51)


async def test_a_no_op_does_not_rest_on_a_stale_state_either() -> None:
    store = GatedStore()
    async with application(store) as one, application(store) as other:
        await one.dispatch(PutIn("a", 1))
        await other.dispatch(PutIn("a", 100))

        assert (await one.dispatch(PutIn("a", 0))).version == 2


async def test_two_nodes_at_one_aggregate_lose_nothing() -> None:
    store = GatedStore()
    async with application(store) as one, application(store) as other:
        store.gate.clear()
        dispatches = [asyncio.ensure_future(app.dispatch(PutIn("a", 1))) for _ in range(100) for app in (one, other)]
        for _ in (one, other):
            await store.arrived.acquire()  # both have decided, and on the same state

        store.gate.set()
        await asyncio.gather(*dispatches)

        assert await one.state(Till, "a") == Till(200)


async def test_one_who_always_loses_gives_up_and_has_recorded_nothing() -> None:
    class Losing(GatedStore):
        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            self.appends += 1
            raise WrongExpectedVersion(writes[0].stream, "version 0", 7)

    store = Losing()
    async with application(store) as app:
        with pytest.raises(TooManyAttempts):
            await app.dispatch(PutIn("a", 1))

    assert store.appends == 11
    assert await store.head() == 0


async def test_an_id_makes_a_repeat_answer_as_the_first_did() -> None:
    store = GatedStore()
    async with application(store) as app:
        accepted, refused, nothing = uuid4(), uuid4(), uuid4()
        first = await app.dispatch(PutIn("a", 10), command_id=accepted)
        with pytest.raises(NotEnough) as first_refusal:
            await app.dispatch(TakeOut("a", 11), command_id=refused)
        await app.dispatch(PutIn("a", 0), command_id=nothing)
        await app.dispatch(PutIn("a", 100))

        again = await app.dispatch(PutIn("a", 10), command_id=accepted)
        with pytest.raises(NotEnough) as second_refusal:
            await app.dispatch(TakeOut("a", 11), command_id=refused)
        nothing_again = await app.dispatch(PutIn("a", 0), command_id=nothing)

        assert again == first
        assert str(second_refusal.value) == str(first_refusal.value)
        assert (nothing_again.version, nothing_again.position, nothing_again.events) == (1, 1, ())
        assert await app.state(Till, "a") == Till(110)


async def test_a_repeat_on_another_node_is_answered_alike() -> None:
    store = GatedStore()
    async with application(store) as one, application(store) as other:
        accepted, refused = uuid4(), uuid4()
        first = await one.dispatch(PutIn("a", 10), command_id=accepted)
        with pytest.raises(NotEnough):
            await one.dispatch(TakeOut("a", 11), command_id=refused)
        await one.dispatch(PutIn("a", 100))

        again = await other.dispatch(PutIn("a", 10), command_id=accepted)
        with pytest.raises(NotEnough):
            await other.dispatch(TakeOut("a", 11), command_id=refused)

        assert (again.version, again.position, again.events) == (first.version, first.position, first.events)


async def test_one_id_twice_at_once_is_one_command() -> None:
    store = GatedStore()
    async with application(store) as app:
        command_id = uuid4()
        one, other = await asyncio.gather(
            app.dispatch(PutIn("a", 10), command_id=command_id),
            app.dispatch(PutIn("a", 10), command_id=command_id),
        )

        assert one == other
        assert await app.state(Till, "a") == Till(10)


async def test_another_command_under_a_used_id_is_refused() -> None:
    async with application(GatedStore()) as app:
        command_id = uuid4()
        await app.dispatch(PutIn("a", 10), command_id=command_id)

        with pytest.raises(CommandIdReused):
            await app.dispatch(PutIn("a", 11), command_id=command_id)
        with pytest.raises(CommandIdReused):
            await app.dispatch(PutIn("b", 10), command_id=command_id)

        assert await app.state(Till, "b") == Till(0)


async def test_a_command_that_failed_once_may_succeed_under_the_same_id() -> None:
    class Flaky(GatedStore):
        is_away = True

        async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
            if self.is_away:
                message = "away"
                raise StorageUnavailable(message)
            return await super().append(writes, receipts)

    store = Flaky()
    async with application(store) as app:
        command_id = uuid4()
        with pytest.raises(StorageUnavailable):
            await app.dispatch(PutIn("a", 10), command_id=command_id)
        store.is_away = False

        assert (await app.dispatch(PutIn("a", 10), command_id=command_id)).version == 1


async def test_a_command_that_waits_is_withdrawn_by_its_timeout() -> None:
    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()

        with pytest.raises(DispatchTimeout):
            await app.dispatch(PutIn("a", 100), timeout=timedelta(milliseconds=1))

        store.gate.set()
        await first
        assert await app.state(Till, "a") == Till(1)


async def test_a_command_that_waits_for_room_in_the_mailbox_is_withdrawn_by_its_timeout() -> None:
    store = GatedStore()
    async with application(store, Defaults(mailbox_limit=1)) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        second = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await asyncio.sleep(0)

        with pytest.raises(DispatchTimeout):
            await app.dispatch(PutIn("a", 100), timeout=timedelta(milliseconds=10))

        store.gate.set()
        await asyncio.gather(first, second)
        assert await app.state(Till, "a") == Till(2)


async def test_a_timeout_after_the_append_was_sent_says_that_the_outcome_is_unknown() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 1))
        store.gate.clear()

        with pytest.raises(OutcomeUnknown, match="look at the stream"):
            await app.dispatch(PutIn("a", 100), timeout=timedelta(milliseconds=10))

        store.gate.set()
        assert (await app.dispatch(PutIn("a", 0))).version == 2


async def test_who_gave_an_id_learns_the_outcome_by_it() -> None:
    store = GatedStore()
    async with application(store) as app:
        command_id = uuid4()
        store.gate.clear()

        with pytest.raises(OutcomeUnknown, match=f"dispatch again with command_id={command_id}"):
            await app.dispatch(PutIn("a", 100), command_id=command_id, timeout=timedelta(milliseconds=10))

        store.gate.set()
        again = await app.dispatch(PutIn("a", 100), command_id=command_id)
        assert (again.version, await app.state(Till, "a")) == (1, Till(100))


async def test_what_the_database_does_not_take_fails_alone() -> None:
    store = FussyStore(Moved(13))
    async with application(store) as app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        round_ = [asyncio.ensure_future(app.dispatch(PutIn("a", amount))) for amount in (2, 13, 4)]
        await asyncio.sleep(0)

        store.gate.set()
        _, before, refused, after = await outcomes(first, *round_)

        assert isinstance(refused, AppendRefused)
        assert isinstance(before, DispatchResult)
        assert isinstance(after, DispatchResult)
        assert (before.version, after.version, await app.state(Till, "a")) == (2, 3, Till(7))


async def test_a_cancelled_caller_stops_nobody_else() -> None:
    store = GatedStore()
    async with application(store) as app:
        store.gate.clear()
        taken = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        waiting = asyncio.ensure_future(app.dispatch(PutIn("a", 10)))
        last = asyncio.ensure_future(app.dispatch(PutIn("a", 100)))
        await asyncio.sleep(0)
        taken.cancel()
        waiting.cancel()
        await asyncio.sleep(0)

        store.gate.set()
        result = await last

        assert (result.version, await app.state(Till, "a")) == (2, Till(101))


async def test_closing_finishes_what_was_accepted() -> None:
    store = GatedStore()
    app = application(store)
    async with app:
        store.gate.clear()
        first = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        second = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(store.gate.set)

    assert [(await first).version, (await second).version] == [1, 2]


async def test_what_somebody_appends_past_the_application_is_folded_before_the_next_answer() -> None:
    store = GatedStore()
    async with application(store) as app:
        await app.dispatch(PutIn("a", 1))
        for version, amount in ((1, 10), (2, 100)):
            foreign = NewEvent(uuid4(), "Moved", 1, b'{"amount": %d}' % amount, b"{}", uuid4(), uuid4())
            await store.append([StreamWrite("till-a", version, [foreign])])

        taken = await app.dispatch(TakeOut("a", 111), returning=Till)

        assert (taken.version, taken.state) == (4, Till(0))
        assert await app.state(Till, "a", version=3) == Till(111)
