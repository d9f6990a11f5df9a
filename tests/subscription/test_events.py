"""`async for event in application.events(…)`: the log as an iterator, with no name and nothing stored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from framework import Application, MemoryEventStore, Recorded
from framework.errors import ConfigurationError, NotRunning, UnknownEventType
from framework.store.protocol import Expected, NewEvent, StreamWrite
from tests.runtime.till import Moved, PutIn, tills


@pytest.fixture
async def store() -> MemoryEventStore:
    return MemoryEventStore()


@pytest.fixture
async def app(store: MemoryEventStore) -> AsyncIterator[Application]:
    async with Application(store=store, router=tills()) as app:
        yield app


async def test_what_is_there_comes_first_and_then_what_is_to_come(app: Application) -> None:
    for amount in (1, 2, 3):
        await app.dispatch(PutIn("a", amount))
    seen: list[tuple[int, int]] = []

    async with asyncio.timeout(5):
        async for event in app.events(types=[Moved], after=1):
            seen.append((event.position, event.data.amount))
            if event.position < 6:
                await app.dispatch(PutIn("b", event.position + 1))
            if len(seen) == 5:
                break

    assert seen == [(2, 2), (3, 3), (4, 3), (5, 4), (6, 5)]


async def test_only_what_is_asked_for_comes(app: Application) -> None:
    for till in ("a", "ab", "b"):
        await app.dispatch(PutIn(till, 1))

    assert await first(app, 1, stream="till-a") == ["till-a"]
    assert await first(app, 2, prefix="till-a") == ["till-a", "till-ab"]
    assert await first(app, 3) == ["till-a", "till-ab", "till-b"]


async def first(app: Application, count: int, *, stream: str | None = None, prefix: str = "") -> list[str]:
    """Return the streams of the first *count* events and of one that is appended after them, to the first stream."""
    streams: list[str] = []
    async with asyncio.timeout(5):
        async for event in app.events(stream=stream, prefix=prefix):
            if len(streams) == count:
                assert event.stream == "till-a"
                break
            streams.append(event.stream)
            if len(streams) == count:
                await app.dispatch(PutIn("b", 1))
                await app.dispatch(PutIn("a", 1))
                if not stream and not prefix:
                    break
    return streams


async def test_it_ends_when_the_application_closes(store: MemoryEventStore) -> None:
    async def follow(app: Application) -> list[Recorded[Moved]]:
        return [event async for event in app.events(types=[Moved])]

    async with Application(store=store, router=tills()) as app:
        await app.dispatch(PutIn("a", 1))
        following = asyncio.ensure_future(follow(app))
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        assert [event.position for event in await following] == [1]
    with pytest.raises(NotRunning):
        await anext(app.events())


async def test_an_event_that_cannot_be_read_is_an_error_for_those_who_want_it(
    app: Application, store: MemoryEventStore
) -> None:
    stranger = NewEvent(uuid4(), "Stranger", 1, b"{}", b"{}", uuid4(), uuid4())
    await store.append([StreamWrite("x", Expected.ANY, [stranger])])
    await app.dispatch(PutIn("a", 1))

    assert (await anext(app.events(types=[Moved]))).position == 2
    with pytest.raises(UnknownEventType, match="'Stranger' version 1"):
        await anext(app.events())


async def test_a_type_nobody_declares_is_refused(app: Application) -> None:
    with pytest.raises(ConfigurationError, match="PutIn is no event that"):
        await anext(app.events(types=[PutIn]))
