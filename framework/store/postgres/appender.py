"""Group commit: the appends that wait go to the database together.

A store sends two batches at once: while one is on its way, the next fills. Where other processes append to the same log
it sends one, as large as two: with both it would wait for the others. An append to a stream that is in the other batch
waits for that one, so that two to one stream never race each other. For each batch a lane is borrowed, in turn with the
other stores of the database, and a store for which nothing waits holds neither a lane nor a task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Final

from framework.errors import StorageUnavailable
from framework.store.batches import SentBatch, TellBatch
from framework.store.postgres.lane import Lane, Log
from framework.store.postgres.lanes import Lanes
from framework.store.postgres.queue import AppendQueue
from framework.store.postgres.unit import Unit
from framework.store.protocol import Appended, Receipt, StreamWrite
from framework.tasks import Tasks

AT_ONCE: Final = 2
"""Batches on their way at once; more than two gain nothing, since the head row admits one."""

AMONG_OTHERS: Final = 1
"""The same while others append between ours: they keep the head row busy, and what waits for it meanwhile can grow."""

STEPS: Final = 4
"""So many steps of the loop after the last who came nobody is expected: an answer is so far from the next append."""


LONGEST_GATHERING: Final = 64
"""So many steps it takes at most, however many still come: who came first must not wait for those without end."""


class Appender:
    """Takes every append of a store, and sends them in batches."""

    def __init__(self, lanes: Lanes, schema: str, give_up_after_s: float, appended: Callable[[int], None]) -> None:
        self._lanes = lanes
        self._give_up_after_s = give_up_after_s
        self._queue = AppendQueue()
        self._log = Log(schema, self._queue, self._record)
        self._appended = appended
        self._reached = 0
        """Where the log ended with the batch that was answered last."""
        self._at_once = AT_ONCE
        self._tasks = Tasks()
        self._takers = 0
        """Tasks that take batches: counted here, since a task that has taken its last is not over in the same step."""
        self._sending = 0
        """Batches on their way."""
        self._is_closed = False
        self.told: TellBatch | None = None
        """Hears of every batch."""

    @property
    def queued(self) -> int:
        """How many appends wait for a lane."""
        return len(self._queue)

    def append(
        self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt]
    ) -> asyncio.Future[tuple[Appended, ...]]:
        """Return the answer to come. Cancelling it withdraws the append if it was not sent yet."""
        if self._is_closed:
            raise StorageUnavailable("the store is closed")
        unit = Unit.of(writes, receipts, self._give_up_after_s)
        self._queue.put(unit)
        self._begin()
        return unit.answer

    async def close(self) -> None:
        """Take no more, and return when all that was taken is answered; cancelled, it leaves no caller waiting."""
        self._is_closed = True
        try:
            await self._tasks.finish()
        finally:
            self._queue.clear("the store is closed")
            await self._tasks.end()

    def _begin(self) -> None:
        """See to it that somebody takes what waits, or will when a batch has arrived."""
        if self._queue.is_waiting and self._takers == self._sending < self._at_once:
            self._takers += 1
            # Not in the context of who happens to append: a batch is of many.
            _ = self._tasks.start(f"append to {self._log.schema}", self._serve, context=Context())

    async def _serve(self) -> None:
        """Send batch after batch until nothing waits; returns in the same step in which it finds that."""
        try:
            while self._queue.is_waiting and self._sending < self._at_once:
                due = self._queue.due
                try:
                    lane = await self._lanes.borrow(self._log.schema, due)
                except StorageUnavailable as error:
                    self._queue.give_up(str(error), due)
                else:
                    try:
                        await self._send(lane)
                    finally:
                        self._lanes.give_back(lane)
                    await self._gather()
        finally:
            self._takers -= 1
            self._begin()

    def _record(self, base: int, reached: int) -> None:
        self._at_once = AT_ONCE if base == self._reached else AMONG_OTHERS
        self._reached = reached
        self._appended(reached)

    async def _gather(self) -> None:
        """Among others, let those come first who were just answered: what has waited would be half a batch."""
        barren = 0
        for _ in range(LONGEST_GATHERING):
            if self._at_once != AMONG_OTHERS or barren == STEPS:
                return
            before = self._queue.arrived
            await asyncio.sleep(0)
            barren = 0 if self._queue.arrived > before else barren + 1

    async def _send(self, lane: Lane) -> None:
        batch = self._queue.take(max(self._at_once - self._sending, 1))
        if not batch:
            return  # all of it withdrawn, or held back
        self._sending += 1
        self._begin()  # what is left, by its share, is another's
        time = asyncio.get_running_loop().time
        sent_at = time()
        try:
            await lane.deliver(batch, self._log)
            if self.told is not None:
                self.told(SentBatch(len(batch), sent_at - batch[0].asked_at, time() - sent_at))
        finally:
            for unit in batch:
                unit.give_up("the store is closed")  # those without an answer: only when cancelled
            self._queue.settle(batch)
            self._sending -= 1
