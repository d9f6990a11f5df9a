"""The database that holds projectors' tables: a schema for each projector and version, and how far each has come."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from framework import read_views
from framework.connections import LOST, connect, create_pool, quoted, troubled, unavailable
from framework.errors import ConfigurationError, LeaseLost, SchemaMismatch, StorageUnavailable, TransactionEnded
from framework.policies import LEASE
from framework.projector import Connection, Projector
from framework.store.subscriptions import Cut, Lease, ParkedEvent

READERS = 4
"""Connections that read one projector's tables at the same time, at most."""

ASKING = -1
"""The connection that asks owners for something; it is of no slot."""

LONGEST_IDENTIFIER = 63
"""Bytes in a name of PostgreSQL."""

TABLES = """
    CREATE SCHEMA IF NOT EXISTS framework_projections;
    CREATE TABLE IF NOT EXISTS framework_projections.projections (
        schema_name text PRIMARY KEY,
        projector   text NOT NULL,
        version     int  NOT NULL,
        log_id      uuid NOT NULL,
        replayed_to bigint NOT NULL
    );
    CREATE TABLE IF NOT EXISTS framework_projections.progress (
        schema_name text   REFERENCES framework_projections.projections ON DELETE CASCADE,
        slot        int,
        position    bigint NOT NULL,
        fence       bigint NOT NULL,
        PRIMARY KEY (schema_name, slot)
    ) WITH (fillfactor = 50);
    CREATE TABLE IF NOT EXISTS framework_projections.parked (
        schema_name text        REFERENCES framework_projections.projections ON DELETE CASCADE,
        position    bigint,
        key         text        NOT NULL,
        error       text,
        attempts    int         NOT NULL,
        parked_at   timestamptz NOT NULL,
        asked       text,
        PRIMARY KEY (schema_name, position)
    );
    CREATE TABLE IF NOT EXISTS framework_projections.untold (
        schema_name text     REFERENCES framework_projections.projections ON DELETE CASCADE,
        slot        int      NOT NULL,
        positions   bigint[] NOT NULL
    );
"""

PARK = """
    INSERT INTO framework_projections.parked AS p VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (schema_name, position)
        DO UPDATE SET error = excluded.error, attempts = p.attempts + excluded.attempts, asked = NULL
"""
UNPARK = "DELETE FROM framework_projections.parked WHERE schema_name = $1 AND position = $2"
PARKED = """
    SELECT position, key, error, attempts, parked_at, asked
      FROM framework_projections.parked WHERE schema_name = $1 ORDER BY position
"""
ASK = """
    UPDATE framework_projections.parked SET asked = $2
     WHERE schema_name = $1 AND ($3::text IS NULL OR key = $3) AND ($4::bigint IS NULL OR position = $4)
    RETURNING position
"""

WRITE_UNTOLD = "INSERT INTO framework_projections.untold VALUES ($1, $2, $3)"
UNTOLD = "SELECT positions FROM framework_projections.untold WHERE schema_name = $1 AND slot = $2"
TOLD = """
    DELETE FROM framework_projections.untold AS u USING framework_projections.progress AS p
     WHERE u.schema_name = $1 AND u.slot = $2 AND p.schema_name = $1 AND p.slot = $2 AND p.fence = $3
"""

FIND = "SELECT log_id, projector, replayed_to FROM framework_projections.projections WHERE schema_name = $1"
ENTER = """
    INSERT INTO framework_projections.projections
    SELECT $1, $2, $3, $4, coalesce(max(position), 0)
      FROM framework_projections.projections JOIN framework_projections.progress USING (schema_name)
     WHERE projector = $2 AND log_id = $4
    RETURNING replayed_to
"""
"""What the versions before have come to is replayed."""
NEWER = """
    SELECT version, schema_name FROM framework_projections.projections
     WHERE projector = $1 AND log_id = $2 AND version > $3 ORDER BY version DESC LIMIT 1
"""

