"""What the database itself guards, and what becomes of a batch in which something is wrong."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import (
    AppendRefused,
    DuplicateEvent,
    OutcomeUnknown,
    SchemaMismatch,
    StorageUnavailable,
    WrongExpectedVersion,
)
from framework.store.protocol import Expected
from tests.store.postgres.hands import Hands, event, write


@pytest.mark.parametrize("role", ["origin", "replica"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE events SET data = '{}'", "DELETE FROM events", "TRUNCATE events", "UPDATE events SET version = 7"],
)
async def test_the_database_refuses_to_change_what_is_recorded(
    store: PostgresEventStore, hands: Hands, statement: str, role: str
) -> None:
    await store.append([write("a", 0)])
    await hands.sql.execute(f"SET session_replication_role TO {role}")

    with pytest.raises(asyncpg.RestrictViolationError, match="what is recorded stays recorded"):
        await hands.sql.execute(statement)

    assert len(await store.read_stream("a")) == 1


async def test_one_conflict_in_a_batch_refuses_one_append(store: PostgresEventStore, hands: Hands) -> None:
    await store.append([write("taken", 0)])
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        streams = [write(f"s-{n}", 0) for n in range(127)]
        streams.insert(25, write("taken", 0))
        batch = [asyncio.ensure_future(store.append([each])) for each in streams]

    results = await asyncio.gather(*ahead, *batch, return_exceptions=True)

    refused = [result for result in results if isinstance(result, BaseException)]
    assert [str(error) for error in refused] == ["taken: expected no stream, found version 1"]
    page = await store.read_log()
    assert [stored.position for stored in page.events] == list(range(1, 131))


async def test_one_append_the_database_cannot_take_does_not_drag_others_down(
    store: PostgresEventStore, hands: Hands
) -> None:
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        broken = asyncio.ensure_future(store.append([write("broken", 0, event(b'{"text": "\\u0000"}'))]))
        batch = [asyncio.ensure_future(store.append([write(f"s-{n}", 0)])) for n in range(20)]

    await asyncio.gather(*ahead, *batch)
    with pytest.raises(AppendRefused):
        await broken

    assert (await store.read_log()).head == 22


async def test_appends_that_build_on_each_other_go_in_one_batch(store: PostgresEventStore, hands: Hands) -> None:
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        chain = [asyncio.ensure_future(store.append([write("chain", n)])) for n in range(5)]

    await asyncio.gather(*ahead)
    answers = await asyncio.gather(*chain)

    assert [appended.version for (appended,) in answers] == [1, 2, 3, 4, 5]
    assert await hands.sql.fetchval("SELECT count(DISTINCT xmin::text) FROM events WHERE stream = 'chain'") == 1


async def test_what_builds_on_a_refused_append_is_refused_too(store: PostgresEventStore, hands: Hands) -> None:
    await store.append([write("chain", 0)])
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        chain = [asyncio.ensure_future(store.append([write("chain", n)])) for n in range(3)]

    await asyncio.gather(*ahead)
    answers = await asyncio.gather(*chain, return_exceptions=True)

    assert isinstance(answers[0], WrongExpectedVersion)
    assert not isinstance(answers[1], BaseException), "the stream is at version 1, as this one expects"
    assert not isinstance(answers[2], BaseException)
    assert len(await store.read_stream("chain")) == 3


@pytest.mark.parametrize("expected", [Expected.NO_STREAM, 2, Expected.ANY, Expected.STREAM_EXISTS])
async def test_an_append_whose_connection_is_cut_while_it_waits_is_recorded_once(
    store: PostgresEventStore, hands: Hands, expected: int
) -> None:
    if expected != Expected.NO_STREAM:
        await store.append([write("a", 0, event(), event())])
    before = await store.head()
    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([write("a", expected)]))
        await hands.end(await hands.waiting_appends(1))
        await hands.waiting_appends(1)

    (appended,) = await append

    assert appended.position == before + 1
    assert (await store.read_log()).head == before + 1


async def test_an_append_that_was_recorded_behind_a_cut_connection_is_answered_as_recorded(
    dsn: str, schema: str
) -> None:
    """The backend commits, and the answer is lost on its way: what is sent again finds its ids taken."""
    async with PostgresEventStore(dsn, schema=schema) as store, PostgresEventStore(dsn, schema=schema) as other:
        new = event(b'{"b": 1, "a": [1.0, "x"]}')
        (first,) = await other.append([write("a", 0, new)])
        await other.append([write("a", 1)])

        (again,) = await store.append([write("a", 0, new._replace(data=b'{"a": [1.0, "x"], "b": 1}'))])

        assert again == first
        with pytest.raises(DuplicateEvent):
            await store.append([write("a", 0, new._replace(data=b"{}"))])


async def test_an_append_that_waits_in_the_database_when_nobody_can_be_asked_has_an_unknown_outcome(
    dsn: str, schema: str
) -> None:
    async with (
        PostgresEventStore(dsn, schema=schema, give_up_after_s=0) as store,
        Hands.on(dsn, schema) as hands,
        hands.holding_the_head(),
    ):
        append = asyncio.ensure_future(store.append([write("a", 0)]))
        await hands.end(await hands.waiting_appends(1))

        with pytest.raises(OutcomeUnknown):
            await append


async def test_closing_finishes_what_was_accepted(dsn: str, schema: str) -> None:
    async with PostgresEventStore(dsn, schema=schema) as store:
        appends = [asyncio.ensure_future(store.append([write(f"s-{n}", 0)])) for n in range(1_000)]
        await asyncio.sleep(0)

    positions = sorted(appended.position for (appended,) in await asyncio.gather(*appends))
    assert positions == list(range(1, 1_001))
    with pytest.raises(StorageUnavailable):
        await store.append([write("late", 0)])


async def test_many_may_create_the_tables_at_once(dsn: str, schema: str) -> None:
    stores = [PostgresEventStore(dsn, schema=schema) for _ in range(8)]

    await asyncio.gather(*(store.__aenter__() for store in stores))

    try:
        assert {store.log_id for store in stores} == {stores[0].log_id}
    finally:
        await asyncio.gather(*(store.__aexit__(None, None, None) for store in stores))


async def test_a_database_of_a_later_version_is_refused(store: PostgresEventStore, dsn: str, hands: Hands) -> None:
    await hands.sql.execute("INSERT INTO migrations VALUES (9999, '9999_future.sql', 'x')")

    with pytest.raises(SchemaMismatch, match=r"9999_future\.sql"):
        await PostgresEventStore(dsn, schema=store.namespace).__aenter__()


async def test_a_migration_that_was_edited_since_is_refused(store: PostgresEventStore, dsn: str, hands: Hands) -> None:
    await hands.sql.execute("UPDATE migrations SET checksum = 'x' WHERE number = 1")

    with pytest.raises(SchemaMismatch, match=r"0001_initial\.sql"):
        await PostgresEventStore(dsn, schema=store.namespace).__aenter__()


async def test_without_migrating_missing_tables_are_refused(dsn: str, schema: str) -> None:
    with pytest.raises(SchemaMismatch, match="holds no event store"):
        await PostgresEventStore(dsn, schema=schema, migrate=False).__aenter__()


async def test_a_database_that_does_not_answer_is_named_at_once() -> None:
    with pytest.raises(StorageUnavailable, match="does not answer"):
        await PostgresEventStore("postgresql://127.0.0.1:1/nowhere").__aenter__()
