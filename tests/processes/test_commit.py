"""What a process makes of an event is committed with its place in the log, and nothing of it is sent before."""

from __future__ import annotations

import asyncio

from framework import Application, MemoryEventStore
from framework.store.protocol import ProcessChange
from framework.store.subscriptions import Lease
from framework.testing import eventually
from tests.processes.test_relay import Fulfil, Order, sent, shop


class Hesitant(MemoryEventStore):
    """Holds back what moves a process along the log, until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = asyncio.Event()
        self.gate = asyncio.Event()

    async def advance_process(self, lease: Lease, change: ProcessChange, *, position: int) -> None:
        if position:
            self.arrived.set()
            await self.gate.wait()
        await super().advance_process(lease, change, position=position)


async def test_no_command_is_there_to_send_before_the_place_in_the_log_is_committed() -> None:
    store = Hesitant()
    async with Application(store=store, router=shop(), processes=[Fulfil]) as app:
        await app.dispatch(Order("a", 1))
        await store.arrived.wait()

        too_early = await store.outbox("Fulfil", limit=10)
        store.gate.set()

        async def has_been_sent() -> None:
            assert await sent(store, "a") == ["Shipped"]

        await eventually(has_been_sent)
    assert not too_early
