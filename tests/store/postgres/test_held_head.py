"""Somebody else holds the head, or the database is set to lose its patience: appends wait, and say for whom."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import StorageUnavailable, WrongExpectedVersion
from framework.store.postgres import database, lane, statements
from framework.store.postgres.database import Database
from framework.testing import eventually
from framework.testing.store_contract.parts import define, take
from tests.store.postgres.hands import Hands, event, write


async def trouble(store: PostgresEventStore) -> None:
    """Return once a lane has met with trouble."""

    async def is_met() -> bool:
        return any(lane.trouble for lane in (await store.status()).lanes)

    await eventually(is_met)


async def test_an_append_waits_for_a_foreign_holder_longer_than_one_wait_for_the_lock(
    store: PostgresEventStore, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HEAD_WAIT_SECONDS", 0.02)
    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([write("a", 0)]))
        await trouble(store)

    (appended,) = await append

    assert appended.position == 1
    assert [lane.trouble for lane in (await store.status()).lanes] == [None]


async def test_an_append_that_waits_too_long_is_told_who_holds_the_head(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HEAD_WAIT_SECONDS", 0.05)
    async with PostgresEventStore(dsn, schema=schema, give_up_after_s=0.3) as store, Hands.on(dsn, schema) as hands:
        await hands.sql.execute("SET application_name = 'a report'")
        async with hands.holding_the_head():
            waiting = [asyncio.ensure_future(store.append([write(f"s-{n}", 0)])) for n in range(3)]
            answers = await asyncio.gather(*waiting, return_exceptions=True)

        (appended,) = await store.append([write("after", 0)])

    assert [type(answer) for answer in answers] == [StorageUnavailable] * 3
    assert f"the log is held by process {hands.sql.get_server_pid()} of 'a report'" in str(answers[0])
    assert appended.position == 1


async def test_an_append_takes_no_place_beside_one_that_may_yet_be_undone(
    store: PostgresEventStore, hands: Hands
) -> None:
    async with store.joining(hands.sql) as joined, hands.sql.transaction():
        await joined.append([write("a", 0)])
        behind = asyncio.ensure_future(store.append([write("b", 0)]))
        waiting = asyncio.ensure_future(hands.waiting_appends(1))
        first, _ = await asyncio.wait([behind, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        assert behind not in first

    (appended,) = await behind

    assert appended.position == 2


async def test_an_append_is_judged_by_what_it_finds_when_it_has_the_head(
    store: PostgresEventStore, hands: Hands
) -> None:
    async with store.joining(hands.sql) as joined, hands.sql.transaction():
        await joined.append([write("a", 0)])
        late = asyncio.ensure_future(store.append([write("a", 0)]))
        await hands.waiting_appends(1)

    with pytest.raises(WrongExpectedVersion):
        await late


async def test_status_names_who_holds_the_head_and_who_waits(store: PostgresEventStore, hands: Hands) -> None:
    await store.append([write("a", 0)])
    async with hands.holding_the_head():
        ahead = await hands.occupy(store)
        queued = asyncio.ensure_future(store.append([write("queued", 0)]))
        await asyncio.sleep(0)

        status = await store.status()

    await asyncio.gather(*ahead, queued)
    assert status.holder is not None
    assert status.holder.pid == hands.sql.get_server_pid()
    assert status.holder.since is not None
    assert status.holder.query == "SELECT FROM head FOR UPDATE"
    assert {session.pid for session in status.waiting} == {lane.pid for lane in status.lanes}
    assert [lane.sending for lane in status.lanes] == [1, 1]
    assert (status.log_id, status.head, status.queued) == (store.log_id, 1, 1)


async def test_status_names_nobody_where_nobody_holds_the_head(store: PostgresEventStore, hands: Hands) -> None:
    async with hands.holding_the_head():
        pass
    await store.append([write("a", 0)])

    status = await store.status()

    assert (status.holder, status.waiting) == (None, ())
    assert [lane.sending for lane in status.lanes] == [0]


async def test_a_limit_for_queries_does_not_refuse_an_append_that_waits_for_the_head(dsn: str, schema: str) -> None:
    impatient = f"{dsn}{'&' if '?' in dsn else '?'}{urlencode({'statement_timeout': '100'})}"
    async with PostgresEventStore(impatient, schema=schema) as store, Hands.on(dsn, schema) as hands:
        async with hands.holding_the_head():
            append = asyncio.ensure_future(store.append([write("a", 0)]))
            await hands.waiting_appends(1)
            with pytest.raises(asyncpg.QueryCanceledError):
                await asyncio.wait_for(_sleep(impatient), 5)
            assert [lane.trouble for lane in (await store.status()).lanes] == [None]

        assert (await append)[0].position == 1


async def _sleep(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("SELECT pg_sleep(10)")
    finally:
        await connection.close()


async def test_a_cancelled_statement_is_sent_again_and_refuses_nobody(store: PostgresEventStore, hands: Hands) -> None:
    async with hands.holding_the_head():
        batch = [asyncio.ensure_future(store.append([write(f"s-{n}", 0)])) for n in range(5)]
        pids = await hands.waiting_appends(1)
        await hands.cancel(pids)
        await trouble(store)

    answers = await asyncio.gather(*batch)

    assert sorted(place.position for (place,) in answers) == [1, 2, 3, 4, 5]


async def test_a_default_isolation_above_read_committed_does_not_reach_the_store(dsn: str, schema: str) -> None:
    strict = f"{dsn}{'&' if '?' in dsn else '?'}{urlencode({'default_transaction_isolation': 'serializable'})}"
    async with PostgresEventStore(strict, schema=schema) as store:
        (appended,) = await store.append([write("a", 0, event(), event())])

    assert appended.version == 2


@pytest.mark.parametrize("pooled", [False, True])
async def test_a_store_that_is_stopped_in_a_transaction_does_not_keep_the_others_from_the_head(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch, pooled: bool
) -> None:
    monkeypatch.setitem(database.BOUNDS, "idle_in_transaction_session_timeout", "100")
    stopped = Database(dsn, transaction_pooler=pooled)
    async with PostgresEventStore(stopped, schema=schema), PostgresEventStore(dsn, schema=schema) as other:

        async def stop_half_way() -> None:
            async with stopped.session(schema) as connection, connection.transaction():
                await connection.execute(statements.LOCK_HEAD)
                (appended,) = await other.append([write("a", 0)])
                assert appended.position == 1

        async with asyncio.timeout(5):
            with pytest.raises(StorageUnavailable):
                await stop_half_way()


async def test_the_place_of_a_slot_is_read_behind_a_transaction_that_may_yet_move_it(
    store: PostgresEventStore, hands: Hands
) -> None:
    """Such as one whose connection was lost while it committed, by the same owner under the same fence."""
    await define(store, "p")
    lease = await take(store, "p")
    async with hands.sql.transaction():
        await hands.sql.execute(statements.ADVANCE_SLOT, *lease, 5)
        terms = asyncio.ensure_future(store.subscriptions.terms(lease))
        waiting = asyncio.ensure_future(hands.waiting_appends(1))
        await asyncio.wait([terms, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    assert (await terms).position == 5
