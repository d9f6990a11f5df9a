"""A program that ends with a command in hand: its caller is told so, and a repeat finds what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import uuid4

import pytest

from framework import Application, MemoryEventStore
from framework.errors import OutcomeUnknown
from framework.policies import Defaults
from framework.store.protocol import Appended, Receipt, StreamWrite
from tests.runtime.till import Moved, PutIn, Till, application, tills

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
