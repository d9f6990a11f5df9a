"""A server is found among several, and one that is away is told from one that refuses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from framework import PostgresEventStore, connections
from framework.connections import connect, each_host, is_lost
from framework.errors import ConfigurationError, StorageUnavailable
from framework.store.postgres.database import Database, StoreConnection
from framework.testing import eventually
from framework.testing.store_contract.parts import define, position_of, take
from tests.store.postgres.hands import Hands, write


@pytest.mark.parametrize(
    ("dsn", "hosts"),
    [
        ("postgresql://me:pw@one/db", ["postgresql://me:pw@one/db"]),
        ("postgresql:///db?host=/run/pg", ["postgresql:///db?host=/run/pg"]),
        (
            "postgresql://me:p,w@one:1,two,[::1]:3/db?a=b",
            [
                "postgresql://me:p,w@one:1/db?a=b",
                "postgresql://me:p,w@two/db?a=b",
                "postgresql://me:p,w@[::1]:3/db?a=b",
            ],
        ),
        (
            "postgresql://me@/db?host=/run/one,/run/two&port=1,2",
            ["postgresql://me@/db?host=/run/one&port=1", "postgresql://me@/db?host=/run/two&port=2"],
        ),
        (
            "postgresql://me@/db?host=one,two&port=7",
            ["postgresql://me@/db?host=one&port=7", "postgresql://me@/db?host=two&port=7"],
        ),
    ],
)
def test_each_host_of_a_dsn_stands_alone_once(dsn: str, hosts: list[str]) -> None:
    assert [each.replace("%2F", "/") for each in each_host(dsn)] == hosts


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where a connection is taken and nothing is ever said, as by a machine that is gone."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


def after(port: int, dsn: str) -> str:
    """Return *dsn* with a host before its own."""
    parts = urlsplit(dsn)
    query = parse_qs(parts.query)
    hosts = query.get("host") or [parts.hostname or ""]
    ports = query.get("port") or [str(parts.port or 5432)]
    return f"postgresql://{parts.username}@{parts.path}?host=127.0.0.1,{hosts[0]}&port={port},{ports[0]}"


@pytest.mark.parametrize("is_silent", [True, False])
async def test_a_host_that_is_silent_or_refuses_does_not_keep_from_the_next(
    dsn: str, silent_port: int, monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.5)

    connection = await connect(after(silent_port if is_silent else 1, dsn))

    try:
        assert await connection.fetchval("SELECT pg_is_in_recovery()") is False
    finally:
        await connection.close()


async def test_of_several_hosts_one_that_takes_writes_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, object]] = []

    async def refuse(host: str, *, timeout: float, target_session_attrs: object = None, **_: object) -> None:
        asked.append((host.removeprefix("postgresql://"), target_session_attrs))
        raise ConnectionRefusedError(timeout)

    monkeypatch.setattr(asyncpg, "connect", refuse)
    for dsn in ("postgresql://one/", "postgresql://one,two/", "postgresql://one,two/?target_session_attrs=any"):
        with pytest.raises(ConnectionRefusedError):
            await connect(dsn)

    assert asked == [
        ("one/", None),
        ("one/", "primary"),
        ("two/", "primary"),
        ("one/?target_session_attrs=any", None),
        ("two/?target_session_attrs=any", None),
    ]


async def test_a_server_that_became_a_standby_is_away(dsn: str, schema: str) -> None:
    database = Database(dsn, max_readers=1)
    async with PostgresEventStore(database, schema=schema) as store:
        await define(store, "handler")
        lease = await take(store, "handler")
        async with database.session(schema) as connection:
            await connection.execute("SET default_transaction_read_only TO on")

        with pytest.raises(StorageUnavailable, match="takes no writes"):
            await store.subscriptions.advance(lease, 1)

        await store.subscriptions.advance(lease, 1)
        assert await position_of(store, "handler") == 1


async def test_a_connection_that_is_lost_between_two_statements_is_no_error_of_the_second(
    dsn: str, schema: str
) -> None:
    database = Database(dsn)
    async with PostgresEventStore(database, schema=schema), Hands.on(dsn, schema) as hands:

        async def lose_it_half_way() -> None:
            async with database.session(schema) as connection:
                await hands.end([connection.get_server_pid()])
                await eventually(lambda: is_lost(connection))
                await connection.execute("SELECT 1")

        with pytest.raises(StorageUnavailable):
            await lose_it_half_way()


async def test_an_append_at_a_standby_is_sent_again_to_the_primary(
    dsn: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = Database.connect
    demoted: list[StoreConnection] = []

    async def connect_first_to_a_standby(database: Database, **settings: str) -> StoreConnection:
        connection = await connected(database, **settings)
        if not demoted:
            demoted.append(connection)
            await connection.execute("SET default_transaction_read_only TO on")
        return connection

    monkeypatch.setattr(Database, "connect", connect_first_to_a_standby)
    async with PostgresEventStore(dsn, schema=schema) as store:
        (appended,) = await store.append([write("a", 0)])

    assert appended.position == 1
    assert [connection.is_closed() for connection in demoted] == [True]


@pytest.mark.parametrize(
    "dsn", ["nonsense", "http://host/database", "postgresql://host:port/database", "postgresql://host/db?sslmode=maybe"]
)
async def test_a_dsn_that_is_none_is_told_with_the_form_it_should_have(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="the DSN is not of the form postgresql://user:password@host:port/"):
        await PostgresEventStore(dsn).__aenter__()


async def test_a_password_is_not_repeated_in_an_error() -> None:
    with pytest.raises(ConfigurationError) as refused:
        await connect("http://me:secret@host/database")

    assert "secret" not in str(refused.value)


async def test_a_database_that_is_not_there_is_named(dsn: str) -> None:
    parts = urlsplit(dsn)
    elsewhere = parts._replace(path="/no_such_database").geturl()

    with pytest.raises(ConfigurationError, match="no_such_database"):
        await PostgresEventStore(elsewhere).__aenter__()
