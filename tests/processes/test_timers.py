"""What a process schedules is sent when it is due, once, unless it is withdrawn before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Self
from uuid import UUID

import attrs
import pytest

from framework import (
    Aggregate,
    Cancel,
    CommandRejected,
    MemoryEventStore,
    ProcessManager,
    Router,
    Schedule,
    Start,
    Stop,
)
from framework.errors import ConfigurationError
from framework.testing import ManualClock, eventually, given
from framework.testing.application import WatchedApplication

HOUR = timedelta(hours=1)


@attrs.frozen
class Book:
    seat_id: str
    minutes: int = 60


@attrs.frozen
class Pay:
    seat_id: str


@attrs.frozen
class Remind:
    seat_id: str


@attrs.frozen
class Release:
    seat_id: str


@attrs.frozen
class Booked:
    seat_id: str
    minutes: int


@attrs.frozen
class Paid:
    seat_id: str


@attrs.frozen
class Reminded:
    seat_id: str


@attrs.frozen
class Released:
    seat_id: str


class StillAsking(CommandRejected):
    """The guest is being asked."""


SeatCommand = Book | Pay | Remind | Release
SeatEvent = Booked | Paid | Reminded | Released


@attrs.frozen
class Seat(Aggregate[SeatCommand, SeatEvent]):
    reminders: int = 0

    def execute(self, command: SeatCommand) -> Iterator[SeatEvent]:
        match command:
            case Book(seat_id, minutes):
                yield Booked(seat_id, minutes)
            case Pay(seat_id):
                yield Paid(seat_id)
            case Remind(seat_id):
                yield Reminded(seat_id)
            case Release(seat_id):
                if seat_id.startswith("patient") and self.reminders < 2:
                    raise StillAsking(seat_id)
                yield Released(seat_id)

    def apply(self, event: SeatEvent) -> Self:
        return attrs.evolve(self, reminders=self.reminders + 1) if isinstance(event, Reminded) else self


@attrs.frozen
class Reservation(ProcessManager[Booked | Paid, Remind | Release]):
    """A seat that is not paid for within its time is free again."""

    @classmethod
    def interested(cls, event: Booked | Paid) -> Start:
        return Start(event.seat_id)

    def handle(self, event: Booked | Paid) -> Iterator[Remind | Schedule[Remind | Release] | Cancel]:
        match event:
            case Booked(seat_id, minutes):
                after = timedelta(minutes=minutes)
                yield Schedule(Remind(seat_id), after=after / 2, key="reminder")
                yield Schedule(Release(seat_id), after=after, key="deadline")
            case Paid():
                yield Cancel("reminder")
                yield Cancel("deadline")

    def rejected(
        self, command: Remind | Release, error: CommandRejected
    ) -> Iterator[Remind | Schedule[Release] | Stop]:
        assert isinstance(error, StillAsking)
        yield Remind(command.seat_id)
        yield Schedule(Release(command.seat_id), after=HOUR, key="deadline")


@attrs.frozen
class Forgotten(ProcessManager[Booked | Paid, Release]):
    """Ends with the payment, without a word about its timer."""

    @classmethod
    def interested(cls, event: Booked | Paid) -> Start | Stop:
        return Start(event.seat_id) if isinstance(event, Booked) else Stop(event.seat_id)

    def handle(self, event: Booked | Paid) -> Iterator[Schedule[Release]]:
        yield Schedule(Release(event.seat_id), after=HOUR, key="deadline")


def theatre() -> Router:
    router = Router()
    router.register(Seat, identity="seat_id")
    return router


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def opened(
    clock: ManualClock,
    store: MemoryEventStore | None = None,
    process: type[ProcessManager[Booked | Paid, Any]] = Reservation,
) -> WatchedApplication:
    return WatchedApplication(
        store=store or MemoryEventStore(clock), router=theatre(), processes=[process], clock=clock
    )


async def test_a_command_is_sent_when_its_time_has_come_and_not_before(clock: ManualClock) -> None:
    async with opened(clock) as app:
        await app.dispatch(Book("a"))
        await app.settled()

        clock.advance(HOUR / 2 - timedelta(seconds=1))
        await app.expect_none(Reminded)
        clock.advance(timedelta(seconds=1))
        await app.expect(Reminded)
        await app.expect_none(Released)
        clock.advance(HOUR / 2)

        await app.expect(Released)


async def test_times_are_kept_in_order_when_many_have_come_at_once(clock: ManualClock) -> None:
    async with opened(clock) as app:
        await app.dispatch(Book("a"))
        await app.settled()

        clock.advance(timedelta(days=9))

        await app.expect(Released)
        assert [type(event.data) for event in await app.recorded()] == [Booked, Reminded, Released]


async def test_what_is_cancelled_is_never_sent(clock: ManualClock) -> None:
    async with opened(clock) as app:
        await app.dispatch(Book("a"))
        await app.dispatch(Pay("a"))
        await app.settled()

        clock.advance(9 * HOUR)

        await app.expect_none(Released)
        await app.expect_none(Reminded)


async def test_what_is_scheduled_again_under_its_key_is_sent_once_at_the_later_time(clock: ManualClock) -> None:
    async with opened(clock) as app:
        await app.dispatch(Book("a"))
        await app.dispatch(Book("a", minutes=180))
        await app.settled()

        clock.advance(HOUR)
        await app.expect_none(Released)
        clock.advance(2 * HOUR)

        await app.expect(Released)
        assert len(await app.recorded(types=[Released])) == 1


async def test_an_instance_that_is_done_takes_its_timers_with_it(clock: ManualClock) -> None:
    async with opened(clock, process=Forgotten) as app:
        await app.dispatch(Book("a"))
        await app.dispatch(Pay("a"))
        await app.dispatch(Book("b"))
        await app.settled()

        clock.advance(HOUR)

        released = await app.expect(Released)
        assert released.data == Released("b")
        await app.expect_none(Released, where=lambda event: event.seat_id == "a")


async def test_what_is_scheduled_outlives_the_application(clock: ManualClock) -> None:
    store = MemoryEventStore(clock)
    async with opened(clock, store) as app:
        await app.dispatch(Book("a"))
        await app.settled()
    clock.advance(HOUR)

    async with opened(clock, store) as app:
        await app.expect(Released)


async def test_a_refusal_may_be_answered_later(clock: ManualClock) -> None:
    async with opened(clock) as app:
        await app.dispatch(Book("patient"))
        await app.settled()

        clock.advance(HOUR)
        await app.settled()
        assert [type(event.data) for event in await app.recorded()] == [Booked, Reminded, Reminded]
        clock.advance(HOUR)

        await app.expect(Released)


async def test_a_command_that_is_due_and_waits_behind_others_is_withdrawn_until_it_is_sent(clock: ManualClock) -> None:
    class Slow(MemoryEventStore):
        """Holds back reminders."""

        is_asked = asyncio.Event()
        answers = asyncio.Event()

        async def is_waiting(self, process: str, command_id: UUID) -> bool:
            self.is_asked.set()
            await self.answers.wait()
            return await super().is_waiting(process, command_id)

    store = Slow(clock)
    async with opened(clock, store) as app:
        await app.dispatch(Book("a"))
        await app.settled()
        clock.advance(HOUR)
        await store.is_asked.wait()

        await app.dispatch(Pay("a"))
        await eventually(lambda: _nothing_waits(store))
        store.answers.set()

        await app.expect_none(Released)
        await app.expect_none(Reminded)


async def _nothing_waits(store: MemoryEventStore) -> None:
    assert not await store.outbox("Reservation", limit=9)


async def test_the_machines_clock_tells_the_time_where_no_other_is_given() -> None:
    store = MemoryEventStore()
    async with WatchedApplication(store=store, router=theatre(), processes=[Reservation]) as app:
        await app.dispatch(Book("a", minutes=0))

        await app.expect(Released)


@pytest.mark.parametrize("after", [timedelta(seconds=-1), timedelta(days=36_526)])
def test_a_time_that_cannot_be_meant_is_refused(after: timedelta) -> None:
    with pytest.raises(ConfigurationError, match="from nothing to a hundred years"):
        Schedule(Release("a"), after=after, key="k")


@pytest.mark.parametrize("key", ["", "a\0b"])
def test_a_key_that_is_no_name_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="name to cancel it by"):
        Schedule(Release("a"), after=HOUR, key=key)
    with pytest.raises(ConfigurationError, match="name to cancel it by"):
        Cancel(key)


def test_a_scenario_shows_what_is_scheduled_and_what_it_comes_to() -> None:
    reservation = given(Reservation)

    booked = reservation.when(Booked("a", 60))

    booked.then()
    booked.then_scheduled(
        Schedule(Remind("a"), after=HOUR / 2, key="reminder"), Schedule(Release("a"), after=HOUR, key="deadline")
    )
    reservation.when_time_passes(HOUR / 2).then(Remind("a"))
    reservation.when_rejected(Release("a"), StillAsking("a"), instance="a").then_scheduled(
        Schedule(Release("a"), after=HOUR, key="deadline")
    )
    reservation.when_time_passes(HOUR / 2).then()
    reservation.when_time_passes(HOUR / 2).then(Release("a"))
    reservation.when_time_passes(HOUR).then()


def test_a_scenario_forgets_what_is_cancelled_and_what_has_ended() -> None:
    reservation, forgotten = given(Reservation, Booked("a", 60)), given(Forgotten, Booked("a", 60), Booked("b", 60))

    reservation.when(Paid("a")).then_scheduled(Cancel("reminder"), Cancel("deadline"))
    forgotten.when(Paid("a")).then_scheduled()

    reservation.when_time_passes(HOUR).then()
    forgotten.when_time_passes(HOUR).then(Release("b"))


def test_a_scenario_says_what_would_be_scheduled_instead() -> None:
    with pytest.raises(AssertionError, match="expected nothing, but Schedule"):
        given(Forgotten).when(Booked("a", 60)).then_scheduled()
