"""Delivers to an event handler: one event after the other, at least once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from framework.errors import LeaseLost, StorageUnavailable
from framework.handler import EventHandler
from framework.journal import Item, Journal
from framework.reactions import Halt, Park
from framework.store.subscriptions import DISCARD, ParkedEvent, Subscriptions
from framework.subscription.aside import Aside, asked_for
from framework.subscription.delivery import Subscription
from framework.subscription.failure import Failure, Halted, Policy, handling, readable
from framework.subscription.slots import Hold

SAVE_AFTER_SECONDS = 0.1
"""The longest that effects are done and their progress is not written: what a crash may repeat."""


class HandlerSink:
    """Delivers to an `EventHandler`."""

    def __init__(self, handler: EventHandler[Any], journal: Journal, policy: Policy) -> None:
        self._handler = handler
        self._journal = journal
        self._policy = policy

    async def take_over(self, hold: Hold, subscription: Subscription) -> HandlerSlot:
        """Begin where the owner before has come to."""
        subscriptions = self._journal.store.subscriptions
        position = await subscriptions.position(hold.lease)
        parked = [
            event
            for event in await subscriptions.parked([subscription.name])
            if subscription.slot_of_key(event.key) == hold.lease.slot
        ]
        aside = Aside(subscription.name, subscription.key_of, parked)
        return HandlerSlot(self._handler, self._journal, self._policy, hold, position, aside, subscription)


class HandlerSlot:
    """One slot of a handler."""

    def __init__(
        self,
        handler: EventHandler[Any],
        journal: Journal,
        policy: Policy,
        hold: Hold,
        position: int,
        aside: Aside,
        subscription: Subscription,
    ) -> None:
        self.position = position
        self._handler = handler
        self._journal = journal
        self._subscriptions: Subscriptions = journal.store.subscriptions
        self._policy = policy
        self._hold = hold
        self._aside = aside
        self._subscription = subscription

    @property
    def sets_aside(self) -> bool:
        """Whether there are parked events."""
        return not self._aside.is_empty

    async def deliver(self, items: Sequence[Item], *, position: int) -> None:
        """Handle *items* and save the progress, a little at a time, so that a crash repeats few effects."""
        done = self.position
        parked: list[ParkedEvent] = []
        clock = asyncio.get_running_loop().time
        save_at = clock() + SAVE_AFTER_SECONDS
        try:
            for item in items:
                row = None
                if self._aside.holds_back(item):
                    row = self._aside.row(item)
                elif failure := await self._policy.attempt(item, self._hold, partial(self._handle, item)):
                    row = self._failed(item, failure)
                if row is not None:
                    parked.append(row)
                    self._aside.remember(row)
                done = item.position
                if clock() >= save_at:
                    await self._save(done, parked)
                    save_at = clock() + SAVE_AFTER_SECONDS
            done = position
        finally:
            # Also when the slot halts, or is to be let go: those before are done and need not come again.
            if done > self.position:
                await self._save(done, parked)

    async def attend(self) -> None:
        """Do what somebody has asked for with parked events."""
        if self._aside.is_empty:
            return
        name, slot = self._hold.lease.name, self._hold.lease.slot
        for events in asked_for(await self._subscriptions.parked([name])):
            if self._subscription.slot_of_key(events[0].key) == slot:
                await self._release(events)

    async def _release(self, events: Sequence[ParkedEvent]) -> None:
        """Go through the parked *events* of one key as far as was asked, and on through those that never failed."""
        for event in events:
            if event.asked is None and event.error is not None:
                return
            if event.asked != DISCARD:
                page = await self._journal.read_log(
                    after=event.position - 1, limit=1, selection=self._subscription.selection
                )
                try:
                    await self._handle(page.events[0])
                except (LeaseLost, StorageUnavailable):
                    raise
                except Exception as error:  # noqa: BLE001 - it failed again: that is kept, and those behind it wait on
                    again = event._replace(error=f"{type(error).__name__}: {error}", attempts=1)
                    await self._subscriptions.park(self._hold.lease, [again], self.position)
                    return
            await self._subscriptions.unpark(self._hold.lease, event.position)
            self._aside.forget(event)

    def _failed(self, item: Item, failure: Failure) -> ParkedEvent | None:
        if isinstance(failure.reaction, Halt):
            raise Halted(item.position) from failure.error
        return self._aside.row(item, failure) if isinstance(failure.reaction, Park) else None

    async def _save(self, position: int, parked: list[ParkedEvent]) -> None:
        if parked:
            await self._subscriptions.park(self._hold.lease, parked, position)
            parked.clear()
        else:
            await self._subscriptions.advance(self._hold.lease, position)
        self.position = position

    async def _handle(self, item: Item) -> None:
        self._hold.check()
        event = readable(item)
        with handling(self._policy.name, event):
            await self._handler.handle(event)
