"""Brings the log's events to a handler, in order, and remembers how far it has come."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol

import attrs

from framework.errors import LeaseLost, StorageUnavailable
from framework.handler import EventHandler
from framework.journal import Item, Journal, Page, Unreadable
from framework.messages import Cause, Recorded, current_cause
from framework.observe import EVENT_RECEIVED, HANDLER_FAILED, HANDLER_RETRY, caused, log
from framework.policies import Backoff
from framework.selection import Selection
from framework.store.subscriptions import Definition, Lease, Subscriptions
from framework.subscription.slots import Hold
from framework.subscription.tail import Feed, Tail

SAVE_IDLE_EVERY = 10_000
"""Positions without a wanted event after which progress is written all the same, to shorten the way after a restart."""

SAVE_AFTER_SECONDS = 0.1
"""The longest that effects are done and their progress is not written: what a crash may repeat."""


class Sink(Protocol):
    """Something that takes events and durably remembers the last one it took."""

    async def take_over(self, lease: Lease) -> int:
        """Begin as the slot's owner, and return the position it has come to; raises `LeaseLost`."""
        ...

    async def deliver(self, hold: Hold, events: Sequence[Recorded[Any]], *, position: int) -> None:
        """Handle *events* and move the slot to *position*; raises `LeaseLost`."""
        ...


@attrs.frozen(eq=False)
class Subscription:
    """A handler as the log sees it: which events it wants, what picks their slot, and what takes them."""

    name: str
    selection: Selection
    partitions: int
    key: Callable[[Recorded[Any]], str] | None
    """What picks an event's slot; None for its stream."""
    sink: Sink

    @property
    def definition(self) -> Definition:
        """What is recorded of it."""
        types = self.selection.types
        by = "stream" if self.key is None else "key"
        return Definition(self.name, None if types is None else tuple(sorted(types)), self.partitions, by)

    def slot_of(self, event: Item) -> int:
        """Return the slot that *event* falls into; one that cannot be read falls into that of its stream."""
        if self.partitions == 1:
            return 0
        if self.key is None or isinstance(event, Unreadable):
            return self.slot_of_key(event.stream)
        return self.slot_of_key(self.key(event))

    def slot_of_key(self, key: str) -> int:
        """Return the slot of the events with *key*, the same in every process and for all time."""
        return zlib.crc32(key.encode()) % self.partitions


class SlotRunner:
    """One slot's way along the log."""

    def __init__(
        self,
        subscription: Subscription,
        hold: Hold,
        journal: Journal,
        tail: Tail,
        batch: int,
        progressed: Callable[[int, int], None],
    ) -> None:
        """Deliver at most *batch* events at once; *progressed* is told the slot and the position it has come to."""
        self._subscription = subscription
        self._hold = hold
        self._journal = journal
        self._tail = tail
        self._batch = batch
        self._progressed = progressed
        self._saved = 0
        self._is_stopping = False
        self._feed: Feed | None = None

    async def run(self) -> None:
        """Deliver until stopped, with the batch in hand done and its progress written, or until the lease is lost."""
        sink, selection, slot = self._subscription.sink, self._subscription.selection, self._hold.lease.slot
        with suppress(LeaseLost):
            self._saved = await sink.take_over(self._hold.lease)
            self._progressed(slot, self._saved)
            self._feed = Feed(self._journal, self._tail, selection, after=self._saved, page=self._batch)
            try:
                while not self._is_stopping and (page := await self._feed.next()) is not None:
                    self._hold.check()
                    await self._take(page)
                    self._progressed(slot, page.looked_to)
            finally:
                self._feed.end()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._is_stopping = True
        if self._feed is not None:
            self._feed.end()

    async def _take(self, page: Page) -> None:
        slot_of, slot = self._subscription.slot_of, self._hold.lease.slot
        events: list[Recorded[Any]] = []
        for item in page.events:
            if slot_of(item) != slot:
                continue
            if isinstance(item, Unreadable):
                await self._hand(events, item.position - 1)
                raise item.error
            events.append(item)
        await self._hand(events, page.looked_to)

    async def _hand(self, events: Sequence[Recorded[Any]], position: int) -> None:
        # Passing over events that nobody wants costs no write, until they are many.
        if events or position - self._saved >= SAVE_IDLE_EVERY:
            await self._subscription.sink.deliver(self._hold, events, position=position)
            self._saved = position


@contextmanager
def handling(name: str, event: Recorded[Any]) -> Generator[None, None, None]:
    """Make *event* the cause of all that happens in the block, on behalf of the handler *name*."""
    outer = current_cause.get()
    handlers = (*(outer.handlers if outer else ()), name)
    token = current_cause.set(Cause(event.correlation_id, event.event_id, handlers))
    try:
        with caused(correlation_id=event.correlation_id, causation_id=event.event_id, handler=name):
            log.debug(
                EVENT_RECEIVED,
                type=event.type,
                stream=event.stream,
                version=event.version,
                position=event.position,
            )
            yield
    finally:
        current_cause.reset(token)


async def patiently(name: str, position: int, policy: Backoff, attempt: Callable[[], Awaitable[None]]) -> None:
    """Await *attempt* until it succeeds, with growing pauses; raises its last error when *policy* gives up."""
    failures = 0
    while True:
        try:
            await attempt()
        except (LeaseLost, StorageUnavailable):
            raise  # not the event's fault: the subscription begins again from where it stands
        except Exception as error:
            failures += 1
            if failures >= policy.attempts:
                log.error(HANDLER_FAILED, handler=name, position=position, attempts=failures)
                raise
            wait_s = policy.delay_s(failures)
            log.warning(
                HANDLER_RETRY,
                handler=name,
                position=position,
                attempt=failures,
                error=repr(error),
                wait_s=wait_s,
            )
            await asyncio.sleep(wait_s)
        else:
            return


class HandlerSink:
    """Delivers to an `EventHandler`: one event after the other, at least once."""

    def __init__(self, name: str, handler: EventHandler[Any], subscriptions: Subscriptions, retry: Backoff) -> None:
        self._name = name
        self._handler = handler
        self._subscriptions = subscriptions
        self._retry = retry

    async def take_over(self, lease: Lease) -> int:
        """Return the position that the slot has come to."""
        return await self._subscriptions.position(lease)

    async def deliver(self, hold: Hold, events: Sequence[Recorded[Any]], *, position: int) -> None:
        """Handle *events* and save the progress, a little at a time, so that a crash repeats few effects."""
        done = saved = 0
        clock = asyncio.get_running_loop().time
        save_at = clock() + SAVE_AFTER_SECONDS
        try:
            for event in events:
                await patiently(self._name, event.position, self._retry, partial(self._handle, hold, event))
                done = event.position
                if clock() >= save_at:
                    await self._subscriptions.advance(hold.lease, done)
                    saved, save_at = done, clock() + SAVE_AFTER_SECONDS
            done = position
        finally:
            # Also when an event failed for good: those before it are done and need not come again.
            if done > saved:
                await self._subscriptions.advance(hold.lease, done)

    async def _handle(self, hold: Hold, event: Recorded[Any]) -> None:
        hold.check()
        with handling(self._name, event):
            await self._handler.handle(event)
