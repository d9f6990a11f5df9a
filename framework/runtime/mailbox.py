"""A bounded queue with one consumer, which takes all that waits at once."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """What waits for an actor, in order."""

    __slots__ = ("_consumer", "_entering", "_items", "_limit", "_producers")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: deque[T] = deque()
        self._consumer: asyncio.Future[None] | None = None
        self._producers: deque[asyncio.Future[None]] = deque()
        self._entering = 0

    @property
    def is_quiet(self) -> bool:
        """Whether nothing waits here, and nobody waits for room."""
        return not self._items and not self._entering

    def offer(self, item: T) -> bool:
        """Add *item* if there is room, and say whether there was."""
        # Those who wait for room go first, or a busy mailbox would starve them.
        if len(self._items) >= self._limit or self._producers:
            return False
        self._add(item)
        return True

    async def put(self, item: T) -> None:
        """Add *item* as soon as there is room. Cancellation adds nothing."""
        self._entering += 1
        try:
            while len(self._items) >= self._limit:
                await self._turn()
            self._add(item)
        finally:
            self._entering -= 1

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._producers.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._producers:
                self._producers.remove(turn)
            else:
                self._admit()  # the turn was given already: hand it on
            raise

    def take(self, at_most: int) -> list[T]:
        """Remove and return at most *at_most* items, oldest first; none if nothing waits."""
        count = min(len(self._items), at_most)
        taken = [self._items.popleft() for _ in range(count)]
        self._admit()
        return taken

    async def filled(self) -> None:
        """Return when something waits, or when `wake` is called."""
        if self._items:
            return
        self._consumer = asyncio.get_running_loop().create_future()
        try:
            await self._consumer
        finally:
            self._consumer = None

    def wake(self) -> None:
        """Make the consumer look, whether or not something waits."""
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)

    def _add(self, item: T) -> None:
        self._items.append(item)
        self.wake()

    def _admit(self) -> None:
        room = self._limit - len(self._items)
        while room > 0 and self._producers:
            turn = self._producers.popleft()
            if not turn.done():
                turn.set_result(None)
                room -= 1
