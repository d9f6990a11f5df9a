"""A corner of the test database for one bank, cleared away afterwards."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

CREATED = "SELECT quote_ident(nspname) FROM pg_namespace WHERE starts_with(nspname, $1)"
PROGRESS = "SELECT to_regclass('framework_projections.progress')"
FORGET = "DELETE FROM framework_projections.progress WHERE starts_with(schema_name, $1)"


@asynccontextmanager
async def fresh_schema(dsn: str) -> AsyncGenerator[str]:
    """Give a name that nobody uses; all schemas whose names begin with it are dropped afterwards."""
    name = f"bank_{uuid4().hex[:12]}"
    try:
        yield name
    finally:
        connection: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(dsn)
        try:
            for row in await connection.fetch(CREATED, name):
                await connection.execute(f"DROP SCHEMA {row[0]} CASCADE")
            if await connection.fetchval(PROGRESS):
                await connection.execute(FORGET, name)
        finally:
            await connection.close()
