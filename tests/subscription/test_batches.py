"""Many events at once, by number and by time; where they fail, the one at fault is found, and only that is held up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar
from uuid import uuid4

import pytest

from framework import (
    Application,
    Backoff,
    Connection,
    Consistency,
    EventHandler,
    Halt,
    MemoryEventStore,
    PostgresEventStore,
    Projector,
    Recorded,
    Skip,
)
from framework.clock import now
from framework.codec import Codec
from framework.errors import InvalidContract, InvalidRequest, StorageUnavailable
from framework.evolution import EventTypes
from framework.journal import Journal
from framework.policies import Defaults
from framework.reactions import Reaction
from framework.selection import Selection
from framework.store.protocol import Expected, NewEvent, StreamWrite
from framework.store.subscriptions import Definition, ParkedEvent
from framework.testing import eventually
from framework.testing.store_contract.parts import take
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema

E = TypeVar("E")

QUICK = Defaults(handler_retry=Backoff(attempts=3, first=timedelta(milliseconds=1)))
POISON = 13
LONG = timedelta(hours=1)


class Post(EventHandler[Moved]):
    """Sends amounts off in parcels, and chokes on some."""

    batch_size = 16

    def __init__(self, *chokes_on: int, reaction: Reaction | None = None) -> None:
        self.parcels: list[list[int]] = []
        self.choked: list[list[int]] = []
        self.chokes_on = set(chokes_on)
        self.reaction = reaction

    @property
    def sent(self) -> list[int]:
        return [amount for parcel in self.parcels for amount in parcel]

    async def handle_batch(self, events: Sequence[Recorded[Moved]]) -> int | None:
        amounts = [event.data.amount for event in events]
        if self.chokes_on.intersection(amounts):
            self.choked.append(amounts)
            raise OSError("the parcel is torn")
        self.parcels.append(amounts)
        return None

    def on_error(self, event: Recorded[Moved], error: Exception, attempt: int) -> Reaction:
        return self.reaction or super().on_error(event, error, attempt)


@pytest.fixture
async def store() -> MemoryEventStore:
    return MemoryEventStore()


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[PostgresEventStore]:
    async with fresh_schema(dsn) as schema:
        yield PostgresEventStore(dsn, schema=schema)


async def move(store: MemoryEventStore | PostgresEventStore, *amounts: int, till: str = "a") -> None:
    """Record *amounts*, each in an event, with nobody there to handle them."""
    async with Application(store=store, router=tills()) as app:
        for amount in amounts:
            await app.dispatch(PutIn(till, amount))


def post_office(store: MemoryEventStore, *posts: EventHandler[Moved]) -> Application:
    return Application(store=store, router=tills(), handlers=posts, defaults=QUICK)


# By number and by time -----------------------------------------------------------------------------


async def test_those_that_are_there_come_at_once_up_to_a_number(store: MemoryEventStore) -> None:
    post = Post()
    await move(store, *range(1, 41))

    async with post_office(store, post):
        await eventually(lambda: len(post.sent) == 40)

    assert post.parcels == [[*range(1, 17)], [*range(17, 33)], [*range(33, 41)]]


class Patient(Post):
    batch_size = 3
    batch_within = LONG


async def test_a_batch_waits_until_it_is_full(store: MemoryEventStore) -> None:
    post = Patient()
    async with post_office(store, post) as app:
        for amount in (1, 2, 3):
            await app.dispatch(PutIn("a", amount))
        await eventually(lambda: len(post.sent) == 3)

    assert post.parcels == [[1, 2, 3]]


async def test_a_batch_that_is_not_full_comes_when_its_time_is_over(store: MemoryEventStore) -> None:
    class Prompt(Post):
        batch_within = timedelta(milliseconds=10)

    post = Prompt()
    async with post_office(store, post) as app:
        result = await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)

    assert result.waited == {"Prompt": "handled"}
    assert post.parcels == [[1]]


async def test_a_batch_that_waits_is_finished_when_the_application_closes(store: MemoryEventStore) -> None:
    class Attentive(Patient):
        partitions: ClassVar[int] = 2

        def partition_by(self, event: Recorded[Moved]) -> str:
            looks.append(event.data.amount)
            return event.stream

    looks: list[int] = []
    post = Attentive()
    async with post_office(store, post) as app:
        await app.dispatch(PutIn("a", 1))
        await eventually(lambda: len(looks) >= Attentive.partitions)

    assert post.parcels == [[1]]


async def test_a_handler_may_say_how_many_it_has_done_and_is_given_the_rest(store: MemoryEventStore) -> None:
    class Slow(Post):
        async def handle_batch(self, events: Sequence[Recorded[Moved]]) -> int | None:
            await super().handle_batch(events)
            return min(2, len(events))

    post = Slow()
    await move(store, 1, 2, 3, 4, 5)

    async with post_office(store, post) as app:
        await eventually(lambda: len(post.parcels) == 3)
        assert await app.subscriptions.parked() == []

    assert post.parcels == [[1, 2, 3, 4, 5], [3, 4, 5], [5]]


@pytest.mark.parametrize("done", [-1, 0, 2])
async def test_a_number_that_cannot_be_is_the_handlers_fault(store: MemoryEventStore, done: int) -> None:
    class Odd(Post):
        async def handle_batch(self, events: Sequence[Recorded[Moved]]) -> int | None:
            del events
            return done

    async with post_office(store, Odd()) as app:
        result = await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        (parked,) = await app.subscriptions.parked()

    assert result.waited == {"Odd": "parked"}
    assert parked.error is not None
    assert parked.error.startswith(f"InvalidContract: Odd.handle_batch returned {done} for 1 events: return how many")


async def test_every_stream_of_a_batch_is_handled_for_those_who_wait(store: MemoryEventStore) -> None:
    """That one batch ends with an event of another stream is nothing to them."""

    class Pairs(Post):
        batch_size = 2
        batch_within = LONG

    async with post_office(store, Pairs()) as app:
        results = await asyncio.gather(
            *(app.dispatch(PutIn(till, 1), consistency=Consistency.STRONG) for till in ("a", "b"))
        )

    assert [result.waited for result in results] == [{"Pairs": "handled"}] * 2


# The one at fault ----------------------------------------------------------------------------------


async def test_the_event_at_fault_is_found_by_halves_and_the_others_are_done(store: MemoryEventStore) -> None:
    post = Post(POISON, reaction=Skip())
    await move(store, *range(1, 17))

    async with post_office(store, post):
        await eventually(lambda: len(post.sent) == 15)

    assert post.choked == [[*range(1, 17)], [13, 14], [13]]
    assert post.parcels == [[*range(1, 9)], [9, 10, 11, 12], [14, 15, 16]]


async def test_it_is_tried_by_itself_as_often_as_any_and_set_aside_with_its_key(store: MemoryEventStore) -> None:
    post = Post(POISON)
    await move(store, 1, 2, POISON, 3)
    await move(store, 4, till="b")

    async with post_office(store, post) as app:
        await eventually(lambda: 4 in post.sent)
        parked = await app.subscriptions.parked()
        post.chokes_on.clear()
        await app.subscriptions.retry(Post)
        await eventually(lambda: len(post.sent) == 5)

    assert post.choked.count([POISON]) == QUICK.handler_retry.attempts
    assert [(each.position, each.attempts) for each in parked] == [(3, 3), (4, 0)]
    assert post.sent == [1, 2, 4, POISON, 3]


async def test_a_batch_that_halts_has_done_what_came_before(store: MemoryEventStore) -> None:
    post = Post(POISON, reaction=Halt())
    await move(store, 1, 2, POISON, 3)

    async with post_office(store, post) as app:

        async def stands_still() -> None:
            assert (await app.health()).halted

        await eventually(stands_still)
        (slot,) = await app.subscriptions.slots()

    assert (post.sent, slot.position) == ([1, 2], 2)


# Rows ----------------------------------------------------------------------------------------------


class Sums(Projector[Moved]):
    """What is in each till, and which amounts were projected in one transaction."""

    schema = """
        CREATE TABLE sums (till text PRIMARY KEY, amount bigint NOT NULL);
        CREATE TABLE projected (amount int NOT NULL, transaction bigint NOT NULL DEFAULT txid_current());
    """

    def __init__(self, *jams_at: int) -> None:
        self.jams_at = set(jams_at)
        self.jammed: list[list[int]] = []

    async def project_batch(self, events: Sequence[Recorded[Moved]], db: Connection) -> None:
        amounts = [event.data.amount for event in events]
        await db.copy_records_to_table("projected", records=[(amount,) for amount in amounts], columns=["amount"])
        await db.execute(
            """
            INSERT INTO sums
            SELECT till, sum(amount) FROM unnest($1::text[], $2::int[]) AS m (till, amount) GROUP BY till
            ON CONFLICT (till) DO UPDATE SET amount = sums.amount + excluded.amount
            """,
            [event.stream for event in events],
            amounts,
        )
        if self.jams_at.intersection(amounts):
            self.jammed.append(amounts)
            raise OSError("out of ink")


async def test_rows_are_written_many_at_once_and_each_once(database: PostgresEventStore) -> None:
    projector = Sums(POISON)
    await move(database, *range(1, 9))
    await move(database, POISON, 9, till="b")
    await move(database, 10, till="c")

    async with Application(store=database, router=tills(), projectors=[projector], defaults=QUICK) as app:
        await eventually(lambda: projector.jammed.count([POISON]) == QUICK.handler_retry.attempts)
        await app.dispatch(PutIn("c", 1), consistency=Consistency.STRONG)
        held_back = await app.query(Sums, "SELECT till, amount FROM sums ORDER BY till")
        projector.jams_at.clear()
        await app.subscriptions.retry(Sums)

        async def is_released() -> None:
            assert await app.subscriptions.parked() == []

        await eventually(is_released)
        sums = await app.query(Sums, "SELECT till, amount FROM sums ORDER BY till")
        together = await app.query(
            Sums, "SELECT array_agg(amount ORDER BY amount) FROM projected GROUP BY transaction ORDER BY transaction"
        )

    assert held_back == [("till-a", 36), ("till-c", 11)]
    assert sums == [("till-a", 36), ("till-b", 22), ("till-c", 11)]
    assert [amounts for (amounts,) in together] == [[1, 2, 3, 4, 5], [6, 7, 8], [10], [1], [POISON], [9]]


# What is parked ------------------------------------------------------------------------------------


async def test_an_event_is_read_at_its_position_or_there_is_none(store: MemoryEventStore) -> None:
    await move(store, 1, 2, 3)
    journal = Journal(store, Codec(), EventTypes([Moved]))

    event = await journal.read_at(2, Selection())

    assert isinstance(event, Recorded)
    assert event.data == Moved(2)
    with pytest.raises(InvalidRequest, match="the log has no event at position 4"):
        await journal.read_at(4, Selection())


async def test_a_parked_event_that_is_wanted_no_longer_is_not_taken_for_the_next_one(store: MemoryEventStore) -> None:
    stranger = NewEvent(uuid4(), "Stranger", 1, b"{}", b"{}", uuid4(), uuid4())
    await store.append([StreamWrite("x", Expected.ANY, [stranger])])
    await park(store, 1)
    post = Post()
    async with post_office(store, post) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        await app.subscriptions.retry(Post)

        async def has_failed() -> None:
            (parked,) = await app.subscriptions.parked()
            assert parked.attempts == 2

        await eventually(has_failed)

    assert post.sent == [1]


async def park(store: MemoryEventStore, position: int) -> None:
    """Leave an event parked, by an owner that is gone."""
    subscriptions = store.subscriptions
    await subscriptions.define(Definition("Post", ("Moved",), 1, "stream"), start=0)
    await subscriptions.park(await take(store, "Post"), [ParkedEvent("Post", position, "till-z", "?", 1, now())], 0)


async def test_what_is_asked_for_while_the_database_goes_away_is_done_when_it_is_back(
    store: MemoryEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework.runtime.reports.REPORT_SECONDS", 3600.0)  # they look for what is asked for as well
    post = Post(POISON)
    async with post_office(store, post) as app:
        await app.dispatch(PutIn("a", POISON), consistency=Consistency.STRONG)
        post.chokes_on.clear()
        look = store.subscriptions.parked
        troubles = [StorageUnavailable("away")]

        async def is_away_once(names: Collection[str] | None = None) -> Sequence[ParkedEvent]:
            if troubles:
                raise troubles.pop()
            return await look(names)

        await app.subscriptions.retry(Post)
        monkeypatch.setattr(store.subscriptions, "parked", is_away_once)

        await eventually(lambda: post.sent == [POISON])
        assert not troubles


# How a class says it -------------------------------------------------------------------------------


def test_a_handler_has_one_form() -> None:
    with pytest.raises(InvalidContract, match="Both defines both handle and handle_batch: keep one"):

        class Both(Post):  # pyright: ignore[reportUnusedClass]
            async def handle(self, event: Recorded[Moved]) -> None:
                """Do nothing."""

    with pytest.raises(InvalidContract, match="Neither defines neither handle nor handle_batch: write one"):

        class Neither(EventHandler[Moved]):  # pyright: ignore[reportUnusedClass]
            pass


def test_a_projector_has_one_form() -> None:
    with pytest.raises(InvalidContract, match="Both defines both project and project_batch: keep one"):

        class Both(Sums):  # pyright: ignore[reportUnusedClass]
            async def project(self, event: Recorded[Moved], db: Connection) -> None:
                """Do nothing."""

    with pytest.raises(InvalidContract, match="Neither defines neither project nor project_batch: write one"):

        class Neither(Projector[Moved]):  # pyright: ignore[reportUnusedClass]
            pass


def test_a_class_that_others_complete_need_not_have_one_yet() -> None:
    class Named(EventHandler[E], Generic[E]):
        name = "named"

    class Whole(Named[Moved]):
        async def handle(self, event: Recorded[Moved]) -> None:
            """Do nothing."""

    assert not Whole.is_batched


@pytest.mark.parametrize("base", [Post, Sums])
def test_a_batch_of_none_is_refused(base: type[Any]) -> None:
    with pytest.raises(InvalidContract, match="batch_size is 0: give 1 or more"):
        type("Wrong", (base,), {"batch_size": 0})


def test_a_time_below_nothing_is_refused() -> None:
    with pytest.raises(InvalidContract, match="batch_within is -1 s: give 0"):

        class Wrong(Post):  # pyright: ignore[reportUnusedClass]
            batch_within = timedelta(seconds=-1)
