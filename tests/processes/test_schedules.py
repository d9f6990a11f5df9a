"""What is scheduled outside of processes is sent when it is due, once, unless it is withdrawn before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Self
from uuid import UUID, uuid4

import asyncpg
import attrs
import pytest

from framework import (
    Aggregate,
    Backoff,
    CommandRejected,
    Cron,
    EventHandler,
    MemoryEventStore,
    PostgresEventStore,
    Recorded,
    Router,
)
from framework.errors import ConfigurationError, InvalidIdentity, InvalidOption, InvalidRequest, UnknownCommand
from framework.policies import Defaults
from framework.process_manager import LONGEST
from framework.runtime.schedules import PROCESS
from framework.store.protocol import EventStore, OutboxRow, Part, ProcessChange
from framework.testing import ManualClock, eventually
from framework.testing.application import WatchedApplication

HOUR = timedelta(hours=1)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOURLY = Cron("0 * * * *", zone="UTC")
QUICK = Defaults(handler_retry=Backoff(attempts=2, first=timedelta(milliseconds=1)))


@attrs.frozen
class Ring:
    bell_id: str
    times: int = 1


@attrs.frozen
class Muffle:
    bell_id: str
    is_muffled: bool = True


@attrs.frozen
class Rung:
    bell_id: str
    times: int


@attrs.frozen
class Muffled:
    bell_id: str
    is_muffled: bool


class IsMuffled(CommandRejected):
    """It makes no sound."""


@attrs.frozen
class Bell(Aggregate[Ring | Muffle, Rung | Muffled]):
    is_muffled: bool = False

    def execute(self, command: Ring | Muffle) -> Iterator[Rung | Muffled]:
        match command:
            case Ring(bell_id, times):
                if self.is_muffled:
                    raise IsMuffled(bell_id)
                yield Rung(bell_id, times)
            case Muffle(bell_id, is_muffled):
                yield Muffled(bell_id, is_muffled)

    def apply(self, event: Rung | Muffled) -> Self:
        return attrs.evolve(self, is_muffled=event.is_muffled) if isinstance(event, Muffled) else self


def belfry() -> Router:
    router = Router()
    router.register(Bell, identity="bell_id")
    return router


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str, clock: ManualClock) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore(clock)
        return
    schema = f"schedules_{uuid4().hex[:12]}"
    yield PostgresEventStore(dsn, schema=schema)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    finally:
        await connection.close()


def opened(store: EventStore, clock: ManualClock, **parts: Any) -> WatchedApplication:
    return WatchedApplication(store=store, router=parts.pop("router", belfry()), clock=clock, defaults=QUICK, **parts)


async def rung(app: WatchedApplication) -> list[int]:
    return [event.data.times for event in await app.recorded(types=[Rung])]


async def is_parked(app: WatchedApplication, key: str = "k") -> None:
    async def parked() -> None:
        assert [each.parked is not None for each in await app.schedules.list() if each.key == key][:1] == [True]

    await eventually(parked)


async def test_a_command_is_sent_when_it_is_due_and_not_before(store: EventStore, clock: ManualClock) -> None:
    async with opened(store, clock) as app:
        scheduled = await app.schedule(Ring("a"), after=HOUR, key="k")
        clock.advance(HOUR - timedelta(seconds=1))
        await app.expect_none(Rung)
        clock.advance(timedelta(seconds=1))

        await app.expect(Rung)
        await app.settled()
        assert await app.schedules.list() == []
    assert (scheduled.key, scheduled.command_type, scheduled.due_at) == ("k", "Ring", NOON + HOUR)


async def test_a_moment_is_meant_in_its_own_time_zone_and_sent_at_once_when_it_is_over(
    store: EventStore, clock: ManualClock
) -> None:
    over = NOON.astimezone(timezone(timedelta(hours=5))) - HOUR
    async with opened(store, clock) as app:
        scheduled = await app.schedule(Ring("a"), at=over, key="k")

        await app.expect(Rung)
    assert scheduled.due_at == NOON - HOUR
    assert scheduled.due_at.tzinfo is UTC


async def test_what_is_scheduled_under_a_key_again_takes_the_place_of_what_was(
    store: EventStore, clock: ManualClock
) -> None:
    async with opened(store, clock) as app:
        await app.schedule(Ring("a", 1), after=HOUR, key="k")
        await app.schedule(Ring("a", 2), after=2 * HOUR, key="k")
        await app.schedule(Ring("a", 3), after=3 * HOUR, key="other")
        clock.advance(3 * HOUR)
        await app.settled()

        assert sorted(await rung(app)) == [2, 3]


async def test_what_is_cancelled_is_never_sent(store: EventStore, clock: ManualClock) -> None:
    async with opened(store, clock) as app:
        await app.schedule(Ring("a"), after=HOUR, key="k")

        assert await app.schedules.cancel("k")
        assert not await app.schedules.cancel("k")
        clock.advance(9 * HOUR)

        await app.expect_none(Rung)


async def test_what_is_scheduled_is_listed_by_key_page_by_page(store: EventStore, clock: ManualClock) -> None:
    async with opened(store, clock) as app:
        await app.schedule(Ring("b"), every=HOURLY, key="b")
        await app.schedule(Ring("a", 3), at=NOON + 9 * HOUR, key="a")

        first = await app.schedules.list(limit=1)
        second = await app.schedules.list(after="a", limit=1)

        assert [attrs.astuple(each) for each in first] == [
            ("a", "Ring", {"bell_id": "a", "times": 3}, NOON + 9 * HOUR, None, None)
        ]
        assert [attrs.astuple(each) for each in second] == [
            ("b", "Ring", {"bell_id": "b", "times": 1}, NOON + HOUR, "0 * * * * UTC", None)
        ]
        assert await app.schedules.list(after="b") == []


async def test_what_is_scheduled_outlives_the_application(store: EventStore, clock: ManualClock) -> None:
    async with store:
        async with opened(store, clock) as app:
            await app.schedule(Ring("a"), after=HOUR, key="k")
        clock.advance(2 * HOUR)

        async with opened(store, clock) as app:
            await app.expect(Rung)


async def test_what_recurs_is_sent_each_time(store: EventStore, clock: ManualClock) -> None:
    async with opened(store, clock) as app:
        await app.schedule(Ring("a"), every=HOURLY, key="k")
        for _ in range(3):
            clock.advance(HOUR)
            await app.settled()

        events = await app.recorded(types=[Rung])
        assert len(events) == 3
        assert len({event.correlation_id for event in events}) == 3
        assert [each.due_at for each in await app.schedules.list()] == [NOON + 4 * HOUR]


async def test_moments_that_were_missed_are_made_up_for_by_one(store: EventStore, clock: ManualClock) -> None:
    async with store:
        async with opened(store, clock) as app:
            await app.schedule(Ring("a"), every=HOURLY, key="k")
        clock.advance(9.5 * HOUR)

        async with opened(store, clock) as app:
            await app.settled()

            assert await rung(app) == [1]
            assert [each.due_at for each in await app.schedules.list()] == [NOON + 10 * HOUR]


async def test_what_recurs_is_cancelled_for_good(store: EventStore, clock: ManualClock) -> None:
    async with opened(store, clock) as app:
        await app.schedule(Ring("a"), every=HOURLY, key="k")
        clock.advance(HOUR)
        await app.settled()

        assert await app.schedules.cancel("k")
        clock.advance(9 * HOUR)

        await app.settled()
        assert await rung(app) == [1]


async def test_a_refusal_is_parked_and_listed_under_its_key(store: EventStore, clock: ManualClock) -> None:
    async with opened(store, clock) as app:
        await app.dispatch(Muffle("a"))
        await app.schedule(Ring("a"), after=HOUR, key="k")
        clock.advance(HOUR)
        await is_parked(app)

        (parked,) = await app.schedules.list()
        assert parked.parked == "IsMuffled: a"
        assert parked.due_at == NOON + HOUR
        assert not await app.schedules.cancel("k"), "what is parked stays"
        assert len(await app.schedules.list()) == 1


async def test_what_is_parked_is_sent_again_as_a_new_command_when_it_is_asked_for(
    store: EventStore, clock: ManualClock
) -> None:
    async with opened(store, clock) as app:
        await app.dispatch(Muffle("a"))
        await app.schedule(Ring("a"), after=HOUR, key="k")
        clock.advance(HOUR)
        await is_parked(app)
        await app.dispatch(Muffle("a", is_muffled=False))

        assert await app.schedules.retry("k") == 1

        await app.expect(Rung)
        await app.settled()
        assert await app.schedules.list() == []
        assert await app.schedules.retry("k") == 0


async def test_what_recurs_waits_behind_what_is_parked_and_goes_on_when_that_is_discarded(
    store: EventStore, clock: ManualClock
) -> None:
    async with opened(store, clock) as app:
        await app.dispatch(Muffle("a"))
        await app.schedule(Ring("a"), every=HOURLY, key="k")
        clock.advance(HOUR)
        await is_parked(app)
        await app.dispatch(Muffle("a", is_muffled=False))
        clock.advance(5 * HOUR)
        await app.expect_none(Rung)
        parked, waiting = await app.schedules.list()
        assert (parked.due_at, parked.every) == (NOON + HOUR, None)
        assert (waiting.due_at, waiting.every) == (NOON + 2 * HOUR, "0 * * * * UTC")

        assert await app.schedules.discard("k") == 1

        await app.expect(Rung)
        await app.settled()
        assert await rung(app) == [1]
        assert [each.due_at for each in await app.schedules.list()] == [NOON + 7 * HOUR]


async def test_a_command_that_nobody_takes_any_more_is_parked_and_others_go_on(
    store: EventStore, clock: ManualClock
) -> None:
    async with store:
        async with opened(store, clock) as app:
            await app.schedule(Ring("a"), after=HOUR, key="k")
        clock.advance(HOUR)
        router = Router()
        router.register(Bell, identity="bell_id")
        del router._routes[Ring]  # pyright: ignore[reportPrivateUsage]

        async with opened(store, clock, router=router) as app:
            await app.schedule(Muffle("a"), after=timedelta(0), key="other")
            await app.expect(Muffled)
            await is_parked(app)

            (parked,) = [each for each in await app.schedules.list() if each.key == "k"]
            assert parked.parked is not None
            assert "no aggregate takes 'Ring'" in parked.parked


async def test_of_two_nodes_one_has_it_sent(store: EventStore, clock: ManualClock) -> None:
    async with store, opened(store, clock) as first, opened(store, clock) as second:
        await first.schedule(Ring("a"), every=HOURLY, key="k")
        await second.settled()
        for _ in range(3):
            clock.advance(HOUR)
            await first.settled()
            await second.settled()

        assert await rung(first) == [1, 1, 1]


async def test_one_who_has_scheduled_nothing_takes_over_what_another_has_left(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.runtime.engine.SCHEDULES_SECONDS", 0.01)
    store = MemoryEventStore(clock)
    async with store, opened(store, clock) as second:
        async with opened(store, clock) as first:
            await first.schedule(Ring("a"), after=HOUR, key="k")
        clock.advance(HOUR)

        await second.expect(Rung)


async def test_what_was_sent_and_not_settled_is_sent_again_and_takes_effect_once(clock: ManualClock) -> None:
    class Forgetful(MemoryEventStore):
        """Dies before it has written that a command was accepted."""

        is_dying = True
        dies = asyncio.Event()

        async def settle(self, process: str, command_ids: Collection[UUID], *, part: Part | None = None) -> None:
            if self.is_dying and await self.receipts(command_ids):
                self.dies.set()
                await asyncio.get_running_loop().create_future()
            await super().settle(process, command_ids, part=part)

    store = Forgetful(clock)
    async with opened(store, clock) as app:
        await app.schedule(Ring("a"), every=HOURLY, key="k")
        clock.advance(HOUR)
        await store.dies.wait()
        assert await rung(app) == [1]
    store.is_dying = False

    async with opened(store, clock) as app:
        await app.settled()

        assert await rung(app) == [1]
        assert [each.due_at for each in await app.schedules.list()] == [NOON + 2 * HOUR]


async def test_what_is_cancelled_in_the_moment_that_it_is_due_is_not_sent_and_does_not_recur(
    clock: ManualClock,
) -> None:
    class Slow(MemoryEventStore):
        """Holds back whoever begins a command."""

        is_asked = asyncio.Event()
        answers = asyncio.Event()

        async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
            self.is_asked.set()
            await self.answers.wait()
            return await super().settle_refused(row, change, part=part)

    store = Slow(clock)
    async with opened(store, clock) as app:
        await app.schedule(Ring("a"), every=HOURLY, key="k")
        clock.advance(HOUR)
        await store.is_asked.wait()

        assert await app.schedules.cancel("k")
        store.answers.set()

        await app.expect_none(Rung)
        assert await app.schedules.list() == []


async def test_who_begins_a_command_late_finds_that_another_has_begun_it(clock: ManualClock) -> None:
    class Slow(MemoryEventStore):
        """Holds back the second who would begin a command."""

        asked = 0
        is_asked = asyncio.Event()
        answers = asyncio.Event()

        async def settle_refused(self, row: OutboxRow, change: ProcessChange, *, part: Part | None = None) -> bool:
            self.asked += 1
            if self.asked == 1:
                self.is_asked.set()
                await self.answers.wait()
            return await super().settle_refused(row, change, part=part)

    store = Slow(clock)
    async with store, opened(store, clock) as slow:
        await slow.schedule(Ring("a"), every=HOURLY, key="k")
        clock.advance(HOUR)
        await store.is_asked.wait()
        async with opened(store, clock) as quick:
            await quick.expect(Rung)
            assert await quick.schedules.cancel("k"), "the next"
        store.answers.set()

        await slow.settled()
        assert await rung(slow) == [1]
        assert await slow.schedules.list() == []


async def test_what_is_scheduled_while_an_event_is_handled_is_caused_by_it(clock: ManualClock) -> None:
    class Echo(EventHandler[Muffled]):
        async def handle(self, event: Recorded[Muffled]) -> None:
            await app.schedule(Ring("b"), after=HOUR, key=str(event.position))

    store = MemoryEventStore(clock)
    async with opened(store, clock, handlers=[Echo()]) as app:
        await app.dispatch(Muffle("a"))
        await app.settled()
        clock.advance(HOUR)

        muffled, echoed = await app.expect(Muffled), await app.expect(Rung)
        assert echoed.correlation_id == muffled.correlation_id
        assert echoed.metadata["$caused_by"] == str(muffled.event_id)


async def test_the_machines_clock_tells_the_time_where_no_other_is_given() -> None:
    async with WatchedApplication(store=MemoryEventStore(), router=belfry()) as app:
        await app.schedule(Ring("a"), after=timedelta(milliseconds=20), key="k")

        await app.expect(Rung)


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        ({"at": datetime(2026, 5, 2, 12)}, "has no time zone"),  # noqa: DTZ001 - that is the fault
        ({"at": NOON + LONGEST + timedelta(seconds=1)}, "more than a hundred years away"),
        ({"at": datetime.max.replace(tzinfo=timezone(-HOUR))}, "more than a hundred years away"),
        ({"at": datetime.min.replace(tzinfo=timezone(HOUR))}, "more than a hundred years away"),
        ({"after": timedelta(microseconds=-1)}, "from nothing to a hundred years"),
        ({"after": timedelta.max}, "from nothing to a hundred years"),
        ({}, "give one of them"),
        ({"after": HOUR, "every": HOURLY}, "give one of them"),
    ],
)
async def test_a_time_that_cannot_be_meant_is_refused(when: dict[str, Any], fault: str, clock: ManualClock) -> None:
    async with opened(MemoryEventStore(clock), clock) as app:
        with pytest.raises(InvalidOption, match=fault):
            await app.schedule(Ring("a"), key="k", **when)

        assert await app.schedules.list() == []


@pytest.mark.parametrize("key", ["", "a\0b", "x" * 1_001])
async def test_a_key_that_is_no_name_is_refused(key: str, clock: ManualClock) -> None:
    async with opened(MemoryEventStore(clock), clock) as app:
        with pytest.raises(InvalidRequest):
            await app.schedule(Ring("a"), after=HOUR, key=key)
        for asked in (app.schedules.cancel, app.schedules.retry, app.schedules.discard):
            with pytest.raises(InvalidRequest):
                await asked(key)


async def test_a_command_that_could_not_be_dispatched_is_not_scheduled(clock: ManualClock) -> None:
    async with opened(MemoryEventStore(clock), clock) as app:
        with pytest.raises(UnknownCommand):
            await app.schedule(Rung("a", 1), after=HOUR, key="k")
        with pytest.raises(InvalidIdentity):
            await app.schedule(Ring(""), after=HOUR, key="k")

        assert await app.schedules.list() == []


async def test_a_command_that_another_shares_its_name_with_is_not_scheduled(clock: ManualClock) -> None:
    other: Any = attrs.make_class("Ring", ["bell_id"], frozen=True)
    router = belfry()
    router.register_command(other, Bell, handler=lambda _, command: [Rung(command.bell_id, 1)])
    async with opened(MemoryEventStore(clock), clock, router=router) as app:
        with pytest.raises(ConfigurationError, match="'Ring' names"):
            await app.schedule(Ring("a"), after=HOUR, key="k")


def test_the_name_it_is_stored_under_is_that_of_no_class() -> None:
    assert not PROCESS.isidentifier()
