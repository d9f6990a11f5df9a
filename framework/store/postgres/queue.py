"""Which appends go together: what waits, what is on its way, and what is held back behind that.

There is no timer: an idle store appends at once, a busy one in batches as large as what has gathered. Whoever came
first goes first, and an append never overtakes an earlier one to one of its streams: what is held back keeps its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush
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
        self.arrived = 0
        """How many have come in all."""
        self._waiting: list[tuple[int, Unit]] = []
        """A heap, by arrival: what was held back takes its old place again."""
        self._on_their_way: set[str] = set()
        """The streams of the batches that are on their way. No stream is in two of them."""
        self._held: dict[str, list[tuple[int, Unit]]] = {}
        """What is held back, by a stream on its way that it waits for."""
        self._claims: dict[str, Counter[str]] = {}
        """For the streams of those held back that write to several: what they wait for. Later ones wait for it too."""

    def __len__(self) -> int:
        """Return how many appends are neither on their way nor answered."""
        return len(self._waiting) + sum(map(len, self._held.values()))

    @property
    def is_waiting(self) -> bool:
        """Whether there may be something to take."""
        return bool(self._waiting)

    @property
    def due(self) -> float:
        """When the one that waits longest is to have its answer, by the loop's time."""
        return self._waiting[0][1].due

    def put(self, unit: Unit) -> None:
        """Take *unit* in."""
        self.arrived += 1
        heappush(self._waiting, (self.arrived, unit))

    def take(self, takers: int) -> Sequence[Unit]:
        """Return of what waits as much as goes together, for one of *takers* batches; give it back to `settle`."""
        batch: list[Unit] = []
        events = size = 0
        # All in one batch would leave the program idle while the database works, and the database idle after that.
        share = max(SMALLEST_SHARE, -(-len(self._waiting) // takers))
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

    def settle(self, batch: Sequence[Unit]) -> None:
        """Let go of what was held back behind *batch*."""
        for unit in batch:
            for stream in unit.streams:
                self._on_their_way.discard(stream)
                for place in self._held.pop(stream, ()):
                    self._unclaim(place[1], stream)
                    heappush(self._waiting, place)

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
