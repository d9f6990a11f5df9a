"""A slot that has nothing to do holds no task, and is there all the same for whoever wants something of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, ClassVar

import pytest

from framework import Application, Consistency, EventHandler, MemoryEventStore, PostgresEventStore, Recorded
from framework.runtime.reports import Reports
from framework.store.protocol import EventStore, LogPage
from framework.subscription import tail
from framework.testing import eventually
from tests.runtime.till import Moved, PutIn, tills
from tests.sample_bank.databases import fresh_schema


class Sorter(EventHandler[Moved]):
    partitions: ClassVar[int] = 2

    def __init__(self) -> None:
        self.sorted: list[int] = []

    def partition_by(self, event: Recorded[Moved]) -> str:
        return "small" if event.data.amount < 100 else "large"

    async def handle(self, event: Recorded[Moved]) -> None:
        self.sorted.append(event.data.amount)


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[EventStore]:
    if request.param == "memory":
        yield MemoryEventStore()
    else:
        async with fresh_schema(dsn) as schema:
            yield PostgresEventStore(dsn, schema=schema)


@pytest.fixture(autouse=True)
def weary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "REST_AFTER", timedelta(milliseconds=10))


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> list[Reports]:
    """Let nobody write down how the slots are, which would wake them, and return who would have."""
    held_back: list[Reports] = []

    def hold_back(reports: Reports) -> None:
        held_back.append(reports)

    monkeypatch.setattr(Reports, "changed", hold_back)
    return held_back


def sorting(store: EventStore, sorter: Sorter) -> Application:
    return Application(store=store, router=tills(), handlers=[sorter])


async def is_at_rest() -> bool:
    return not any(task.get_name().startswith(("Sorter slot", "tail")) for task in asyncio.all_tasks())


async def places(app: Application) -> list[int]:
    (sorter,) = await app.subscriptions.list()
    return [slot.position for slot in sorter.slots]


async def test_what_a_slot_at_rest_has_passed_over_is_written_down_when_somebody_would_know(store: EventStore) -> None:
    async with sorting(store, Sorter()) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        await eventually(is_at_rest)
        before = await places(app)

        await store.subscriptions.nudge()

        async def are_written_down() -> None:
            assert await places(app) == [1, 1]

        await eventually(are_written_down)
        assert sorted(before) == [0, 1]
        await eventually(is_at_rest)


async def test_whoever_writes_down_how_the_slots_are_hears_of_those_at_rest_and_wakes_them(
    store: EventStore, silent: list[Reports], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sorting(store, Sorter()) as app:
        await app.dispatch(PutIn("a", 1), consistency=Consistency.STRONG)
        await eventually(is_at_rest)
        (reports,) = set(silent)
        monkeypatch.undo()
        monkeypatch.setattr("framework.runtime.reports.REPORT_SECONDS", 0.01)

        reports.changed()

        async def are_told_of() -> None:
            assert [(slot.state, slot.events_behind) for slot in await app.subscriptions.lag()] == [("running", 0)] * 2

        await eventually(are_told_of)


async def test_slots_at_rest_are_shared_with_who_joins_and_taken_up_when_he_leaves(dsn: str) -> None:
    one, other = Sorter(), Sorter()
    async with fresh_schema(dsn) as schema, sorting(PostgresEventStore(dsn, schema=schema), one) as first:
        await eventually(is_at_rest)

        async with sorting(PostgresEventStore(dsn, schema=schema), other) as second:

            async def share() -> None:
                assert [len((await each.health()).slots) for each in (first, second)] == [1, 1]

            await eventually(share)
            await eventually(is_at_rest)
            for amount in (1, 100):
                await first.dispatch(PutIn("a", amount), consistency=Consistency.STRONG)
            assert len(one.sorted) == len(other.sorted) == 1
            await eventually(is_at_rest)

        for amount in (2, 200):
            await first.dispatch(PutIn("a", amount), consistency=Consistency.STRONG)

    assert sorted(one.sorted + other.sorted) == [1, 2, 100, 200]


async def test_who_waits_for_events_and_may_not_rest_does_not_have_the_log_read_over_and_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryEventStore()
    read_log, wait_beyond = store.read_log, store.wait_beyond
    asked: list[str] = []

    async def read(**options: Any) -> LogPage:
        asked.append("read")
        return await read_log(**options)

    async def wait(position: int) -> int:
        asked.append("wait")
        return await wait_beyond(position)

    monkeypatch.setattr(store, "read_log", read)
    monkeypatch.setattr(store, "wait_beyond", wait)
    async with Application(store=store, router=tills()) as app:
        coming = app.events(types=[Moved])
        first = asyncio.ensure_future(anext(coming))
        await eventually(lambda: asked[-3:] == ["wait"] * 3)

        await app.dispatch(PutIn("a", 1))

        assert (await first).data == Moved(1)
        await coming.aclose()
