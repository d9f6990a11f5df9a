"""A program that ends with a command in hand: its caller is told so, and a repeat finds what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest

from framework import Application, DispatchResult, MemoryEventStore
from framework.errors import NotRunning, OutcomeUnknown
from framework.policies import Defaults
from framework.store.protocol import Appended, Receipt, StreamWrite
from tests.runtime.till import GatedStore, Moved, PutIn, Till, application, tills

AT_ONCE = Defaults(shutdown_timeout=timedelta(0))


class Dying(MemoryEventStore):
    """Records one append, and answers neither it nor any later one while it is dying."""

    def __init__(self) -> None:
        super().__init__()
        self.is_dying = True
        self.recorded = asyncio.Event()

    async def append(self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt] = ()) -> tuple[Appended, ...]:
        if not self.is_dying:
            return await super().append(writes, receipts)
        if not self.recorded.is_set():
            await super().append(writes, receipts)
            self.recorded.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError("the dead do not answer")


async def test_a_caller_whose_command_is_in_hand_when_the_program_ends_is_not_left_waiting() -> None:
    store = Dying()
    async with Application(store=store, router=tills(), defaults=AT_ONCE) as app:
        dispatch = asyncio.ensure_future(app.dispatch(PutIn("a", 10), timeout=timedelta(hours=1)))
        await store.recorded.wait()

    with pytest.raises(OutcomeUnknown):
        await asyncio.wait_for(dispatch, 5)


async def test_a_command_recorded_right_before_the_program_died_is_answered_when_it_is_repeated() -> None:
    store = Dying()
    command_id = uuid4()
    async with Application(store=store, router=tills(), defaults=AT_ONCE) as app:
        dispatch = asyncio.ensure_future(app.dispatch(PutIn("a", 10), command_id=command_id))
        await store.recorded.wait()
    with pytest.raises(OutcomeUnknown):
        await dispatch
    store.is_dying = False

    async with application(store) as app:
        await app.dispatch(PutIn("a", 5))
        repeated = await app.dispatch(PutIn("a", 10), command_id=command_id)

        assert (repeated.version, repeated.events) == (1, (Moved(10),))
        assert await app.state(Till, "a") == Till(15)


async def test_what_was_accepted_is_finished_before_the_application_closes() -> None:
    store = GatedStore()
    async with Application(store=store, router=tills(), defaults=Defaults(mailbox_limit=2)) as app:
        store.gate.clear()
        dispatches = [asyncio.ensure_future(app.dispatch(PutIn(till, 1))) for till in "abc" for _ in range(5)]
        for _ in "abc":
            await store.arrived.acquire()
        asyncio.get_running_loop().call_soon(store.gate.set)  # which is when the application has begun to close

    results = await asyncio.gather(*dispatches)
    assert sorted(result.version for result in results) == sorted([1, 2, 3, 4, 5] * 3)


async def test_after_the_deadline_everybody_has_an_answer_whatever_they_waited_for() -> None:
    store = Dying()
    defaults = Defaults(shutdown_timeout=timedelta(milliseconds=10), mailbox_limit=1, dispatch_timeout=timedelta.max)
    async with Application(store=store, router=tills(), defaults=defaults) as app:
        in_hand = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.recorded.wait()
        in_the_mailbox, without_room, last = (asyncio.ensure_future(app.dispatch(PutIn("a", 1))) for _ in range(3))
        together = asyncio.ensure_future(app.dispatch_together([PutIn("a", 1), PutIn("b", 1)]))
        await asyncio.sleep(0)

    everybody = asyncio.gather(in_hand, in_the_mailbox, without_room, last, together, return_exceptions=True)
    outcomes = await asyncio.wait_for(everybody, 5)
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, *[NotRunning] * 4]
    assert await store.head() == 1


async def test_nothing_is_accepted_while_the_application_closes() -> None:
    store = GatedStore()
    late: list[asyncio.Task[DispatchResult]] = []
    async with Application(store=store, router=tills()) as app:

        def come_late() -> None:
            late.append(asyncio.ensure_future(app.dispatch(PutIn("a", 1))))
            late[0].add_done_callback(lambda _: store.gate.set())

        store.gate.clear()
        accepted = asyncio.ensure_future(app.dispatch(PutIn("a", 1)))
        await store.arrived.acquire()
        asyncio.get_running_loop().call_soon(come_late)  # which is when the application has begun to close

    assert (await accepted).version == 1
    with pytest.raises(NotRunning):
        await late[0]
