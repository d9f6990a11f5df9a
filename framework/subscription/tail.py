"""One reader of the log's end for all of a process, and the way of each subscription along the log.

A subscription that is behind reads pages of its own, and only of what it wants. One that is near the head follows the
tail: the tail reads once what any of its followers wants, decodes it once, and offers it to each.

How one joins decides whether an event can be lost or come twice. It joins first, and is told the position that the tail
had reached in that moment: whatever lies above will be offered. Then it reads pages up to there, and of what is offered
it drops what it has. A follower that is slow does not make the tail wait, nor grow without bound: when its room is full
it is let go, and reads pages again from where it stands.

When nothing has been appended for a while, those followers that may rest are told so, and the tail ends with them: what
follows the log of a tenant at rest costs nothing until its log grows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import attrs

from framework.errors import StorageUnavailable
from framework.journal import Journal, Page, wanted
from framework.policies import REST_AFTER
from framework.selection import Selection


class Follower:
    """What the tail has offered to one subscription and it has not taken yet."""

    def __init__(self, selection: Selection, room: int, may_rest: Callable[[], bool]) -> None:
        self.selection = selection
        self.may_rest = may_rest
        """Whether it can do without more, when there is nothing for a while."""
        self.since: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        """The position above which everything is offered, once the tail has taken the follower in."""
        self.is_lost = False
        """Whether something was offered that there was no room for: what comes next is not the next."""
        self.is_ended = False
        """Whether nothing more will be offered."""
        self.is_resting = False
        """Whether nothing more will be offered, since there is nothing: what was offered stays."""
        self._room = room
        self._is_nudged = False
        self._offers: deque[Page] = deque()
        self._filled = asyncio.Event()

    def offer(self, page: Page) -> None:
        """Add what is wanted of *page*."""
        found = (wanted(event, self.selection) for event in page.events)
        events = [event for event in found if event is not None]
        self._room -= len(events)
        if self._room < 0:
            self.is_lost = True
            self._offers.clear()
        elif not events and self._offers:
            # Nothing new but how far was looked: however long nobody takes it, it stays one page.
            self._offers[-1] = attrs.evolve(self._offers[-1], looked_to=page.looked_to)
        else:
            self._offers.append(Page(events, page.looked_to, page.head))
        self._filled.set()

    def end(self) -> None:
        """Tell the one who waits that nothing more will come."""
        self.is_ended = True
        self._filled.set()

    def rest(self) -> None:
        """Tell the one who waits that there is nothing, and that nobody will say when there is."""
        self.is_resting = True
        self._filled.set()

    def nudge(self) -> None:
        """Have the one who waits look up: `take` returns, be it with nothing."""
        self._is_nudged = True
        self._filled.set()

    async def take(self) -> Page | None:
        """Return the next offer, as soon as there is one; None if the follower is lost, ended, at rest, or nudged.

        Cancellation takes nothing.
        """
        while not (self._offers or self.is_lost or self.is_ended or self.is_resting or self._is_nudged):
            self._filled.clear()
            await self._filled.wait()
        self._is_nudged = False
        if self.is_lost or self.is_ended or not self._offers:
            return None
        page = self._offers.popleft()
        self._room += len(page.events)
        return page


class Tail:
    """Reads the end of the log once for all who follow it."""

    def __init__(
        self,
        journal: Journal,
        *,
        page: int,
        room: int,
        begin: Callable[[Callable[[], Coroutine[Any, Any, None]]], object],
    ) -> None:
        """Read at most *page* events at once; a follower that has not taken *room* of them is let go.

        *begin* starts a task for what it is given, and runs that anew after `StorageUnavailable`.
        """
        self._journal = journal
        self._page = page
        self._room = room
        self._position = 0
        self._followers: list[Follower] = []
        self._joining: list[Follower] = []
        self._begin = begin
        self._is_running = False
        self._is_reading = False

    @property
    def followers(self) -> int:
        """How many follow, or are about to."""
        return len(self._followers) + len(self._joining)

    def read_ahead(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin to do *work* for one who is behind, which handles its own errors, and answer for its task."""
        self._begin(work)

    async def _run(self) -> None:
        """Read while anybody follows; ends in the step in which it finds that nobody does."""
        while self.followers:
            followers = self._take_in()
            page = await self._read(followers)
            if page.looked_to == self._position:
                self._take_in()  # or who joined during the read would not be told before the log grows
                await self._wait()
                continue
            self._position = page.looked_to
            for follower in followers:
                follower.offer(page)
                if follower.is_lost:
                    self.leave(follower)
        self._is_running = False

    async def _wait(self) -> None:
        """Return when the log has grown, or all who follow have been sent to rest."""
        while self.followers:
            try:
                async with asyncio.timeout(REST_AFTER.total_seconds()):
                    await self._journal.store.wait_beyond(self._position)
                    return
            except TimeoutError:
                for follower in list(self._followers):
                    if follower.may_rest():
                        follower.rest()
                        self.leave(follower)

    async def follow(self, selection: Selection, *, at: int, may_rest: Callable[[], bool] = lambda: False) -> Follower:
        """Return a follower who is offered all that is wanted above its `since`; whoever reads by it stands *at*.

        While *may_rest* says so, it is let go when there is nothing for a while. Cancellation leaves no follower
        behind.
        """
        follower = Follower(selection, self._room, may_rest)
        if not self.followers:
            self._position = max(self._position, at)
        self._joining.append(follower)
        if not self._is_running:
            self._is_running = True
            self._begin(self._run)
        if not self._is_reading:
            self._take_in()  # the tail waits for the log to grow, and that may take long
        try:
            # Not the future itself: a cancelled task cancels what it awaits.
            await asyncio.shield(follower.since)
        except asyncio.CancelledError:
            self.leave(follower)
            raise
        return follower

    def leave(self, follower: Follower) -> None:
        """Offer nothing more to *follower*."""
        for those in (self._followers, self._joining):
            if follower in those:
                those.remove(follower)

    async def _read(self, followers: Sequence[Follower]) -> Page:
        # Who joins during the read may want what it does not look for: it is taken in after it.
        self._is_reading = True
        try:
            return await self._journal.read_log(
                after=self._position, limit=self._page, selection=_union([each.selection for each in followers])
            )
        finally:
            self._is_reading = False

    def _take_in(self) -> list[Follower]:
        """Make those who join followers from here on, and return all there are."""
        for follower in self._joining:
            if not follower.since.done():
                follower.since.set_result(self._position)
        self._followers += self._joining
        self._joining.clear()
        return list(self._followers)


