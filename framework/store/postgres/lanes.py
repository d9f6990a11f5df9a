"""The lanes of a database: what its stores append over, lent to them in turn, for a batch each.

There are more than one store can use at once. So a store whose head is held by somebody for a while, or whose batches
are large, keeps its own appends waiting and not those of the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from framework.errors import StorageUnavailable
from framework.store.postgres.lane import Lane
from framework.store.postgres.status import LaneStatus

if TYPE_CHECKING:
    from framework.store.postgres.database import Database


class Lanes:
    """As many lanes as are needed at once, and no more than there may be."""

    def __init__(self, database: Database, at_most: int) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(at_most)
        self._all: list[Lane] = []
        self._free: list[Lane] = []
        """The one that was used last comes last: what is not needed is not used."""

    def status(self, schema: str) -> tuple[LaneStatus, ...]:
        """Return how those are at this moment that serve *schema*, or did last."""
        return tuple(lane.status for lane in self._all if lane.serves == schema)

    async def borrow(self, schema: str, until: float) -> Lane:
        """Return a lane to append to *schema* over, first come first served; give it back with `give_back`.

        Raises `StorageUnavailable` where none has come free at the moment *until*, by the loop's time.
        """
        if not self._turns.locked():
            await self._turns.acquire()  # at once: an alarm would cost more than that
            return self._take(schema)
        try:
            async with asyncio.timeout_at(until):
                await self._turns.acquire()
        except TimeoutError as error:
            raise StorageUnavailable("the connections that appends go over are all taken") from error
        return self._take(schema)

    def give_back(self, lane: Lane) -> None:
        """Let the next have *lane*."""
        self._free.append(lane)
        self._turns.release()

    def close(self) -> None:
        """Cut all connections."""
        for lane in self._all:
            lane.close()

    def _take(self, schema: str) -> Lane:
        for lane in self._free:
            if lane.serves == schema:
                self._free.remove(lane)
                return lane
        if self._free:
            return self._free.pop()
        lane = Lane(self._database)
        self._all.append(lane)
        return lane
