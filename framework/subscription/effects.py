"""Delivers to an event handler: events in their order, at least once."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, ClassVar

from framework.errors import InvalidContract, LeaseLost, StorageUnavailable
from framework.handler import EventHandler
from framework.journal import Item, Journal, pieces
from framework.messages import Recorded
from framework.store.subscriptions import ParkedEvent, Subscriptions, Terms
from framework.subscription.delivery import Moved, Subscription
from framework.subscription.failure import Policy, Watching, handling
from framework.subscription.slots import Hold
from framework.subscription.steps import Fault, SteppingSlot

SAVE_AFTER_SECONDS = 0.1
"""The longest that effects are done and their progress is not written: what a crash may repeat."""


class HandlerSink:
    """Delivers to an `EventHandler`."""

    def __init__(
        self, handler: EventHandler[Any], journal: Journal, policy: Policy, watching: Watching | None = None
    ) -> None:
        self._handler = handler
        self._journal = journal
        self._policy = policy
        self._watching = watching

    async def take_over(self, hold: Hold, subscription: Subscription, terms: Terms, moved: Moved) -> SteppingSlot:
        """Begin where the owner before has come to."""
        subscriptions = self._journal.store.subscriptions
        parked = await subscriptions.parked([subscription.name])
        kind = InBatches if self._handler.is_batched else OneByOne
        ground = kind(self._handler, self._policy.name, subscriptions, hold, terms, self._watching)
        return SteppingSlot(ground, subscription, self._journal, self._policy, hold, parked, moved)


class _Effects(ABC):
    """What is outside of the database, and how far a slot has come with it."""

    is_one_by_one: ClassVar[bool]

    def __init__(
        self,
        handler: EventHandler[Any],
        name: str,
        subscriptions: Subscriptions,
        hold: Hold,
        terms: Terms,
        watching: Watching | None,
    ) -> None:
        self.position = terms.position
        self._replayed_to = terms.replayed_to
        self._handler = handler
        self._name = name
        self._subscriptions = subscriptions
        self._hold = hold
        self._watching = watching

    @abstractmethod
    async def take(self, items: Sequence[Item], position: int, parked: Sequence[ParkedEvent]) -> Fault | None:
        """Have *items* handled, set *parked* aside, and move to *position*; see `Ground`."""

    @abstractmethod
    async def release(self, position: int, item: Item | None) -> None:
        """Have *item*, which was parked at *position*, handled, None for nothing, and park it no longer."""

    async def parked(self) -> Sequence[ParkedEvent]:
        """Return what the subscription has set aside."""
        return await self._subscriptions.parked([self._hold.lease.name])

    async def trail(self) -> None:  # noqa: B027 - what others see from afar is what was moved
        """Do nothing."""

    def _marked(self, event: Recorded[Any]) -> Recorded[Any]:
        """Return *event* as the handler is given it."""
        return event._replace(replaying=True) if event.position <= self._replayed_to else event

    async def _save(self, position: int, parked: Sequence[ParkedEvent]) -> None:
        """Move to *position*, with those *parked* that are due by then and were not before."""
        due = [event for event in parked if event.position <= position]
        if due:
            await self._subscriptions.park(self._hold.lease, due, position)
        else:
            await self._subscriptions.advance(self._hold.lease, position)
        self.position = position


class OneByOne(_Effects):
    """Has each event handled by itself, and saves progress a little at a time, so that a crash repeats few effects."""

    is_one_by_one = True

    async def take(self, items: Sequence[Item], position: int, parked: Sequence[ParkedEvent]) -> Fault | None:
        """Have *items* handled, set *parked* aside, and move to *position*; see `Ground`."""
        done = self.position
        hold = self._hold
        clock = asyncio.get_running_loop().time
        save_at = clock() + SAVE_AFTER_SECONDS
        try:
            for item in items:
                now = clock()
                if now >= save_at:
                    await self._save(done, parked)
                    parked = [event for event in parked if event.position > done]
                    now = clock()
                    save_at = now + SAVE_AFTER_SECONDS
                if hold.given_up.is_set() and item is not items[0]:
                    raise LeaseLost(*hold.lease)
                hold.check_at(now)
                try:
                    await self._handle(item)
                except (LeaseLost, StorageUnavailable):
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is, the handler's policy judges it
                    return Fault(error, item)
                done = item.position
            done = position
        finally:
            # Also after a failure, or when the slot is to be let go: what is done need not come again.
            if done > self.position or (parked and done == position):
                await self._save(done, parked)
        return None

    async def release(self, position: int, item: Item | None) -> None:
        """Have *item*, which was parked at *position*, handled, None for nothing, and park it no longer."""
        if item is not None:
            self._hold.check()
            await self._handle(item)
        await self._subscriptions.unpark(self._hold.lease, position)

    async def _handle(self, item: Item) -> None:
        # Nearly all are one event, and this is done for every one of them.
        for event in (item,) if isinstance(item, Recorded) else pieces([item]):
            with handling(self._name, (event,), self._watching):
                await self._handler.handle(self._marked(event))


class InBatches(_Effects):
    """Has many events handled at once, and saves progress after each time."""

    is_one_by_one = False

    async def take(self, items: Sequence[Item], position: int, parked: Sequence[ParkedEvent]) -> Fault | None:
        """Have *items* handled, set *parked* aside, and move to *position*; see `Ground`."""
        done = len(items)
        try:
            if items:
                done = await self._handle(items)
        except (LeaseLost, StorageUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the handler's policy judges it
            return Fault(error)
        await self._save(position if done == len(items) else items[done - 1].position, parked)
        return None

    async def release(self, position: int, item: Item | None) -> None:
        """Have *item*, which was parked at *position*, handled, None for nothing, and park it no longer."""
        if item is not None:
            await self._handle([item])
        await self._subscriptions.unpark(self._hold.lease, position)

    async def _handle(self, items: Sequence[Item]) -> int:
        """Have *items* handled, and return how many of them were, from the first: those that were handled whole."""
        self._hold.check()
        events = [self._marked(event) for event in pieces(items)]
        with handling(self._name, events, self._watching):
            done = await self._handler.handle_batch(events)
        if done is None:
            return len(items)
        if not 1 <= done <= len(events):
            raise InvalidContract(
                f"{self._name}.handle_batch returned {done} for {len(events)} events: return how many are done,"
                " 1 or more of them, or None for all; raise if none is"
            )
        is_cut = done < len(events) and events[done].position == events[done - 1].position
        whole = bisect_left(items, events[done - 1].position, key=_position) + (not is_cut)
        if not whole:
            raise InvalidContract(f"{self._name}.handle_batch stopped inside of what was recorded as one event")
        return whole


def _position(item: Item) -> int:
    return item.position
