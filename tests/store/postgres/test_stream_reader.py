"""Reads that go to the database together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from framework.errors import StorageUnavailable
from framework.store.postgres.database import Database
from framework.store.postgres.statements import READ_STREAM, READ_STREAMS
from framework.store.postgres.store import PostgresEventStore
from framework.store.postgres.stream_reader import FIRST_LOOK, LANES, TOGETHER, StreamReader
from framework.testing.store_contract import new_events, write


class Watched:
    """A way to the database that a test can hold back, and that notes what went over it."""

    def __init__(self, fetch: Callable[..., Awaitable[list[Any]]]) -> None:
        self._fetch = fetch
        self.gate = asyncio.Event()
        self.statements: list[tuple[str, int]] = []
        """Each statement, and for how many streams it was."""

    async def __call__(self, statement: str, first: Any, *arguments: Any) -> list[Any]:
        self.statements.append((statement, 1 if isinstance(first, str) else len(first)))
        await self.gate.wait()
        return await self._fetch(statement, first, *arguments)


async def versions(reader: StreamReader, stream: str, after: int = 0, limit: int = 1_000) -> list[int]:
    return [event.version for event in await reader.read(stream, after=after, until=None, limit=limit)]


@pytest.fixture
async def watched(store: PostgresEventStore, dsn: str) -> AsyncIterator[Watched]:
    database = Database(dsn)

    async def fetch(statement: str, *arguments: Any) -> list[Any]:
        async with database.session(store.namespace) as connection:
            return await connection.fetch(statement, *arguments)

    await database.open()
    yield Watched(fetch)
    await database.close()


async def together(*reads: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*reads, return_exceptions=True)


async def test_what_waits_while_others_are_under_way_is_read_together(
    store: PostgresEventStore, watched: Watched
) -> None:
    for name in ("a", "b"):
        await write(store, name, *new_events(2))
    reader = StreamReader(watched)
    first: list[asyncio.Future[list[int]]] = []
    for _ in range(LANES):
        first.append(asyncio.ensure_future(versions(reader, "a")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    later = [asyncio.ensure_future(versions(reader, name, after=1)) for name in ("a", "b", "c")]
    await asyncio.sleep(0)

    watched.gate.set()
    await asyncio.gather(*first, *later)

    assert [each.result() for each in first] == [[1, 2]] * LANES
    assert [each.result() for each in later] == [[2], [2], []]
    assert watched.statements == [(READ_STREAMS, 1)] * LANES + [(READ_STREAMS, 3)]


async def test_a_group_has_a_size(watched: Watched) -> None:
    watched.gate.set()
    reader = StreamReader(watched)

    await together(*(versions(reader, f"s{number}") for number in range(TOGETHER + 1)))

    assert [count for _, count in watched.statements] == [TOGETHER, 1]


async def test_the_rest_of_a_long_stream_is_read_alone(store: PostgresEventStore, watched: Watched) -> None:
    await write(store, "long", *new_events(FIRST_LOOK + 10))
    watched.gate.set()
    reader = StreamReader(watched)

    all_of_it, up_to_the_look, a_few = await together(
        versions(reader, "long"),
        versions(reader, "long", limit=FIRST_LOOK),
        versions(reader, "long", limit=3),
    )

    assert all_of_it == list(range(1, FIRST_LOOK + 11))
    assert up_to_the_look == list(range(1, FIRST_LOOK + 1))
    assert a_few == [1, 2, 3]
    assert sorted(watched.statements) == sorted([(READ_STREAMS, 3), (READ_STREAM, 1)])


async def test_a_name_the_database_does_not_take_fails_alone(store: PostgresEventStore, watched: Watched) -> None:
    await write(store, "a", *new_events(1))
    watched.gate.set()
    reader = StreamReader(watched)

    before, refused, unreadable, after = await together(
        *(versions(reader, name) for name in ("a", "nul\0", "lone\ud800", "a"))
    )

    assert (before, after) == ([1], [1])
    assert isinstance(refused, asyncpg.PostgresError)
    assert isinstance(unreadable, (asyncpg.DataError, UnicodeError))


async def test_a_read_that_is_cancelled_is_withdrawn(watched: Watched) -> None:
    watched.gate.set()
    reader = StreamReader(watched)
    gone = asyncio.ensure_future(versions(reader, "a"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)

    await together(versions(reader, "b"))

    assert watched.statements == [(READ_STREAMS, 1)]


async def test_nobody_is_left_waiting_when_the_store_closes(watched: Watched) -> None:
    reader = StreamReader(watched)
    reads: list[asyncio.Future[list[int]]] = []
    for number in range(LANES + 2):
        reads.append(asyncio.ensure_future(versions(reader, f"s{number}")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert len(watched.statements) == LANES

    await reader.close()

    for outcome in await together(*reads):
        assert isinstance(outcome, StorageUnavailable)
