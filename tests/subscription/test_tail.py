"""How a subscription joins the tail, and leaves it: neither skips an event nor gets one twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from framework.codec import Codec
from framework.errors import StorageUnavailable
from framework.evolution import EventTypes
from framework.journal import Journal, Unreadable
from framework.selection import Selection
from framework.store.memory import MemoryEventStore
from framework.store.protocol import Expected, LogPage, NewEvent, StreamWrite
from framework.subscription.tail import Feed, Tail
from framework.tasks import Tasks
from tests.runtime.till import Moved

ALL = Selection()
MOVED = Selection(frozenset({"Moved"}))


class WatchedStore(MemoryEventStore):
    """A store that counts what is read of its log, and lets a test act in the middle of a read."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = 0
        self.reads = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.reading = asyncio.Semaphore(0)
        """Released once for every read that reaches the gate."""

    async def read_log(
        self, *, after: int = 0, limit: int = 1_000, types: Collection[str] | None = None, prefix: str = ""
    ) -> LogPage:
        page = await super().read_log(after=after, limit=limit, types=types, prefix=prefix)
        self.reading.release()
        await self.gate.wait()
        self.reads += 1
        self.rows += len(page.events)
        return page

    async def add(
        self, count: int, event_type: str = "Moved", stream: str = "a", data: bytes = b'{"amount":1}'
    ) -> None:
        """Append *count* events to *stream*."""
        events = [NewEvent(uuid4(), event_type, 1, data, b"{}", uuid4(), uuid4()) for _ in range(count)]
        await self.append([StreamWrite(stream, Expected.ANY, events)])


@pytest.fixture
async def store() -> AsyncIterator[WatchedStore]:
    async with WatchedStore() as store:
        yield store


@pytest.fixture
def journal(store: WatchedStore) -> Journal:
    return Journal(store, Codec(), EventTypes([Moved]))


@pytest.fixture
async def tail(journal: Journal) -> AsyncIterator[Tail]:
    tasks = Tasks()
    yield Tail(journal, page=10, room=20, begin=partial(tasks.start, "tail"))
    await tasks.end()  # raises what it died of


@pytest.fixture
def feed(journal: Journal, tail: Tail) -> Callable[..., Feed]:
    def make(selection: Selection = MOVED, after: int = 0, page: int = 10) -> Feed:
        return Feed(journal, tail, selection, after=after, page=page)

    return make


async def take(feed: Feed, to: int) -> list[int]:
    """Return the positions that *feed* gives until it has looked to position *to*."""
    positions: list[int] = []
    async with asyncio.timeout(5):
        while feed.position < to:
            page = await feed.next()
            assert page is not None
            positions += [event.position for event in page.events]
    return positions


