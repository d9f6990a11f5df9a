"""An event that fails stops its key and nothing else, until somebody has it tried again or goes on without it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import ClassVar

import attrs
import pytest

from framework import (
    Application,
    Backoff,
    Connection,
    Consistency,
    EventHandler,
    Halt,
    MemoryEventStore,
    Park,
    PostgresEventStore,
    Projector,
    Recorded,
    Retry,
    Skip,
)
from framework.errors import StorageUnavailable, UnknownHandler
from framework.policies import Defaults
from framework.reactions import Reaction
from framework.store.protocol import EventStore
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

QUICK = Defaults(
    handler_retry=Backoff(attempts=2, first=timedelta(milliseconds=1)), consistency_timeout=timedelta(seconds=5)
)
POISON = 13


class Printer(EventHandler[Moved]):
    """Prints each amount, and jams at some."""

    def __init__(self, *jams_at: int, reaction: Reaction | None = None) -> None:
        self.printed: list[tuple[str, int]] = []
        self.attempts: list[int] = []
        self.jams_at = set(jams_at)
        self.reaction = reaction

    async def handle(self, event: Recorded[Moved]) -> None:
        self.attempts.append(event.data.amount)
        if event.data.amount in self.jams_at:
            raise OSError("paper jam")
        self.printed.append((event.stream, event.data.amount))

    def on_error(self, event: Recorded[Moved], error: Exception, attempt: int) -> Reaction:
        return self.reaction or super().on_error(event, error, attempt)


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with fresh_schema(dsn) as schema:
            yield PostgresEventStore(dsn, schema=schema)


def shop(store: EventStore, *handlers: EventHandler[Moved], defaults: Defaults = QUICK) -> Application:
    return Application(store=store, router=tills(), handlers=handlers, defaults=defaults)


async def put_in(app: Application, *moves: tuple[str, int]) -> str:
    """Put amounts into tills, one after the other, and return what the handlers made of the last."""
    for till, amount in moves[:-1]:
        await app.dispatch(PutIn(till, amount))
    result = await app.dispatch(PutIn(*moves[-1]), consistency=Consistency.STRONG)
    (outcome,) = set(result.waited.values())
    return outcome


async def test_a_poison_event_stops_its_key_and_nothing_else(store: EventStore) -> None:
    printer = Printer(POISON)
    async with shop(store, printer) as app:
        outcome = await put_in(app, ("a", 1), ("a", POISON), ("b", 2), ("a", 3), ("b", 4))

        assert outcome == "handled"
        assert printer.printed == [("till-a", 1), ("till-b", 2), ("till-b", 4)]
        assert [(each.position, each.key, each.error, each.attempts) for each in await app.subscriptions.parked()] == [
            (2, "till-a", "OSError: paper jam", 2),
            (4, "till-a", None, 0),
        ]


async def test_a_wait_for_what_is_parked_says_so_at_once(store: EventStore) -> None:
    async with shop(store, Printer(POISON)) as app:
        failed = await put_in(app, ("a", POISON))
        behind = await put_in(app, ("a", 1))
        other = await put_in(app, ("b", 1))

    assert (failed, behind, other) == ("parked", "parked", "handled")


async def test_what_is_tried_again_goes_through_with_all_behind_it_in_order(store: EventStore) -> None:
    printer = Printer(POISON)
    async with shop(store, printer) as app:
        await put_in(app, ("a", POISON), ("a", 1), ("a", 2))
        printer.jams_at.clear()

        assert await app.subscriptions.retry(Printer, position=1) == 1

        await eventually(lambda: len(printer.printed) == 3)
        assert await put_in(app, ("a", 3)) == "handled"
        assert printer.printed == [("till-a", POISON), ("till-a", 1), ("till-a", 2), ("till-a", 3)]
        assert await app.subscriptions.parked() == []


async def test_what_fails_again_stays_and_says_how_often(store: EventStore) -> None:
    printer = Printer(POISON)
    async with shop(store, printer) as app:
        await put_in(app, ("a", POISON), ("a", 1))

        await app.subscriptions.retry("Printer")

        async def has_failed_again() -> None:
            first, behind = await app.subscriptions.parked(Printer)
            assert (first.attempts, first.asked, behind.attempts) == (3, None, 0)

        await eventually(has_failed_again)
        assert printer.printed == []


async def test_what_stands_behind_cannot_go_first(store: EventStore) -> None:
    printer = Printer(POISON)
    async with shop(store, printer) as app:
        await put_in(app, ("a", POISON), ("a", 1))
        await app.subscriptions.retry(Printer, position=2)
        await put_in(app, ("b", 1), ("b", 2))
        assert printer.printed == [("till-b", 1), ("till-b", 2)]

        await app.subscriptions.discard(Printer, position=1)

        async def all_is_done() -> None:
            assert ("till-a", 1) in printer.printed
            assert await app.subscriptions.parked() == []

        await eventually(all_is_done)


async def test_what_is_discarded_is_passed_over(store: EventStore) -> None:
    printer = Printer(POISON)
    async with shop(store, printer) as app:
        await put_in(app, ("a", POISON), ("a", 1), ("b", POISON))

        assert await app.subscriptions.discard(Printer, key="till-a") == 2

        async def is_gone() -> None:
            assert [each.key for each in await app.subscriptions.parked()] == ["till-b"]

        await eventually(is_gone)
        assert await put_in(app, ("a", 2)) == "handled"
        assert printer.printed == [("till-a", 2)]


async def test_a_key_is_held_back_by_the_next_owner_too(store: EventStore) -> None:
    async with shop(store, Printer(POISON)) as app:
        await put_in(app, ("a", POISON))
    mended = Printer()
    async with shop(store, mended) as app:
        assert await put_in(app, ("a", 1), ("b", 2), ("a", 3)) == "parked"
        assert mended.printed == [("till-b", 2)]

        await app.subscriptions.retry(Printer)

        await eventually(lambda: len(mended.printed) == 4)
        assert mended.printed[1:] == [("till-a", POISON), ("till-a", 1), ("till-a", 3)]


async def test_what_is_skipped_is_not_seen_again(store: EventStore) -> None:
    printer = Printer(POISON, reaction=Skip())
    async with shop(store, printer) as app:
        assert await put_in(app, ("a", POISON), ("a", 1)) == "handled"

        assert printer.attempts == [POISON, 1]
        assert await app.subscriptions.parked() == []


async def test_a_handler_may_park_at_the_first_failure_or_try_for_ever(store: EventStore) -> None:
    impatient, stubborn = Printer(POISON, reaction=Park()), Stubborn(POISON)
    async with shop(store, impatient, stubborn) as app:
        await app.dispatch(PutIn("a", POISON))
        await eventually(lambda: len(stubborn.attempts) > 2 * QUICK.handler_retry.attempts)
        stubborn.jams_at.clear()
        await eventually(lambda: len(stubborn.printed) == 1)

    assert impatient.attempts == [POISON]


class Stubborn(Printer):
    def on_error(self, event: Recorded[Moved], error: Exception, attempt: int) -> Reaction:
        del event, error, attempt
        return Retry(after=timedelta(milliseconds=1))


async def test_a_slot_that_halts_stands_still_and_lets_the_application_close(store: EventStore) -> None:
    printer = Printer(POISON, reaction=Halt())
    defaults = attrs.evolve(QUICK, consistency_timeout=timedelta(milliseconds=50))
    async with shop(store, printer, defaults=defaults) as app:
        assert await put_in(app, ("a", POISON), ("b", 1)) == "late"

    assert printer.attempts == [POISON]


async def test_an_event_whose_key_cannot_be_told_halts_every_slot(store: EventStore) -> None:
    class Keyless(Printer):
        partitions: ClassVar[int] = 2

        def partition_by(self, event: Recorded[Moved]) -> str:
            if event.data.amount == POISON:
                raise LookupError("no key")
            return event.stream

    printer = Keyless()
    async with shop(store, printer) as app:
        await put_in(app, ("a", 1), ("b", 2))
        await app.dispatch(PutIn("c", POISON))

        async def all_stand_still() -> None:
            assert len((await app.health()).halted) == Keyless.partitions

        await eventually(all_stand_still)

    assert sorted(amount for _, amount in printer.printed) == [1, 2]


async def test_a_policy_that_fails_itself_parks(store: EventStore) -> None:
    class Undecided(Printer):
        def on_error(self, event: Recorded[Moved], error: Exception, attempt: int) -> Reaction:
            raise ZeroDivisionError

    async with shop(store, Undecided(POISON)) as app:
        assert await put_in(app, ("a", POISON)) == "parked"
        (parked,) = await app.subscriptions.parked()

    assert parked.error == "OSError: paper jam"


async def test_a_long_pause_between_attempts_does_not_keep_the_application_from_closing(store: EventStore) -> None:
    printer = Printer(POISON, reaction=Retry(after=timedelta(hours=1)))
    async with asyncio.timeout(10):
        async with shop(store, printer) as app:
            await app.dispatch(PutIn("a", POISON))
            await eventually(lambda: printer.attempts == [POISON])
    mended = Printer()
    async with shop(store, mended) as app:
        assert await put_in(app, ("a", 1)) == "handled"

    assert mended.printed == [("till-a", POISON), ("till-a", 1)]


async def test_a_database_that_is_away_is_nobodys_fault(store: EventStore) -> None:
    class Unlucky(Printer):
        name: ClassVar[str] = "Printer"

        async def handle(self, event: Recorded[Moved]) -> None:
            self.attempts.append(event.data.amount)
            if len(self.attempts) < 4:
                raise StorageUnavailable("away")
            self.printed.append((event.stream, event.data.amount))

    printer = Unlucky()
    async with shop(store, printer) as app:
        assert await put_in(app, ("a", 1)) == "handled"

        assert printer.attempts == [1, 1, 1, 1]
        assert await app.subscriptions.parked() == []


async def test_a_handler_nobody_runs_is_not_asked(store: EventStore) -> None:
    async with shop(store, Printer()) as app:
        with pytest.raises(UnknownHandler):
            await app.subscriptions.retry("Nobody")


# Projectors ------------------------------------------------------------------------------------------


class Sums(Projector[Moved]):
    schema = "CREATE TABLE sums (till text PRIMARY KEY, amount bigint NOT NULL, events int NOT NULL)"
    partitions = 3

    def __init__(self, *jams_at: int) -> None:
        self.jams_at = set(jams_at)

    async def project(self, event: Recorded[Moved], db: Connection) -> None:
        await db.execute(
            "INSERT INTO sums VALUES ($1, $2, 1) ON CONFLICT (till)"
            " DO UPDATE SET amount = sums.amount + excluded.amount, events = sums.events + 1",
            event.stream,
            event.data.amount,
        )
        if event.data.amount in self.jams_at:
            raise OSError("out of ink")


async def sums(app: Application) -> list[tuple[object, ...]]:
    return [tuple(row) for row in await app.query(Sums, "SELECT till, amount, events FROM sums ORDER BY till")]


async def test_a_projector_sets_aside_what_fails_and_takes_it_up_again_each_once(dsn: str) -> None:
    projector = Sums(POISON)
    async with fresh_schema(dsn) as schema:
        store = PostgresEventStore(dsn, schema=schema)
        async with Application(store=store, router=tills(), projectors=[projector], defaults=QUICK) as app:
            for number in range(20):
                await app.dispatch(PutIn(f"t{number % 4}", POISON if number == 5 else 100 + number))
            outcomes = [await put_in(app, (f"t{number}", 1)) for number in range(4)]
            before = await sums(app)
            projector.jams_at.clear()

            asked = await app.subscriptions.retry(Sums, key="till-t1")

            async def is_done() -> None:
                assert await app.subscriptions.parked() == []

            await eventually(is_done)
            after = await sums(app)

    assert outcomes == ["handled", "parked", "handled", "handled"]
    assert asked == 5
    assert before[1] == ("till-t1", 101, 1)
    assert after[1] == ("till-t1", 101 + POISON + 109 + 113 + 117 + 1, 6)
    assert after[0] == before[0]
    assert after[2:] == before[2:]
