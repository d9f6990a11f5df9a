"""A stream is deleted in its turn among the appends: the head row says which comes first."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import OutcomeUnknown, StorageUnavailable, StreamDeleted, WrongExpectedVersion
from framework.store.postgres.database import StoreConnection
from framework.store.postgres.statements import DELETE_STREAM, STREAM_INFO
from framework.store.postgres.stream_reader import FIRST_LOOK, StreamReader
from framework.store.protocol import Expected
from tests.store.postgres.hands import Hands, event, write

EXPECTATIONS = [1, Expected.ANY, Expected.STREAM_EXISTS]


@pytest.mark.parametrize("expected", EXPECTATIONS)
async def test_an_append_that_waits_behind_a_deletion_is_refused(
    store: PostgresEventStore, hands: Hands, expected: int
) -> None:
    await store.append([write("a", 0)])
    async with hands.holding_the_head():
        deleting = asyncio.ensure_future(store.delete_stream("a", 1))
        await hands.waiting_appends(1)
        writing = asyncio.ensure_future(store.append([write("a", expected)]))
        await hands.waiting_appends(2)

    deleted = await deleting

    with pytest.raises(StreamDeleted):
        await writing
    assert deleted.version == 1
    assert await store.head() == 1


@pytest.mark.parametrize("expected", EXPECTATIONS)
async def test_a_deletion_that_waits_behind_an_append_sees_it(
    store: PostgresEventStore, hands: Hands, expected: int
) -> None:
    await store.append([write("a", 0)])
    async with hands.holding_the_head():
        writing = asyncio.ensure_future(store.append([write("a", expected)]))
        await hands.waiting_appends(1)
        deleting = asyncio.ensure_future(store.delete_stream("a", Expected.STREAM_EXISTS))
        await hands.waiting_appends(2)

    (appended,) = await writing

    assert appended.version == 2
    assert (await deleting).version == 2


async def test_a_deletion_that_expects_what_an_append_before_it_has_changed_is_refused(
    store: PostgresEventStore, hands: Hands
) -> None:
    await store.append([write("a", 0)])
    async with hands.holding_the_head():
        writing = asyncio.ensure_future(store.append([write("a", 1)]))
        await hands.waiting_appends(1)
        deleting = asyncio.ensure_future(store.delete_stream("a", 1))
        await hands.waiting_appends(2)

    await writing

    with pytest.raises(WrongExpectedVersion) as caught:
        await deleting
    assert caught.value.actual == 2
    assert len(await store.read_stream("a")) == 2


async def test_an_append_to_a_deleted_stream_is_refused_alone(store: PostgresEventStore, hands: Hands) -> None:
    await store.append([write("gone", 0)])
    await store.delete_stream("gone", 1)
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        batch = [asyncio.ensure_future(store.append([write(name, 0)])) for name in ("a", "b", "c", "d")]
        refused = asyncio.ensure_future(store.append([write("gone", 1)]))

    await asyncio.gather(*ahead, *batch)

    with pytest.raises(StreamDeleted):
        await refused
    assert await store.head() == 7


async def test_a_deleted_stream_is_refused_alone_among_those_that_are_read_together(store: PostgresEventStore) -> None:
    for name in ("a", "gone", "b"):
        await store.append([write(name, 0)])
    await store.delete_stream("gone", 1)

    a, gone, b, never = await asyncio.gather(
        *(store.read_stream(name) for name in ("a", "gone", "b", "never")), return_exceptions=True
    )

    assert isinstance(gone, StreamDeleted)
    assert not isinstance(a, BaseException)
    assert not isinstance(b, BaseException)
    assert ([stored.stream for stored in a], [stored.stream for stored in b], never) == (["a"], ["b"], [])


async def test_a_stream_deleted_after_its_first_look_is_not_read_on(store: PostgresEventStore, hands: Hands) -> None:
    await store.append([write("a", 0, *(event() for _ in range(100)))])

    async def delete_before_reading_on(statement: str, *arguments: object) -> list[Any]:
        rows: list[Any] = await hands.sql.fetch(statement, *arguments)
        if len(rows) == FIRST_LOOK:
            await store.delete_stream("a", 100)
        return rows

    reader = StreamReader(delete_before_reading_on)

    with pytest.raises(StreamDeleted):
        await reader.read("a", after=0, until=None, limit=1_000)


@pytest.mark.parametrize(
    "statement", ["DELETE FROM streams", "UPDATE streams SET deleted_at = now()", "TRUNCATE streams"]
)
async def test_the_database_refuses_to_open_a_deleted_stream(
    store: PostgresEventStore, hands: Hands, statement: str
) -> None:
    await store.append([write("a", 0)])
    await store.delete_stream("a", 1)

    with pytest.raises(asyncpg.RestrictViolationError, match="what is recorded stays recorded"):
        await hands.sql.execute(statement)

    with pytest.raises(StreamDeleted):
        await store.read_stream("a")


async def test_the_commit_of_a_deletion_is_waited_for_whatever_the_session_says(
    store: PostgresEventStore, hands: Hands
) -> None:
    await store.append([write("a", 0)])
    await hands.sql.execute("SET synchronous_commit TO off")
    async with hands.sql.transaction():
        await hands.sql.fetch(DELETE_STREAM, "a", 1)

        assert await hands.sql.fetchval("SHOW synchronous_commit") == "on"


@pytest.mark.parametrize("answer_to", ["the deletion", "the question after it"])
async def test_a_deletion_whose_answer_is_lost_is_told_of_and_asked_again_answers_alike(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch, answer_to: str
) -> None:
    lost_at = DELETE_STREAM if answer_to == "the deletion" else STREAM_INFO
    await store.append([write("a", 0)])

    async def lose(self: StoreConnection, query: str, *arguments: object) -> list[Any]:
        rows: list[Any] = await asyncpg.Connection.fetch(self, query, *arguments)
        if query == lost_at:
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("the connection was cut")
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(StoreConnection, "fetch", lose)
        with pytest.raises(OutcomeUnknown, match="a may or may not be deleted: delete it again to learn the outcome"):
            await store.delete_stream("a", 1)
    again = await store.delete_stream("a", 1)

    assert (again.version, again.deleted_at is not None) == (1, True)
    with pytest.raises(StreamDeleted):
        await store.read_stream("a")


@pytest.mark.parametrize("what_happens", ["no connection", "a time limit", "a standby"])
async def test_a_deletion_that_was_not_sent_or_was_undone_is_said_to_be_none(
    store: PostgresEventStore, monkeypatch: pytest.MonkeyPatch, what_happens: str
) -> None:
    objections = {"a time limit": asyncpg.QueryCanceledError, "a standby": asyncpg.ReadOnlySQLTransactionError}
    await store.append([write("a", 0)])

    async def refuse(_: asyncpg.Pool[Any]) -> None:
        raise ConnectionRefusedError

    async def object_to(self: StoreConnection, query: str, *arguments: object) -> list[Any]:
        if query == DELETE_STREAM:
            raise objections[what_happens]("the database says so itself")
        rows: list[Any] = await asyncpg.Connection.fetch(self, query, *arguments)
        return rows

    with monkeypatch.context() as patch:
        if what_happens == "no connection":
            patch.setattr(asyncpg.Pool, "acquire", refuse)
        else:
            patch.setattr(StoreConnection, "fetch", object_to)
        with pytest.raises(StorageUnavailable):
            await store.delete_stream("a", 1)

    assert [stored.version for stored in await store.read_stream("a")] == [1]
