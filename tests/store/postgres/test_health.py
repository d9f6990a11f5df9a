"""How a store on PostgreSQL says that it is."""

from __future__ import annotations

import asyncio

import pytest

from framework import PostgresEventStore
from framework.errors import StorageUnavailable
from framework.store.postgres import lane, listener
from framework.store.postgres.database import Database
from framework.testing import eventually
from tests.store.postgres.hands import Hands, listening, write


async def is_listening(store: PostgresEventStore) -> bool:
    return bool((await store.health()).is_listening)


async def is_not_listening(store: PostgresEventStore) -> bool:
    return not await is_listening(store)


async def test_whoever_keeps_appends_waiting_is_named_while_they_wait(
    store: PostgresEventStore, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "HEAD_WAIT_SECONDS", 0.02)

    async def is_troubled() -> bool:
        return bool((await store.health()).troubles)

    async with hands.holding_the_head():
        append = asyncio.ensure_future(store.append([write("a", 0)]))
        await eventually(is_troubled)
        held = await store.health()
    await append
    after = await store.health()

    pid = hands.sql.get_server_pid()
    assert held.head == 0
    assert (held.holder or "").startswith(f"process {pid}")
    assert held.troubles[0].startswith(f"the log is held by process {pid}")
    assert (after.head, after.troubles) == (1, ())


async def test_it_is_said_whether_news_of_other_processes_come_in(
    dsn: str, store: PostgresEventStore, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise ConnectionRefusedError

    await eventually(lambda: is_listening(store))
    pids = await listening(dsn, store.namespace, 1)
    with monkeypatch.context() as away:
        away.setattr(listener, "connect", refused)
        await hands.end(pids)
        await eventually(lambda: is_not_listening(store))
    await eventually(lambda: is_listening(store))


async def test_a_store_whose_tables_are_gone_says_what_the_database_said(
    store: PostgresEventStore, hands: Hands
) -> None:
    await hands.sql.execute(f"DROP SCHEMA {store.namespace} CASCADE")

    with pytest.raises(StorageUnavailable, match="the database refused: UndefinedTableError"):
        await store.health()


async def test_where_no_news_can_come_in_none_are_missed(dsn: str, schema: str) -> None:
    async with PostgresEventStore(Database(dsn, transaction_pooler=True), schema=schema) as store:
        assert (await store.health()).is_listening is None
