"""The other end of a connection says nothing any more, not even that it is gone: nobody waits for it for ever."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from framework import PostgresEventStore, connections
from framework.connections import AttentiveConnection, answering, be_attentive
from framework.errors import StorageUnavailable
from framework.policies import ANSWER_SECONDS, HEAD_WAIT_SECONDS, RECONNECT
from framework.store.postgres import database, listener, pool, transaction
from framework.store.postgres.database import Database, StoreConnection
from framework.testing import eventually
from tests.store.postgres.forgetful import Forgetful
from tests.store.postgres.hands import Hands, write

QUICK_S = 0.3


@pytest.fixture
async def proxy(dsn: str) -> AsyncIterator[Forgetful]:
    async with Forgetful.before(dsn) as proxy:
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everybody wait for an answer for a moment only."""
    for module in (database, listener, transaction):
        monkeypatch.setattr(module, "ANSWER_SECONDS", QUICK_S)
    monkeypatch.setattr(connections, "CONNECT_SECONDS", QUICK_S)


async def warm_up(store: PostgresEventStore, hands: Hands) -> None:
    """Have *store* make all the connections it may have."""
    async with hands.holding_the_head():
        appends = await hands.occupy(store)
    await asyncio.gather(*appends)
    async with hands.sql.transaction():
        await hands.sql.execute("LOCK TABLE slots")
        reads = [asyncio.ensure_future(store.subscriptions.slots()) for _ in range(4)]
        await hands.waiting_appends(4)
    await asyncio.gather(*reads)


def test_all_that_an_answer_may_take_is_less_than_ten_seconds() -> None:
    assert HEAD_WAIT_SECONDS < ANSWER_SECONDS, "who waits for the head is not silent"
    assert ANSWER_SECONDS + RECONNECT.longest.total_seconds() < 10


async def test_a_connection_that_gives_no_answer_is_cut(proxy: Forgetful) -> None:
    connection = await connections.connect(proxy.dsn)
    proxy.forget()

    async def ask() -> None:
        with answering(connection, 0.05):
            await asyncio.wait_for(connection.execute("SELECT 1"), 5)

    try:
        with pytest.raises(StorageUnavailable, match="the database gave no answer within"):
            await ask()
        assert connection.is_closed()
    finally:
        connection.terminate()


@pytest.mark.usefixtures("impatient")
async def test_after_a_silence_an_append_on_its_way_and_a_reader_that_waits_go_on(
    dsn: str, schema: str, proxy: Forgetful
) -> None:
    behind = Database(proxy.dsn, max_readers=4)
    async with PostgresEventStore(behind, schema=schema) as store, Hands.on(dsn, schema) as hands:
        await warm_up(store, hands)
        head = await store.head()
        reader = asyncio.ensure_future(store.wait_beyond(head))
        proxy.fall_silent()
        append = asyncio.ensure_future(store.append([write("a", 0)]))
        with pytest.raises(StorageUnavailable, match="the database gave no answer within"):
            await store.head()
        proxy.recover()

        async with asyncio.timeout(10):
            (appended,) = await append
            assert await reader == appended.position == head + 1


@pytest.mark.usefixtures("impatient")
async def test_where_one_connection_fell_silent_those_of_its_age_are_not_used_again(
    dsn: str, schema: str, proxy: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    behind = Database(proxy.dsn, max_readers=4)
    async with PostgresEventStore(behind, schema=schema) as store, Hands.on(dsn, schema) as hands:
        await warm_up(store, hands)
        proxy.forget()
        with pytest.raises(StorageUnavailable):
            await store.head()

        silent: list[StoreConnection] = []

        def note(_: Database, connection: StoreConnection) -> None:
            silent.append(connection)

        monkeypatch.setattr(Database, "fell_silent", note)
        await asyncio.gather(*(store.append([write(f"s-{n}", 0)]) for n in range(4)))
        await asyncio.gather(*(store.head() for _ in range(4)), return_exceptions=True)

        assert not silent


@pytest.mark.usefixtures("impatient")
async def test_a_transaction_of_a_caller_that_meets_with_silence_is_told(schema: str, proxy: Forgetful) -> None:
    async with PostgresEventStore(proxy.dsn, schema=schema) as store:

        async def fall_silent_before_the_append() -> None:
            async with store.transaction() as own:
                own.append([write("a", 0)])
                proxy.forget()

        with pytest.raises(StorageUnavailable, match="gave no answer"):
            await fall_silent_before_the_append()

        async with store.transaction() as own:
            own.append([write("a", 0)])
        assert own.places[0][0].version == 1


@pytest.mark.usefixtures("impatient")
async def test_who_gives_up_a_read_does_not_wait_until_the_server_has_understood(
    schema: str, proxy: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "RETURN_SECONDS", 0.01)
    monkeypatch.setattr(database, "ANSWER_SECONDS", 3_600.0)
    async with PostgresEventStore(proxy.dsn, schema=schema) as store:
        proxy.fall_silent()
        reading = asyncio.ensure_future(store.head())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(reading), 0.05)

        reading.cancel()

        async with asyncio.timeout(5):
            await asyncio.wait([reading])


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_listens_is_asked_now_and_then_whether_it_still_does(
    dsn: str, schema: str, proxy: Forgetful, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "PING_SECONDS", 0.05)
    monkeypatch.setattr(listener, "POLL_SECONDS", 3_600.0)
    behind = Database(proxy.dsn)
    async with PostgresEventStore(behind, schema=schema) as store, PostgresEventStore(dsn, schema=schema) as other:
        waiting = asyncio.ensure_future(store.wait_beyond(0))
        await eventually(lambda: behind.listener.is_listening or False)
        proxy.forget()
        await eventually(lambda: not behind.listener.is_listening)
        await eventually(lambda: behind.listener.is_listening or False)

        await other.append([write("a", 0)])

        async with asyncio.timeout(5):
            assert await waiting == 1


async def test_nobody_waits_for_a_connection_for_ever_and_status_counts_who_does(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Database(dsn, transaction_pooler=True, max_readers=1)  # behind which nobody listens, and looks at the log
    async with PostgresEventStore(shared, schema=schema) as store:
        async with shared.session(schema):
            status = asyncio.ensure_future(store.status())
            await asyncio.sleep(0)
            reads = [asyncio.ensure_future(store.head()) for _ in range(3)]
            await asyncio.sleep(0)
        assert (await status).waiting_readers == 3
        assert await asyncio.gather(*reads) == [0] * 3

        monkeypatch.setattr(pool, "TURN_SECONDS", 0.05)
        async with shared.session(schema):
            with pytest.raises(StorageUnavailable, match="all 1 connections are in use, and none came free within"):
                await store.head()
        assert await store.head() == 0


def test_the_network_is_asked_for_a_sign_of_life() -> None:
    with socket.create_server(("127.0.0.1", 0)) as peer:
        be_attentive(peer)

        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 6_000


async def test_every_connection_is_made_attentive(proxy: Forgetful, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def note(peer: socket.socket) -> None:
        be_attentive(peer)
        asked.append(peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    monkeypatch.setattr(connections, "be_attentive", note)
    connection = await connections.connect(proxy.dsn)
    await connection.close()
    store = Database(proxy.dsn)
    own = await store.connect()
    await own.close()

    assert isinstance(connection, AttentiveConnection)
    assert asked == [1, 1]
