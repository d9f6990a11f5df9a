"""What a test does to the database behind the store's back."""
# pyright: reportPrivateUsage=false
# A test may look where users may not.

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import uuid4

import asyncpg

from framework import PostgresEventStore
from framework.store.postgres import listener
from framework.store.postgres.appender import AT_ONCE
from framework.store.protocol import Appended, EventStore, NewEvent, StreamWrite
from framework.testing import eventually

DEADLINE_S = 10

LISTENER = {"database", "listener", "listen", "poll", "check", "notify", "presence", "heartbeat", "leases"}
"""The tasks of a database, however many stores are on it."""


def event(data: bytes = b"{}", *, type_: str = "happened") -> NewEvent:
    cause = uuid4()
    return NewEvent(uuid4(), type_, 1, data, b"{}", cause, cause)


def write(stream: str, expected: int, *events: NewEvent) -> StreamWrite:
    return StreamWrite(stream, expected, events or (event(),))


def cut(store: PostgresEventStore, pid: int) -> None:
    """Cut the socket of the lane that backend *pid* serves. The backend does not notice while it waits for a lock."""
    lanes = store._database.lanes._all
    (connection,) = [lane._connection for lane in lanes if lane._connection is not None and lane.status.pid == pid]
    connection.terminate()


class Hands:
    """A session that can hold the head row, see who waits for it, and end their connections."""

    def __init__(self, connection: asyncpg.Connection[Any], watch: asyncpg.Connection[Any]) -> None:
        self.sql = connection
        self._watch = watch
        """Looks outside of any transaction, in which the activity of others would stand still."""
        self._pid = connection.get_server_pid()

    @classmethod
    @asynccontextmanager
    async def on(cls, dsn: str, schema: str) -> AsyncGenerator[Self, None]:
        connection = await asyncpg.connect(dsn, server_settings={"search_path": schema})
        watch = await asyncpg.connect(dsn)
        try:
            yield cls(connection, watch)
        finally:
            await connection.close()
            await watch.close()

    @asynccontextmanager
    async def holding_the_head(self) -> AsyncGenerator[None, None]:
        """Keep every append waiting while inside."""
        async with self.sql.transaction():
            await self.sql.execute("SELECT FROM head FOR UPDATE")
            yield

    async def occupy(self, store: EventStore) -> list[asyncio.Task[tuple[Appended, ...]]]:
        """Have an append of *store* wait in each lane, so that what comes next gathers in one batch."""
        appends: list[asyncio.Task[tuple[Appended, ...]]] = []
        for number in range(AT_ONCE):
            appends.append(asyncio.create_task(_append(store, f"ahead-{number}")))
            await self.waiting_appends(number + 1)
        return appends

    async def waiting_appends(self, count: int) -> list[int]:
        """Return the process ids of the backends that wait for the head row, once there are *count*."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                # The second waits for the first, which waits for us.
                rows = await self._watch.fetch(
                    "SELECT pid FROM pg_stat_activity, unnest(pg_blocking_pids(pid)) AS blocker"
                    " WHERE blocker = $1 OR $1 = ANY (pg_blocking_pids(blocker))",
                    self._pid,
                )
                if len(rows) >= count:
                    return [row["pid"] for row in rows]
                await asyncio.sleep(0.01)

    async def end(self, pids: list[int]) -> None:
        """End the connections of those backends."""
        await self._watch.fetch("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", pids)

    async def ended(self, pid: int) -> None:
        """Return once that backend is gone."""

        async def is_gone() -> bool:
            return not await self._watch.fetchval("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid)

        await eventually(is_gone)

    async def cancel(self, pids: list[int]) -> None:
        """Cancel what those backends run."""
        await self._watch.fetch("SELECT pg_cancel_backend(pid) FROM unnest($1::int[]) AS pid", pids)

    async def gate(self, pids: list[int]) -> None:
        """Have those backends wait, before they go for the head row, until `open_gate`."""
        await self.sql.execute(
            "CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF pg_backend_pid() IN ({', '.join(map(str, pids))}) THEN"
            f" PERFORM pg_advisory_xact_lock({self._pid}); END IF; RETURN NULL; END $$"
        )
        await self.sql.execute("SELECT pg_advisory_lock($1)", self._pid)
        await self.sql.execute(
            "CREATE TRIGGER gate BEFORE UPDATE ON head FOR EACH STATEMENT EXECUTE FUNCTION wait_at_gate()"
        )

    async def open_gate(self) -> None:
        """Let go of those who wait at the gate."""
        await self.sql.execute("SELECT pg_advisory_unlock($1)", self._pid)


async def _append(store: EventStore, stream: str) -> tuple[Appended, ...]:
    return await store.append([write(stream, 0)])


async def listening(dsn: str, schema: str, count: int) -> list[int]:
    """Return the process ids of the backends that listen to the log in *schema*, once there are *count*."""
    channel = listener.channel(schema)
    async with Hands.on(dsn, schema) as hands, asyncio.timeout(10):
        while True:
            rows = await hands.sql.fetch(
                "SELECT pid FROM pg_stat_activity WHERE state = 'idle' AND query = $1", f'LISTEN "{channel}"'
            )
            if len(rows) >= count:
                return [row["pid"] for row in rows]
            await asyncio.sleep(0.01)
