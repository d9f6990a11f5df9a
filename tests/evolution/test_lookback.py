"""What an aggregate has been through is gone over again, event by event or from one moment to another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Self

import attrs
import pytest

from framework import Aggregate, Application, MemoryEventStore, PostgresEventStore, Router
from framework.errors import InvalidOption, NotRunning, StreamDeleted
from framework.policies import Defaults
from framework.store.protocol import EventStore, Expected
from tests.runtime.till import Moved, PutIn, TakeOut, Till, tills
from tests.sample_bank.databases import fresh_schema


@pytest.fixture(params=["memory", "postgres"])
async def app(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Application]:
    async def opened(store: EventStore) -> AsyncIterator[Application]:
        async with Application(store=store, router=tills(), defaults=Defaults(page=2)) as app:
            for amount in (5, 7, 1):
                await app.dispatch(PutIn("a", amount))
            await app.dispatch(TakeOut("a", 3))
            await app.dispatch(PutIn("b", 100))
            yield app

    if request.param == "memory":
        async for app in opened(MemoryEventStore()):
            yield app
        return
    async with fresh_schema(dsn) as schema:
        async for app in opened(PostgresEventStore(dsn, schema=schema)):
            yield app


async def test_an_aggregate_is_gone_over_event_by_event(app: Application) -> None:
    steps = [step async for step in app.replay(Till, "a")]

    assert [step.event.data for step in steps] == [Moved(5), Moved(7), Moved(1), Moved(-3)]
    assert [step.event.version for step in steps] == [1, 2, 3, 4]
    assert [(step.before.content, step.after.content) for step in steps] == [(0, 5), (5, 12), (12, 13), (13, 10)]


async def test_it_is_gone_over_from_one_version_to_another(app: Application) -> None:
    steps = [step async for step in app.replay(Till, "a", after=1, until=3)]

    assert [(step.before.content, step.after.content) for step in steps] == [(5, 12), (12, 13)]


async def test_one_that_nobody_has_heard_of_has_been_through_nothing(app: Application) -> None:
    assert [step async for step in app.replay(Till, "nobody")] == []
    assert (await app.difference(Till, "nobody", 0)).events == []


async def test_the_difference_of_two_versions_has_the_fields_and_what_lies_between(app: Application) -> None:
    found = await app.difference(Till, "a", 1, 3)

    assert (found.before, found.after) == (Till(5), Till(13))
    assert found.fields == {"content": (5, 13)}
    assert [event.data for event in found.events] == [Moved(7), Moved(1)]


async def test_the_difference_since_a_version_is_up_to_now(app: Application) -> None:
    found = await app.difference(Till, "a", 3)

    assert (found.fields, [event.data for event in found.events]) == ({"content": (13, 10)}, [Moved(-3)])


async def test_there_is_a_difference_of_two_moments(app: Application) -> None:
    steps = [step async for step in app.replay(Till, "a")]
    second, long_ago = steps[1].event.recorded_at, datetime(2000, 1, 1, tzinfo=UTC)

    until = await app.difference(Till, "a", long_ago, second)
    after = await app.difference(Till, "a", second, second + timedelta(days=1))

    assert (until.before, after.after) == (Till(), Till(10))
    assert until.after == after.before
    assert len(until.events) + len(after.events) == len(steps)


async def test_fields_that_are_as_they_were_are_no_difference(app: Application) -> None:
    assert (await app.difference(Till, "a", 2, 2)).fields == {}


async def test_what_ends_before_it_begins_is_refused(app: Application) -> None:
    with pytest.raises(InvalidOption, match="till-a: what became of it since version 3 is not over by version 2"):
        await app.difference(Till, "a", 3, 2)


async def test_what_was_deleted_is_not_gone_over(app: Application) -> None:
    await app.wiring.journal.store.delete_stream("till-a", Expected.ANY)

    with pytest.raises(StreamDeleted):
        [step async for step in app.replay(Till, "a")]


async def test_nothing_is_gone_over_in_an_application_that_is_not_open() -> None:
    app = Application(store=MemoryEventStore(), router=tills())

    with pytest.raises(NotRunning):
        await anext(app.replay(Till, "a"))
    with pytest.raises(NotRunning):
        await app.difference(Till, "a", datetime.now(UTC))


# The event before a fault --------------------------------------------------------------------------


@attrs.frozen
class Brittle(Aggregate[PutIn, Moved]):
    """Breaks at what it should take."""

    content: int = 0

    def execute(self, command: PutIn) -> Iterator[Moved]:
        yield Moved(command.amount)

    def apply(self, event: Moved) -> Self:
        if event.amount == 1:
            raise LookupError("one")
        return attrs.evolve(self, content=self.content + event.amount)


async def test_one_that_fails_is_gone_over_up_to_the_event_it_fails_at() -> None:
    store = MemoryEventStore()
    async with Application(store=store, router=tills()) as app:
        for amount in (5, 7, 1, 2):
            await app.dispatch(PutIn("a", amount))
    router = Router()
    router.register(Brittle, identity="till", prefix="till-")
    reached: list[Brittle] = []

    async with Application(store=store, router=router) as app:

        async def go_over() -> None:
            async for step in app.replay(Brittle, "a"):
                reached.append(step.after)  # noqa: PERF401 - what was yielded before the error is what is looked at

        with pytest.raises(LookupError, match="one"):
            await go_over()

    assert reached == [Brittle(5), Brittle(12)]
