"""What is done to a store while no application has it open: created, migrated, looked at, dropped."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import asyncpg
import attrs

from framework.connections import connect, each_host, quoted, unavailable
from framework.errors import ConfigurationError, SchemaMismatch
from framework.store.postgres import schema as tables
from framework.store.postgres import statements
from framework.store.postgres.schema import State, Step

MAINTENANCE_DATABASE: Final = "postgres"
"""There is one on every server, to connect to while the other is not there."""


@attrs.frozen
class Created:
    """What was made."""

    database: str | None
    """The database, where that was not there either."""
    applied: Sequence[str]
    """Migrations and functions; none where the store was there already."""


@attrs.frozen
class SchemaStatus:
    """What is in a schema."""

    steps: Sequence[Step]
    log_id: UUID | None
    """None where there is no store."""
    position: int
    """The last one of the log."""

    @property
    def is_current(self) -> bool:
        """Whether the schema is at the version of this code."""
        return all(step.state is State.APPLIED for step in self.steps)


class StoredType(NamedTuple):
    """Events of one type and version that a log holds."""

    type: str
    type_version: int
    events: int
    """How many."""
    first: int
    """The position of the first of them."""
    last: int


async def create(dsn: str, schema: str = "framework") -> Created:
    """Make the database of *dsn*, *schema* in it, and the store's tables, as far as they are not there yet.

    Raises `SchemaMismatch` where a store of another version is there, and `StorageUnavailable`.
    """
    tables.check_name(schema)
    database = await _create_database(dsn)
    async with _connected(dsn) as connection:
        if await tables.exists(connection, schema):
            await tables.check(connection, schema)
            return Created(database, ())
        return Created(database, await tables.migrate(connection, schema))


async def migrate(dsn: str, schema: str = "framework") -> Sequence[str]:
    """Bring the store in *schema* to the version of this code, all or nothing, and return what was applied.

    Raises `SchemaMismatch` where there is no store, where it is ahead of this code, or where a migration was edited
    since it was applied; and `StorageUnavailable`.
    """
    async with _connected(dsn) as connection:
        await _check_exists(connection, schema)
        return await tables.migrate(connection, schema)


async def status(dsn: str, schema: str = "framework") -> SchemaStatus:
    """Return what *schema* has been through and what it lacks, without changing anything."""
    async with _connected(dsn) as connection:
        found = await tables.steps(connection, schema)
        if not await tables.exists(connection, schema):
            return SchemaStatus(found, None, 0)
        head = await connection.fetchrow(f"SELECT log_id, position FROM {quoted(schema)}.head")
        return SchemaStatus(found, head["log_id"], head["position"]) if head else SchemaStatus(found, None, 0)


async def stored_types(dsn: str, schema: str = "framework") -> Sequence[StoredType]:
    """Return which types and versions the log in *schema* holds; it is read whole.

    Raises `SchemaMismatch` where there is no store, and `StorageUnavailable`.
    """
    async with _connected(dsn) as connection, connection.transaction(readonly=True):
        await _check_exists(connection, schema)
        await connection.execute(f"SET LOCAL search_path TO {quoted(schema)}")
        return [StoredType(*row) for row in await connection.fetch(statements.STORED_TYPES)]


async def drop(dsn: str, schema: str = "framework") -> None:
    """Remove *schema* with the log and all that is in it, for good; the database stays, and what projectors made.

    Raises `SchemaMismatch`, and removes nothing, where it holds no event store, or tables of somebody else.
    """
    async with _connected(dsn) as connection:
        await tables.drop(connection, schema)


@asynccontextmanager
async def _connected(dsn: str, **options: Any) -> AsyncGenerator[asyncpg.Connection[Any], None]:
    with unavailable():
        connection = await connect(dsn, **options)
    try:
        with unavailable(connection=connection):
            yield connection
    finally:
        connection.terminate()


async def _check_exists(connection: asyncpg.Connection[Any], schema: str) -> None:
    if not await tables.exists(connection, schema):
        raise SchemaMismatch(f"schema {schema!r} holds no event store: make one with 'python -m framework db create'")


async def _create_database(dsn: str) -> str | None:
    """Make the database that *dsn* names; return its name, or None if it was there."""
    try:
        async with _connected(dsn):
            return None
    except ConfigurationError as error:
        if not isinstance(error.__cause__, asyncpg.InvalidCatalogNameError):
            raise
        parts = urlsplit(each_host(dsn)[0])
        named = parse_qs(parts.query)
        name = unquote(parts.path[1:]) or (named.get("dbname") or named.get("database") or [""])[0]
        if not name:
            raise  # it is named elsewhere, in the environment or a file: who did that knows better
    try:
        async with _connected(dsn, database=MAINTENANCE_DATABASE) as connection:
            await connection.execute(f"CREATE DATABASE {quoted(name)} ENCODING 'UTF8' TEMPLATE template0")
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        return None  # another process was quicker
    return name
