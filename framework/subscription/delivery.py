"""Brings the log's events to a handler, in order, and remembers how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from framework.errors import ProgressMoved, StorageUnavailable
from framework.handler import EventHandler
from framework.journal import Journal, Page, Unreadable
from framework.messages import Cause, Recorded, current_cause
from framework.observe import EVENT_RECEIVED, HANDLER_FAILED, HANDLER_RETRY, caused, log
from framework.policies import Backoff
from framework.selection import Selection
from framework.store.protocol import Checkpoints
from framework.subscription.tail import Feed, Tail

SAVE_IDLE_EVERY = 10_000
"""Positions without a wanted event after which progress is written all the same, to shorten the way after a restart."""

SAVE_AFTER_SECONDS = 0.1
"""The longest that effects are done and their progress is not written: what a crash may repeat."""


class Sink(Protocol):
    """Something that takes events and durably remembers the last one it took."""

    @property
    def name(self) -> str: ...

    async def load(self) -> int:
        """Return the position it has passed."""
        ...

    async def deliver(self, events: Sequence[Recorded[Any]], *, position: int, expected: int) -> None:
        """Handle *events* and move from *expected* to *position*; raises `ProgressMoved` if it stands elsewhere."""
        ...


class Subscription:
    """One handler's way along the log."""

    def __init__(
        self,
        sink: Sink,
        selection: Selection,
        journal: Journal,
        tail: Tail,
        batch: int,
        progressed: Callable[[int], None],
    ) -> None:
        self._sink = sink
        self._selection = selection
        self._journal = journal
        self._tail = tail
        self._batch = batch
        self._progressed = progressed
        self._saved = 0
        self._is_stopping = False
        self._feed: Feed | None = None

    async def run(self) -> None:
        """Deliver for ever; returns after `stop`, with the batch in hand done and its progress written."""
        while not self._is_stopping:
            self._saved = await self._sink.load()
            self._progressed(self._saved)
            self._feed = Feed(self._journal, self._tail, self._selection, after=self._saved, page=self._batch)
            try:
                await self._deliver(self._feed)
            except ProgressMoved:
                continue  # another process has handled these: go on from where it stands
            finally:
                self._feed.end()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._is_stopping = True
        if self._feed is not None:
            self._feed.end()

    async def _deliver(self, feed: Feed) -> None:
        while not self._is_stopping and (page := await feed.next()) is not None:
            await self._take(page)
            self._progressed(page.looked_to)

    async def _take(self, page: Page) -> None:
        events: list[Recorded[Any]] = []
        for item in page.events:
            if isinstance(item, Unreadable):
                await self._hand(events, item.position - 1)
                raise item.error
            events.append(item)
        await self._hand(events, page.looked_to)

    async def _hand(self, events: Sequence[Recorded[Any]], position: int) -> None:
        # Passing over events that nobody wants costs no write, until they are many.
        if events or position - self._saved >= SAVE_IDLE_EVERY:
            await self._sink.deliver(events, position=position, expected=self._saved)
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
        except (ProgressMoved, StorageUnavailable):
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

    def __init__(self, name: str, handler: EventHandler[Any], checkpoints: Checkpoints, retry: Backoff) -> None:
        self.name = name
        self._handler = handler
        self._checkpoints = checkpoints
        self._retry = retry

    async def load(self) -> int:
        """Return the position it has passed."""
        return await self._checkpoints.load_checkpoint(self.name)

    async def deliver(self, events: Sequence[Recorded[Any]], *, position: int, expected: int) -> None:
        """Handle *events* and save the progress, a little at a time, so that a crash repeats few effects."""
        done = saved = expected
        clock = asyncio.get_running_loop().time
        save_at = clock() + SAVE_AFTER_SECONDS
        try:
            for event in events:
                await patiently(self.name, event.position, self._retry, partial(self._handle, event))
                done = event.position
                if clock() >= save_at:
                    await self._checkpoints.save_checkpoint(self.name, done, expected=saved)
                    saved, save_at = done, clock() + SAVE_AFTER_SECONDS
            done = position
        finally:
            # Also when an event failed for good: those before it are done and need not come again.
            if done > saved:
                await self._checkpoints.save_checkpoint(self.name, done, expected=saved)

    async def _handle(self, event: Recorded[Any]) -> None:
        with handling(self.name, event):
            await self._handler.handle(event)
