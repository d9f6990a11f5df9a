"""How many batches are on their way at once, and who goes together: alone, and among others who append to the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from framework.store.postgres.appender import Appender
from framework.store.postgres.lane import Lane, Log
from framework.store.postgres.lanes import Lanes
from framework.store.postgres.unit import Unit
from framework.store.protocol import Expected
from framework.testing import eventually
from tests.store.postgres.hands import write


class Database:
    """Lends itself as every lane, and answers a batch when it is told to."""

    def __init__(self) -> None:
        self.position = 0
        self.batches: list[list[str]] = []
        """The streams of those on their way."""
        self._gates: list[asyncio.Event] = []

    async def borrow(self, _schema: str, _until: float) -> Lane:
        return cast("Lane", self)

    def give_back(self, lane: Lane) -> None:
        assert cast("object", lane) is self

    async def deliver(self, batch: Sequence[Unit], log: Log) -> None:
        gate, streams = asyncio.Event(), [stream for unit in batch for stream in unit.streams]
        self.batches.append(streams)
        self._gates.append(gate)
        await gate.wait()
        base = self.position
        self.position += len(batch)
        log.appended(base, self.position)
        for unit in batch:
            unit.succeed(())

    def answer(self) -> None:
        """Let the batch be recorded that was sent first."""
        del self.batches[0]
        self._gates.pop(0).set()

    async def holds(self, *batches: str) -> None:
        """Return when these are on their way, and no others, and it stays so."""
        await eventually(lambda: [sorted(batch) for batch in self.batches] == [sorted(batch) for batch in batches])
        for _ in range(20):
            await asyncio.sleep(0)
        assert [sorted(batch) for batch in self.batches] == [sorted(batch) for batch in batches]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def appender(database: Database) -> AsyncIterator[Appender]:
    appender = Appender(cast("Lanes", database), "s", 30, lambda _: None)
    yield appender
    closing = asyncio.ensure_future(appender.close())
    while not closing.done():
        if database.batches:
            database.answer()
        await asyncio.sleep(0)
    await closing


def keep_appending(appender: Appender, streams: str) -> list[asyncio.Task[None]]:
    """Have a caller for each of *streams* append for ever, the next when the one before is answered."""

    async def caller(stream: str) -> None:
        while True:
            await appender.append([write(stream, Expected.ANY)], [])

    return [asyncio.ensure_future(caller(stream)) for stream in streams]


async def end(callers: Sequence[asyncio.Task[None]]) -> None:
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)


async def test_who_appends_alone_has_two_batches_on_their_way(database: Database, appender: Appender) -> None:
    callers = keep_appending(appender, "a")
    await database.holds("a")
    callers += keep_appending(appender, "bc")

    await database.holds("a", "bc")
    database.answer()

    await database.holds("bc", "a")
    await end(callers)


async def test_who_appends_among_others_has_one_batch_on_its_way_and_all_its_callers_in_it(
    database: Database, appender: Appender
) -> None:
    callers = keep_appending(appender, "a")
    await database.holds("a")
    callers += keep_appending(appender, "bc")
    await database.holds("a", "bc")

    database.position += 1  # somebody else has appended
    database.answer()

    await database.holds("bc")
    database.position += 1
    database.answer()

    await database.holds("abc")
    await end(callers)


async def test_whose_others_have_gone_has_two_batches_on_their_way_again(
    database: Database, appender: Appender
) -> None:
    callers = keep_appending(appender, "ab")
    await database.holds("ab")
    database.position += 1
    database.answer()
    await database.holds("ab")
    callers += keep_appending(appender, "c")
    await database.holds("ab")

    database.answer()  # and nobody has appended between

    await database.holds("c", "ab")
    await end(callers)


async def test_who_appends_among_others_does_not_wait_for_those_who_come_without_end(
    database: Database, appender: Appender
) -> None:
    coming = [appender.append([write("a", Expected.ANY)], [])]
    await database.holds("a")
    database.position += 1  # somebody else has appended
    database.answer()
    await coming.pop()
    coming.append(appender.append([write("a", Expected.ANY)], []))
    await database.holds("a")

    database.position += 1
    database.answer()
    while not database.batches and len(coming) < 500:
        coming.append(appender.append([write(f"b-{len(coming)}", Expected.ANY)], []))
        await asyncio.sleep(0)

    assert len(coming) < 100
