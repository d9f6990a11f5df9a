"""Brings the log's events to a handler, in order, and remembers how far it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any, Protocol

import attrs

from framework.errors import ConfigurationError, LogTooShort, SubscriptionChanged
from framework.handler import StartFrom
from framework.journal import Item, Journal, Page, Several, Unreadable
from framework.messages import Recorded
from framework.observe import SLOT_HALTED, log
from framework.selection import Selection
from framework.store.subscriptions import Definition, Kind, Lease, OnChange, Report, Terms, hash_of
from framework.subscription.failure import Halted
from framework.subscription.slots import Hold
from framework.subscription.start import start_as_text
from framework.subscription.tail import Feed, Tail

SAVE_IDLE_EVERY = 10_000
"""Positions without a wanted event after which progress is written all the same, to shorten the way after a restart."""


LONGEST_KEY = 500
"""Characters of a key, so that it fits into an index whatever they are."""

READ_AT_ONCE = 2_000
"""Events that one who is behind reads at once, as far as they make whole batches."""


Moved = Callable[[int, bool], None]
"""Is told the position that a slot has durably come to, and whether events are parked in it."""


class SlotSink(Protocol):
    """Takes the events of one slot, and durably remembers the last one it took."""

    @property
    def position(self) -> int:
        """How far the slot has come."""
        ...

    @property
    def parked_keys(self) -> int:
        """How many keys are held back, since an event of theirs is parked."""
        ...

    async def deliver(self, items: Sequence[Item], *, position: int) -> None:
        """Handle *items* and move the slot to *position*; raises `LeaseLost`, or `Halted` with all before it done."""
        ...

    async def attend(self) -> None:
        """Do what somebody has asked for with parked events; raises `LeaseLost`."""
        ...

    def end(self) -> None:
        """Begin nothing more on behalf of the slot: it is let go, or taken over anew."""
        ...


class Sink(Protocol):
    """Something that takes events, a slot at a time."""

    async def take_over(self, hold: Hold, subscription: Subscription, terms: Terms, moved: Moved) -> SlotSink:
        """Begin as the owner of a slot, which is run by *terms*, and tell *moved* how far it comes meanwhile.

        Raises `LeaseLost`.
        """
        ...


@attrs.frozen(eq=False)
class Subscription:
    """A handler as the log sees it: which events it wants, what picks their slot, and what takes them."""

    name: str
    selection: Selection
    partitions: int
    key: Callable[[Recorded[Any]], object] | None
    """What picks an event's slot, as a user wrote it; None for its stream."""
    sink: Sink
    start_from: StartFrom = "origin"
    batch: int = 500
    """Events that it is given at once, at most."""
    batch_within_s: float = 0.0
    """How long a batch that is not full waits for more."""
    kind: Kind = "handler"
    revision: int = 1
    on_change: OnChange = "refuse"
    keys: Callable[[Item], Collection[str]] | None = None
    """What picks the keys of an event where there may be several, or none; None where there is always one."""

    @property
    def definition(self) -> Definition:
        """What is recorded of it."""
        selection = self.selection
        return Definition(
            self.name,
            None if selection.types is None else tuple(sorted(selection.types)),
            self.partitions,
            "instance" if self.keys is not None else "stream" if self.key is None else "key",
            selection.stream,
            selection.prefix,
            start_as_text(self.start_from),
            self.kind,
            self.revision,
        )

    @property
    def is_whole(self) -> bool:
        """Whether all events fall into one slot, whatever they are."""
        # A key of its own is computed for one slot, too: one that cannot be is found at its event, and not when another
        # event fails.
        return self.partitions == 1 and self.key is None and self.keys is None

    def slots_of(self, event: Item) -> Collection[int]:
        """Return the slots that *event* falls into; one that cannot be read falls into that of its stream.

        Raises whatever a user's code raises: nobody can say then.
        """
        return (0,) if self.is_whole else {self.slot_of_key(key) for key in self.keys_of(event)}

    def keys_of(self, event: Item) -> Collection[str]:
        """Return the keys of *event*; raises as `slots_of`."""
        return (self.key_of(event),) if self.keys is None else self.keys(event)

    def key_of(self, event: Item) -> str:
        """Return the key of *event*: that of the first of several, the stream of one that cannot be read."""
        if self.key is None or isinstance(event, Unreadable):
            return event.stream
        key = self.key(event.pieces[0] if isinstance(event, Several) else event)
        if not isinstance(key, str):
            raise ConfigurationError(f"{self.name}.partition_by returned {key!r}: the key of an event is a text")
        if len(key) > LONGEST_KEY:
            raise ConfigurationError(
                f"{self.name}.partition_by returned {key[:40]!r}…: a key has at most {LONGEST_KEY} characters"
            )
        return key

    def slot_of_key(self, key: str) -> int:
        """Return the slot of the events with *key*, the same in every process and for all time."""
        return slot_of_key(key, self.partitions)