async def quiet() -> None:
    """Let every task go as far as it can without anything happening."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_all_is_given_in_order_from_behind_and_on(store: WatchedStore, feed: Callable[..., Feed]) -> None:
    await store.add(25)
    one = feed()

    behind = await take(one, 25)
    await store.add(3)
    live = await take(one, 28)

    assert (behind, live) == (list(range(1, 26)), [26, 27, 28])


async def test_who_is_behind_has_the_next_page_read_meanwhile_and_no_more(
    store: WatchedStore, feed: Callable[..., Feed]
) -> None:
    await store.add(45)
    one = feed()

    first = await one.next()
    await quiet()

    assert first is not None
    assert store.reads == 2
    assert await take(one, 45) == list(range(11, 46))
    assert store.reads == 5


async def test_a_page_that_was_read_meanwhile_in_vain_is_read_again(
    store: WatchedStore, feed: Callable[..., Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.add(25)
    one = feed()
    with monkeypatch.context() as away:

        async def fail(**_: object) -> LogPage:
            away.undo()
            raise StorageUnavailable("the database is away")

        first = await one.next()
        away.setattr(store, "read_log", fail)
        await quiet()

    assert first is not None
    assert await take(one, 25) == list(range(11, 26))


async def test_who_is_cancelled_while_he_waits_for_the_next_page_gets_it_later(
    store: WatchedStore, feed: Callable[..., Feed]
) -> None:
    await store.add(25)
    one = feed()
    assert await one.next() is not None
    store.gate.clear()

    waiting = asyncio.ensure_future(one.next())
    await quiet()
    waiting.cancel()
    await asyncio.wait([waiting])
    store.gate.set()

    assert await take(one, 25) == list(range(11, 26))


async def test_those_near_the_head_share_one_reading(store: WatchedStore, feed: Callable[..., Feed]) -> None:
    feeds = [feed() for _ in range(10)]
    waiting = [asyncio.ensure_future(take(each, 30)) for each in feeds]
    await quiet()
    before = store.rows

    for _ in range(6):
        await store.add(5)
        await quiet()

    assert await asyncio.gather(*waiting) == [list(range(1, 31))] * 10
    assert store.rows - before == 30


async def test_an_event_is_decoded_once_for_all(store: WatchedStore, feed: Callable[..., Feed]) -> None:
    pages = [asyncio.ensure_future(feed().next()) for _ in range(3)]
    await quiet()
    await store.add(1)

    one, two, three = [page.events[0] for page in await asyncio.gather(*pages) if page is not None]

    assert one is two is three


async def test_what_is_appended_while_one_joins_is_given_once(store: WatchedStore, feed: Callable[..., Feed]) -> None:
    """The tail reads for another, and has passed where the one who joins stands."""
    other = feed(ALL)
    following = asyncio.ensure_future(other.next())
    await quiet()
    store.gate.clear()
    await store.add(5)
    await quiet()  # the tail has read 1 to 5, and holds them back
    joining = feed()
    positions = asyncio.ensure_future(take(joining, 10))
    await quiet()  # so has the one who joins

    await store.add(5)
    store.gate.set()

    assert await positions == list(range(1, 11))
    await following
    assert await take(other, 10) == list(range(6, 11))


async def test_one_who_wants_more_than_is_being_read_skips_nothing(
    store: WatchedStore, tail: Tail, feed: Callable[..., Feed]
) -> None:
    """The read under way looks only for what the others want, so it is not for the one who joins."""
    narrow = asyncio.ensure_future(take(feed(Selection(frozenset({"Other"}))), 1))
    await quiet()
    store.gate.clear()
    await store.add(1, "Moved")
    await quiet()  # the tail has looked past it, for others only
    joining = asyncio.ensure_future(tail.follow(ALL, at=0))
    await quiet()

    store.gate.set()
    follower = await joining
    await store.add(1, "Moved")
    page = await follower.take()

    assert page is not None
    assert [event.position for event in page.events] == [2]
    assert follower.since.result() == 1
    await narrow
    tail.leave(follower)


async def test_one_who_joins_during_a_read_that_finds_nothing_is_told_at_once(
    store: WatchedStore, feed: Callable[..., Feed]
) -> None:
    other = feed()
    store.gate.clear()
    following = asyncio.ensure_future(other.next())
    await store.reading.acquire()  # its own page, which is empty
    store.gate.set()
    await quiet()
    store.gate.clear()
    await store.add(1)
    await quiet()
    joining = asyncio.ensure_future(take(feed(), 2))
    await quiet()
    store.gate.set()
    await following
    await quiet()

    await store.add(1)

    assert await joining == [1, 2]


async def test_one_who_is_slow_neither_grows_nor_stops_the_others_nor_skips(
    store: WatchedStore, tail: Tail, feed: Callable[..., Feed]
) -> None:
    slow, quick = feed(), feed()
    await store.add(1)
    assert await take(slow, 1) == [1]
    waiting = asyncio.ensure_future(slow.next())
    await quiet()
    positions = asyncio.ensure_future(take(quick, 102))
    await quiet()
    await store.add(1)
    await waiting

    for _ in range(10):
        await store.add(10)
        await quiet()

    assert await positions == list(range(1, 103))
    assert tail.followers == 1
    assert await take(slow, 102) == list(range(3, 103))


async def test_what_nobody_wants_is_passed_in_one_step(store: WatchedStore, feed: Callable[..., Feed]) -> None:
    rare = feed(Selection(frozenset({"Rare"})))
    common = feed()
    await store.add(1)
    assert await take(common, 1) == [1]
    assert await take(rare, 1) == []
    waiting = asyncio.ensure_future(take(common, 31))
    follower = asyncio.ensure_future(rare.next())
    await quiet()
    for _ in range(30):
        await store.add(1)
        await quiet()
    await waiting
    await follower

    page = await rare.next()

    assert page is not None
    assert (page.events, page.looked_to) == ([], 31)


async def test_an_event_that_cannot_be_read_is_given_as_such_to_those_who_want_it(
    store: WatchedStore, feed: Callable[..., Feed]
) -> None:
    await store.add(1)
    await store.add(1, data=b'{"amount":"?"}')
    await store.add(1, "Unknown")
    one, other = feed(), feed(ALL)

    for_one, for_other = await one.next(), await other.next()

    assert for_one is not None
    assert for_other is not None
    assert [type(event) is Unreadable for event in for_one.events] == [False, True]
    assert [type(event) is Unreadable for event in for_other.events] == [False, True, True]


async def test_a_selection_by_stream_and_prefix_holds_behind_and_near_the_head(
    store: WatchedStore, feed: Callable[..., Feed]
) -> None:
    one, alike = feed(Selection(stream="a-1")), feed(Selection(prefix="a-"))
    await store.add(1, stream="a-1")
    await store.add(1, stream="a-10")
    await store.add(1, stream="b")
    behind = await take(one, 3), await take(alike, 3)
    waiting = [asyncio.ensure_future(take(each, 6)) for each in (one, alike)]
    await quiet()

    await store.add(1, stream="a-1")
    await store.add(1, stream="b")
    await store.add(1, stream="a-10")

    assert behind == ([1], [1, 2])
    assert await asyncio.gather(*waiting) == [[4], [4, 6]]


@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_wait_loses_nothing(store: WatchedStore, feed: Callable[..., Feed], turns: int) -> None:
    """Whichever step it is at when it is cancelled: what it has not returned comes next."""
    one = feed()
    waiting = asyncio.ensure_future(one.next())
    await quiet()
    await store.add(2)
    for _ in range(turns):
        await asyncio.sleep(0)

    waiting.cancel()
    await quiet()

    page = None if waiting.cancelled() else waiting.result()
    returned = [event.position for event in page.events] if page else []
    assert returned + await take(one, 2) == [1, 2]


async def test_one_who_is_cancelled_while_it_joins_is_not_followed_up(
    store: WatchedStore, tail: Tail, feed: Callable[..., Feed]
) -> None:
    other = asyncio.ensure_future(take(feed(), 1))
    await quiet()
    store.gate.clear()
    await store.add(1)
    await quiet()  # the tail reads
    joining = asyncio.ensure_future(tail.follow(ALL, at=0))
    await quiet()

    joining.cancel()
    await quiet()
    store.gate.set()
    await other

    assert tail.followers == 1


async def test_a_feed_that_is_ended_gives_nothing_more(tail: Tail, feed: Callable[..., Feed]) -> None:
    one = feed()
    waiting = asyncio.ensure_future(one.next())
    await quiet()

    one.end()

    assert await waiting is None
    assert await one.next() is None
    assert tail.followers == 0


async def test_nobody_reads_while_nobody_follows(store: WatchedStore, feed: Callable[..., Feed]) -> None:
    one = feed()
    waiting = asyncio.ensure_future(one.next())
    await quiet()
    one.end()
    await waiting
    await store.add(1)  # ends the wait that the tail is in
    await quiet()
    before = store.reads

    for _ in range(3):
        await store.add(1)
        await quiet()

    assert store.reads == before


async def test_one_who_stands_behind_where_the_tail_once_was_skips_nothing(
    store: WatchedStore, feed: Callable[..., Feed]
) -> None:
    first = feed()
    waiting = asyncio.ensure_future(take(first, 3))
    await quiet()
    await store.add(3)
    await waiting
    first.end()

    again: Any = feed(after=1)

    assert await take(again, 3) == [2, 3]
