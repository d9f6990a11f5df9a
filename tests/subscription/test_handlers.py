"""A handler begins where it is told to, is given the events of its streams, and says at once what cannot be."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

from framework import Consistency, EventHandler, MemoryEventStore, PostgresEventStore, Recorded
from framework.errors import ConfigurationError, SubscriptionChanged
from framework.handler import StartFrom
from framework.store.protocol import EventStore, LogPage
from framework.testing import WatchedApplication, eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema


class Seen(EventHandler[Moved]):
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []

    async def handle(self, event: Recorded[Moved]) -> None:
        self.seen.append((event.stream, event.data.amount))


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with fresh_schema(dsn) as schema:
            yield PostgresEventStore(dsn, schema=schema)


def shop(store: EventStore, *handlers: EventHandler[Moved]) -> WatchedApplication:
    return WatchedApplication(store=store, router=tills(), handlers=handlers)


async def seen_by(store: EventStore, handler: Seen, *moves: tuple[str, int]) -> Sequence[tuple[str, int]]:
    """Return what *handler* is given while *moves* are made."""
    async with shop(store, handler) as app:
        for till, amount in moves:
            await app.dispatch(PutIn(till, amount))
        await app.settled()
    return handler.seen


async def put_in(store: EventStore, *amounts: int) -> datetime:
    """Put *amounts* into a till that nobody looks at, and return when the second was recorded."""
    async with shop(store) as app:
        for amount in amounts:
            await app.dispatch(PutIn("a", amount))
        moments = [event.recorded_at for event in (await store.read_log()).events]
    return moments[1]


def starting(begins: Any) -> Seen:
    class Starting(Seen):
        start_from: ClassVar[StartFrom] = begins

    return Starting()


# Where it begins -----------------------------------------------------------------------------------


async def test_a_handler_begins_at_the_first_event(store: EventStore) -> None:
    await put_in(store, 1, 2)

    assert await seen_by(store, Seen(), ("b", 9)) == [("till-a", 1), ("till-a", 2), ("till-b", 9)]


async def test_a_handler_begins_behind_all_that_there_is(store: EventStore) -> None:
    await put_in(store, 1, 2)

    assert await seen_by(store, starting("now"), ("b", 9)) == [("till-b", 9)]


async def test_a_handler_begins_behind_a_position(store: EventStore) -> None:
    await put_in(store, 1, 2)

    assert await seen_by(store, starting(1), ("b", 9)) == [("till-a", 2), ("till-b", 9)]


async def test_a_handler_begins_behind_a_moment(store: EventStore) -> None:
    second = await put_in(store, 1, 2, 3)

    assert await seen_by(store, starting(second), ("b", 9)) == [("till-a", 3), ("till-b", 9)]


async def test_a_handler_that_has_run_goes_on_where_it_was_wherever_it_began(store: EventStore) -> None:
    await put_in(store, 1, 2)
    await seen_by(store, starting("now"), ("b", 9))
    await put_in(store, 3)

    assert await seen_by(store, starting("now"), ("b", 10)) == [("till-a", 3), ("till-b", 10)]


async def test_a_position_the_log_has_not_come_to_is_no_start(store: EventStore) -> None:
    await put_in(store, 1, 2)

    with pytest.raises(ConfigurationError, match="Starting is to start behind position 3, and the log ends at 2"):
        async with shop(store, starting(3)):
            pass

    async with store:
        assert await store.subscriptions.slots() == []


async def test_another_start_is_another_definition(store: EventStore) -> None:
    await seen_by(store, starting("origin"), ("a", 1))

    with pytest.raises(SubscriptionChanged, match="start_from was 'origin' and is 'now'"):
        async with shop(store, starting("now")):
            pass


# Which events it is given --------------------------------------------------------------------------


class OfOneTill(Seen):
    stream: ClassVar[str | None] = "till-b"


class OfSomeTills(Seen):
    prefix: ClassVar[str] = "till-b"


MOVES = [("a", 1), ("b", 2), ("bb", 3), ("a", 5), ("b", 4)]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (OfOneTill, [("till-b", 2), ("till-b", 4)]),
        (OfSomeTills, [("till-b", 2), ("till-bb", 3), ("till-b", 4)]),
    ],
)
async def test_a_handler_is_given_the_events_of_its_streams_live_and_behind(
    store: EventStore, kind: type[Seen], wanted: Sequence[tuple[str, int]]
) -> None:
    live = await seen_by(store, kind(), *MOVES)

    class Later(kind):  # type: ignore[valid-type,misc]  # one of the two, under another name
        pass

    behind = await seen_by(store, Later(), ("b", 6))

    assert live == wanted
    assert behind == [*wanted, ("till-b", 6)]


async def test_a_handler_that_is_behind_reads_only_what_its_streams_hold(store: EventStore) -> None:
    async with shop(store) as app:
        for move in MOVES:
            await app.dispatch(PutIn(*move))
    reads: list[int] = []
    read_log = store.read_log

    async def counting(**options: Any) -> LogPage:
        page = await read_log(**options)
        reads.append(len(page.events))
        return page

    handler = OfOneTill()
    store.read_log = counting  # type: ignore[method-assign]
    async with shop(store, handler):
        await eventually(lambda: handler.seen == [("till-b", 2), ("till-b", 4)])

    # A store finds what begins alike: one event of till-bb comes along.
    assert max(reads) == 3


async def test_a_stream_that_is_not_there_yet_is_waited_for(store: EventStore) -> None:
    handler = OfOneTill()
    async with shop(store, handler) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        await app.dispatch(PutIn("b", 2), consistency=Consistency.STRONG)

    assert handler.seen == [("till-b", 2)]


# What cannot be ------------------------------------------------------------------------------------


@pytest.mark.parametrize("begins", ["end", -1, True, 1.5, None, datetime(2026, 1, 1), timedelta(1)])  # noqa: DTZ001 - that is what is refused
def test_a_start_that_there_cannot_be_is_refused_when_the_application_is_built(begins: object) -> None:
    with pytest.raises(ConfigurationError, match=r"Starting cannot start from .*: give 'origin', 'now', a position"):
        shop(MemoryEventStore(), starting(begins))


@pytest.mark.parametrize("count", [0, -1, 1_025, True, 1.5, "2", None])
def test_a_number_of_slots_that_there_cannot_be_is_refused(count: Any) -> None:
    class Cut(Seen):
        partitions: ClassVar[int] = count

    with pytest.raises(ConfigurationError, match=r"Cut has partitions = .*: give it from 1 to 1024 slots"):
        shop(MemoryEventStore(), Cut())


@pytest.mark.parametrize("said", [{"stream": ""}, {"stream": 7}, {"prefix": "\0"}, {"prefix": None}])
def test_streams_that_there_cannot_be_are_refused(said: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="Wanting: "):
        shop(MemoryEventStore(), type("Wanting", (Seen,), said)())


def test_a_prefix_that_the_stream_does_not_have_is_refused() -> None:
    said = {"stream": "till-a", "prefix": "vault-"}

    with pytest.raises(ConfigurationError, match="wants stream 'till-a' and the prefix 'vault-', which is no part of"):
        shop(MemoryEventStore(), type("Wanting", (Seen,), said)())


@pytest.mark.parametrize("slots", [1, 2])
async def test_a_key_that_is_no_text_halts_its_slots_and_says_so(store: EventStore, slots: int) -> None:
    class Keyed(Seen):
        partitions: ClassVar[int] = slots

        def partition_by(self, event: Recorded[Moved]) -> str:
            return None  # type: ignore[return-value]  # what happens to those who do not check

    async with shop(store, Keyed()) as app:
        await app.dispatch(PutIn("a", 1))

        async def all_stand_still() -> None:
            halted = (await app.health()).halted
            assert len(halted) == slots
            assert all(
                "Keyed.partition_by returned None: the key of an event is a text" in each for each in halted.values()
            )

        await eventually(all_stand_still)