def slot_of_key(key: str, partitions: int) -> int:
    """Return the slot of the events with *key*, of so many."""
    return hash_of(key) % partitions


def _page(batch: int) -> int:
    """Return how many events are read at once that are handled *batch* at a time."""
    return batch * max(READ_AT_ONCE // batch, 1)


class SlotRunner:
    """One slot's way along the log."""

    def __init__(
        self,
        subscription: Subscription,
        hold: Hold,
        journal: Journal,
        tail: Tail,
        progressed: Callable[[int, int, int, bool], None],
        changed: Callable[[], None],
        delivering: Callable[[str, int, int], AbstractContextManager[object]],
    ) -> None:
        """Run the slot of *hold*.

        *progressed* is told of how many slots it is which, where it has come to, and whether events are parked;
        *changed* when there is something new to `report`; *delivering* lies around what is delivered: the handler, the
        slot, how many events.
        """
        self._subscription = subscription
        self._hold = hold
        self._journal = journal
        self._tail = tail
        self._progressed = progressed
        self._changed = changed
        self._delivering = delivering
        self._sink: SlotSink | None = None
        """While it runs, or is at rest."""
        self._terms: Terms | None = None
        """By which it has begun."""
        self._saved = 0
        self._looked_to = 0
        self._handled = 0
        """Events since the last report."""
        self._reported_at = asyncio.get_running_loop().time()
        self._halted: Halted | None = None
        self._barrier: Halted | None = None
        """What it will halt at, once all before it is done."""
        self._is_stopping = False
        self._is_asked = True
        """Whether somebody may have asked for something to be done with parked events."""
        self._feed: Feed | None = None
        self.rests_at: int | None = None
        self.rest: asyncio.Future[None] | None = None

    @property
    def lease(self) -> Lease:
        """By which it runs."""
        return self._hold.lease

    def report(self, woken_by: str | None) -> Report | None:
        """Return how it is, counting events from the last time on; None where it has come to its end."""
        if self._sink is None:
            return None
        now = asyncio.get_running_loop().time()
        rate = round(self._handled / max(now - self._reported_at, 0.001), 1)
        self._handled, self._reported_at = 0, now
        error = self.trouble or self._hold.failing
        state = "halted" if self._halted else "retrying" if error else "running"
        return Report(self.lease, state, error, self._sink.parked_keys, rate, woken_by)

    @property
    def trouble(self) -> str | None:
        """Why it stands still, if it does."""
        return None if self._halted is None else f"{self._halted}: {self._halted.__cause__!r}"

    async def run(self) -> None:
        """Deliver until stopped, with the batch in hand done and its progress written; raises `LeaseLost`.

        It also returns where its slot is to stand still; and when there is nothing for a while: it is at rest then at
        `rests_at`.
        """
        sink, terms, after = self._sink, self._terms, self.rests_at
        self.rests_at = None
        if sink is None or terms is None or after is None:
            # Under its fence, which grows with every change: what they say is good for as long as the slot is ours.
            terms = self._terms = await self._journal.store.subscriptions.terms(self._hold.lease)
            if terms.until is not None and terms.position >= terms.until:
                return
            self._subscription = attrs.evolve(self._subscription, partitions=terms.partitions)
            moved = partial(self._progressed, terms.partitions, self.lease.slot)
            sink = self._sink = await self._subscription.sink.take_over(self._hold, self._subscription, terms, moved)
            after = self._saved = self._looked_to = sink.position
            self._tell(sink, after)
            self._changed()
            # Not only when somebody says so: whoever did may have said it to a run that lost its database.
            self._is_asked = True
        subscription = self._subscription
        feed = self._feed = Feed(
            self._journal,
            self._tail,
            subscription.selection,
            after=after,
            page=_page(subscription.batch),
            may_rest=True,
        )
        self._barrier = None
        if self._is_asked:
            feed.nudge()
        try:
            await self._check(terms)
            await self._deliver(sink, feed, terms.until)
            if feed.is_at_rest and not self._is_stopping:
                self.rests_at = feed.position
        except Halted as halt:
            self._halted = halt
            error = repr(halt.__cause__)
            log.error(SLOT_HALTED, handler=subscription.name, slot=self.lease.slot, position=halt.position, error=error)
            self._changed()
            await self._hold.given_up.wait()
        finally:
            if self.rests_at is None:
                self._sink = None  # after trouble it may stand elsewhere than it thinks
                sink.end()
            feed.end()

    def stop(self) -> None:
        """End `run` after the batch in hand."""
        self._is_stopping = True
        self._hold.given_up.set()
        if self.rests_at is not None and self._sink is not None:
            self._sink.end()
            self._sink = None
        if self._feed is not None:
            self._feed.end()

    def attend(self) -> None:
        """Have what was asked for with parked events done soon, and written down what was passed over."""
        self._is_asked = True
        if self._feed is not None:
            self._feed.nudge()
        if self.rest is not None:
            self.rest.cancel()

    async def _check(self, terms: Terms) -> None:
        """Raise `Halted` where the slot is run by another definition, or has come further than the log reaches."""
        wanted, recorded = self._subscription.definition, terms.definition
        if not wanted.is_run_as(recorded):
            remedy = "that one is run by those who have it: stop this one"
            error = SubscriptionChanged(wanted.name, recorded.as_json(), wanted.as_json(), remedy)
            raise Halted(self._saved + 1) from error
        head = await self._journal.store.head()
        if self._saved > head:
            raise Halted(head + 1) from LogTooShort(self._subscription.name, self._saved, head)

    async def _deliver(self, sink: SlotSink, feed: Feed, until: int | None) -> None:
        while not self._is_stopping and (until is None or self._saved < until):
            page = await feed.next()
            if page is None:
                return
            self._hold.check()
            is_asked, self._is_asked = self._is_asked, False
            parked_keys = sink.parked_keys
            if is_asked:
                await sink.attend()
            items, position = self._mine(page)
            if items and self._subscription.batch_within_s:
                position = await self._fill(items, feed, position)
            if until is not None and position >= until:
                # Not a step further, and that is written down: the others wait there for this one.
                items, position, is_asked = [item for item in items if item.position <= until], until, True
            has_news, self._looked_to = position > self._looked_to, position
            if has_news:
                self._changed()
            await self._take(sink, items, position, is_asked=is_asked)
            if self._barrier is not None:
                raise self._barrier
            self._tell(sink, position)
            if has_news or sink.parked_keys != parked_keys:
                self._changed()

    def _tell(self, sink: SlotSink, position: int) -> None:
        self._progressed(self._subscription.partitions, self.lease.slot, position, bool(sink.parked_keys))

    async def _take(self, sink: SlotSink, items: Sequence[Item], position: int, *, is_asked: bool) -> None:
        # Passing over events that nobody wants costs no write, until they are many, or somebody would know.
        passed = position - self._saved
        if items or passed >= SAVE_IDLE_EVERY or (is_asked and passed > 0):
            with self._delivering(self._subscription.name, self._hold.lease.slot, len(items)):
                await sink.deliver(items, position=position)
            self._saved = position
            self._hold.failing = None
            self._handled += len(items)

    async def _fill(self, items: list[Item], feed: Feed, position: int) -> int:
        """Add to *items* until they are a batch, its time is over, or the slot is let go; return how far was looked."""
        feed.may_rest = False  # a batch waits for its own time
        with suppress(TimeoutError):
            async with asyncio.timeout(self._subscription.batch_within_s):
                while (
                    len(items) < self._subscription.batch
                    and self._barrier is None
                    and (page := await feed.next()) is not None
                ):
                    more, position = self._mine(page)
                    items += more
        feed.may_rest = True
        return position

    def _mine(self, page: Page) -> tuple[list[Item], int]:
        """Return what of *page* falls into this slot, and how far that goes: to before one of which nobody can say."""
        if self._subscription.is_whole:
            return list(page.events), page.looked_to
        mine: list[Item] = []
        for item in page.events:
            try:
                if self._hold.lease.slot in self._subscription.slots_of(item):
                    mine.append(item)
            except Exception as error:  # noqa: BLE001 - the handler's own code; no slot may pass the event
                self._barrier = Halted(item.position)
                self._barrier.__cause__ = error
                return mine, item.position - 1
        return mine, page.looked_to