BEGIN = """
    INSERT INTO framework_projections.progress (schema_name, slot, position, fence)
    SELECT $1, n, 0, 0 FROM generate_series(0, $2 - 1) AS n
"""
TAKE_OVER = """
    UPDATE framework_projections.progress SET fence = $3 WHERE schema_name = $1 AND slot = $2 AND fence <= $3
    RETURNING position, (SELECT count(*) FROM framework_projections.progress WHERE schema_name = $1) AS slots
"""
PLACES = "SELECT slot, position FROM framework_projections.progress WHERE schema_name = $1"
LOCK_CUTS = "SELECT FROM framework_projections.projections WHERE schema_name = $1 FOR NO KEY UPDATE"
LOCK_ALL = """
    SELECT position, fence FROM framework_projections.progress WHERE schema_name = $1 ORDER BY slot FOR UPDATE
"""
UNCUT = "DELETE FROM framework_projections.progress WHERE schema_name = $1"
CUT = """
    INSERT INTO framework_projections.progress (schema_name, slot, position, fence)
    SELECT $1, n, $3, $4 FROM generate_series(0, $2 - 1) AS n
"""
MOVE_UNTOLD = "UPDATE framework_projections.untold SET slot = slot % $2 WHERE schema_name = $1"
FENCE = "SELECT fence FROM framework_projections.progress WHERE schema_name = $1 AND slot = $2"
POSITION = "SELECT min(position) FROM framework_projections.progress WHERE schema_name = $1"
LOCK = """
    SELECT fence, position, pg_current_xact_id()::text
      FROM framework_projections.progress WHERE schema_name = $1 AND slot = $2 FOR UPDATE
"""
SAVE = """
    UPDATE framework_projections.progress SET position = $3
     WHERE schema_name = $1 AND slot = $2 AND pg_current_xact_id()::text = $4
    RETURNING position
"""
"""No row: it is not the transaction any more that was begun by LOCK."""

OF_LOG = """
    SELECT schema_name FROM framework_projections.views WHERE starts_with(schema_name, $1 || '_')
    UNION ALL
    SELECT schema_name FROM framework_projections.projections WHERE starts_with(schema_name, $1 || '_')
"""
FORGET = """
    WITH views AS (DELETE FROM framework_projections.views WHERE schema_name = $1)
    DELETE FROM framework_projections.projections WHERE schema_name = $1
"""

SETUP_LOCK = 0x70726F6A6563
"""Serialises those who create schemas: CREATE … IF NOT EXISTS alone races."""


def name_of(projector: Projector[Any]) -> str:
    """Return the name that the progress of *projector* is stored under."""
    return projector.name or type(projector).__name__


