"""Stores on one database share its connections, and see nothing of each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from framework import PostgresEventStore
from framework.errors import LeaseLost, StorageUnavailable
from framework.store.postgres import database as stores_database
from framework.store.postgres.database import Database, StoreConnection
from framework.store.protocol import AuditedCommand, InstanceRow, OutboxRow, ProcessChange, Receipt, Snapshot
from framework.testing.store_contract.parts import apply, define, position_of, take
from tests.sample_bank.databases import fresh_schema
from tests.store.postgres.hands import event, write

NAMES = 'quoted " name', "Größer; als."
COMMAND_ID = uuid4()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAR_AHEAD = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(dsn: str) -> Database:
    """One connection to read through, so that it changes hands with every statement."""
    return Database(dsn, max_readers=1)


@pytest.fixture
async def pair(dsn: str, database: Database) -> AsyncIterator[tuple[PostgresEventStore, PostgresEventStore]]:
    async with (
        fresh_schema(dsn) as name,
        PostgresEventStore(database, schema=f"{name} {NAMES[0]}") as one,
        PostgresEventStore(database, schema=f"{name} {NAMES[1]}") as other,
    ):
        yield one, other


async def write_everything(store: PostgresEventStore, mark: str) -> None:
    of = b'{"of": "%s"}' % mark.encode()
    receipt = Receipt(COMMAND_ID, mark.encode(), "shared", 1, 1)
    new = event(of)._replace(event_id=COMMAND_ID, correlation_id=COMMAND_ID)
    await store.append([write("shared", 0, new)], [receipt])
    await store.append([write(f"only-{mark}", 0)])
    await store.save_snapshot(Snapshot("shared", 1, "State", 1, of, NOON))
    await store.delete_stream(f"only-{mark}", 1)
    await store.open_audit(AuditedCommand(COMMAND_ID, COMMAND_ID, None, "Command", of, b"{}"))
    await define(store, "handler")
    await store.subscriptions.advance(await take(store, "handler"), ord(mark))
    commands = [_command(mark, instance) for instance in ("sent", "refused", "parked")]
    change = ProcessChange([InstanceRow("i", 1, of)], commands=commands)
    await apply(store, change, process="process")
    sent, refused, parked = await store.outbox("process", limit=9)
    await store.settle("process", [sent.command_id])
    await store.settle_refused(refused, ProcessChange(commands=[_command(mark, "refused")]))
    await store.park(parked, mark)


async def read_everything(store: PostgresEventStore) -> tuple[object, ...]:
    """Return what each kind of reading statement says."""
    return (
        store.log_id,
        await store.head(),
        [stored.stream for stored in (await store.read_log()).events],
        [stored.stream for stored in (await store.read_log(types=["happened"])).events],
        [stored.data for stored in await store.read_stream("shared")],
        [receipt.digest for receipt in (await store.receipts([COMMAND_ID])).values()],
        await position_of(store, "handler"),
        [row.state for row in (await store.load_instances("process", ["i"])).values()],
        [row.command for row in await store.outbox("process", limit=9)],
        [row.parked for row in await store.parked("process")],
        [(info.stream, info.deleted_at is None) for info in (await store.list_streams()).streams],
        [stored.data for stored in await store.read_events([COMMAND_ID])],
        [stored.data for stored in await store.read_correlated(COMMAND_ID)],
        [stored.data for stored in (await store.read_log_backward(prefix="shared")).events],
        (await store.position_at(FAR_AHEAD), await store.version_at("shared", FAR_AHEAD)),
        await store.load_snapshot("shared", "State", 1),
        [entry.command.data for entry in await store.audited()],
    )


def _command(mark: str, instance: str) -> OutboxRow:
    cause = uuid4()
    return OutboxRow("process", instance, 0, 0, uuid4(), "Command", b'{"of": "%s"}' % mark.encode(), cause, cause)


def _expected(log_id: UUID, mark: str) -> tuple[object, ...]:
    of, streams = b'{"of": "%s"}' % mark.encode(), ["shared", f"only-{mark}"]
    known = [(f"only-{mark}", False), ("shared", True)]
    snapshot = Snapshot("shared", 1, "State", 1, of, NOON)
    by_log = (log_id, 2, streams, streams, [of], [mark.encode()], ord(mark), [of], [of], [mark])
    return *by_log, known, [of], [of], [of], (2, 1), snapshot, [of]


async def test_two_schemas_on_one_connection_are_wholly_apart(
    pair: tuple[PostgresEventStore, PostgresEventStore],
) -> None:
    one, other = pair
    await asyncio.gather(write_everything(one, "a"), write_everything(other, "b"))

    for _ in range(6):  # after five times PostgreSQL keeps the plan of a prepared statement
        found = await asyncio.gather(read_everything(one), read_everything(other))

        assert list(found) == [_expected(one.log_id, "a"), _expected(other.log_id, "b")]
    assert one.log_id != other.log_id
    await take(other, "handler")
    lease = await take(one, "handler")
    with pytest.raises(LeaseLost):
        await one.subscriptions.advance(lease._replace(fence=lease.fence + 1), 3)


async def test_a_change_of_hands_that_is_cancelled_half_way_is_made_again(
    pair: tuple[PostgresEventStore, PostgresEventStore],
) -> None:
    one, other = pair
    await other.append([write("b", 0)])
    assert await other.head() == 1
    handed_over = asyncio.Event()

    async def execute(self: StoreConnection, query: str, *arguments: object) -> None:
        await self.fetch(query, *arguments)
        if query.startswith("SET search_path"):
            handed_over.set()
            await asyncio.Event().wait()  # the server has done it, the answer is on its way

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StoreConnection, "execute", execute)
        reading = asyncio.ensure_future(one.head())
        await handed_over.wait()
        reading.cancel()
        await asyncio.wait([reading])

    assert reading.cancelled()
    assert await other.head() == 1


async def test_a_store_that_is_closed_leaves_the_connections_to_the_others(dsn: str, database: Database) -> None:
    async with fresh_schema(dsn) as name:
        async with PostgresEventStore(database, schema=f"{name}_0") as one:
            async with PostgresEventStore(database, schema=f"{name}_1") as other:
                await other.append([write("b", 0)])
            with pytest.raises(StorageUnavailable, match="not open"):
                await other.append([write("b", 1)])

            await one.append([write("a", 0)])

            assert await one.head() == 1
        with pytest.raises(StorageUnavailable, match="not open"):
            await one.head()


async def test_behind_a_transaction_pooler_nothing_is_remembered_from_one_transaction_to_the_next(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forget(connection: StoreConnection) -> None:
        await connection.execute("DISCARD ALL")

    monkeypatch.setattr(stores_database, "_leave_as_it_is", forget)
    database = Database(dsn, transaction_pooler=True, max_readers=1)
    async with PostgresEventStore(database, schema=schema) as store:
        await write_everything(store, "a")

        assert await read_everything(store) == _expected(store.log_id, "a")
