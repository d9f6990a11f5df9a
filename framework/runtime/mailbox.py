"""A bounded queue with one consumer, which takes all that waits at once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """What waits for an actor, in order."""

    __slots__ = ("_closed_by", "_consumer", "_entering", "_items", "_limit", "_producers", "_promised")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: list[T] = []
        self._consumer: asyncio.Future[None] | None = None
        self._producers: OrderedDict[asyncio.Future[None], None] | None = None
        """Those who wait for room, in order; while there are any, there is none. Made when needed, as it is large.

        No queue: of many who wait, whoever gives up would be looked for among all the others.
        """
        self._promised = 0
        """Places given to producers who have not taken them yet."""
        self._entering = 0
        self._closed_by: Exception | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits here, and nobody waits for room."""
        return not self._items and not self._entering

    async def put(self, item: T) -> None:
        """Add *item* at once if there is room, else as soon as there is and all who came before have theirs.

        Raises what the mailbox is closed with. Cancellation adds nothing.
        """
        if self.offer(item):
            return
        if self._closed_by is not None:
            raise self._closed_by
        self._entering += 1
        try:
            await self._turn()
        finally:
            self._entering -= 1
        self._promised -= 1
        if self._closed_by is not None:
            raise self._closed_by
        self._add(item)

    def offer(self, item: T) -> bool:
        """Add *item* if there is room at once, and say whether there was."""
        # A promised place is no room: those who have waited go first, or a busy mailbox would starve them.
        if self._room() <= 0:
            return False
        self._add(item)
        return True

    def _add(self, item: T) -> None:
        self._items.append(item)
        self.wake()

    def _room(self) -> int:
        return self._limit - len(self._items) - self._promised

    async def _turn(self) -> None:
        """Return when a place is promised to the caller."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._producers is None:
            self._producers = OrderedDict()
        self._producers[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._promised -= 1  # the place was given already: hand it on
                self._admit()
            else:
                self._producers.pop(turn, None)
            raise

    def take(self, at_most: int) -> list[T]:
        """Remove and return at most *at_most* items, oldest first; none if nothing waits."""
        if len(self._items) <= at_most:  # as almost always
            taken, self._items = self._items, []
        else:
            taken, self._items = self._items[:at_most], self._items[at_most:]
        self._admit()
        return taken

    def close(self, error: Exception) -> list[T]:
        """Let nobody in any more, and return what is left; those who wait for room have *error* raised."""
        left, self._items = self._items, []
        self._limit, self._closed_by = 0, error
        while self._producers:
            self._promise(self._producers)
        return left

    def filled(self) -> asyncio.Future[None]:
        """Return what is done when something waits, or when `wake` is called."""
        # A future and no coroutine: one of these is all that an actor at rest waits in.
        consumer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._consumer = consumer
        if self._items:
            self.wake()
        return consumer

    def wake(self) -> None:
        """Make the consumer look, whether or not something waits."""
        consumer = self._consumer
        if consumer is not None:
            self._consumer = None
            if not consumer.done():
                consumer.set_result(None)

    def _admit(self) -> None:
        while self._producers and self._room() > 0:
            self._promise(self._producers)

    def _promise(self, producers: OrderedDict[asyncio.Future[None], None]) -> None:
        """Promise a place to the first of *producers*."""
        turn, _ = producers.popitem(last=False)
        if not turn.cancelled():  # else its producer is about to find out
            self._promised += 1
            turn.set_result(None)