class ReadModel:
    """The tables of one projector: a connection for each slot that writes to them, a few that read."""

    def __init__(self, dsn: str, projector: Projector[Any], namespace: str) -> None:
        self.projector = projector
        self.name = name_of(projector)
        self.schema = schema_name(namespace, self.name, projector.version)
        self.views = schema_name(namespace, self.name)
        """Where those from elsewhere read the tables, whichever version they are of."""
        self.replayed_to = 0
        """Events up to here were handled by a version before."""
        self.tells = type(projector).committed is not Projector[Any].committed
        self.subscription = f"{self.name} v{projector.version}"
        """What its slots are called by. A new version begins at the first event, beside the one before."""
        self._dsn = dsn
        self._what = f"the database of projector {self.name!r}"
        self._writers: dict[int, asyncpg.Connection[Any]] = {}
        """For each slot its own, since they write at the same time."""
        self._positions: dict[int, int] = {}
        """What each slot that is owned here has come to: whoever goes on from there relies on the rows before it."""
        self._readers: asyncpg.Pool[Any] | None = None

    async def open(self, log_id: UUID) -> None:
        """Create the schema and the tables if they are not there, and open the way for readers.

        Raises `SchemaMismatch` if the tables were filled from another log or by another projector, or there are those
        of a newer version,
        `ConfigurationError` if they cannot be created, of which nothing is left then, and `StorageUnavailable`.
        """
        connection = await self._connected()
        with unavailable(self._what, connection), troubled(self._what):
            async with connection.transaction():
                await self._set_up(connection, log_id)
                await self._show(connection)
        self._readers = await create_pool(
            self._dsn,
            READERS,
            # Asked for a server that takes writes, as the DSN may, asyncpg would find none by this setting.
            target_session_attrs=SessionAttribute.primary,
            server_settings={"search_path": quoted(self.schema), "default_transaction_read_only": "on"},
        )

    async def close(self) -> None:
        """Let go of all connections."""
        if self._readers is not None:
            await self._readers.close()
        for writer in self._writers.values():
            await writer.close()
        self._readers = None
        self._writers.clear()

    async def take_over(self, lease: Lease, partitions: int) -> int:
        """Begin to write as the owner of one of so many slots; return the position up to which its rows are the log's.

        Waits for a transaction of the owner before to end: what that has written is then in the position. Raises
        `LeaseLost` if there has been a later owner.
        """
        connection = await self._idle(lease.slot)
        with unavailable(self._what, connection), troubled(self._what):
            found = await connection.fetchrow(TAKE_OVER, self.schema, lease.slot, lease.fence)
            if found is not None and found["slots"] != partitions:
                message = (
                    f"projector {self.name!r}: its tables are filled in {found['slots']} slots, and it is recorded with"
                    f" {partitions}, so nobody knows how far a key has come: delete its subscription and give it"
                    f" partitions = {found['slots']}, or raise its version"
                )
                raise SchemaMismatch(message)
            if found is not None:
                position = self._positions[lease.slot] = int(found["position"])
                return position
            if await connection.fetchval(FENCE, self.schema, lease.slot) is not None:
                raise LeaseLost(*lease)
        message = (
            f"projector {self.name!r}: its row in framework_projections.progress is gone, so nobody knows how far"
            f" its tables have come: drop schema {self.schema}, and they are filled anew at the next start"
        )
        raise SchemaMismatch(message)

    async def position(self) -> int:
        """Return the position up to which the rows of every slot are those of the log."""
        connection = await self._connected()
        with unavailable(self._what, connection), troubled(self._what):
            return int(await connection.fetchval(POSITION, self.schema))

    async def places(self) -> Mapping[int, int]:
        """Return for each slot the position up to which its rows are those of the log."""
        connection = await self._connected(ASKING)
        with unavailable(self._what, connection), troubled(self._what):
            return {row["slot"]: row["position"] for row in await connection.fetch(PLACES, self.schema)}

    async def cut(self, cut: Cut) -> bool:
        """Cut the slots, if all stand where they are to; say whether they do. One that is cut so is cut once.

        Waits for the transactions of owners to end: what comes of them later is refused.
        """
        connection = await self._connected(ASKING)
        with unavailable(self._what, connection), troubled(self._what):
            async with connection.transaction():
                # First, and by itself: what is looked at then are the slots that another node may just have cut.
                await connection.execute(LOCK_CUTS, self.schema)
                for row in await connection.fetch(LOCK_ALL, self.schema):
                    if row["position"] != cut.position or row["fence"] > cut.fence:
                        return False
                await connection.execute(UNCUT, self.schema)
                await connection.execute(CUT, self.schema, cut.partitions, cut.position, cut.fence)
                await connection.execute(MOVE_UNTOLD, self.schema, cut.partitions)
        return True

    @asynccontextmanager
    async def advancing(self, lease: Lease, position: int) -> AsyncGenerator[Connection, None]:
        """Give a connection inside a transaction that ends with the slot moved to *position*.

        Raises `LeaseLost` on entry if there has been a later owner, and `StorageUnavailable` if the connection is lost,
        or the rows have not come as far as they had: a standby took over without the last commits, or a backup.
        Any error inside undoes everything, unless it was ended inside: that is `TransactionEnded`.
        """
        connection = await self._idle(lease.slot)
        with unavailable(self._what, connection), troubled(self._what):
            async with connection.transaction():
                # Locked first: a later owner waits here for the end of this, or has been here and is found out.
                fence, found, begun = await connection.fetchrow(LOCK, self.schema, lease.slot) or (None, None, None)
                if fence != lease.fence:
                    raise LeaseLost(*lease)
                if found != self._positions.get(lease.slot, found):
                    raise StorageUnavailable(
                        f"{self._what} has rows up to position {found} where there were rows up to"
                        f" {self._positions[lease.slot]}: what is there counts"
                    )
                yield connection
                if await connection.fetchval(SAVE, self.schema, lease.slot, position, begun) is None:
                    raise TransactionEnded(self.name)
            self._positions[lease.slot] = position

    async def show(self) -> None:
        """Have the views show this version, if it has come as far as the one before."""
        connection = await self._connected(ASKING)
        with unavailable(self._what, connection), troubled(self._what):
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", SETUP_LOCK)
                await self._show(connection)

    async def owe(self, db: Connection, slot: int, positions: Sequence[int]) -> None:
        """Note, within the transaction of *db*, that the projector is to be told of the events at *positions*."""
        await db.execute(WRITE_UNTOLD, self.schema, slot, positions)

    async def owed(self, slot: int) -> Sequence[int]:
        """Return the positions of the events that the projector has not been told of."""
        connection = await self._idle(slot)
        with unavailable(self._what, connection), troubled(self._what):
            rows = await connection.fetch(UNTOLD, self.schema, slot)
        return sorted(position for row in rows for position in row["positions"])

    async def settle(self, lease: Lease) -> None:
        """Note that it has been told of all; nothing where there has been a later owner, who owes something else."""
        connection = await self._idle(lease.slot)
        with unavailable(self._what, connection), troubled(self._what):
            await connection.execute(TOLD, self.schema, lease.slot, lease.fence)

    async def park(self, db: Connection, event: ParkedEvent) -> None:
        """Set *event* aside within the transaction of *db*."""
        await db.execute(PARK, self.schema, *event[1:6])

    async def unpark(self, db: Connection, position: int) -> None:
        """Forget, within the transaction of *db*, that the event at *position* was set aside."""
        await db.execute(UNPARK, self.schema, position)

    async def parked(self) -> Sequence[ParkedEvent]:
        """Return what is set aside, in the order of the log."""
        async with self.reading() as db:
            rows = await db.fetch(PARKED, self.schema)
        return [ParkedEvent(self.subscription, *row) for row in rows]

    async def ask(self, what: str, *, key: str | None = None, position: int | None = None) -> int:
        """Ask the owners of the slots for what is done with parked events; returns how many that is."""
        connection = await self._connected(ASKING)
        with unavailable(self._what, connection), troubled(self._what):
            return len(await connection.fetch(ASK, self.schema, what, key, position))

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[Connection, None]:
        """Give a connection that reads the tables and cannot write."""
        if self._readers is None:
            message = f"projector {self.name!r} is not running"
            raise ConfigurationError(message)
        readers = self._readers
        with unavailable(self._what):
            lent = await readers.acquire()
        try:
            with unavailable(self._what, lent, reads_only=True):
                yield lent
        finally:
            await readers.release(lent)

    async def _idle(self, slot: int) -> asyncpg.Connection[Any]:
        """Return the slot's own connection, and not one with a transaction that was broken off half way."""
        connection = await self._connected(slot)
        if connection.is_in_transaction():
            connection.terminate()
            connection = await self._connected(slot)
        return connection

    async def _connected(self, slot: int = 0) -> asyncpg.Connection[Any]:
        writer = self._writers.get(slot)
        if writer is None or writer.is_closed():
            settings = {
                "search_path": quoted(self.schema),
                # A process that is stopped in the middle of a batch must not keep the next owner waiting for ever.
                "idle_in_transaction_session_timeout": str(int(LEASE.total_seconds() * 1_000)),
            }
            with unavailable(self._what):
                writer = self._writers[slot] = await connect(self._dsn, server_settings=settings)
        return writer

    async def _set_up(self, connection: asyncpg.Connection[Any], log_id: UUID) -> None:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", SETUP_LOCK)
        await connection.execute(TABLES)
        await connection.execute(read_views.TABLE)
        newer = await connection.fetchrow(NEWER, self.name, log_id, self.projector.version)
        if newer is not None:
            message = (
                f"projector {self.name!r} has come to version {newer['version']}, and this program has"
                f" {self.projector.version}: run the newer one; or, to go back, drop schema {newer['schema_name']} and"
                " delete its row in framework_projections.projections"
            )
            raise SchemaMismatch(message)
        known = await connection.fetchrow(FIND, self.schema)
        if known is None:
            await self._create(connection, log_id)
        elif known["log_id"] != log_id:
            message = (
                f"projector {self.name!r}: its tables in schema {self.schema} were filled from another log:"
                " connect the store they belong to, or drop that schema and its row in framework_projections"
            )
            raise SchemaMismatch(message)
        elif known["projector"] != self.name:
            message = (
                f"projector {self.name!r}: the tables in schema {self.schema} are those of {known['projector']!r}:"
                " give one another name"
            )
            raise SchemaMismatch(message)
        else:
            self.replayed_to = known["replayed_to"]

    async def _show(self, connection: asyncpg.Connection[Any]) -> None:
        if await connection.fetchval(POSITION, self.schema) >= self.replayed_to:
            await read_views.show(connection, self.views, self.name, self.schema)

    async def _create(self, connection: asyncpg.Connection[Any], log_id: UUID) -> None:
        try:
            await connection.execute(f"CREATE SCHEMA {quoted(self.schema)}")
        except asyncpg.DuplicateSchemaError as error:
            message = (
                f"schema {self.schema} exists but is not of projector {self.name!r}: drop it, or rename the projector"
            )
            raise SchemaMismatch(message) from error
        try:
            await connection.execute(self.projector.schema)
        except LOST:
            raise
        except asyncpg.PostgresError as error:
            message = f"the schema of projector {self.name!r} cannot be created: {error}"
            raise ConfigurationError(message) from error
        version = self.projector.version
        self.replayed_to = await connection.fetchval(ENTER, self.schema, self.name, version, log_id)
        await connection.execute(BEGIN, self.schema, self.projector.partitions)


