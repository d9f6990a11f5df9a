"""Creates, migrates and checks the store's tables."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any, Final

import asyncpg
import attrs

from framework.connections import quoted
from framework.errors import SchemaMismatch
from framework.store.postgres.statements import FUNCTIONS

MIGRATION_LOCK: Final = 0x61676772_65676174
"""Serialises migrations of all schemas of one database: CREATE … IF NOT EXISTS alone races."""

MIGRATIONS_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS migrations (
        number     integer     PRIMARY KEY,
        name       text        NOT NULL,
        checksum   text        NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""


@attrs.frozen
class Migration:
    """One numbered change of the tables."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Return what tells this text from an edited one."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Return all migrations this code knows, in order."""
    folder = files("framework.store.postgres") / "sql" / "migrations"
    found = [
        Migration(int(file.name[:4]), file.name, file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found, key=lambda migration: migration.number)


async def migrate(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Bring *schema* to the version of this code, creating it if need be; all or nothing.

    Any number of processes may do so at once. Raises `SchemaMismatch` where the database is ahead of this code, or
    holds a migration that was edited since.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        await connection.execute(MIGRATIONS_TABLE)
        pending = await _pending(connection, schema)
        for migration in pending:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO migrations (number, name, checksum) VALUES ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.checksum,
            )
        # A function that takes its path along must not meet a caller's temporary tables, which come first unless named.
        await connection.execute(f"SET LOCAL search_path = {quoted(schema)}, pg_temp")
        for function in FUNCTIONS:
            await connection.execute(function)


async def check(connection: asyncpg.Connection[Any], schema: str) -> None:
    """Raise `SchemaMismatch` unless *schema* is at the version of this code."""
    if not await connection.fetchval("SELECT to_regclass('migrations') IS NOT NULL"):
        raise SchemaMismatch(f"schema {schema!r} holds no event store: open it with migrate=True")
    if pending := await _pending(connection, schema):
        names = ", ".join(migration.name for migration in pending)
        raise SchemaMismatch(f"schema {schema!r} lacks {names}: open it with migrate=True")


async def _pending(connection: asyncpg.Connection[Any], schema: str) -> list[Migration]:
    known = {migration.number: migration for migration in migrations()}
    applied = await connection.fetch("SELECT number, name, checksum FROM migrations ORDER BY number")
    for row in applied:
        migration = known.pop(row["number"], None)
        if migration is None:
            raise SchemaMismatch(
                f"schema {schema!r} is at {row['name']}, which this version of the framework does not know:"
                " run the version that migrated it, or a later one"
            )
        if migration.checksum != row["checksum"]:
            raise SchemaMismatch(
                f"schema {schema!r} was migrated with another {row['name']} than this version of the framework has:"
                " restore that file, and put changes in a migration of their own"
            )
    return list(known.values())
