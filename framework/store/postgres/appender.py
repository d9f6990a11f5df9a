"""Group commit: the appends that wait go to the database together.

Two lanes take turns: while one batch is on its way, the next fills. An append to a stream that is in the other lane's
batch waits for that one, so that two to one stream never race each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from framework.errors import StorageUnavailable
from framework.store.postgres.database import Database
from framework.store.postgres.lane import Lane
from framework.store.postgres.queue import AppendQueue
from framework.store.postgres.status import LaneStatus
from framework.store.postgres.unit import Unit
from framework.store.protocol import Appended, Receipt, StreamWrite

LANES: Final = 2
"""Batches on their way at once; more than two gain nothing, since the head row admits one."""


class Appender:
    """Takes every append of a store, and sends them in batches."""

    def __init__(
        self, database: Database, schema: str, give_up_after_s: float, appended: Callable[[int], None]
    ) -> None:
        self._give_up_after_s = give_up_after_s
        self._queue = AppendQueue()
        self._lanes = tuple(Lane(self._queue, database, schema, appended) for _ in range(LANES))

    @property
    def queued(self) -> int:
        """How many appends wait for a lane."""
        return len(self._queue)

    @property
    def lanes(self) -> tuple[LaneStatus, ...]:
        """How the lanes are at this moment."""
        return tuple(lane.status for lane in self._lanes)

    def append(
        self, writes: Sequence[StreamWrite], receipts: Sequence[Receipt]
    ) -> asyncio.Future[tuple[Appended, ...]]:
        """Return the answer to come. Cancelling it withdraws the append if it was not sent yet."""
        if self._queue.is_closed:
            raise StorageUnavailable("the store is closed")
        unit = Unit.of(writes, receipts, self._give_up_after_s)
        self._queue.put(unit)
        return unit.answer

    async def run(self) -> None:
        """Serve until `close` and until nothing waits. An end by error, or cancellation, leaves no caller waiting."""
        try:
            async with asyncio.TaskGroup() as running:
                for number, lane in enumerate(self._lanes):
                    running.create_task(lane.run(), name=f"append lane {number}")
        finally:
            self._queue.close()
            self._queue.clear("the store is closed")

    def close(self) -> None:
        """Take no more, and let `run` end when all that was taken is answered."""
        self._queue.close()