class Ahead:
    """The page behind the one that is being handled: the database works on it meanwhile."""

    def __init__(self, journal: Journal, selection: Selection, *, after: int, page: int) -> None:
        self._after = after
        self._journal = journal
        self._selection = selection
        self._page = page
        self._found: Page | None = None
        self._is_done = asyncio.Event()

    async def read(self) -> None:
        """Read it. Should the database be away, whoever takes it reads for himself, and hears of that."""
        try:
            with suppress(StorageUnavailable):
                self._found = await self._journal.read_log(
                    after=self._after, limit=self._page, selection=self._selection
                )
        finally:
            self._is_done.set()

    async def take(self) -> Page | None:
        """Return it as soon as it is there; None if it could not be read. Cancellation takes nothing."""
        await self._is_done.wait()
        return self._found


class Feed:
    """One subscription's way along the log: in pages while it is behind, by the tail when it is near."""

    def __init__(
        self, journal: Journal, tail: Tail, selection: Selection, *, after: int, page: int, may_rest: bool = False
    ) -> None:
        self.position = after
        """Everything wanted up to here has been returned."""
        self.may_rest = may_rest
        """Whether it can do without more, when there is nothing for a while."""
        self.is_at_rest = False
        """Whether there was nothing: `next` returns None, and nobody says when the log grows."""
        self._journal = journal
        self._tail = tail
        self._selection = selection
        self._page = page
        self._is_near = False
        self._is_ended = False
        self._is_nudged = False
        self._follower: Follower | None = None
        self._ahead: Ahead | None = None

    async def next(self) -> Page | None:
        """Return the next events, or none and how far was looked for them; waits for the log to grow.

        Returns None once the feed was ended, or is at rest. Raises `StorageUnavailable`; after that, and after
        cancellation, it goes on where it was.
        """
        while not self._is_ended:
            if self._is_nudged:
                self._is_nudged = False
                return Page((), self.position, self.position)
            if self.is_at_rest:
                return None
            page = await self._advance()
            if page is not None and page.looked_to > self.position:
                events = page.events
                if events and events[0].position <= self.position:
                    events = [event for event in events if event.position > self.position]
                self.position = page.looked_to
                return Page(events, page.looked_to, page.head)
        return None

    def nudge(self) -> None:
        """Have the one who waits for more look up: `next` returns once, be it with nothing."""
        self._is_nudged = True
        if self._follower is not None:
            self._follower.nudge()

    def end(self) -> None:
        """Let nobody wait for more, and follow the tail no longer."""
        self._is_ended = True
        if self._follower is not None:
            self._follower.end()
            self._tail.leave(self._follower)
            self._follower = None

    async def _advance(self) -> Page | None:
        if self._follower is None and self._is_near:
            self._follower = await self._tail.follow(self._selection, at=self.position, may_rest=lambda: self.may_rest)
        follower = self._follower
        if follower is not None and self.position >= follower.since.result():
            page = await follower.take()
            if page is None and (follower.is_lost or follower.is_ended or follower.is_resting):
                self._follower, self._is_near = None, False
                self.is_at_rest = follower.is_resting and not follower.is_lost
            return page
        page = await self._read()
        self._is_near = page.looked_to >= page.head
        if not self._is_near:
            self._ahead = Ahead(self._journal, self._selection, after=page.looked_to, page=self._page)
            self._tail.read_ahead(self._ahead.read)
        return page

    async def _read(self) -> Page:
        """Return the next page, which may be there already."""
        ahead = self._ahead
        if ahead is not None:
            page = await ahead.take()
            self._ahead = None
            if page is not None:
                return page
        return await self._journal.read_log(after=self.position, limit=self._page, selection=self._selection)


def _union(selections: Sequence[Selection]) -> Selection:
    """Return what at least one of *selections* wants, and perhaps more: their types, if each names some."""
    types: set[str] = set()
    for selection in selections:
        if selection.types is None:
            return Selection()
        types |= selection.types
    return Selection(frozenset(types))
