"""Whatever happens to the server, everything goes on by itself once it is back, and nobody was told a lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from structlog.testing import capture_logs

from framework import PostgresEventStore
from framework.errors import StorageUnavailable
from framework.store.postgres import database
from framework.store.postgres.database import Database
from framework.store.protocol import Expected, StreamWrite
from framework.testing import eventually
from tests.faults.servers import Server
from tests.faults.witnesses import Witnesses, event

CUT = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@pytest.fixture(scope="module")
async def one_server() -> AsyncGenerator[Server, None]:
    with TemporaryDirectory(prefix="faults-") as place:
        Path(place).chmod(0o755)
        async with Server.running(Path(place) / "server") as server:
            await server.set("max_connections", "40")
            await server.restart()
            yield server


@pytest.fixture
async def server(one_server: Server) -> AsyncGenerator[Server, None]:
    """The same for all tests; one that fails leaves it running."""
    yield one_server
    if await one_server.is_silent():
        await one_server.start()


@pytest.fixture
async def witnesses(server: Server) -> AsyncGenerator[Witnesses, None]:
    async with Witnesses.of(server.dsn, schema=f"witnesses_{uuid4().hex[:8]}") as witnesses:
        yield witnesses


async def test_a_restart_is_survived(server: Server, witnesses: Witnesses) -> None:
    await server.restart()

    await witnesses.check()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_server_that_is_away_for_a_while_is_waited_for(server: Server, witnesses: Witnesses, mode: str) -> None:
    await server.stop(mode)
    await witnesses.hear_of_trouble()
    await server.start()

    await witnesses.check()


async def test_a_killed_server_is_waited_for(server: Server, witnesses: Witnesses) -> None:
    await server.kill()
    await witnesses.hear_of_trouble()
    await server.start()

    await witnesses.check()


async def test_a_server_that_stands_still_is_told_of_and_goes_on(
    server: Server, witnesses: Witnesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ANSWER_SECONDS", 0.5)
    async with server.frozen():
        await witnesses.hear_of_trouble()

    await witnesses.check()


async def test_all_connections_may_be_cut_at_once(server: Server, witnesses: Witnesses) -> None:
    async with server.sql() as sql:
        await sql.execute(CUT)

    await witnesses.check()


async def test_a_statement_that_takes_too_long_is_nobodys_fault(server: Server, witnesses: Witnesses) -> None:
    async with (
        server.sql() as sql,
        impatience(sql),
        PostgresEventStore(server.dsn, schema=witnesses.schema) as store,
        sql.transaction(),
    ):
        await sql.execute(f"LOCK TABLE {witnesses.schema}.events, framework_projections.progress")
        with capture_logs() as logs:
            with pytest.raises(StorageUnavailable, match="statement timeout"):
                await store.read_log()
            await witnesses.deposit()
            await eventually(lambda: any(line.get("subsystem") == "Balances v1 slot 0" for line in logs))

    await witnesses.check()


async def test_a_server_without_room_for_more_connections_is_waited_for(server: Server, witnesses: Witnesses) -> None:
    with ExitStack() as crowd:
        crowd_out(server, crowd)
        await witnesses.hear_of_trouble()

    await witnesses.check()


async def test_a_server_on_another_of_several_hosts_is_found(server: Server) -> None:
    nowhere = server.dsn.replace("host=", f"host={quote(str(server.folder / 'nowhere'), safe='')},")
    several = nowhere.replace("port=5432", "port=5432,5432&target_session_attrs=read-write")

    async with Witnesses.of(several, schema="several_hosts") as witnesses:
        await server.restart()

        await witnesses.check()


async def test_readers_wait_in_line_for_a_connection_and_writers_have_their_own(server: Server) -> None:
    async with (
        PostgresEventStore(Database(server.dsn, max_readers=2), schema="in_line") as store,
        server.sql() as sql,
        asyncio.timeout(10),
        asyncio.TaskGroup() as group,
    ):
        async with sql.transaction():
            await sql.execute("LOCK TABLE in_line.slots")
            readers = [group.create_task(store.subscriptions.slots()) for _ in range(20)]

            (appended,) = await store.append([StreamWrite("a", Expected.NO_STREAM, [event()])])

            assert not any(reader.done() for reader in readers)
        assert [await reader for reader in readers] == [[]] * 20
        assert await store.head() == appended.position


async def test_a_connection_killed_while_nobody_uses_it_is_not_missed(server: Server) -> None:
    async with PostgresEventStore(Database(server.dsn, max_readers=1), schema="idle") as store, server.sql() as sql:
        await store.append([StreamWrite("a", Expected.NO_STREAM, [event()])])
        assert await store.head() == 1

        await sql.execute(CUT)
        await store.append([StreamWrite("a", 1, [event()])])

        assert await store.head() == 2


async def test_while_the_server_is_away_every_reading_says_so(server: Server) -> None:
    async with PostgresEventStore(server.dsn, schema="readings") as store:
        await server.stop("fast")

        for reading in (
            store.head(),
            store.read_stream("a"),
            store.read_log(),
            store.receipts([]),
            store.outbox("p", limit=1),
        ):
            with pytest.raises(StorageUnavailable):
                await reading

        await server.start()
        assert await store.head() == 0


@asynccontextmanager
async def impatience(sql: asyncpg.Connection[Any]) -> AsyncGenerator[None, None]:
    """Have the server end every statement of everybody else after a moment."""
    await sql.execute("ALTER ROLE postgres SET statement_timeout TO '100ms'")
    await sql.execute(CUT)  # it holds for new connections
    try:
        yield
    finally:
        await sql.execute("ALTER ROLE postgres RESET statement_timeout")
        await sql.execute(CUT)


def crowd_out(server: Server, crowd: ExitStack) -> None:
    """Leave no connection to anybody but the *crowd*. It blocks, so that nobody makes another one meanwhile."""
    first = crowd.enter_context(psycopg.connect(server.dsn, application_name="crowd", autocommit=True))
    first.execute(CUT)
    with suppress(psycopg.OperationalError):
        while True:
            crowd.enter_context(psycopg.connect(server.dsn, application_name="crowd"))
