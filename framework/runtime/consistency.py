"""Waits until named handlers have passed a position, on whichever node they run."""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count

import attrs

from framework.errors import StorageUnavailable, UnknownHandler
from framework.store.subscriptions import ParkedEvent, Subscriptions
from framework.subscription.delivery import Subscription

LOOK_FIRST_S = 0.005
LOOK_LAST_S = 0.2
"""How often the progress of a slot that runs elsewhere is looked at, from the first time to the last."""


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

    def advance(self, position: int) -> None:
        """Note that everything up to *position* is durably handled, and release those who waited for it."""
        self.position = max(self.position, position)
        while self._waiting and self._waiting[0][0] <= self.position:
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)

    async def reach(self, position: int) -> None:
        """Return when everything up to *position* is durably handled."""
        if self.position < position:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            heapq.heappush(self._waiting, (position, next(self._tickets), future))
            await future


class Progress:
    """How far each slot of one handler has come."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.places: defaultdict[int, Place] = defaultdict(Place)

    def heard(self, slot: int, position: int, sets_aside: bool) -> None:
        """Note what a slot that runs here has come to, and whether anything is parked in it."""
        place = self.places[slot]
        place.is_here = True
        place.sets_aside = sets_aside
        place.advance(position)

    def slots_of(self, stream: str) -> Collection[int]:
        """Return the slots that events of *stream* may fall into."""
        subscription = self.subscription
        return range(subscription.partitions) if subscription.key else (subscription.slot_of_key(stream),)


class ConsistencyWaits:
    """The progress of every handler that this process can run."""

    def __init__(self, subscriptions: Subscriptions, parked: Callable[[str], Awaitable[Sequence[ParkedEvent]]]) -> None:
        """Ask *subscriptions* about slots that run elsewhere, and by *parked* what a handler has set aside."""
        self._subscriptions = subscriptions
        self._parked = parked
        self._progress: dict[str, Progress] = {}

    def register(self, handler: str, subscription: Subscription) -> Progress:
        """Add a handler by the name it is waited for under, and return where its progress is noted."""
        progress = self._progress[handler] = Progress(subscription)
        return progress

    def interested_in(self, types: Collection[str]) -> list[str]:
        """Return the handlers that handle at least one of *types*."""
        return [
            name
            for name, progress in self._progress.items()
            if progress.subscription.selection.types is None
            or not progress.subscription.selection.types.isdisjoint(types)
        ]

    def check(self, handlers: Iterable[str]) -> None:
        """Raise `UnknownHandler` if one of *handlers* is not run here."""
        for name in handlers:
            if name not in self._progress:
                raise UnknownHandler(name, self._progress)

    async def wait_for(
        self, appended: Mapping[str, range], handlers: Collection[str], *, timeout_s: float
    ) -> Mapping[str, str]:
        """Wait until *handlers* have passed what was *appended* to each stream, at most *timeout_s* seconds.

        Returns each handler's name with `handled`, `parked` or `late`; of one that cannot be asked, since the database
        is away, it is the last. Cancellation is safe: nothing is consumed.
        """
        waited = dict.fromkeys(handlers, "late")
        with suppress(TimeoutError, StorageUnavailable):
            async with asyncio.timeout(timeout_s):
                for name in handlers:
                    waited[name] = await self._passed(name, appended)
        return waited

    async def _passed(self, handler: str, appended: Mapping[str, range]) -> str:
        """Return what became of the events, once *handler* has passed all of them."""
        progress, may_be_parked = self._progress[handler], False
        for stream, positions in appended.items():
            for slot in progress.slots_of(stream):
                await self._reach(handler, slot, positions[-1])
                place = progress.places[slot]
                may_be_parked = may_be_parked or place.sets_aside or not place.is_here
        if may_be_parked:
            for event in await self._parked(handler):
                if any(event.position in positions for positions in appended.values()):
                    return "parked"
        return "handled"

    async def _reach(self, handler: str, slot: int, position: int) -> None:
        progress = self._progress[handler]
        place = progress.places[slot]
        pause_s = LOOK_FIRST_S
        while place.position < position:
            # It may pass to another process while it is waited for, so now and then it is looked at in any case.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_LAST_S if place.is_here else pause_s):
                    await place.reach(position)
                    return
            pause_s = min(pause_s * 2, LOOK_LAST_S)
            for state in await self._subscriptions.slots([progress.subscription.name]):
                progress.places[state.slot].advance(state.position)
