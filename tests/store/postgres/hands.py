"""What a test does to the database behind the store's back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import uuid4

import asyncpg

from framework.store.postgres.appender import LANES
from framework.store.protocol import Appended, EventStore, NewEvent, StreamWrite

DEADLINE_S = 10


def event(data: bytes = b"{}", *, type_: str = "happened") -> NewEvent:
    cause = uuid4()
    return NewEvent(uuid4(), type_, 1, data, b"{}", cause, cause)


def write(stream: str, expected: int, *events: NewEvent) -> StreamWrite:
    return StreamWrite(stream, expected, events or (event(),))


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
        for number in range(LANES):
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


async def _append(store: EventStore, stream: str) -> tuple[Appended, ...]:
    return await store.append([write(stream, 0)])
