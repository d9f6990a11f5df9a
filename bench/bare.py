"""What PostgreSQL can do by itself: the same rows over plain asyncpg, with nothing checked and nobody told."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any, Final, TypeAlias

import asyncpg
import msgspec

from bench.harness import Bench
from framework.clock import now
from framework.store.postgres import PostgresEventStore
from framework.store.protocol import NewEvent

INSERT_ONE: Final = "INSERT INTO bare VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"

INSERT_MANY: Final = """
    INSERT INTO bare
    SELECT e.*, $11
      FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::uuid[], $5::text[], $6::int[], $7::jsonb[], $8::jsonb[],
                  $9::uuid[], $10::uuid[]) AS e
"""

READ_LOG: Final = "SELECT * FROM events WHERE position > $1 ORDER BY position LIMIT $2"
READ_STREAM: Final = "SELECT * FROM events WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3"


Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class Table:
    """A table of its own, with the columns and indexes of the store's events."""

    def __init__(self) -> None:
        self._positions = count(1)

    def rows(self, events: Sequence[tuple[str, int, NewEvent]]) -> list[tuple[Any, ...]]:
        """Return a row, but for its time, for each event with its stream and version."""
        return [
            (
                next(self._positions),
                stream,
                version,
                event.event_id,
                event.type,
                event.type_version,
                event.data.decode(),
                event.metadata.decode(),
                event.correlation_id,
                event.causation_id,
            )
            for stream, version, event in events
        ]

    async def insert_one(self, statement: Any, stream: str, version: int, event: NewEvent) -> None:
        """Insert and commit one row by the prepared `INSERT_ONE`."""
        (row,) = self.rows([(stream, version, event)])
        await statement.fetch(*row, now())

    async def insert_many(self, statement: Any, events: Sequence[tuple[str, int, NewEvent]]) -> None:
        """Insert and commit all rows by the prepared `INSERT_MANY`."""
        columns = zip(*self.rows(events), strict=True)
        await statement.fetch(*map(list, columns), now())


@asynccontextmanager
async def table(bench: Bench) -> AsyncGenerator[tuple[Table, str], None]:
    """Give an empty table, and the schema it is in."""
    async with bench.schema() as schema:
        async with PostgresEventStore(bench.dsn, schema=schema), bench.connection(schema) as connection:
            await connection.execute("CREATE TABLE bare (LIKE events INCLUDING ALL)")
        yield Table(), schema


async def read_log(connection: Connection, page: int) -> int:
    """Read all events of the log in pages and parse each one's JSON; return how many there were."""
    statement = await connection.prepare(READ_LOG)
    after = read = 0
    parse = msgspec.json.decode
    while rows := await statement.fetch(after, page):
        for row in rows:
            parse(row["data"])
        read += len(rows)
        after = rows[-1]["position"]
    return read


async def read_stream(connection: Connection, stream: str, page: int) -> int:
    """Read all events of *stream* in pages and parse each one's JSON; return how many there were."""
    statement = await connection.prepare(READ_STREAM)
    after = 0
    parse = msgspec.json.decode
    while rows := await statement.fetch(stream, after, page):
        for row in rows:
            parse(row["data"])
        after = rows[-1]["version"]
    return after
