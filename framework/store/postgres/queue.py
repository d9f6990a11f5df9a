"""Which appends go together: what waits, what is on its way, and what is held back behind that.

There is no timer: an idle store appends at once, a busy one in batches as large as what has gathered. Whoever came
first goes first, and an append never overtakes an earlier one to one of its streams: what is held back keeps its place.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import count
from typing import Final

from framework.store.postgres.unit import Unit
from framework.store.protocol import Expected

BATCH_EVENTS: Final = 512
BATCH_BYTES: Final = 4 * 1024 * 1024

SMALLEST_SHARE: Final = 32
"""So many appends go together at least, if they wait: fewer would not be worth a commit of their own."""


class AppendQueue:
    """The appends of one store, in the order of their arrival."""

    def __init__(self) -> None:
        self.is_closed = False
        self._arrivals = count()
        self._waiting: list[tuple[int, Unit]] = []
        """A heap, by arrival: what was held back takes its old place again."""
        self._on_their_way: set[str] = set()
        """The streams of the batches that are on their way. No stream is in two of them."""
        self._held: dict[str, list[tuple[int, Unit]]] = {}
        """What is held back, by a stream on its way that it waits for."""
        self._claims: dict[str, Counter[str]] = {}
        """For the streams of those held back that write to several: what they wait for. Later ones wait for it too."""
        self._idle: deque[asyncio.Future[None]] = deque()
        self._takers = 0
        """Lanes that have nothing on its way, the one that is taking included."""

    def __len__(self) -> int:
        """Return how many appends are neither on their way nor answered."""
        return len(self._waiting) + sum(map(len, self._held.values()))

    def put(self, unit: Unit) -> None:
        """Take *unit* in."""
        heappush(self._waiting, (next(self._arrivals), unit))
        self._wake()

    def close(self) -> None:
        """Let those who take from here end when nothing is left."""
        self.is_closed = True
        while self._idle:
            self._wake()

    async def next_batch(self) -> Sequence[Unit]:
        """Return what waits, as much as goes together; nothing once closed and empty. Give it back to `settle`."""
        self._takers += 1
        try:
            while True:
                if batch := self._take():
                    return batch
                if self.is_closed and not self._held:
                    return ()
                await self._turn()
        finally:
            self._takers -= 1
            if self._waiting:
                self._wake()  # what is left, by its share or by a cancellation, is another's

    async def _turn(self) -> None:
        """Return when there may be something to take."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(turn)
        try:
            await turn
        finally:
            if turn in self._idle:
                self._idle.remove(turn)

    def settle(self, batch: Sequence[Unit]) -> None:
        """Let go of what was held back behind *batch*."""
        for unit in batch:
            for stream in unit.streams:
                self._on_their_way.discard(stream)
                for place in self._held.pop(stream, ()):
                    self._unclaim(place[1], stream)
                    heappush(self._waiting, place)
        self._wake()
        if self.is_closed:
            self._wake()

    def give_up(self, reason: str, until: float) -> None:
        """Tell those who wait, and should have had an answer at the moment *until*, that the database is away."""
        while self._waiting and self._waiting[0][1].due <= until:
            heappop(self._waiting)[1].give_up(reason)

    def clear(self, reason: str) -> None:
        """Tell everyone that the database will not be asked, and forget them."""
        for places in (self._waiting, *self._held.values()):
            for _, unit in places:
                unit.give_up(reason)
        self._waiting.clear()
        self._held.clear()
        self._claims.clear()

    def _wake(self) -> None:
        while self._idle:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _take(self) -> list[Unit]:
        """Remove from what waits as much as may be sent now. No `await` from here until its streams are marked."""
        batch: list[Unit] = []
        events = size = 0
        # All in one batch would leave the program idle while the database works, and the database idle after that.
        share = max(SMALLEST_SHARE, -(-len(self._waiting) // max(self._takers, 1)))
        leaves: dict[str, int | None] = {}
        """The version that a stream will have after the batch so far, None where that is not known."""
        while self._waiting:
            unit = self._waiting[0][1]
            if len(batch) == share:
                break
            if batch and (events + unit.events > BATCH_EVENTS or size + unit.size > BATCH_BYTES):
                break
            place = heappop(self._waiting)
            if unit.answer.done():
                continue  # withdrawn
            if (behind := self._held_by(unit, leaves)) is not None:
                self._held.setdefault(behind, []).append(place)
                self._claim(unit, behind)
                continue
            for write in unit.writes:
                start = write.expected if write.expected >= 0 else leaves.get(write.stream)
                leaves[write.stream] = None if start is None else start + len(write.events)
            batch.append(unit)
            events += unit.events
            size += unit.size
        self._on_their_way.update(leaves)
        return batch

    def _held_by(self, unit: Unit, leaves: dict[str, int | None]) -> str | None:
        """Return the stream that *unit* has to wait for."""
        for write in unit.writes:
            stream = write.stream
            if stream in self._on_their_way or stream in self._held:
                return stream
            if stream in self._claims:
                return next(iter(self._claims[stream]))
            # In one batch, an append to the stream of another builds on it, or does not mind it. What must be refused
            # would make the database look at each append of the batch: it goes in the next one.
            if stream in leaves and write.expected not in {leaves[stream], Expected.ANY, Expected.STREAM_EXISTS}:
                return stream
        return None

    def _claim(self, unit: Unit, behind: str) -> None:
        if len(unit.writes) > 1:
            for stream in unit.streams:
                self._claims.setdefault(stream, Counter())[behind] += 1

    def _unclaim(self, unit: Unit, behind: str) -> None:
        if len(unit.writes) > 1:
            for stream in unit.streams:
                claim = self._claims[stream]
                claim[behind] -= 1
                if not claim[behind]:
                    del claim[behind]
                if not claim:
                    del self._claims[stream]
