"""Creates, migrates, looks at and drops the store's tables, in a schema that is theirs alone."""

from __future__ import annotations

import enum
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

import asyncpg
import attrs

from framework.connections import quoted
from framework.errors import ConfigurationError, SchemaMismatch
from framework.store.postgres.statements import FUNCTIONS, SCHEMA

MIGRATION_LOCK: Final = 0x61676772_65676174
"""Serialises migrations of all schemas of one database: CREATE … IF NOT EXISTS alone races."""

LONGEST_NAME: Final = 63
"""In bytes. PostgreSQL would cut a longer one, and two of the same beginning would be one."""

RECORDS: Final = """
    CREATE TABLE IF NOT EXISTS migrations (
        number     integer     NOT NULL,
        name       text        NOT NULL,
        checksum   text        NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT migrations_pkey PRIMARY KEY (number)
    );
    CREATE TABLE IF NOT EXISTS functions (
        name       text        NOT NULL,
        checksum   text        NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT functions_pkey PRIMARY KEY (name)
    );
"""

RECORD_MIGRATION: Final = "INSERT INTO migrations (number, name, checksum) VALUES ($1, $2, $3)"
RECORD_FUNCTION: Final = """
    INSERT INTO functions (name, checksum) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()
"""

TABLES: Final = """
    SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v', 'm', 'f')
"""

OWN_TABLES: Final = frozenset(re.findall(r'^CREATE (?:TABLE|VIEW) "?(\w+)', SCHEMA, re.MULTILINE))
"""Those that may be dropped with a schema, views among them."""


@attrs.frozen
class Migration:
    """One numbered change of the tables."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Return what tells this text from an edited one."""
        return _checksum(self.sql)


class State(enum.Enum):
    """What became of a step in one schema."""

    APPLIED = "applied"
    PENDING = "pending"
    EDITED = "edited"
    """It was applied with another text than this code has."""
    UNKNOWN = "unknown"
    """It was applied by a later version of the framework."""


@attrs.frozen
class Step:
    """A migration, or the text of a function: what takes a schema to the version of this code."""

    name: str
    state: State
    applied_at: datetime | None = None


def migrations() -> list[Migration]:
    """Return all migrations this code knows, in order."""
    folder = files("framework.store.postgres") / "sql" / "migrations"
    found = [
        Migration(int(file.name[:4]), file.name, file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found, key=lambda migration: migration.number)


def check_name(schema: str) -> None:
    """Raise `ConfigurationError` unless *schema* can be the name of a schema, whatever is in it."""
    try:
        size = len(schema.encode())
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"schema {schema!r} is not a name: it cannot be encoded") from error
    if not 0 < size <= LONGEST_NAME or "\0" in schema:
        raise ConfigurationError(
            f"schema {schema!r} is not a name: it needs 1 to {LONGEST_NAME} bytes in UTF-8, and no NUL"
        )


async def exists(connection: asyncpg.Connection[Any], schema: str) -> bool:
    """Return whether *schema* holds an event store, of whatever version."""
    return bool(await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", _of(schema, "migrations")))


async def steps(connection: asyncpg.Connection[Any], schema: str) -> Sequence[Step]:
    """Return what *schema* has been through, and what it lacks."""
    applied: dict[int, Any] = {}
    created: dict[str, Any] = {}
    if await exists(connection, schema):
        rows = await connection.fetch(
            f"SELECT number, name, checksum, applied_at FROM {_of(schema, 'migrations')} ORDER BY number"
        )
        applied = {row["number"]: row for row in rows}
        rows = await connection.fetch(f"SELECT name, checksum, applied_at FROM {_of(schema, 'functions')}")
        created = {row["name"]: row for row in rows}
    found: list[Step] = []
    for migration in migrations():
        row = applied.pop(migration.number, None)
        if row is None:
            found.append(Step(migration.name, State.PENDING))
        else:
            state = State.APPLIED if row["checksum"] == migration.checksum else State.EDITED
            found.append(Step(row["name"], state, row["applied_at"]))
    found += [Step(row["name"], State.UNKNOWN, row["applied_at"]) for row in applied.values()]
    for name, sql in FUNCTIONS.items():
        row = created.get(name)
        if row is not None and row["checksum"] == _checksum(sql):
            found.append(Step(name, State.APPLIED, row["applied_at"]))
        else:
            found.append(Step(name, State.PENDING))
    return found


async def migrate(connection: asyncpg.Connection[Any], schema: str) -> Sequence[str]:
    """Bring *schema* to the version of this code, creating it if need be, all or nothing; return what was applied.

    Any number of processes may do so at once. Raises `SchemaMismatch` where the database is ahead of this code, or
    holds a migration that was edited since.
    """
    if not await _pending(connection, schema):
        return ()
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        # Only if it is missing: to whoever may create none, PostgreSQL refuses IF NOT EXISTS even of one that is there.
        if await connection.fetchval("SELECT to_regnamespace($1) IS NULL", quoted(schema)):
            await connection.execute(f"CREATE SCHEMA {quoted(schema)}")
        # A function that takes its path along must not meet a caller's temporary tables, which come first unless named.
        await connection.execute(f"SET LOCAL search_path TO {quoted(schema)}, pg_temp")
        await connection.execute(RECORDS)
        pending = await _pending(connection, schema)  # again, since another process may have been quicker
        for migration in migrations():
            if migration.name in pending:
                await connection.execute(migration.sql)
                await connection.execute(RECORD_MIGRATION, migration.number, migration.name, migration.checksum)
        for name, sql in FUNCTIONS.items():
            if name in pending:
                await connection.execute(sql)
                await connection.execute(RECORD_FUNCTION, name, _checksum(sql))
        return pending


async def check(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Raise `SchemaMismatch` unless *schema* is at the version of this code."""
    remedy = "migrate it with 'python -m framework db migrate', or open it with migrate=True"
    if not await exists(connection, schema):
        raise SchemaMismatch(f"schema {schema!r} holds no event store: {remedy}")
    if pending := await _pending(connection, schema):
        raise SchemaMismatch(f"schema {schema!r} lacks {', '.join(pending)}: {remedy}")


async def drop(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Remove *schema* with the log and all that is in it, for good.

    Raises `SchemaMismatch`, and removes nothing, where it holds no event store, or tables of somebody else.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        if not await exists(connection, schema):
            raise SchemaMismatch(f"schema {schema!r} holds no event store, so it was not dropped")
        rows = await connection.fetch(TABLES, quoted(schema))
        if strangers := sorted({row["relname"] for row in rows} - OWN_TABLES):
            raise SchemaMismatch(
                f"schema {schema!r} holds more than the event store, so it was not dropped:"
                f" move {', '.join(strangers)} elsewhere first"
            )
        await connection.execute(f"DROP SCHEMA {quoted(schema)} CASCADE")


async def _pending(connection: asyncpg.Connection[Any], schema: str) -> list[str]:
    found = await steps(connection, schema)
    for step in found:
        if step.state is State.UNKNOWN:
            raise SchemaMismatch(
                f"schema {schema!r} is at {step.name}, which this version of the framework does not know:"
                " run the version that migrated it, or a later one"
            )
        if step.state is State.EDITED:
            raise SchemaMismatch(
                f"schema {schema!r} was migrated with another {step.name} than this version of the framework has:"
                " restore that file, and put changes in a migration of their own"
            )
    return [step.name for step in found if step.state is State.PENDING]


def _of(schema: str, name: str) -> str:
    return f"{quoted(schema)}.{quoted(name)}"


def _checksum(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()
