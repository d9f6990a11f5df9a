"""How far each slot of a subscription has come, as far as this process knows, and who waits for it."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from itertools import count
from typing import NamedTuple, Self

import attrs

from framework.journal import Item
from framework.selection import Selection
from framework.store.subscriptions import Definition, SlotState
from framework.subscription.delivery import Subscription, slot_of_key


class Happened(NamedTuple):
    """An event, as far as it must be known to tell who handles it where."""

    type: str
    stream: str
    position: int


@attrs.define(eq=False)
class Place:
    """How far one slot has come, and who waits for it."""

    position: int = 0
    is_here: bool = False
    """Whether this process runs it, and so hears of its progress at once."""
    sets_aside: bool = True
    """Whether there may be events that it has parked."""
    _waiting: list[tuple[int, int, asyncio.Future[None]]] = attrs.field(
        factory=list[tuple[int, int, asyncio.Future[None]]]
    )
    _tickets: count[int] = attrs.field(factory=count)

    def heard(self, position: int, *, sets_aside: bool) -> None:
        """Note what the slot has come to that runs here, and whether anything is parked in it."""
        self.is_here = True
        self.sets_aside = sets_aside
        self._advance(position)

    def seen(self, position: int) -> None:
        """Note what the store says of it: if that is news, somebody else runs it, and may have parked events."""
        if position > self.position:
            self.is_here = False
            self._advance(position)

    async def reach(self, position: int) -> None:
        """Return when everything up to *position* is durably handled, or there is no such slot any more."""
        if self.position < position:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (position, next(self._tickets), future))
            await future

    def dissolve(self) -> None:
        """Let nobody wait for it any more: there is no such slot."""
        while self._waiting:
            self._wake_first()

    def _advance(self, position: int) -> None:
        self.position = max(self.position, position)
        while self._waiting and self._waiting[0][0] <= self.position:
            self._wake_first()

    def _wake_first(self) -> None:
        _, _, future = heapq.heappop(self._waiting)
        if not future.done():
            future.set_result(None)


@attrs.define(eq=False)
class Progress:
    """How far each slot of one subscription has come."""

    name: str
    """The subscription's."""
    selection: Selection
    partitions: int
    """How many slots there are, as was last heard."""
    is_by_stream: bool
    """Whether an event's stream says which slot it falls into."""
    keys_of: Callable[[Item], Collection[str]] | None = None
    """Tells the keys of an event; None where only other processes can."""
    places: defaultdict[int, Place] = attrs.field(factory=lambda: defaultdict[int, Place](Place))
    is_looked_at: bool = False
    """Whether the store is being asked about it."""

    @classmethod
    def of(cls, subscription: Subscription) -> Self:
        """Return that of a subscription which this process can run."""
        return cls(
            subscription.name,
            subscription.selection,
            subscription.partitions,
            subscription.definition.is_by_stream,
            subscription.keys_of,
        )

    @classmethod
    def elsewhere(cls, definition: Definition) -> Self:
        """Return that of a subscription which only other processes can run."""
        types = None if definition.types is None else frozenset(definition.types)
        return cls(definition.name, Selection(types), definition.partitions, definition.is_by_stream)

    def all_places(self) -> Iterable[tuple[int, Place]]:
        """Return the slots there are, and how far each has come."""
        return [(slot, self.places[slot]) for slot in range(self.partitions)]

    async def reach(self, position: int) -> None:
        """Return when every slot has durably handled everything up to *position*, however many they come to be."""
        while behind := [place for _, place in self.all_places() if place.position < position]:
            await behind[0].reach(position)

    def heard(self, partitions: int, slot: int, position: int, sets_aside: bool) -> None:
        """Note what one of so many slots, which runs here, has come to, and whether anything is parked in it."""
        self._count(partitions)
        self.places[slot].heard(position, sets_aside=sets_aside)

    def seen(self, states: Collection[SlotState]) -> None:
        """Note what the store says of the slots."""
        if states:
            self._count(len(states))
        for state in states:
            self.places[state.slot].seen(state.position)

    def _count(self, partitions: int) -> None:
        """Note how many slots there are: others have other keys, and nothing is known of them."""
        if partitions != self.partitions:
            before, self.partitions = list(self.places.values()), partitions
            self.places.clear()
            for place in before:
                place.dissolve()

    def wanted(self, events: Iterable[Happened]) -> list[Happened]:
        """Return those of *events* that it handles."""
        return [event for event in events if self.selection.wants(event.type, event.stream)]

    def slots_by_stream(self, events: Iterable[Happened]) -> dict[int, int]:
        """Return the slots that *events* fall into by their streams, and for each the last position of one."""
        return {slot_of_key(event.stream, self.partitions): event.position for event in events}

    def slots_by_key(self, items: Collection[Item]) -> dict[int, int]:
        """Return the slots that *items* fall into by their keys, and for each the last position of one."""
        if self.keys_of is None:
            return {}
        keys_of = self.keys_of
        return {slot_of_key(key, self.partitions): item.position for item in items for key in keys_of(item)}
