"""Appends inside a transaction of the caller's: rows and events stand or fall together, and nobody waits for long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

import asyncpg
import pytest

from framework import PostgresEventStore
from framework.errors import (
    DuplicateEvent,
    HeadHeldTooLong,
    OutcomeUnknown,
    StorageUnavailable,
    UnfitTransaction,
    WrongExpectedVersion,
)
from framework.store.postgres import listener
from framework.store.postgres import transaction as transactions
from framework.store.protocol import Expected, NewEvent, Receipt, StreamWrite
from framework.testing import eventually
from tests.store.postgres.hands import Hands, event, write

HOLD_S = 0.2


@pytest.fixture
async def table(dsn: str, store: PostgresEventStore) -> AsyncIterator[str]:
    """A table of the caller's, whose rows must differ when their transaction ends."""
    name = f"{store.namespace}.orders"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"CREATE TABLE {name} (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    yield name
    await connection.close()


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A connection of the caller's."""
    connection = await asyncpg.connect(dsn)
    yield connection
    connection.terminate()


@pytest.fixture
async def impatient(dsn: str, store: PostgresEventStore) -> AsyncIterator[PostgresEventStore]:
    """A store on the same log that lets nobody hold the head for long."""
    async with PostgresEventStore(dsn, schema=store.namespace, hold_at_most=timedelta(seconds=HOLD_S)) as impatient:
        yield impatient


async def insert_and_append(store: PostgresEventStore, table: str, *writes: StreamWrite, rows: str = "('one')") -> None:
    async with store.transaction() as tx:
        await tx.connection.execute(f"INSERT INTO {table} VALUES {rows}")
        for each in writes:
            tx.append([each])


async def rows(connection: asyncpg.Connection[Any], table: str) -> list[str]:
    return [row["name"] for row in await connection.fetch(f"SELECT name FROM {table} ORDER BY name")]


# store.transaction() --------------------------------------------------------------------------------------


async def test_rows_and_events_are_committed_together(
    store: PostgresEventStore, table: str, connection: asyncpg.Connection[Any]
) -> None:
    async with store.transaction() as tx:
        tx.append([write("a", 0, event(), event()), write("b", Expected.ANY)])
        await tx.connection.execute(f"INSERT INTO {table} VALUES ('one')")
        tx.append([write("a", 2)])
        assert not list(tx.places)

    first, second = tx.places
    assert [(place.stream, place.version, place.position) for place in first] == [("a", 2, 2), ("b", 1, 3)]
    assert [(place.stream, place.version, place.position) for place in second] == [("a", 3, 4)]
    assert await rows(connection, table) == ["one"]
    assert [stored.stream for stored in (await store.read_log()).events] == ["a", "a", "b", "a"]


async def test_a_refused_append_undoes_the_rows(
    store: PostgresEventStore, table: str, connection: asyncpg.Connection[Any]
) -> None:
    await store.append([write("a", 0)])

    with pytest.raises(WrongExpectedVersion, match="a: expected no stream, found version 1"):
        await insert_and_append(store, table, write("b", 0), write("a", 0))

    assert await rows(connection, table) == []
    assert await store.head() == 1