class ReadModels:
    """The read models of an application, open inside `async with`."""

    def __init__(self, dsn: str, projectors: Sequence[Projector[Any]], *, namespace: str, log_id: UUID) -> None:
        self._models = {type(p): ReadModel(dsn, p, namespace) for p in projectors}
        self._log_id = log_id
        self._open = AsyncExitStack()

    def __iter__(self) -> Iterator[ReadModel]:
        return iter(self._models.values())

    def __getitem__(self, projector: type[Projector[Any]]) -> ReadModel:
        try:
            return self._models[projector]
        except KeyError:
            name = projector.__name__
            message = f"{name} is not among the application's projectors: add projectors=[{name}()]"
            raise ConfigurationError(message) from None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opened:
            for model in self._models.values():
                opened.push_async_callback(model.close)
                await model.open(self._log_id)
            self._open = opened.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()


def schema_name(namespace: str, projector: str, version: int | None = None) -> str:
    """Return the name of the schema for the tables of *projector* in *version*, of the log called *namespace*.

    Without a version it is that of its views. A name too long for PostgreSQL keeps its beginning and gets a digest of
    the whole.
    """
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", projector).lower()
    name = f"{namespace}_{snake}" if version is None else f"{namespace}_{snake}_v{version}"
    if len(name.encode()) <= LONGEST_IDENTIFIER:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name.encode()[: LONGEST_IDENTIFIER - 13].decode(errors='ignore')}_{digest}"


async def remove(connection: asyncpg.Connection[Any], namespace: str) -> None:
    """Remove all read models of the log called *namespace*, with the views that show them."""
    if not await connection.fetchval("SELECT to_regclass('framework_projections.views') IS NOT NULL"):
        return
    for row in await connection.fetch(OF_LOG, namespace):
        await connection.execute(f"DROP SCHEMA IF EXISTS {quoted(row['schema_name'])} CASCADE")
        await connection.execute(FORGET, row["schema_name"])
