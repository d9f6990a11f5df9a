"""Waits until handlers have passed events, on whichever node they run."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from framework.errors import InvalidRequest, SelfWait, StorageUnavailable, UnknownHandler
from framework.journal import Item, Journal, Several, Unreadable
from framework.messages import Consistency, DispatchResult, current_cause
from framework.policies import RENEW
from framework.runtime.progress import Happened, Place, Progress
from framework.selection import Selection
from framework.store.subscriptions import ParkedEvent
from framework.subscription.delivery import Subscription

LOOK_FIRST_S = 0.005
LOOK_LAST_S = 0.2
"""How often the progress of a slot that runs elsewhere is looked at, from the first time to the last."""

VERSION = re.compile(r" v\d+$")
"""What the subscription of a projector has behind the projector's name."""


class ConsistencyWaits:
    """Who handles events, here and elsewhere, and how far they have come."""

    def __init__(self, journal: Journal, parked: Callable[[str], Awaitable[Sequence[ParkedEvent]]]) -> None:
        """Ask the store about slots that run elsewhere, and *parked* what a handler that can run here has set aside."""
        self._journal = journal
        self._subscriptions = journal.store.subscriptions
        self._parked = parked
        self._here: dict[str, Progress] = {}
        self._elsewhere: dict[str, dict[str, Progress]] = {}
        """By handler and subscription: while a projector is exchanged, two versions of it run."""
        self._waiting: defaultdict[str, list[str]] = defaultdict(list)
        """For each handler those that it waits for, in the middle of an event."""
        self._looked_around_at = float("-inf")
        self._look_around = asyncio.Lock()

    def register(self, handler: str, subscription: Subscription) -> Progress:
        """Add a handler by the name it is waited for under, and return where its progress is noted."""
        progress = self._here[handler] = Progress.of(subscription)
        return progress

    # Whom to wait for --------------------------------------------------------------------------------

    async def choose(self, wanted: Consistency | Collection[str], types: Collection[str]) -> Collection[str]:
        """Return the handlers that one is to wait for who asks for *wanted*, after events of *types*.

        `STRONG` means all who handle one of *types*, those included that only other processes can run. Raises
        `UnknownHandler` for a handler that no process can run which lives, `SelfWait` inside of one of them, and
        `StorageUnavailable`.
        """
        handlers: Collection[str]
        match wanted:
            case Consistency.EVENTUAL:
                return ()
            case Consistency.STRONG:
                await self._refresh(RENEW.total_seconds())
                handlers = [
                    name for name in self._known() if any(_may_want(each, types) for each in self._progress_of(name))
                ]
            case _:
                handlers = wanted
                if any(name not in self._here for name in handlers):
                    await self._refresh(RENEW.total_seconds())
                if any(not self._progress_of(name) for name in handlers):
                    await self._refresh(0.0)
                for name in handlers:
                    if not self._progress_of(name):
                        raise UnknownHandler(name, self._known())
        self._check_circles(handlers)
        return handlers

    def _check_circles(self, handlers: Collection[str]) -> None:
        """Raise `SelfWait` where one in the middle of whose event this is would wait for itself through *handlers*."""
        for outer in _inside():
            if outer in handlers:
                raise SelfWait(outer)
            for handler in handlers:
                if (through := self._way(handler, outer)) is not None:
                    raise SelfWait(outer, through)

    def _way(self, handler: str, to: str) -> Sequence[str] | None:
        """Return how *handler* comes to wait for the handler *to*, beginning with itself; None if it does not.

        Only what waits in this process is seen. Events of other slots may be waited for: who waits for whom may then
        end well, but by luck.
        """
        ways: list[tuple[str, ...]] = [(handler,)]
        for way in ways:
            for each in self._waiting[way[-1]]:
                if each == to:
                    return way
                if each not in way:
                    ways.append((*way, each))
        return None

    def _known(self) -> list[str]:
        return [*self._here, *(name for name in self._elsewhere if name not in self._here)]

    def _progress_of(self, handler: str) -> Collection[Progress]:
        here = self._here.get(handler)
        return self._elsewhere.get(handler, {}).values() if here is None else (here,)

    async def _refresh(self, at_most_s: float) -> None:
        """Learn whom other processes can run, unless it was asked less than *at_most_s* seconds ago."""
        clock = asyncio.get_running_loop().time
        asked_at = clock()
        async with self._look_around:
            # Whoever has looked while this waited has looked for all who did.
            if self._looked_around_at >= asked_at - at_most_s:
                return
            began = clock()
            found: defaultdict[str, dict[str, Progress]] = defaultdict(dict)
            for definition in await self._subscriptions.running():
                handler = VERSION.sub("", definition.name)
                known = self._elsewhere.get(handler, {}).get(definition.name)
                found[handler][definition.name] = Progress.elsewhere(definition) if known is None else known
            self._elsewhere = dict(found)
            self._looked_around_at = began

    # Waiting -----------------------------------------------------------------------------------------

    async def wait_for_results(
        self, results: Sequence[DispatchResult], handlers: Collection[str], *, timeout_s: float
    ) -> Mapping[str, str]:
        """Wait until *handlers* have passed what *results* led to, or what they found done; answers as `wait_for`."""
        events: list[Happened] = []
        with suppress(StorageUnavailable):  # then nobody can say that they have
            for result in results:
                events += await self._happened(result)
            events.sort(key=lambda event: event.position)
            return await self.wait_for(events, handlers, timeout_s=timeout_s)
        return dict.fromkeys(handlers, "late")

    async def wait_for_position(
        self, position: int, wanted: Consistency | Collection[str], *, timeout_s: float
    ) -> Mapping[str, str]:
        """Wait until the handlers that are *wanted* have passed the event at *position*; answers as `wait_for`."""
        events = await self._at(position)
        handlers = await self.choose(wanted, {event.type for event in events})
        return await self.wait_for(events, handlers, timeout_s=timeout_s)

    async def wait_for(
        self, events: Sequence[Happened], handlers: Collection[str], *, timeout_s: float
    ) -> Mapping[str, str]:
        """Wait until *handlers* have passed those of *events* that they want, at most *timeout_s* seconds.

        Returns each handler's name with `handled`, `parked` or `late`; of one that cannot be asked, since the database
        is away, it is the last. Cancellation is safe: nothing is consumed.
        """
        waited = dict.fromkeys(handlers, "late")
        inside = _inside()
        # Two may have chosen each other before either of them waited: the second does not, or neither would end.
        handlers = [each for each in handlers if all(self._way(each, outer) is None for outer in inside)]
        edges = [(outer, each) for outer in inside for each in handlers]
        for outer, each in edges:
            self._waiting[outer].append(each)
        try:
            await self._wait_for(waited, handlers, events, timeout_s)
        finally:
            for outer, each in edges:
                self._waiting[outer].remove(each)
        return waited

    async def _wait_for(
        self, waited: dict[str, str], handlers: Collection[str], events: Sequence[Happened], timeout_s: float
    ) -> None:
        """Write into *waited* what becomes of *events* in *handlers*, as far as that is seen in time."""

        async def wait(handler: str) -> None:
            with suppress(StorageUnavailable):
                waited[handler] = await self._passed(handler, events)

        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if len(handlers) == 1:
                    await wait(*handlers)
                    return
                # Each for itself: one that is late must not hide that the others are not.
                async with asyncio.TaskGroup() as group:
                    for handler in handlers:
                        group.create_task(wait(handler))

    async def _happened(self, result: DispatchResult) -> Sequence[Happened]:
        events = result.events
        if not events:
            return await self._at(result.position)  # what it found done, it may be the first to see
        first = result.position - len(events) + 1
        names = [self._journal.types.name_of(event.__class__)[0] for event in events]
        return [Happened(name, result.stream, first + place) for place, name in enumerate(names)]

    async def _at(self, position: int) -> Sequence[Happened]:
        """Return the event at *position*, none for 0; raises `InvalidRequest` where there is none yet."""
        if position == 0:
            return ()
        page = await self._journal.read_log(after=position - 1, limit=1, selection=Selection())
        if page.looked_to < position:
            raise InvalidRequest(f"no event is at position {position}: the log ends at {page.head}")
        return [happened for item in page.events for happened in _happened(item)]

    async def _passed(self, handler: str, events: Sequence[Happened]) -> str:
        """Return what became of *events*, once *handler* has passed all it wants of them."""
        for progress in self._progress_of(handler):
            wanted = progress.wanted(events)
            if await self._may_be_parked(progress, wanted):
                positions = {event.position for event in wanted}
                if any(event.position in positions for event in await self._parked_by(handler, progress)):
                    return "parked"
        return "handled"

    async def _may_be_parked(self, progress: Progress, wanted: Sequence[Happened]) -> bool:
        """Say whether one of the events *wanted* may be parked, once all of them have been passed."""
        while True:
            partitions, places = progress.partitions, list[Place]()
            for slot, position in (await self._slots(progress, wanted)).items():
                places.append(await self._reach(progress, slot, position))
            if progress.partitions == partitions:
                return any(place.sets_aside or not place.is_here for place in places)
            # They are others by now, and the events fall into others.

    async def _slots(self, progress: Progress, events: Sequence[Happened]) -> Mapping[int, int]:
        """Return the slots to wait for, and for each the position that it must have passed."""
        if not events:
            return {}
        if progress.is_by_stream or progress.partitions == 1:
            return progress.slots_by_stream(events)
        if progress.keys_of is not None:
            items = await self._items(progress, events)
            with suppress(Exception):  # a key that cannot be told: its event halts every slot
                return progress.slots_by_key(items)
        # Only who runs it knows the keys.
        return dict.fromkeys(range(progress.partitions), events[-1].position)

    async def _items(self, progress: Progress, events: Sequence[Happened]) -> Collection[Item]:
        first, last = events[0].position, events[-1].position
        positions = {event.position for event in events}
        page = await self._journal.read_log(after=first - 1, limit=last - first + 1, selection=progress.selection)
        return [item for item in page.events if item.position in positions]

    async def _reach(self, progress: Progress, slot: int, position: int) -> Place:
        """Return the place of *slot* when it has passed *position*, or there is no such slot any more."""
        place = progress.places[slot]
        pause_s = LOOK_FIRST_S
        has_asked = False
        while place.position < position and progress.places.get(slot) is place:
            # It may pass to another process while it is waited for, so now and then it is looked at in any case.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_LAST_S if place.is_here else pause_s):
                    await place.reach(position)
                    continue
            if pause_s >= LOOK_LAST_S and not has_asked:
                # It may have passed without a word, where nothing of what it saw was for it.
                has_asked = True
                await self._subscriptions.nudge()
            pause_s = min(pause_s * 2, LOOK_LAST_S)
            await self._look_at(progress)
        return place

    async def _look_at(self, progress: Progress) -> None:
        """Learn how far the slots have come, unless somebody is about to: those who wait are told with him."""
        if progress.is_looked_at:
            return
        progress.is_looked_at = True
        try:
            progress.seen(await self._subscriptions.slots([progress.name]))
        finally:
            progress.is_looked_at = False

    async def _parked_by(self, handler: str, progress: Progress) -> Iterable[ParkedEvent]:
        if handler in self._here:
            return await self._parked(handler)
        return await self._subscriptions.parked([progress.name])


def _inside() -> Sequence[str]:
    """Return the handlers in the middle of whose events this is."""
    cause = current_cause.get()
    return cause.handlers if cause else ()


def _happened(item: Item) -> list[Happened]:
    """Return what *item* is to those who may handle it."""
    match item:
        case Several():
            types: Iterable[str] = [piece.type for piece in item.pieces]
        case Unreadable():
            types = item.may_be
        case _:
            types = (item.type,)
    return [Happened(name, item.stream, item.position) for name in types]


def _may_want(progress: Progress, types: Collection[str]) -> bool:
    wanted = progress.selection.types
    return wanted is None or not wanted.isdisjoint(types)