async def test_an_error_in_the_block_records_nothing(
    store: PostgresEventStore, table: str, connection: asyncpg.Connection[Any]
) -> None:
    async def block() -> None:
        async with store.transaction() as tx:
            await tx.connection.execute(f"INSERT INTO {table} VALUES ('one')")
            tx.append([write("a", 0)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await block()

    assert await rows(connection, table) == []
    assert await store.head() == 0


async def test_a_commit_that_fails_records_nothing_and_wakes_nobody(store: PostgresEventStore, table: str) -> None:
    reader = asyncio.ensure_future(store.wait_beyond(0))

    with pytest.raises(asyncpg.UniqueViolationError):
        await insert_and_append(store, table, write("a", 0), rows="('twice'), ('twice')")

    assert await store.head() == 0
    assert not reader.done()
    await store.append([write("b", 0)])
    assert await reader == 1


async def test_nobody_waits_for_the_block_of_another(store: PostgresEventStore) -> None:
    async with store.transaction() as tx:
        tx.append([write("a", 0)])
        await tx.connection.execute("SELECT 1")
        async with asyncio.timeout(5):
            (appended,) = await store.append([write("b", 0)])

    assert appended.position == 1
    assert tx.places[0][0].position == 2


async def test_who_waits_is_woken_when_the_transaction_is_committed(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overheard(*_: object) -> None:
        pass

    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    monkeypatch.setattr(listener.Listener, "_notified", overheard)
    async with PostgresEventStore(dsn, schema=schema) as store:
        reader = asyncio.ensure_future(store.wait_beyond(0))

        async with store.transaction() as tx:
            tx.append([write("a", 0)])

        async with asyncio.timeout(5):
            assert await reader == 1


async def test_a_transaction_without_an_append_leaves_the_head_alone(
    store: PostgresEventStore, hands: Hands, table: str, connection: asyncpg.Connection[Any]
) -> None:
    async with hands.holding_the_head(), asyncio.timeout(5), store.transaction() as tx:
        await tx.connection.execute(f"INSERT INTO {table} VALUES ('one')")

    assert await rows(connection, table) == ["one"]


async def test_an_append_after_the_block_is_refused(store: PostgresEventStore) -> None:
    async with store.transaction() as tx:
        pass

    with pytest.raises(UnfitTransaction, match="is over"):
        tx.append([write("a", 0)])


async def test_a_cancelled_block_records_nothing(
    store: PostgresEventStore, table: str, connection: asyncpg.Connection[Any]
) -> None:
    is_inside = asyncio.Event()

    async def block() -> None:
        async with store.transaction() as tx:
            await tx.connection.execute(f"INSERT INTO {table} VALUES ('one')")
            tx.append([write("a", 0)])
            is_inside.set()
            await asyncio.Event().wait()

    task = asyncio.ensure_future(block())
    await is_inside.wait()
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert await rows(connection, table) == []
    assert await store.head() == 0


async def test_a_block_cancelled_while_its_append_waits_for_the_head_records_nothing(
    store: PostgresEventStore, hands: Hands
) -> None:
    async def block() -> None:
        async with store.transaction() as tx:
            tx.append([write("a", 0)])

    async with hands.holding_the_head():
        task = asyncio.ensure_future(block())
        await hands.waiting_appends(1)
        task.cancel()
        await asyncio.wait([task])

    assert task.cancelled()
    assert await store.head() == 0


async def test_an_append_that_waits_too_long_for_the_head_undoes_the_rows_and_names_who_holds_it(
    store: PostgresEventStore,
    hands: Hands,
    table: str,
    connection: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "HEAD_WAIT_SECONDS", 0.05)

    async with hands.holding_the_head():
        with pytest.raises(StorageUnavailable, match=f"held by process {hands.sql.get_server_pid()}"):
            await insert_and_append(store, table, write("a", 0))

    assert await rows(connection, table) == []
    assert await store.head() == 0


class SlowCommit:
    """Transactions whose COMMIT waits, in the database, until it is let go."""

    def __init__(self, hands: Hands, table: str) -> None:
        self.hands = hands
        self.table = table

    async def __aenter__(self) -> Self:
        await self.hands.sql.execute(
            f"CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;"
            f"CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {self.table} DEFERRABLE INITIALLY DEFERRED"
            f" FOR EACH ROW EXECUTE FUNCTION wait_at_commit()"
        )
        await self.hands.sql.execute("SELECT pg_advisory_lock(4711)")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hands.sql.execute("SELECT pg_advisory_unlock_all()")

    async def lost_at_commit(
        self, store: PostgresEventStore, new: NewEvent | None = None
    ) -> tuple[asyncio.Task[Any], int]:
        """Begin a transaction, cut its connection while COMMIT waits; return it, and the backend that still waits."""
        started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def block() -> Any:
            async with store.transaction() as tx:
                await tx.connection.execute(f"INSERT INTO {self.table} VALUES ('one')")
                tx.append([write("a", 0, new or event())])
                started.set_result(tx.connection)
            return tx.places

        task = asyncio.ensure_future(block())
        connection = await started
        (pid,) = await self.hands.waiting_appends(1)
        connection.terminate()
        return task, pid


async def test_a_commit_whose_answer_is_lost_is_answered_with_what_became_of_it(
    store: PostgresEventStore, hands: Hands, table: str, connection: asyncpg.Connection[Any]
) -> None:
    async with SlowCommit(hands, table) as slow:
        task, _ = await slow.lost_at_commit(store)
        await hands.waiting_appends(2)  # the look at what became of it waits for it to end

    places = await task
    assert places[0][0].position == 1
    assert await rows(connection, table) == ["one"]


async def test_a_commit_that_was_lost_and_undone_is_said_to_be(
    store: PostgresEventStore, hands: Hands, table: str, connection: asyncpg.Connection[Any]
) -> None:
    async with SlowCommit(hands, table) as slow:
        task, pid = await slow.lost_at_commit(store)
        await hands.waiting_appends(2)
        await hands.end([pid])
        with pytest.raises(StorageUnavailable, match="undone"):
            await task

    assert await rows(connection, table) == []
    assert await store.head() == 0


async def test_a_commit_that_was_lost_is_not_taken_for_the_one_whose_append_it_repeats(
    store: PostgresEventStore, hands: Hands, table: str, connection: asyncpg.Connection[Any]
) -> None:
    new = event()
    await store.append([write("a", 0, new)])

    async with SlowCommit(hands, table) as slow:
        task, pid = await slow.lost_at_commit(store, new)
        await hands.end([pid])
        with pytest.raises(OutcomeUnknown):
            await task

    assert await rows(connection, table) == []


async def test_a_commit_that_nobody_can_be_asked_about_is_unknown(
    store: PostgresEventStore, hands: Hands, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "HEAD_WAIT_SECONDS", 0.05)

    async with SlowCommit(hands, table) as slow:
        task, pid = await slow.lost_at_commit(store)
        with pytest.raises(OutcomeUnknown, match="a: "):
            await task

    await hands.ended(pid)
    assert await store.head() == 1


# store.joining() ------------------------------------------------------------------------------------------


async def test_an_append_joins_a_transaction_that_is_open(
    store: PostgresEventStore, table: str, connection: asyncpg.Connection[Any]
) -> None:
    await store.append([write("b", 0)])

    async with store.joining(connection) as joined, connection.transaction():
        await connection.execute(f"INSERT INTO {table} VALUES ('one')")
        (place,) = await joined.append([write("a", 0, event(), event())])
        (next_,) = await joined.append([write("a", Expected.STREAM_EXISTS)])
        assert await store.head() == 1

    assert (place.version, place.position) == (2, 3)
    assert (next_.version, next_.position) == (3, 4)
    assert [stored.recorded_at for stored in await store.read_stream("a")][1:] == [place.recorded_at, next_.recorded_at]
    assert await rows(connection, table) == ["one"]


async def test_a_transaction_that_is_rolled_back_records_nothing_and_leaves_no_gap(
    store: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    async with store.joining(connection) as joined:
        begun = connection.transaction()
        await begun.start()
        await joined.append([write("a", 0)])
        await begun.rollback()

    (appended,) = await store.append([write("b", 0)])
    assert appended.position == 1


async def test_a_connection_may_have_codecs_and_tables_of_its_own(
    store: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    for type_ in ("jsonb", "json"):
        await connection.set_type_codec(type_, schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=lambda _: "no", decoder=lambda _: "no")
    await connection.execute("CREATE TEMP TABLE events (x int); CREATE TEMP TABLE head (position int)")
    await connection.execute("SET search_path = pg_catalog; SET timezone = 'Asia/Kathmandu'; SET datestyle = 'German'")
    new = event('{"text": "ä \\" \\\\ {x}", "n": 0.10}'.encode())
    receipt = Receipt(uuid4(), b"\x00digest\xff", "a", 1, 1, b'{"name": "Late"}')

    async with store.joining(connection) as joined, connection.transaction():
        (place,) = await joined.append([write("a", 0, new)], [receipt])

    (stored,) = await store.read_stream("a")
    assert json.loads(stored.data) == json.loads(new.data)
    assert (stored.event_id, stored.recorded_at) == (new.event_id, place.recorded_at)
    kept = (await store.receipts([receipt.command_id]))[receipt.command_id]
    assert (kept.digest, json.loads(kept.refusal or b"")) == (receipt.digest, {"name": "Late"})


async def test_a_connection_that_a_pool_has_lent_will_do(dsn: str, store: PostgresEventStore) -> None:
    async with (
        asyncpg.create_pool(dsn, min_size=0) as pool,
        pool.acquire() as connection,
        store.joining(connection) as joined,
        connection.transaction(),
    ):
        await joined.append([write("a", 0)])

    assert await store.head() == 1


async def test_without_a_transaction_an_append_is_refused_by_name(
    store: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    async with store.joining(connection) as joined:
        with pytest.raises(UnfitTransaction, match="no open transaction"):
            await joined.append([write("a", 0)])

    assert await store.head() == 0


@pytest.mark.parametrize("isolation", ["repeatable_read", "serializable"])
async def test_an_isolation_above_read_committed_is_refused_by_name(
    store: PostgresEventStore, connection: asyncpg.Connection[Any], isolation: Any
) -> None:
    async with store.joining(connection) as joined:
        with pytest.raises(UnfitTransaction, match=f"not {isolation.replace('_', ' ').upper()}"):
            async with connection.transaction(isolation=isolation):
                await joined.append([write("a", 0)])

    assert await store.head() == 0


async def test_a_read_only_or_a_failed_transaction_is_refused_by_name(
    store: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    async with store.joining(connection) as joined:
        with pytest.raises(UnfitTransaction, match="read-only"):
            async with connection.transaction(readonly=True):
                await joined.append([write("a", 0)])
        begun = connection.transaction()
        await begun.start()
        with pytest.raises(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")
        with pytest.raises(UnfitTransaction, match="aborted"):
            await joined.append([write("a", 0)])
        await begun.rollback()


async def test_a_conflict_in_a_joined_transaction_is_told_at_once(
    store: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    new = event()
    await store.append([write("a", 0, new)])

    async with store.joining(connection) as joined:
        begun = connection.transaction()
        await begun.start()
        await joined.append([write("b", 0)])
        with pytest.raises(WrongExpectedVersion):
            await joined.append([write("a", 0)])
        await begun.rollback()
        with pytest.raises(DuplicateEvent):
            async with connection.transaction():
                await joined.append([write("b", 0, new)])

    assert await store.head() == 1


async def test_who_waits_hears_of_a_joined_append_after_its_commit_and_not_before(
    store: PostgresEventStore, connection: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = asyncio.ensure_future(store.wait_beyond(1))
    await store.append([write("a", 0)])  # from here on it listens, and looks again in a second at the earliest
    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    async with store.joining(connection) as joined:
        begun = connection.transaction()
        await begun.start()
        await joined.append([write("b", 0)])
        await begun.rollback()

        async with connection.transaction():
            await joined.append([write("c", 0)])
            assert await store.head() == 1
            assert not reader.done()

    async with asyncio.timeout(5):
        assert await reader == 2


# hold_at_most ---------------------------------------------------------------------------------------------


async def test_a_transaction_inside_the_block_that_holds_the_head_too_long_is_undone(
    store: PostgresEventStore, impatient: PostgresEventStore, table: str, connection: asyncpg.Connection[Any]
) -> None:
    async def block() -> None:
        async with impatient.joining(connection) as joined, connection.transaction():
            await connection.execute(f"INSERT INTO {table} VALUES ('one')")
            await joined.append([write("a", 0)])
            await asyncio.Event().wait()

    with pytest.raises(HeadHeldTooLong, match=r"more than 0\.2 s"):
        await block()

    (appended,) = await store.append([write("b", 0)])
    assert appended.position == 1
    assert await rows(connection, table) == []


async def test_a_block_inside_the_transaction_that_holds_the_head_too_long_undoes_it(
    store: PostgresEventStore, impatient: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    async def block() -> None:
        async with connection.transaction(), impatient.joining(connection) as joined:
            await joined.append([write("a", 0)])
            await connection.execute("SELECT pg_sleep(60)")

    with pytest.raises(HeadHeldTooLong):
        await block()

    (appended,) = await store.append([write("b", 0)])
    assert appended.position == 1


async def test_the_time_before_the_append_is_not_counted(
    impatient: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    async with impatient.joining(connection) as joined, connection.transaction():
        await connection.execute("SELECT pg_sleep($1)", HOLD_S * 1.5)
        (appended,) = await joined.append([write("a", 0)])

    assert appended.position == 1


async def test_the_database_ends_a_transaction_that_outlives_its_block(
    store: PostgresEventStore,
    impatient: PostgresEventStore,
    connection: asyncpg.Connection[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transactions, "GRACE", transactions.GRACE / 10)
    begun = connection.transaction()
    await begun.start()
    async with impatient.joining(connection) as joined:
        await joined.append([write("a", 0)])

    async with asyncio.timeout(10):
        (appended,) = await store.append([write("b", 0)])

    assert appended.position == 1
    await eventually(connection.is_closed)


async def test_the_limits_of_the_session_end_with_the_transaction(
    store: PostgresEventStore, connection: asyncpg.Connection[Any]
) -> None:
    settings = "SELECT name, setting FROM pg_settings WHERE name LIKE '%timeout%' ORDER BY name"
    before = await connection.fetch(settings)

    async with store.joining(connection) as joined, connection.transaction():
        await joined.append([write("a", 0)])
        inside = {row["name"]: row["setting"] for row in await connection.fetch(settings)}

    assert inside["idle_in_transaction_session_timeout"] == inside["statement_timeout"] == "6000"
    assert inside["lock_timeout"] == "0"
    assert await connection.fetch(settings) == before


class SlowToHear(asyncpg.Connection):
    """A connection whose COMMIT is through, but whose answer takes for ever."""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        result: str = await super().execute(query, *args, timeout=timeout)
        if query == "COMMIT;":
            await asyncio.Event().wait()
        return result


async def test_a_commit_that_takes_too_long_is_not_said_to_be_undone_when_it_was_not(
    dsn: str, impatient: PostgresEventStore
) -> None:
    connection = await asyncpg.connect(dsn, connection_class=SlowToHear)

    with pytest.raises(OutcomeUnknown):
        async with impatient.joining(connection) as joined, connection.transaction():
            await joined.append([write("a", 0)])

    connection.terminate()
    assert await impatient.head() == 1


@pytest.mark.parametrize("loose", ["off", "local"])
async def test_a_commit_with_an_append_in_it_is_waited_for_whatever_the_session_says(
    store: PostgresEventStore, hands: Hands, loose: str
) -> None:
    await hands.sql.execute(f"SET synchronous_commit TO {loose}")
    async with store.joining(hands.sql) as joined, hands.sql.transaction():
        await joined.append([write("a", 0)])

        assert await hands.sql.fetchval("SHOW synchronous_commit") == "on"

    assert await hands.sql.fetchval("SHOW synchronous_commit") == loose
